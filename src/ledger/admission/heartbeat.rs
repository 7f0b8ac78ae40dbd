//! Heartbeats of replicas, which also bring the version of the provider keys.

use std::time::Duration;

use bytes::Bytes;

use crate::ledger::{
    script::{
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
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
            keys: vec![shared.keys.replicas(), shared.keys.provider_keys()],
            args: vec![Bytes::from(shared.replica.clone())],
        };
        loop {
            // `run` logs an outage.
            if let Ok(Reply::List(words)) = shared.run(&call).await
                && let Some(version) = words.get(1).and_then(Reply::as_str).and_then(|version| version.parse().ok())
            {
                shared.provider_keys.announce(version);
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
    });
}
