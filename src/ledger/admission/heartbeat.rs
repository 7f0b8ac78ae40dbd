//! Heartbeats of replicas.

use std::time::Duration;

use bytes::Bytes;

use crate::ledger::{
    script::{engine::ScriptCall, scripts::Script},
    shared::Ledger,
};

const HEARTBEAT: Duration = Duration::from_secs(1);
/// A replica without a heartbeat for this time is not counted.
pub(in crate::ledger) const REPLICA_TIMEOUT_MS: i64 = 5_000;

pub(in crate::ledger) fn watch(ledger: &Ledger) {
    let shared = ledger.shared.clone();
    ledger.shared.tasks.spawn_endless(async move {
        let call = ScriptCall {
            script: Script::Heartbeat,
            keys: vec![shared.keys.replicas()],
            args: vec![Bytes::from(shared.replica.clone())],
        };
        loop {
            // `run` logs an outage.
            let _ = shared.run(&call).await;
            tokio::time::sleep(HEARTBEAT).await;
        }
    });
}
