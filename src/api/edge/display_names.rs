//! A short-lived cache of client names, which responses show beside client ids.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::ledger::Ledger;

const MAX_AGE: Duration = Duration::from_secs(10);
/// The cache is emptied beyond this size.
const MAX_NAMES: usize = 4_096;
/// Names read per call of the ledger.
const BATCH_SIZE: usize = 200;

#[derive(Default)]
pub(crate) struct DisplayNames {
    known: Mutex<HashMap<String, (Option<String>, Instant)>>,
}

impl DisplayNames {
    /// Names by client id. Ids without a client record have none; while the ledger is unreachable only cached names are
    /// returned.
    pub(crate) async fn lookup(&self, ledger: &Ledger, ids: impl IntoIterator<Item = &str>) -> HashMap<String, String> {
        let ids: BTreeSet<&str> = ids.into_iter().filter(|id| has_record(id)).collect();
        let now = Instant::now();
        let mut missing: Vec<&str> = Vec::new();
        {
            let mut known = self.known.lock();
            if known.len() > MAX_NAMES {
                known.clear();
            }
            let is_known = |id: &str| known.get(id).is_some_and(|(_, at)| now.duration_since(*at) < MAX_AGE);
            missing.extend(ids.iter().filter(|id| !is_known(id)));
        }
        for batch in missing.chunks(BATCH_SIZE) {
            let Ok(found) = ledger.client_names(batch).await else { break };
            let mut found: HashMap<String, String> = found.into_iter().collect();
            self.known.lock().extend(batch.iter().map(|id| ((*id).to_owned(), (found.remove(*id), now))));
        }
        let known = self.known.lock();
        let named = |id: &str| Some((id.to_owned(), known.get(id)?.0.clone()?));
        ids.into_iter().filter_map(named).collect()
    }
}

/// Anonymous clients, the shared key and the admin have no client record.
fn has_record(id: &str) -> bool {
    !id.is_empty() && !id.contains(':') && id != "admin"
}
