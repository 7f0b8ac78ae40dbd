//! Receives what the scripts publish, on a separate connection to the current node.
//!
//! A notification lost while there is no connection costs a waiting request time and nothing else: its replica
//! calls `admit` again at the planned time.

use std::time::Duration;

use futures_util::StreamExt;
use redis::{ConnectionInfo, RedisError};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{connection::CurrentNode, tls};
use crate::ledger::engine::OnMessage;

/// Pause between two attempts to subscribe.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Time limit of one attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs until dropped and follows the shared connection to each new node.
pub(super) async fn listen(mut node: CurrentNode, channel: String, notify: OnMessage) {
    let mut has_warned = false;
    loop {
        let Some(current) = node.borrow_and_update().clone() else {
            if node.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            ended = listen_at(current.info.clone(), &channel, &notify) => {
                match ended {
                    Err(error) if error.code() == Some("NOPERM") && !has_warned => {
                        has_warned = true;
                        warn!(
                            "The user of Redis may not subscribe to `{channel}`: requests that wait learn late of capacity \
                             that becomes free early (docs/redis.md has the rights)"
                        );
                    }
                    Err(error) => debug!("The subscription to `{channel}` ended: {error}"),
                    Ok(()) => {}
                }
                sleep(RETRY_PAUSE).await;
            }
            changed = node.changed() => if changed.is_err() { return },
        }
    }
}

async fn listen_at(node: ConnectionInfo, channel: &str, notify: &OnMessage) -> Result<(), RedisError> {
    let subscribe = async {
        let mut connection = tls::client(node)?.get_async_pubsub().await?;
        connection.subscribe(channel).await?;
        Ok::<_, RedisError>(connection)
    };
    let Ok(connection) = timeout(CONNECT_TIMEOUT, subscribe).await else { return Ok(()) };
    let mut messages = connection?.into_on_message();
    while let Some(message) = messages.next().await {
        notify(&String::from_utf8_lossy(message.get_payload_bytes()));
    }
    Ok(())
}
