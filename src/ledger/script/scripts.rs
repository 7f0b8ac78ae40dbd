//! Our scripts: which there are, and the text each is loaded as.

use std::sync::OnceLock;

/// One script of `lua/`. The text is the version: a changed script is another one to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Script {
    Admit,
    Settle,
    Renew,
    Sync,
    ReplayLeases,
    Snapshot,
    Control,
    Record,
    Journal,
    QueueHeartbeat,
    QueueLeave,
    Rollup,
    Budget,
    Heartbeat,
    DisplayNames,
    ClientWrite,
    ClientGet,
    ClientTouch,
    Sessions,
    LoginThrottle,
    AuditRead,
}

const CLOCK: &str = include_str!("../../../lua/lib/clock.lua");

/// One of `lua/lib`, as it stands in front of a script.
#[derive(Debug, Clone, Copy)]
enum Piece {
    Plain(&'static str),
    /// Needed only now and then. A function costs time each time it is made, so these are made inside one of their own:
    /// called, it gives a table of those that are `given`.
    Made {
        head: &'static str,
        texts: &'static [&'static str],
        given: &'static [&'static str],
    },
}

use Piece::{Made, Plain};

const QUOTA: Piece = Plain(include_str!("../../../lua/lib/client_windows.lua"));
const PLANNED: Piece = Made {
    head: "planned(lease, now)",
    texts: &[include_str!("../../../lua/lib/fast_charge.lua")],
    given: &["plan", "charge_planned"],
};
const LEASE: Piece = Plain(include_str!("../../../lua/lib/lease.lua"));
const SHUT: Piece = Plain(include_str!("../../../lua/lib/cooldown.lua"));
const AUDIT: Piece = Plain(include_str!("../../../lua/lib/audit_entry.lua"));
const ROOM: Piece = Plain(include_str!("../../../lua/lib/queue_keys.lua"));
const SHARES: Piece = Plain(include_str!("../../../lua/lib/fair_shares.lua"));
const HELD: Piece = Plain(include_str!("../../../lua/lib/fair_reserve.lua"));
const COUNTING: Piece = Made {
    head: "counting()",
    texts: &[include_str!("../../../lua/lib/fair_demand.lua")],
    given: &["recount", "kept_for_others"],
};
const BREAKER: &str = include_str!("../../../lua/lib/breaker.lua");
const BREAKERS: Piece = Made { head: "breakers()", texts: &[BREAKER], given: &["read_breaker", "write_breaker"] };
const JUDGE: Piece = Made {
    head: "breakers()",
    texts: &[BREAKER, include_str!("../../../lua/lib/breaker_update.lua")],
    given: &["judge"],
};
const LINE: &str = include_str!("../../../lua/lib/wait_queue.lua");
const NUDGE: &str = include_str!("../../../lua/lib/notify.lua");
const PLACE: &str = include_str!("../../../lua/lib/enqueue.lua");

/// Windows, with the rules of each kind.
const WINDOWS: &[Piece] = &[
    Plain(include_str!("../../../lua/lib/window.lua")),
    Made {
        head: "walk()",
        texts: &[include_str!("../../../lua/lib/sliding_sweep.lua")],
        given: &["sweep", "leaves", "leaves_later"],
    },
    Made { head: "sliding()", texts: &[include_str!("../../../lua/lib/sliding_window.lua")], given: RULES },
    Made { head: "bucket()", texts: &[include_str!("../../../lua/lib/token_bucket.lua")], given: RULES },
    Made { head: "calendar()", texts: &[include_str!("../../../lua/lib/calendar_window.lua")], given: RULES },
    Made {
        head: "slots()",
        texts: &[include_str!("../../../lua/lib/concurrency_slots.lua")],
        given: &["look", "charge"],
    },
    Plain(include_str!("../../../lua/lib/window_kinds.lua")),
];
const RULES: &[&str] = &["look", "charge", "correct"];

impl Script {
    pub const ALL: [Script; 21] = [
        Script::Admit,
        Script::Settle,
        Script::Renew,
        Script::Sync,
        Script::ReplayLeases,
        Script::Snapshot,
        Script::Control,
        Script::Record,
        Script::Journal,
        Script::QueueHeartbeat,
        Script::QueueLeave,
        Script::Rollup,
        Script::Budget,
        Script::Heartbeat,
        Script::DisplayNames,
        Script::ClientWrite,
        Script::ClientGet,
        Script::ClientTouch,
        Script::Sessions,
        Script::LoginThrottle,
        Script::AuditRead,
    ];

    pub fn name(self) -> &'static str {
        self.parts().0
    }

    /// Name, the shared pieces put in front (behind the clock), own text.
    fn parts(self) -> (&'static str, &'static [&'static [Piece]], &'static str) {
        const WAITING_TO_GO: Piece = Made {
            head: "waiting()",
            texts: &[LINE, NUDGE, PLACE],
            given: &[
                "bury",
                "ticket_of",
                "place_in",
                "standing",
                "add_up",
                "planned_of",
                "units_of",
                "stand_in_line",
                "go_from_line",
                "knock_first",
                "leave",
            ],
        };
        const WAITING: Piece = Made { head: "waiting()", texts: &[LINE, NUDGE], given: &["knock_provider", "nudge"] };
        match self {
            Script::Admit => (
                "admit",
                &[WINDOWS, &[LEASE, QUOTA, PLANNED, SHUT, BREAKERS, ROOM, SHARES, COUNTING, HELD, WAITING_TO_GO]],
                include_str!("../../../lua/admission/admit.lua"),
            ),
            Script::Settle => (
                "settle",
                &[WINDOWS, &[LEASE, QUOTA, SHUT, JUDGE, ROOM, SHARES, WAITING]],
                include_str!("../../../lua/admission/settle.lua"),
            ),
            Script::Renew => ("renew", &[WINDOWS, &[LEASE, QUOTA]], include_str!("../../../lua/admission/renew.lua")),
            Script::Sync => ("sync", &[], include_str!("../../../lua/admission/sync.lua")),
            Script::ReplayLeases => {
                ("replay_leases", &[WINDOWS, &[LEASE, QUOTA]], include_str!("../../../lua/admission/replay_leases.lua"))
            }
            Script::Snapshot => ("snapshot", &[WINDOWS, &[SHUT]], include_str!("../../../lua/reports/snapshot.lua")),
            Script::Control => (
                "control",
                &[&[Plain(BREAKER), ROOM, Plain(LINE), AUDIT]],
                include_str!("../../../lua/admission/control.lua"),
            ),
            Script::Record => ("record", &[], include_str!("../../../lua/reports/record.lua")),
            Script::Journal => ("journal", &[], include_str!("../../../lua/reports/journal.lua")),
            Script::QueueHeartbeat => {
                ("queue_heartbeat", &[&[ROOM, Plain(LINE)]], include_str!("../../../lua/queue/queue_heartbeat.lua"))
            }
            Script::QueueLeave => {
                ("queue_leave", &[&[ROOM, Plain(LINE)]], include_str!("../../../lua/queue/queue_leave.lua"))
            }
            Script::Rollup => ("rollup", &[], include_str!("../../../lua/reports/rollup.lua")),
            Script::Budget => {
                ("budget", &[WINDOWS, &[SHUT, ROOM, Plain(LINE)]], include_str!("../../../lua/reports/budget.lua"))
            }
            Script::Heartbeat => ("heartbeat", &[], include_str!("../../../lua/admission/heartbeat.lua")),
            Script::DisplayNames => ("display_names", &[], include_str!("../../../lua/reports/display_names.lua")),
            Script::ClientWrite => ("client_write", &[&[AUDIT]], include_str!("../../../lua/clients/client_write.lua")),
            Script::ClientGet => ("client_get", &[], include_str!("../../../lua/clients/client_get.lua")),
            Script::ClientTouch => ("client_touch", &[], include_str!("../../../lua/clients/client_touch.lua")),
            Script::Sessions => ("sessions", &[&[AUDIT]], include_str!("../../../lua/clients/sessions.lua")),
            Script::LoginThrottle => ("login_throttle", &[], include_str!("../../../lua/clients/login_throttle.lua")),
            Script::AuditRead => ("audit_read", &[], include_str!("../../../lua/clients/audit_read.lua")),
        }
    }

    /// The whole text as it is loaded.
    pub fn source(self) -> &'static str {
        static TEXTS: [OnceLock<String>; Script::ALL.len()] = [const { OnceLock::new() }; Script::ALL.len()];
        TEXTS[self as usize].get_or_init(|| self.text(CLOCK))
    }

    /// The text with another `clock` in front: tests put one whose time moves only when told.
    pub fn text(self, clock: &str) -> String {
        let (_, pieces, own) = self.parts();
        let mut text = clock.to_owned();
        for piece in pieces.iter().copied().flatten() {
            match *piece {
                Plain(piece) => text.push_str(piece),
                Made { head, texts, given } => {
                    text.extend(["local function ", head, "\n"]);
                    text.extend(texts.iter().copied());
                    text.push_str("return { ");
                    for given in given {
                        text.extend([given, " = ", given, ", "]);
                    }
                    text.push_str("}\nend\n");
                }
            }
        }
        text + own
    }
}
