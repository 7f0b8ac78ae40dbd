//! The scripts of `lua/`, asked by replicas that stick to their headers and judged by providers that know nothing of them.

mod breakers;
mod budget;
mod conformance;
mod costs;
mod hall;
mod hints;
mod histories;
mod host;
mod idle;
mod loss;
mod members;
mod never_over;
mod oracle;
mod refusals;
mod rig;
mod shares;
mod waiting;
mod words;
mod world;

use proptest::test_runner::{Config, FileFailurePersistence};

/// `n` histories by default; `PROPTEST_CASES` (256 where it is not set) makes them more or fewer.
fn cases(n: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse::<u32>().ok());
    let cases = asked.map_or(n, |asked| (n.saturating_mul(asked) / 2_000).max(1));
    // A failure prints the smallest history that shows it: that becomes a test of its own, not a file of seeds.
    Config { cases, failure_persistence: Some(Box::new(FileFailurePersistence::Off)), ..Config::default() }
}
