//! Slows wrong keys, without a call of the ledger for each. The right key is never slowed: whoever has it need not guess.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

/// Blocked addresses that are kept. Beyond it, the ledger is called again for the addresses left out.
const MAX_ADDRESSES: usize = 10_000;
/// Wrong keys of all addresses that the ledger counts per second. Further ones are refused at once.
const MAX_PER_SECOND: u32 = 20;
/// A wrong key of a blocked address is answered after this time.
const DELAY: Duration = Duration::from_millis(500);
/// Answers that are delayed at a time. Further ones are not delayed: they would only take memory.
const MAX_DELAYED: usize = 256;

pub(crate) struct Guesses {
    seen: Mutex<Seen>,
    delayed: Semaphore,
}

struct Seen {
    blocked: HashMap<String, Instant>,
    second: Instant,
    in_second: u32,
}

impl Default for Guesses {
    fn default() -> Self {
        let seen = Seen { blocked: HashMap::new(), second: Instant::now(), in_second: 0 };
        Self { seen: Mutex::new(seen), delayed: Semaphore::new(MAX_DELAYED) }
    }
}

impl Guesses {
    /// How long a wrong key of this address is refused without being counted. `None`: it is to be counted.
    pub(crate) fn refused(&self, address: &str) -> Option<Duration> {
        let (mut seen, now) = (self.seen.lock(), Instant::now());
        if let Some(until) = seen.blocked.get(address) {
            if *until > now {
                return Some(*until - now);
            }
            seen.blocked.remove(address);
        }
        if now - seen.second >= Duration::from_secs(1) {
            (seen.second, seen.in_second) = (now, 0);
        }
        seen.in_second += 1;
        (seen.in_second > MAX_PER_SECOND).then_some(Duration::from_secs(1))
    }

    /// Remembers that the ledger blocks an address.
    pub(crate) fn block(&self, address: String, time: Duration) {
        let (mut seen, now) = (self.seen.lock(), Instant::now());
        if seen.blocked.len() >= MAX_ADDRESSES {
            seen.blocked.retain(|_, until| *until > now);
        }
        if seen.blocked.len() < MAX_ADDRESSES {
            seen.blocked.insert(address, now + time);
        }
    }

    /// Delays the answer to a wrong key.
    pub(crate) async fn delay(&self) {
        if let Ok(_permit) = self.delayed.try_acquire() {
            sleep(DELAY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_blocked_address_and_a_flood_are_refused_from_memory() {
        let guesses = Guesses::default();
        guesses.block("a".into(), Duration::from_secs(50));
        assert_eq!(guesses.refused("a"), Some(Duration::from_secs(50)));
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(guesses.refused("a"), None);
        for n in 1..MAX_PER_SECOND {
            assert_eq!(guesses.refused(&n.to_string()), None);
        }
        assert_eq!(guesses.refused("b"), Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(guesses.refused("b"), None);
    }
}
