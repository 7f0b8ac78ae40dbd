//! The scripts in `lua/`, and the text each one is loaded as.

use std::sync::OnceLock;

/// Declares [`Script`]: one variant for each script of `lua/`, by its path there.
macro_rules! scripts {
    ($($script:ident: $path:literal,)*) => {
        /// A script in `lua/`. Redis knows it by the digest of its text, so a changed script is a new one there.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Script {
            $($script,)*
        }

        impl Script {
            pub const ALL: [Script; [$($path),*].len()] = [$(Script::$script),*];

            /// Path below `lua/`, without the extension; and the text of the file.
            fn file(self) -> (&'static str, &'static str) {
                match self {
                    $(Script::$script => ($path, include_str!(concat!("../../../lua/", $path, ".lua"))),)*
                }
            }
        }
    };
}

/// Files by the path that an `@include` line names.
macro_rules! pieces {
    ($($path:literal,)*) => {
        &[$(($path, include_str!(concat!("../../../lua/", $path, ".lua"))),)*]
    };
}

scripts! {
    Admit: "admission/admit",
    Affinity: "admission/affinity",
    Control: "admission/control",
    Heartbeat: "admission/heartbeat",
    ProviderChange: "admission/provider_change",
    Renew: "admission/renew",
    ReplayLeases: "admission/replay_leases",
    Settle: "admission/settle",
    Sync: "admission/sync",
    AuditRead: "clients/audit_read",
    ClientGet: "clients/client_get",
    ClientTouch: "clients/client_touch",
    ClientWrite: "clients/client_write",
    LoginThrottle: "clients/login_throttle",
    Sessions: "clients/sessions",
    ThoughtSignatures: "clients/thought_signatures",
    Claim: "discovery/claim",
    FindingsRead: "discovery/findings_read",
    FindingsWrite: "discovery/findings_write",
    ModelRefused: "discovery/model_refused",
    ProviderKeyRead: "provider_keys/provider_key_read",
    ProviderKeyWrite: "provider_keys/provider_key_write",
    QueueAdmit: "queue/queue_admit",
    QueueHeartbeat: "queue/queue_heartbeat",
    QueueLeave: "queue/queue_leave",
    Budget: "reports/budget",
    DisplayNames: "reports/display_names",
    Journal: "reports/journal",
    Record: "reports/record",
    Rollup: "reports/rollup",
    Snapshot: "reports/snapshot",
    ResponseDelete: "responses/response_delete",
    ResponseGet: "responses/response_get",
    ResponsePut: "responses/response_put",
}

const PIECES: &[(&str, &str)] = pieces![
    "lib/admission",
    "lib/admission_call",
    "lib/audit_entry",
    "lib/breaker",
    "lib/breaker_update",
    "lib/calendar_window",
    "lib/candidate",
    "lib/client_windows",
    "lib/clock",
    "lib/concurrency_slots",
    "lib/cooldown",
    "lib/enqueue",
    "lib/evaluation",
    "lib/fair_correction",
    "lib/fair_demand",
    "lib/fair_opened",
    "lib/fair_reserve",
    "lib/fair_shares",
    "lib/fair_sums",
    "lib/learned_limits",
    "lib/lease",
    "lib/notify",
    "lib/pool_clock",
    "lib/provider_reset",
    "lib/queue_keys",
    "lib/queue_reader",
    "lib/sliding_sweep",
    "lib/sliding_window",
    "lib/stored_response",
    "lib/time",
    "lib/token_bucket",
    "lib/wait_queue",
    "lib/window",
    "lib/window_kinds",
];

impl Script {
    /// Path below `lua/`, without the extension.
    pub fn path(self) -> &'static str {
        self.file().0
    }

    /// The file's name, as spans and metrics show it.
    pub fn name(self) -> &'static str {
        self.path().rsplit('/').next().unwrap_or_default()
    }

    /// The text as it is loaded: the script's file with its `@include` lines resolved.
    pub fn source(self) -> &'static str {
        static TEXTS: [OnceLock<String>; Script::ALL.len()] = [const { OnceLock::new() }; Script::ALL.len()];
        TEXTS[self as usize].get_or_init(|| self.assemble(&[]))
    }

    /// The text with other files in place of some that it includes: tests replace `lib/time` to control time.
    pub fn source_with(self, replaced: &[(&'static str, &str)]) -> String {
        self.assemble(replaced)
    }

    fn assemble(self, replaced: &[(&'static str, &str)]) -> String {
        let (mut included, mut text) = (Vec::new(), String::new());
        append(self.file().1, replaced, &mut included, &mut text);
        text
    }
}

/// Appends a file to `text`. A line `--- @include "path"` is replaced by the file it names, the first time in a script; later
/// ones are dropped.
fn append(file: &str, replaced: &[(&'static str, &str)], included: &mut Vec<&'static str>, text: &mut String) {
    for line in file.split_inclusive('\n') {
        let Some(path) = included_path(line) else {
            text.push_str(line);
            continue;
        };
        let Some(&(path, piece)) = PIECES.iter().find(|piece| piece.0 == path) else {
            panic!("no file is there for `{}`", line.trim_end());
        };
        if !included.contains(&path) {
            included.push(path);
            append(
                replaced.iter().find(|other| other.0 == path).map_or(piece, |other| other.1),
                replaced,
                included,
                text,
            );
        }
    }
}

fn included_path(line: &str) -> Option<&str> {
    line.trim_end().strip_prefix("--- @include \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_piece_stands_once_in_a_script_and_before_its_users() {
        let text = Script::Admit.source();
        assert!(!text.contains("@include"));
        assert_eq!(text.matches("--[[ lib/window: ").count(), 1);
        assert!(text.find("local function clock(").unwrap() < text.find("= clock(").unwrap(), "{text}");
    }

    #[test]
    fn each_piece_is_included_by_some_script() {
        let used: BTreeSet<_> = Script::ALL
            .iter()
            .flat_map(|script| {
                let mut included = Vec::new();
                append(script.file().1, &[], &mut included, &mut String::new());
                included
            })
            .collect();
        assert_eq!(used, PIECES.iter().map(|piece| piece.0).collect());
    }
}
