//! What the operator reads in the log. Keys, prompts and replies are never in it.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Sets the log up for the whole process, on the standard error: JSON lines, or lines for people.
/// `level` is an `EnvFilter` directive: `info`, `tollfree=debug,warn`.
pub fn init(level: &str, json: bool) -> Result<(), String> {
    let filter = EnvFilter::try_new(quietly(level)).map_err(|e| format!("LOG_LEVEL `{level}`: {e}"))?;
    let filtered = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_target(false).with_writer(stderr);
    let set = if json {
        // The current span holds the request's id; its ancestors hold nothing more.
        filtered.with(lines.json().flatten_event(true).with_span_list(false)).try_init()
    } else {
        filtered.with(lines.with_ansi(stderr().is_terminal())).try_init()
    };
    set.map_err(|e| e.to_string())
}

/// Libraries announce their inner works at `info`: that is for those who ask for it by name.
fn quietly(level: &str) -> String {
    format!("actix_server=warn,fjall=warn,lsm_tree=warn,{level}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_understood_and_a_name_in_them_wins() {
        for level in ["info", "tollfree=debug,warn", "actix_server=info,info", "off"] {
            assert!(EnvFilter::try_new(quietly(level)).is_ok(), "{level}");
        }
        assert!(EnvFilter::try_new(quietly("tollfree=loud")).is_err());
    }
}
