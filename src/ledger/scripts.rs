//! Our scripts: which there are, and the text each is loaded as.

use std::sync::OnceLock;

/// One script of `lua/`. The text is the version: a changed script is another one to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Script {
    Admit,
    Settle,
    Renew,
    Sync,
    Repeat,
    Snapshot,
    Control,
    Record,
    Journal,
    Stay,
    Leave,
    Rollup,
    Budget,
    Beat,
    Names,
    Clients,
    Members,
    Touch,
    Sessions,
    Guesses,
    Audit,
}

const CLOCK: &str = include_str!("../../lua/lib/clock.lua");
const WINDOW: &str = include_str!("../../lua/lib/window.lua");
const QUOTA: &str = include_str!("../../lua/lib/quota.lua");
const CORRECT: &str = include_str!("../../lua/lib/correct.lua");
const BREAKER: &str = include_str!("../../lua/lib/breaker.lua");
const AUDIT: &str = include_str!("../../lua/lib/audit.lua");
const VERDICT: &str = include_str!("../../lua/lib/verdict.lua");
const ROOM: &str = include_str!("../../lua/lib/room.lua");
const LINE: &str = include_str!("../../lua/lib/line.lua");
const NUDGE: &str = include_str!("../../lua/lib/nudge.lua");
const SHARES: &str = include_str!("../../lua/lib/shares.lua");
const PLACE: &str = include_str!("../../lua/lib/place.lua");

impl Script {
    pub const ALL: [Script; 21] = [
        Script::Admit,
        Script::Settle,
        Script::Renew,
        Script::Sync,
        Script::Repeat,
        Script::Snapshot,
        Script::Control,
        Script::Record,
        Script::Journal,
        Script::Stay,
        Script::Leave,
        Script::Rollup,
        Script::Budget,
        Script::Beat,
        Script::Names,
        Script::Clients,
        Script::Members,
        Script::Touch,
        Script::Sessions,
        Script::Guesses,
        Script::Audit,
    ];

    pub fn name(self) -> &'static str {
        self.parts().0
    }

    /// Name, the shared pieces put in front (behind the clock), own text.
    fn parts(self) -> (&'static str, &'static [&'static str], &'static str) {
        match self {
            Script::Admit => ("admit", &[WINDOW, QUOTA, BREAKER, ROOM, SHARES], include_str!("../../lua/admit.lua")),
            Script::Settle => (
                "settle",
                &[WINDOW, QUOTA, CORRECT, BREAKER, VERDICT, ROOM, SHARES],
                include_str!("../../lua/settle.lua"),
            ),
            Script::Renew => ("renew", &[WINDOW, QUOTA, CORRECT], include_str!("../../lua/renew.lua")),
            Script::Sync => ("sync", &[], include_str!("../../lua/sync.lua")),
            Script::Repeat => ("repeat", &[WINDOW, QUOTA, CORRECT], include_str!("../../lua/repeat.lua")),
            Script::Snapshot => ("snapshot", &[WINDOW, BREAKER], include_str!("../../lua/snapshot.lua")),
            Script::Control => ("control", &[BREAKER, ROOM, LINE, AUDIT], include_str!("../../lua/control.lua")),
            Script::Record => ("record", &[], include_str!("../../lua/record.lua")),
            Script::Journal => ("journal", &[], include_str!("../../lua/journal.lua")),
            Script::Stay => ("stay", &[ROOM, LINE], include_str!("../../lua/stay.lua")),
            Script::Leave => ("leave", &[ROOM, LINE], include_str!("../../lua/leave.lua")),
            Script::Rollup => ("rollup", &[], include_str!("../../lua/rollup.lua")),
            Script::Budget => ("budget", &[WINDOW, BREAKER, ROOM, LINE], include_str!("../../lua/budget.lua")),
            Script::Beat => ("beat", &[], include_str!("../../lua/beat.lua")),
            Script::Names => ("names", &[], include_str!("../../lua/names.lua")),
            Script::Clients => ("clients", &[AUDIT], include_str!("../../lua/clients.lua")),
            Script::Members => ("members", &[], include_str!("../../lua/members.lua")),
            Script::Touch => ("touch", &[], include_str!("../../lua/touch.lua")),
            Script::Sessions => ("sessions", &[AUDIT], include_str!("../../lua/sessions.lua")),
            Script::Guesses => ("guesses", &[], include_str!("../../lua/guesses.lua")),
            Script::Audit => ("audit", &[], include_str!("../../lua/audit.lua")),
        }
    }

    /// What the script needs only where somebody waits, and the functions it then calls. A function costs time each time
    /// it is made, so these are made inside one of their own: `waiting()` gives them, by name.
    fn waiting(self) -> Option<(&'static [&'static str], &'static [&'static str])> {
        match self {
            Script::Admit => Some((
                &[LINE, NUDGE, PLACE],
                &[
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
            )),
            Script::Settle => Some((&[LINE, NUDGE], &["knock_provider", "nudge"])),
            _ => None,
        }
    }

    /// The whole text as it is loaded.
    pub fn source(self) -> &'static str {
        static TEXTS: [OnceLock<String>; Script::ALL.len()] = [const { OnceLock::new() }; Script::ALL.len()];
        TEXTS[self as usize].get_or_init(|| self.text(CLOCK))
    }

    /// The text with another `clock` in front: tests put one whose time moves only when told.
    pub fn text(self, clock: &str) -> String {
        let (_, shared, own) = self.parts();
        let mut text: String = std::iter::once(clock).chain(shared.iter().copied()).collect();
        if let Some((pieces, functions)) = self.waiting() {
            let named: Vec<String> = functions.iter().map(|name| format!("{name} = {name}")).collect();
            let given = format!("return {{ {} }}\nend\n", named.join(", "));
            text.extend(["local function waiting()\n"].into_iter().chain(pieces.iter().copied()).chain([&*given]));
        }
        text + own
    }
}
