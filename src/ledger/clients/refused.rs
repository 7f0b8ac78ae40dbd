//! Keys and sessions that were refused a moment ago, which are refused again from memory, and the pace at which more of them are
//! looked up: whoever makes them up costs the ledger a bounded number of calls a second, and no right key is refused.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

/// For this time the ledger need not be called again for what it does not know.
const REFUSED_FOR: Duration = Duration::from_secs(1);
const MAX_KEPT: usize = 10_000;
const SECOND: Duration = Duration::from_secs(1);
/// Refusals in a second beyond which what this replica does not know waits for its turn.
const MAX_PER_SECOND: u32 = 100;
/// Turns at a time, and the time of each: 400 lookups a second.
const TURNS: usize = 4;
const TURN: Duration = Duration::from_millis(10);

pub(super) struct Refused {
    recent: Mutex<Recent>,
    turns: Semaphore,
}

struct Recent {
    at: HashMap<Box<str>, Instant>,
    second: Instant,
    in_second: u32,
}

impl Default for Refused {
    fn default() -> Self {
        let recent = Recent { at: HashMap::new(), second: Instant::now(), in_second: 0 };
        Self { recent: Mutex::new(recent), turns: Semaphore::new(TURNS) }
    }
}

impl Refused {
    pub(super) fn has(&self, name: &str) -> bool {
        self.recent.lock().at.get(name).is_some_and(|at| at.elapsed() < REFUSED_FOR)
    }

    /// Remembers what the ledger does not know.
    pub(super) fn note(&self, name: &str) {
        let (mut recent, now) = (self.recent.lock(), Instant::now());
        if now - recent.second >= SECOND {
            (recent.second, recent.in_second) = (now, 0);
        }
        recent.in_second += 1;
        if recent.at.len() >= MAX_KEPT {
            recent.at.retain(|_, at| at.elapsed() < REFUSED_FOR);
        }
        if recent.at.len() < MAX_KEPT {
            recent.at.insert(name.into(), now);
        }
    }

    /// Waits for a turn, while many are refused.
    pub(super) async fn turn(&self) {
        let is_flooded = {
            let recent = self.recent.lock();
            recent.second.elapsed() < SECOND && recent.in_second > MAX_PER_SECOND
        };
        if is_flooded && let Ok(_turn) = self.turns.acquire().await {
            sleep(TURN).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_known_for_a_second_and_a_flood_is_paced() {
        let (refused, begun) = (Refused::default(), Instant::now());
        for n in 0..MAX_PER_SECOND {
            refused.turn().await;
            refused.note(&n.to_string());
        }
        assert!(refused.has("0") && refused.has("99") && !refused.has("100"));
        assert!(begun.elapsed() < TURN, "the first ones do not wait");
        refused.note("100");
        join_all((0..40).map(|_| refused.turn())).await;
        assert_eq!(begun.elapsed().as_millis(), 100, "four every ten milliseconds");
        tokio::time::advance(SECOND).await;
        assert!(!refused.has("0"));
        let later = Instant::now();
        refused.turn().await;
        assert!(later.elapsed() < TURN);
    }
}
