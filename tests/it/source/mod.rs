//! Level 0: reads the source tree and calls pure code; starts no server.

mod chart;
mod golden;
mod house_rules;
