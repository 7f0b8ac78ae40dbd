//! A pool of connections for reports and administration.
//!
//! Their replies can be large. On the shared connection, the replies of admissions would wait behind them.

use std::time::Duration;

use deadpool_redis::{Connection, Manager, Pool};
use futures_util::{FutureExt, future::BoxFuture};
use redis::{ConnectionInfo, RedisError};
use tokio::time::timeout;

use super::without_time_limits;
use crate::ledger::scripts::Script;

const MAX_CONNECTIONS: usize = 4;
/// A report that gets no pooled connection within this time runs on the shared one.
const WAIT: Duration = Duration::from_millis(50);

/// Opens no connection yet.
pub(super) fn build(node: &ConnectionInfo) -> Result<Pool, RedisError> {
    let manager = Manager::new_with_config(node.clone(), without_time_limits())?;
    let pool = Pool::builder(manager).max_size(MAX_CONNECTIONS).build();
    Ok(pool.expect("a pool without time limits needs no runtime"))
}

/// Whether a script runs on a pooled connection.
pub(super) fn serves(script: Script) -> bool {
    matches!(
        script,
        Script::AuditRead
            | Script::Budget
            | Script::ClientWrite
            | Script::DisplayNames
            | Script::Journal
            | Script::ResponseDelete
            | Script::ResponseGet
            | Script::ResponsePut
            | Script::Rollup
            | Script::Sessions
    )
}

/// A new connection, or a used one that still answers a ping. Boxed, since it takes seven kilobytes, which every call of a
/// script would carry along.
pub(super) fn get(pool: &Pool) -> BoxFuture<'_, Option<Connection>> {
    async move { timeout(WAIT, pool.get()).await.ok()?.ok() }.boxed()
}
