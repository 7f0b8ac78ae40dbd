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

/// `n` histories, times `HISTORIES`. (proptest's own `PROPTEST_CASES` would give cheap and dear properties the same number.)
fn cases(n: u32) -> Config {
    let factor = std::env::var("HISTORIES").map_or(1.0, |text| text.parse::<f64>().expect("HISTORIES is a number"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of histories")]
    let cases = (f64::from(n) * factor).ceil() as u32;
    // A failure prints the smallest failing history. It becomes a test of its own, so no seeds are stored.
    Config { cases, failure_persistence: Some(Box::new(FileFailurePersistence::Off)), ..Config::default() }
}
