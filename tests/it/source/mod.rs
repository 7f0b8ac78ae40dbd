//! Level 0: reads the source tree and calls pure code; starts no server.

mod chart;
mod documents;
mod generated;
mod golden;
mod house_rules;
mod imports;
mod language;
mod lint;
mod schema;
mod tools;
