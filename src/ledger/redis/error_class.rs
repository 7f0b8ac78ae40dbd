//! What an error of Redis means for a script call: an outage, a script that is not loaded, or a mistake of ours.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::ledger::engine::EngineError;

#[derive(Debug)]
pub(super) enum ErrorClass {
    /// The connection is lost or the server cannot serve us. The next call needs a new connection.
    Outage(String),
    /// `MOVED`: another Cluster node owns the slot. Nothing was executed.
    Moved { address: String },
    /// `NOSCRIPT`: the script is not loaded. Nothing was executed.
    NoScript,
    /// The script, or our use of Redis, is wrong.
    ScriptError(String),
}

/// Error codes of a server that is up but cannot serve.
const OUTAGES: [&str; 13] = [
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "OOM",
    "BUSY",
    "MISCONF",
    "NOREPLICAS",
    "TRYAGAIN",
    "ASK",
    "NOAUTH",
    "NOPERM",
    "WRONGPASS",
];
/// How Redis 7.0 says inside a script what later versions say by `NOPERM`.
const NOT_PERMITTED: &str = "The user executing the script";

impl ErrorClass {
    pub(crate) fn of(error: &RedisError) -> Self {
        let Some(code) = error.code() else { return Self::Outage(error.to_string()) };
        let detail = error.detail().unwrap_or_default();
        // The server's own text without the library's wrapping. Redis never repeats a password in it.
        let text = || if detail.is_empty() { code.to_owned() } else { format!("{code} {detail}") };
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoScript) => Self::NoScript,
            ErrorKind::Server(ServerErrorKind::Moved) => {
                Self::Moved { address: detail.split_whitespace().nth(1).unwrap_or_default().to_owned() }
            }
            // Up to version 6, Redis wraps an outage inside a script: "ERR Error running script …: -OOM command not …".
            _ if detail.contains(NOT_PERMITTED) => Self::Outage(text()),
            _ if OUTAGES.contains(&code) || OUTAGES.iter().any(|code| detail.contains(&format!("-{code} "))) => {
                Self::Outage(text())
            }
            _ => Self::ScriptError(text()),
        }
    }

    /// The error that the caller of a script receives.
    pub(crate) fn into_engine_error(self, script: &'static str) -> EngineError {
        match self {
            Self::Outage(why) => EngineError::Unreachable(why),
            Self::Moved { address } => EngineError::Unreachable(format!("the slot moved to {address}")),
            Self::NoScript => EngineError::NoScript,
            Self::ScriptError(message) => EngineError::Script { script, message },
        }
    }
}
