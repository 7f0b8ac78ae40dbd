//! Wrong admin keys, counted over the fleet; while the ledger is away each replica counts by itself.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::ledger::{
    error::LedgerError,
    script::{
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::Ledger,
};

/// Wrong keys of one address in a minute.
const OF_ONE: usize = 10;
/// Of all addresses, from which on each may show one.
const OF_ALL: usize = 100;
const MINUTE: Duration = Duration::from_mins(1);
/// Addresses that a replica counts by itself.
const ALONE_MOST: usize = 10_000;

/// What this replica counts while the ledger is away.
#[derive(Default)]
pub(crate) struct Alone(Mutex<HashMap<String, Vec<Instant>>>);

/// What it has told the ledger in the last minute, so that it need not tell it again.
#[derive(Default)]
pub(crate) struct Told(Mutex<HashMap<String, Instant>>);

impl Told {
    /// Whether this is news.
    fn tell(&self, what: String) -> bool {
        let mut told = self.0.lock();
        if told.get(&what).is_some_and(|at| at.elapsed() < MINUTE / 2) {
            return false;
        }
        if told.len() >= ALONE_MOST {
            told.retain(|_, at| at.elapsed() < MINUTE / 2);
        }
        if told.len() < ALONE_MOST {
            told.insert(what, Instant::now());
        }
        true
    }
}

impl Alone {
    /// How long this address is not listened to; zero: it is. A wrong key (`is_wrong`) of one that is counts.
    fn note(&self, address: &str, is_wrong: bool) -> Duration {
        let mut all = self.0.lock();
        if all.len() >= ALONE_MOST {
            all.retain(|_, times| times.iter().any(|at| at.elapsed() < MINUTE));
        }
        if !all.contains_key(address) && (!is_wrong || all.len() >= ALONE_MOST) {
            return Duration::ZERO;
        }
        let times = all.entry(address.to_owned()).or_default();
        times.retain(|at| at.elapsed() < MINUTE);
        if let Some(oldest) = times.get(times.len().wrapping_sub(OF_ONE)) {
            return MINUTE.saturating_sub(oldest.elapsed());
        }
        if is_wrong {
            times.push(Instant::now());
        }
        Duration::ZERO
    }
}

impl Ledger {
    /// How long this address is not to be listened to, having shown too many wrong admin keys; zero: it is.
    ///
    /// `wrong` names a wrong key that it has just shown: one that is shown again under the same name counts once.
    pub async fn login_block(&self, address: &str, wrong: Option<&str>) -> Result<Duration, LedgerError> {
        let keys = &self.shared.keys;
        let words = [wrong.unwrap_or_default().to_owned(), OF_ONE.to_string(), OF_ALL.to_string()];
        let mut args: Vec<Bytes> = words.into_iter().map(Bytes::from).collect();
        args.push(Bytes::from(MINUTE.as_millis().to_string()));
        let keys = vec![keys.meta(), keys.guesses_of(address), keys.guesses()];
        match self.shared.run(&ScriptCall { script: Script::LoginThrottle, keys, args }).await {
            Ok(Reply::Int(ms)) => Ok(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
            Ok(other) => Err(LedgerError::Internal(format!("`guesses` answered {other:?}"))),
            Err(LedgerError::Unreachable { .. }) => Ok(self.shared.guesses.note(address, wrong.is_some())),
            Err(ours) => Err(ours),
        }
    }
}

impl Ledger {
    /// A key that is nobody's was shown where any is taken: counted off the caller's path, each once.
    pub fn report_failed_login(&self, address: String, wrong: String) {
        if !self.shared.told.tell(format!("{address} {wrong}")) {
            return;
        }
        let ledger = self.clone();
        self.shared.tasks.spawn(async move {
            // While the ledger is away this replica has counted it by itself.
            let _ = ledger.login_block(&address, Some(&wrong)).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_replica_by_itself_counts_to_ten_in_any_minute() {
        let alone = Alone::default();
        for n in 0..10 {
            assert_eq!(alone.note("a", false), Duration::ZERO);
            assert_eq!(alone.note("a", true), Duration::ZERO, "{n}");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        for is_wrong in [true, false] {
            assert_eq!(alone.note("a", is_wrong), Duration::from_secs(50));
        }
        assert_eq!(alone.note("b", false), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(alone.note("a", true), Duration::ZERO);
    }
}
