//! What members are called, for a few seconds: names are shown beside ids and decide nothing.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::ledger::Ledger;

/// How long a name is believed.
const BELIEVED: Duration = Duration::from_secs(10);
/// Names kept; then all are asked for anew.
const KEPT_MOST: usize = 4_096;
/// Asked for in one call.
const AT_ONCE: usize = 200;

#[derive(Default)]
pub struct Names {
    known: Mutex<HashMap<String, (Option<String>, Instant)>>,
}

impl Names {
    /// By id. Whoever is no member, or is not known to the ledger, has no name; while the ledger is away nobody new has.
    pub async fn of(&self, ledger: &Ledger, ids: impl IntoIterator<Item = &str>) -> HashMap<String, String> {
        let ids: BTreeSet<&str> = ids.into_iter().filter(|id| is_member(id)).collect();
        let now = Instant::now();
        let mut missing: Vec<&str> = Vec::new();
        {
            let mut known = self.known.lock();
            if known.len() > KEPT_MOST {
                known.clear();
            }
            let is_known = |id: &str| known.get(id).is_some_and(|(_, at)| now.duration_since(*at) < BELIEVED);
            missing.extend(ids.iter().filter(|id| !is_known(id)));
        }
        for some in missing.chunks(AT_ONCE) {
            let Ok(told) = ledger.client_names(some).await else { break };
            let mut told: HashMap<String, String> = told.into_iter().collect();
            self.known.lock().extend(some.iter().map(|id| ((*id).to_owned(), (told.remove(*id), now))));
        }
        let known = self.known.lock();
        let named = |id: &str| Some((id.to_owned(), known.get(id)?.0.clone()?));
        ids.into_iter().filter_map(named).collect()
    }
}

/// Strangers, the shared key and the admin have no record.
fn is_member(id: &str) -> bool {
    !id.is_empty() && !id.contains(':') && id != "admin"
}
