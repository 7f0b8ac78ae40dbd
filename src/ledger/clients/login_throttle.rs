//! Blocks addresses after too many failed logins, counted over all replicas; during an outage each replica counts alone.

use std::time::Duration;

use bytes::Bytes;

use super::login_counter::{MAX_PER_ADDRESS, PERIOD};
use crate::ledger::{
    error::LedgerError,
    script::{
        encode,
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::Ledger,
};

/// Once this many logins failed in a minute over all addresses, each address may fail once.
const MAX_TOTAL: usize = 100;

impl Ledger {
    /// How long this address is blocked after failed logins; zero if it is not.
    ///
    /// `failed` names a wrong key that the address has just presented: a key that is presented again under the same name
    /// counts once.
    pub async fn login_block(&self, address: &str, failed: Option<&str>) -> Result<Duration, LedgerError> {
        let keys = &self.shared.keys;
        let args = vec![
            encode::text(failed.unwrap_or_default()),
            encode::number(MAX_PER_ADDRESS),
            encode::number(MAX_TOTAL),
            Bytes::from(PERIOD.as_millis().to_string()),
        ];
        let keys = vec![keys.meta(), keys.failed_logins_from(address), keys.failed_logins()];
        match self.shared.run(&ScriptCall { script: Script::LoginThrottle, keys, args }).await {
            Ok(Reply::Int(ms)) => Ok(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
            Ok(other) => Err(LedgerError::unexpected("login_throttle", &other)),
            Err(LedgerError::Unreachable { .. }) => Ok(self.shared.login_counter.check(address, failed.is_some())),
            Err(error) => Err(error),
        }
    }

    /// Counts an unknown key on an endpoint that accepts client keys: in the background, and each key once.
    pub fn report_failed_login(&self, address: String, failed: String) {
        if !self.shared.reported_logins.insert(format!("{address} {failed}")) {
            return;
        }
        let ledger = self.clone();
        self.shared.tasks.spawn(async move {
            // During an outage the call has counted it locally.
            let _ = ledger.login_block(&address, Some(&failed)).await;
        });
    }
}
