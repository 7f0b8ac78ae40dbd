//! Renewals of open leases, so that long answers keep their slots and charges.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::{
    lease_record::LeaseRecord,
    lease_state::{LEASE_TTL_MS, LeaseState},
};
use crate::ledger::{
    error::LedgerError,
    script::{
        encode,
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::{Ledger, Shared},
};

/// How often an open lease is renewed.
const RENEWAL: Duration = Duration::from_secs(10);
/// Renewals at the same time.
const BATCH: usize = 32;

impl Shared {
    async fn renew(&self, lease: &LeaseState) -> Result<(), LedgerError> {
        let encoded = self.args.get(&self.keys, &lease.candidate);
        let mut keys = vec![self.keys.meta(), self.keys.lease(&lease.id)];
        keys.extend(encode::client_keys(&self.keys, &lease.client));
        keys.extend_from_slice(&encoded.windows);
        let charge = |limit, max| encode::client_charge(limit, max, lease.client_tokens);
        let client = encode::client_windows(&lease.client, charge);
        let (mut windows, now_ms) = (String::new(), self.epoch().now_ms());
        encoded.push_windows(&mut windows, &lease.candidate, now_ms, |w| lease.charge.units(w));
        let ttl = Bytes::from_static(LEASE_TTL_MS.as_bytes());
        let args = vec![self.slack_ms.clone(), ttl, Bytes::from(client), Bytes::from(windows)];
        if let Reply::Bulk(record) = self.run(&ScriptCall { script: Script::Renew, keys, args }).await? {
            lease.set_record(LeaseRecord(record));
        }
        lease.set_renewed();
        Ok(())
    }
}

/// Renews every open lease in time.
pub(in crate::ledger) fn watch(ledger: &Ledger) {
    let shared = ledger.shared.clone();
    ledger.shared.tasks.spawn_endless(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut due = shared.epoch().renewable(RENEWAL / 2);
            due.retain(|lease| lease.since_renewal() >= RENEWAL && lease.is_open());
            for batch in due.chunks(BATCH) {
                let renewed = join_all(batch.iter().map(|lease| shared.renew(lease))).await;
                // A renewal that an outage prevented stays due.
                if renewed.iter().any(|renewed| matches!(renewed, Err(LedgerError::Unreachable { .. }))) {
                    break;
                }
            }
        }
    });
}
