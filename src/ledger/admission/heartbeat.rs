//! A replica says once a second that it is alive.

use std::time::Duration;

use bytes::Bytes;

use crate::ledger::{
    script::{engine::ScriptCall, scripts::Script},
    shared::Ledger,
};

const PERIOD: Duration = Duration::from_secs(1);
/// Silent for longer, a replica is not counted. ms.
pub(crate) const SILENT_MS: i64 = 5_000;

pub(crate) fn watch(ledger: &Ledger) {
    let shared = ledger.shared.clone();
    ledger.shared.tasks.spawn_endless(async move {
        let call = ScriptCall {
            script: Script::Heartbeat,
            keys: vec![shared.keys.alive()],
            args: vec![Bytes::from(shared.replica.clone())],
        };
        loop {
            // What kept it from being heard is told by whoever noticed.
            let _ = shared.run(&call).await;
            tokio::time::sleep(PERIOD).await;
        }
    });
}
