//! The words of the scripts' headers: windows, candidates, askers, and what can come back.

use bytes::Bytes;
use std::sync::Arc;

use tollfree::{
    domain::{Limit, Zone},
    ledger::keys::Key,
};

/// How late a call may reach its provider, ms.
pub(super) const SLACK: i64 = 250;
pub(super) const LEASE_TTL: i64 = 30_000;
pub(super) const TOMBSTONE: i64 = 5_000;
/// A waiter's replica that is silent for so long is dead.
pub(super) const ALIVE: i64 = 3_000;
/// Refused for ever: `e` of what can never go.
pub(super) const NEVER: i64 = 1 << 53;
/// 2027-01-15T08:00:00Z, a time like any other.
pub(super) const START_MS: i64 = 1_800_000_000_000;

/// One window as a script reads it.
#[derive(Debug, Clone)]
pub(super) struct Win {
    pub limit: Limit,
    /// `s`, `m`, `b`, `c` or `n`: see `lib/window.lua`.
    pub kind: char,
    pub max: i64,
    pub span_ms: i64,
    /// `m`: account and model, `a`: account.
    pub scope: char,
    pub zone: Option<Arc<Zone>>,
    /// Sent instead of what the zone says: a calendar's boundaries as an out of date replica has them.
    pub said: Option<String>,
}

pub(super) fn win(name: &str, kind: char, max: i64) -> Win {
    let limit: Limit = name.parse().unwrap();
    Win { limit, kind, max, span_ms: limit.span_ms(), scope: 'm', zone: None, said: None }
}

impl Win {
    pub(super) fn of_account(self) -> Self {
        Self { scope: 'a', ..self }
    }

    pub(super) fn in_zone(self, name: &str) -> Self {
        Self { zone: Some(Arc::new(Zone::parse(name).unwrap())), ..self }
    }

    pub(super) fn pack(&self, units: i64, now_ms: i64) -> String {
        let span = match (&self.said, &self.zone) {
            (Some(said), _) => said.clone(),
            (None, Some(zone)) => {
                let b = zone.boundaries(self.limit, now_ms);
                format!("{},{},{}", b.last, b.next, b.after)
            }
            (None, None) => self.span_ms.to_string(),
        };
        format!("{} {} {} {span} {units} ", self.word(), self.kind, self.max)
    }

    /// Its name in the scripts.
    pub(super) fn word(&self) -> String {
        let name = self.limit.as_str();
        if self.scope == 'a' { name.to_ascii_uppercase() } else { name.to_owned() }
    }
}

/// One (provider, model, account, key) and its windows.
#[derive(Debug, Clone)]
pub(super) struct Cand {
    pub provider: String,
    pub model: String,
    pub account: String,
    pub key: String,
    pub windows: Vec<Win>,
}

/// A candidate at `provider`, its model and account named after nothing else.
pub(super) fn cand(provider: &str, windows: &[Win]) -> Cand {
    let [provider, model, account, key] = [provider, "model", "account", "key"].map(str::to_owned);
    Cand { provider, model, account, key, windows: windows.to_vec() }
}

impl Cand {
    pub(super) fn with(self, model: &str, account: &str) -> Self {
        Self { model: model.to_owned(), account: account.to_owned(), ..self }
    }

    /// With these boundaries for its window `i`.
    pub(super) fn with_span(&self, i: usize, said: &str) -> Self {
        let mut changed = self.clone();
        changed.windows[i].said = Some(said.to_owned());
        changed
    }

    pub(super) fn window_key(&self, w: &Win) -> Key {
        let (p, a, m) = (&self.provider, &self.account, &self.model);
        match w.scope {
            'a' => format!("tf1:{{judge}}:w:{p}/{a}:{}", w.limit).into(),
            _ => format!("tf1:{{judge}}:w:{p}/{a}/{m}:{}", w.limit).into(),
        }
    }

    /// The shares of its line.
    pub(super) fn shares_key(&self) -> Key {
        let (p, a, m) = (&self.provider, &self.account, &self.model);
        match self.scope() {
            'a' => format!("tf1:{{judge}}:sh:{p}/{a}").into(),
            _ => format!("tf1:{{judge}}:sh:{p}/{a}/{m}").into(),
        }
    }

    /// Whose its line is: its account's, where any window spans models.
    fn scope(&self) -> char {
        if self.windows.iter().any(|w| w.scope == 'a') { 'a' } else { 'm' }
    }

    pub(super) fn pack(&self, units: &[i64], now_ms: i64) -> String {
        let (p, m, a, k) = (&self.provider, &self.model, &self.account, &self.key);
        let (scope, windows) = (self.scope(), pack(&self.windows, units, now_ms));
        format!("p:{p}\tb:{p}/{m}\tk:{p}/{k}\tm:{p}/{a}/{m}\ta:{p}/{a}\t{m}\t{scope}\t{windows}")
    }
}

pub(super) fn pack(windows: &[Win], units: &[i64], now_ms: i64) -> String {
    assert_eq!(windows.len(), units.len(), "units for every window");
    windows.iter().zip(units).map(|(w, units)| w.pack(*units, now_ms)).collect()
}

/// Who asks: no limits, or windows of its own.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub id: String,
    pub windows: Vec<Win>,
    pub weight: i64,
    /// Takes what others leave.
    pub flex: bool,
    /// Of its record, as its replica knows it; 0: there is none.
    pub version: i64,
}

impl Default for Asker {
    fn default() -> Self {
        Self::named("-")
    }
}

impl Asker {
    pub(super) fn named(id: &str) -> Self {
        Self { id: id.to_owned(), windows: Vec::new(), weight: 1, flex: false, version: 0 }
    }

    pub(super) fn with(self, windows: &[Win]) -> Self {
        Self { windows: windows.to_vec(), ..self }
    }

    pub(super) fn weighing(self, weight: i64) -> Self {
        Self { weight, ..self }
    }
}

/// How an asker asks: how long it would wait, and whether it has a ticket already.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WaitRequest {
    pub wait_ms: i64,
    pub again: bool,
}

/// A granted admission, and all that is needed to renew, settle or repeat it.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub id: String,
    pub cand: Cand,
    pub asker: Asker,
    pub units: Vec<i64>,
    pub granted_ms: i64,
    /// Which candidate went, from 0.
    pub chosen: usize,
    pub packed: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub why: String,
    pub max: i64,
    pub opens: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub now: i64,
    pub opens: i64,
    pub exact: bool,
    pub by_client: bool,
    pub lines: Vec<Line>,
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one at a time, in a test")]
pub(super) enum Admit {
    Go(Lease),
    No(Refusal),
    /// A place in line: ask again then.
    Wait(i64),
    /// The client's record is another one by now.
    Changed,
    /// Sync first.
    Lost,
    Hold(i64),
    Stale,
    Cancelled,
}

impl Admit {
    #[track_caller]
    pub(super) fn go(self) -> Lease {
        match self {
            Self::Go(lease) => lease,
            other => panic!("not admitted: {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn no(self) -> Refusal {
        match self {
            Self::No(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(super) fn is_go(&self) -> bool {
        matches!(self, Self::Go(_))
    }
}

/// How one call ended, as `settle` is told.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// What each window shall hold; `None`: as charged. `Some(vec of 0)` for all: never sent.
    pub used: Option<Vec<i64>>,
    pub sent: bool,
    /// Of the provider's and of the model's breaker.
    pub verdicts: [&'static str; 2],
    pub rules: &'static str,
    pub shut: String,
    pub hints: String,
    pub first_ms: i64,
    pub mode: &'static str,
}

impl Default for End {
    fn default() -> Self {
        Self {
            used: None,
            sent: true,
            verdicts: ["nothing", "nothing"],
            rules: "3 2 30000",
            shut: String::new(),
            hints: String::new(),
            first_ms: -1,
            mode: "end",
        }
    }
}

impl End {
    pub(super) fn used(units: &[i64]) -> Self {
        Self { used: Some(units.to_vec()), ..Self::default() }
    }

    pub(super) fn not_sent() -> Self {
        Self { sent: false, ..Self::default() }
    }

    pub(super) fn verdict(provider: &'static str, model: &'static str) -> Self {
        Self { verdicts: [provider, model], ..Self::default() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Synced {
    pub seq: i64,
    pub now: i64,
    pub hold: i64,
    pub since: i64,
}
