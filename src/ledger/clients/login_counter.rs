//! Counters of failed logins that each replica keeps for itself.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Failed logins per address within [`PERIOD`] before the address is blocked.
pub(super) const MAX_PER_ADDRESS: usize = 10;
pub(super) const PERIOD: Duration = Duration::from_mins(1);
/// Addresses, and reports, that a replica keeps.
const MAX_TRACKED: usize = 10_000;
/// A failed login that is repeated within this time is not reported again.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// Failed logins by address, for the time of a Redis outage.
#[derive(Default)]
pub(crate) struct LocalCounter(Mutex<HashMap<String, Vec<Instant>>>);

impl LocalCounter {
    /// How long the address is still blocked; zero if it is not. A failed login of an address that is not blocked counts.
    pub(super) fn check(&self, address: &str, has_failed: bool) -> Duration {
        let mut addresses = self.0.lock();
        if addresses.len() >= MAX_TRACKED {
            addresses.retain(|_, times| times.iter().any(|at| at.elapsed() < PERIOD));
        }
        if !addresses.contains_key(address) && (!has_failed || addresses.len() >= MAX_TRACKED) {
            return Duration::ZERO;
        }
        let times = addresses.entry(address.to_owned()).or_default();
        times.retain(|at| at.elapsed() < PERIOD);
        if let Some(oldest) = times.get(times.len().wrapping_sub(MAX_PER_ADDRESS)) {
            return PERIOD.saturating_sub(oldest.elapsed());
        }
        if has_failed {
            times.push(Instant::now());
        }
        Duration::ZERO
    }
}

/// Failed logins that were reported to the ledger a short time ago.
#[derive(Default)]
pub(crate) struct Reported(Mutex<HashMap<String, Instant>>);

impl Reported {
    /// Whether this failed login has to be reported.
    pub(super) fn insert(&self, login: String) -> bool {
        let mut reported = self.0.lock();
        if reported.get(&login).is_some_and(|at| at.elapsed() < REPORT_INTERVAL) {
            return false;
        }
        if reported.len() >= MAX_TRACKED {
            reported.retain(|_, at| at.elapsed() < REPORT_INTERVAL);
        }
        if reported.len() < MAX_TRACKED {
            reported.insert(login, Instant::now());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_failures_within_any_minute_block_an_address() {
        let counter = LocalCounter::default();
        for n in 0..10 {
            assert_eq!(counter.check("a", false), Duration::ZERO);
            assert_eq!(counter.check("a", true), Duration::ZERO, "{n}");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        for has_failed in [true, false] {
            assert_eq!(counter.check("a", has_failed), Duration::from_secs(50));
        }
        assert_eq!(counter.check("b", false), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(counter.check("a", true), Duration::ZERO);
    }
}
