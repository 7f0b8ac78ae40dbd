//! Listens to what the scripts publish, on a connection of its own to the node that serves us.
//!
//! A knock that is lost while there is none costs its waiter time, no more: it asks again at its own instant.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::connection::Nodes;
use crate::ledger::engine::OnMessage;

/// Between two attempts to listen.
const PAUSE: Duration = Duration::from_millis(250);
/// One attempt.
const CONNECT: Duration = Duration::from_secs(2);

/// Until dropped: wherever the line in use leads.
pub(super) async fn listen(mut nodes: Nodes, channel: String, heard: OnMessage) {
    loop {
        let Some(node) = nodes.borrow_and_update().clone() else {
            if nodes.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            ended = listen_at(node, &channel, &heard) => {
                if let Err(error) = ended {
                    debug!("Not listening to `{channel}`: {error}");
                }
                sleep(PAUSE).await;
            }
            // Another node serves us now.
            changed = nodes.changed() => if changed.is_err() { return },
        }
    }
}

async fn listen_at(node: redis::ConnectionInfo, channel: &str, heard: &OnMessage) -> Result<(), redis::RedisError> {
    let attempt = async {
        let mut line = redis::Client::open(node)?.get_async_pubsub().await?;
        line.subscribe(channel).await?;
        Ok::<_, redis::RedisError>(line)
    };
    let Ok(line) = timeout(CONNECT, attempt).await else { return Ok(()) };
    let mut messages = line?.into_on_message();
    while let Some(message) = messages.next().await {
        heard(&String::from_utf8_lossy(message.get_payload_bytes()));
    }
    Ok(())
}
