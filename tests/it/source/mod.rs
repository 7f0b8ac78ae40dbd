//! Level 0: reads the source tree and calls pure code; starts no server.

mod chart;
mod documents;
mod golden;
mod house_rules;
mod imports;
mod language;
mod lint;
mod tools;
