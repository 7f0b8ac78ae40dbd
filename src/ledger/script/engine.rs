//! The seam between the ledger and what runs its scripts: Redis, or this process. All other code exists once.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{keys::Key, scripts::Script};

/// One atomic call: keys (all of one hash slot) and arguments, as Redis takes them.
#[derive(Debug, Clone)]
pub struct ScriptCall {
    pub script: Script,
    pub keys: Vec<Key>,
    pub args: Vec<Bytes>,
}

/// The reply of a script: integers, bulk strings or flat lists of them. Lua's `false` and `nil` are [`Reply::Nil`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Nil,
    Int(i64),
    Bulk(Bytes),
    List(Vec<Reply>),
}

impl Reply {
    /// The text of a bulk string.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Bulk(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// An outage: connection refused or lost, deadline missed, READONLY, LOADING, MASTERDOWN, CLUSTERDOWN, OOM, BUSY.
    /// Whether the call was carried out is unknown.
    #[error("the ledger cannot be reached: {0}")]
    Unreachable(String),
    /// The engine does not know the script: a new, restarted or failed-over Redis. Nothing was carried out.
    #[error("the ledger's engine has not loaded the script")]
    NoScript,
    /// The script itself failed: a bug of ours, never an outage.
    #[error("script `{script}` failed: {message}")]
    Script { script: &'static str, message: String },
}

/// Called with each message of a subscribed channel. It must neither block nor call the engine.
pub type OnMessage = Arc<dyn Fn(&str) + Send + Sync>;

/// Runs our Lua scripts atomically.
pub trait ScriptEngine: Send + Sync {
    /// Runs one script. A script that the engine has not loaded is loaded if `load` is set; else the call fails with
    /// [`EngineError::NoScript`], so that the caller can first check (by `sync`) whether the state has been lost too.
    fn run<'a>(&'a self, call: &'a ScriptCall, load: bool) -> BoxFuture<'a, Result<Reply, EngineError>>;

    /// Runs two scripts in order, in one round trip. The pair is not atomic: an error of the first does not stop the
    /// second.
    fn run_both<'a>(
        &'a self,
        first: &'a ScriptCall,
        second: &'a ScriptCall,
    ) -> BoxFuture<'a, (Result<Reply, EngineError>, Result<Reply, EngineError>)>;

    /// Passes what scripts publish on this channel to `on_message` from now on. Messages may be lost.
    fn subscribe(&self, channel: &str, on_message: OnMessage);
}
