//! The seam: who runs the scripts. All that differs between Redis and this process.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::ledger::script::{keys::Key, scripts::Script};

/// One atomic call: keys (all of one hash slot) and arguments, as Redis takes them.
#[derive(Debug, Clone)]
pub struct ScriptCall {
    pub script: Script,
    pub keys: Vec<Key>,
    pub args: Vec<Bytes>,
}

/// What a script answered: integers, bulk strings or flat lists of them. Lua's `false` and `nil` are [`Reply::Nil`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Nil,
    Int(i64),
    Bulk(Bytes),
    List(Vec<Reply>),
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// Connection refused or lost, deadline missed, READONLY, LOADING, MASTERDOWN, CLUSTERDOWN, OOM, BUSY: an outage.
    /// Whether the call was carried out is unknown.
    #[error("the ledger cannot be reached: {0}")]
    Unreachable(String),
    /// The host does not know the script yet: a new, restarted or failed-over Redis. Nothing was carried out.
    #[error("the ledger's host is fresh")]
    NoScript,
    /// The script itself failed: our mistake, never an outage.
    #[error("script `{script}` failed: {message}")]
    Script { script: &'static str, message: String },
}

/// Told of each message, soon after it was published. Must not block, and must not call the host.
pub type OnMessage = Arc<dyn Fn(&str) + Send + Sync>;

/// Runs our Lua atomically.
pub trait ScriptEngine: Send + Sync {
    /// Runs one script. A script the host has not seen is [`EngineError::NoScript`] unless `load` was set:
    /// the caller first learns (by `sync`) whether the state behind it is still the one it knew.
    fn run<'a>(&'a self, call: &'a ScriptCall, load: bool) -> BoxFuture<'a, Result<Reply, EngineError>>;

    /// Two scripts in order, in one round trip; not atomic together. An error of the first does not stop the second.
    fn run_both<'a>(
        &'a self,
        first: &'a ScriptCall,
        second: &'a ScriptCall,
    ) -> BoxFuture<'a, (Result<Reply, EngineError>, Result<Reply, EngineError>)>;

    /// From now on tells what scripts publish on this channel, as far as it can be had: messages may be lost.
    fn subscribe(&self, channel: &str, heard: OnMessage);
}
