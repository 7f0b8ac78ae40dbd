//! The scripts of `lua/`, called by replicas that follow their headers, and checked by simulated providers.

mod breakers;
mod budget;
mod clients;
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
mod queue;
mod refusals;
mod rig;
mod shares;
mod waiting;
mod world;

use proptest::test_runner::{Config, FileFailurePersistence};

/// `n` histories by default; `PROPTEST_CASES` (256 where it is not set) makes them more or fewer.
fn cases(n: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse::<u32>().ok());
    let cases = asked.map_or(n, |asked| (n.saturating_mul(asked) / 2_000).max(1));
    // A failure prints the smallest history that shows it: that becomes a test of its own, not a file of seeds.
    Config { cases, failure_persistence: Some(Box::new(FileFailurePersistence::Off)), ..Config::default() }
}
