//! The scripts of `lua/`, called by test replicas as their headers describe, and checked by simulated providers.

mod affinity;
mod breakers;
mod budget;
mod clients;
mod clock_jumps;
mod conformance;
mod costs;
mod engines;
mod hints;
mod histories;
mod idle;
mod loss;
mod model;
mod never_over;
mod oracle;
mod places;
mod provider_keys;
mod queue;
mod refusals;
mod responses;
mod rig;
mod shares;
mod waiting;
mod world;

use proptest::test_runner::{Config, FileFailurePersistence};

/// `n` histories by default, scaled by `PROPTEST_CASES`.
fn cases(n: u32) -> Config {
    let configured = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse::<u32>().ok());
    let cases = configured.map_or(n, |configured| (n.saturating_mul(configured) / 2_000).max(1));
    // A failure prints the smallest failing history. It becomes a test of its own, so no seeds are stored.
    Config { cases, failure_persistence: Some(Box::new(FileFailurePersistence::Off)), ..Config::default() }
}
