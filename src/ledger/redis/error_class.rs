//! What a Redis error means to a script call: an outage, a fresh server, or our own mistake.

use redis::{RedisError as Error, ServerErrorKind};

use crate::ledger::engine::EngineError;

/// An error, judged.
#[derive(Debug)]
pub(super) enum Judged {
    /// The connection is lost or the server cannot serve us: find it again before the next call.
    Outage(String),
    /// `MOVED`: another Cluster node owns the slot. Nothing was carried out.
    Moved { address: String },
    /// `NOSCRIPT`. Nothing was carried out.
    Unknown,
    /// The script (or our use of Redis) is wrong.
    Mistake(String),
}

/// Error codes of a server that is there and cannot serve.
const OUTAGES: [&str; 12] = [
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
    "WRONGPASS",
];

impl Judged {
    pub fn of(error: &Error) -> Self {
        let Some(code) = error.code() else { return Self::Outage(words(error)) };
        let detail = error.detail().unwrap_or_default();
        match error.kind() {
            redis::ErrorKind::Server(ServerErrorKind::NoScript) => Self::Unknown,
            redis::ErrorKind::Server(ServerErrorKind::Moved) => {
                Self::Moved { address: detail.split_whitespace().nth(1).unwrap_or_default().to_owned() }
            }
            // Up to version 6 an outage inside a script is wrapped: "ERR Error running script …: -OOM command not …".
            _ if OUTAGES.contains(&code) || OUTAGES.iter().any(|code| detail.contains(&format!("-{code} "))) => {
                Self::Outage(words(error))
            }
            _ => Self::Mistake(words(error)),
        }
    }

    /// As the caller of a script sees it.
    pub fn into_host_error(self, script: &'static str) -> EngineError {
        match self {
            Self::Outage(why) => EngineError::Unreachable(why),
            Self::Moved { address } => EngineError::Unreachable(format!("the slot moved to {address}")),
            Self::Unknown => EngineError::NoScript,
            Self::Mistake(message) => EngineError::Script { script, message },
        }
    }
}

/// The server's own words, without the library's wrapping; Redis never repeats a password.
fn words(error: &Error) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    }
}
