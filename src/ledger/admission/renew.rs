//! Renewals of open leases, so that long answers keep their slots and charges.

use std::time::Duration;

use bytes::Bytes;

use super::{
    lease_record::LeaseRecord,
    lease_state::{LEASE_TTL_MS, LeaseState},
};
use crate::ledger::{
    script::{
        encode,
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::{Ledger, Shared},
};

/// How often an open lease is renewed.
const RENEWAL: Duration = Duration::from_secs(10);

impl Shared {
    async fn renew(&self, lease: &LeaseState) {
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
        if let Ok(Reply::Bulk(record)) = self.run(&ScriptCall { script: Script::Renew, keys, args }).await {
            lease.set_record(LeaseRecord(record));
        }
    }
}

/// Renews every open lease in time.
pub(in crate::ledger) fn watch(ledger: &Ledger) {
    let shared = ledger.shared.clone();
    ledger.shared.tasks.spawn_endless(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let renewable = shared.epoch().renewable(RENEWAL / 2);
            for lease in renewable {
                if lease.begin_renewal(RENEWAL) && lease.is_open() {
                    shared.renew(&lease).await;
                }
            }
        }
    });
}
