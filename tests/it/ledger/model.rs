//! The vocabulary of the scripts' headers: windows, candidates, clients and replies.

use bytes::Bytes;
use std::sync::Arc;

use tollfree::{
    domain::{Limit, Zone},
    ledger::keys::Key,
};

/// Longest delay (ms) between an admission and the call's arrival at its provider.
pub(super) const SLACK: i64 = 250;
pub(super) const LEASE_TTL: i64 = 30_000;
pub(super) const TOMBSTONE: i64 = 5_000;
/// A ticket without a heartbeat for this time (ms) is dropped, because its replica has died.
pub(super) const ALIVE: i64 = 3_000;
/// The `e` of a request that can never fit.
pub(super) const NEVER: i64 = 1 << 53;
/// 2027-01-15T08:00:00Z, an arbitrary time.
pub(super) const START_MS: i64 = 1_800_000_000_000;

/// One window in the form in which a script reads it.
#[derive(Debug, Clone)]
pub(super) struct Win {
    pub limit: Limit,
    /// `s`, `m`, `b`, `c` or `n`: see `lib/window.lua`.
    pub kind: char,
    pub max: i64,
    pub span_ms: i64,
    /// Scope: `m` for account and model, `a` for the account.
    pub scope: char,
    pub zone: Option<Arc<Zone>>,
    /// Outdated calendar boundaries, sent instead of the zone's.
    pub stale_span: Option<String>,
}

pub(super) fn win(name: &str, kind: char, max: i64) -> Win {
    let limit: Limit = name.parse().unwrap();
    Win { limit, kind, max, span_ms: limit.span_ms(), scope: 'm', zone: None, stale_span: None }
}

impl Win {
    pub(super) fn account_wide(self) -> Self {
        Self { scope: 'a', ..self }
    }

    pub(super) fn in_zone(self, name: &str) -> Self {
        Self { zone: Some(Arc::new(Zone::parse(name).unwrap())), ..self }
    }

    pub(super) fn pack(&self, units: i64, now_ms: i64) -> String {
        let span = match (&self.stale_span, &self.zone) {
            (Some(span), _) => span.clone(),
            (None, Some(zone)) => {
                let b = zone.boundaries(self.limit, now_ms);
                format!("{},{},{}", b.last, b.next, b.after)
            }
            (None, None) => self.span_ms.to_string(),
        };
        format!("{} {} {} {span} {units} ", self.name(), self.kind, self.max)
    }

    /// Its name in the scripts.
    pub(super) fn name(&self) -> String {
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

/// A candidate at `provider` with a default model and account.
pub(super) fn cand(provider: &str, windows: &[Win]) -> Cand {
    let [provider, model, account, key] = [provider, "model", "account", "key"].map(str::to_owned);
    Cand { provider, model, account, key, windows: windows.to_vec() }
}

impl Cand {
    pub(super) fn with(self, model: &str, account: &str) -> Self {
        Self { model: model.to_owned(), account: account.to_owned(), ..self }
    }

    /// The candidate with outdated boundaries for its window `i`.
    pub(super) fn with_stale_span(&self, i: usize, span: &str) -> Self {
        let mut changed = self.clone();
        changed.windows[i].stale_span = Some(span.to_owned());
        changed
    }

    pub(super) fn window_key(&self, w: &Win) -> Key {
        let (p, a, m) = (&self.provider, &self.account, &self.model);
        match w.scope {
            'a' => format!("tf1:{{judge}}:w:{p}/{a}:{}", w.limit).into(),
            _ => format!("tf1:{{judge}}:w:{p}/{a}/{m}:{}", w.limit).into(),
        }
    }

    /// Key of the fair shares of its queue.
    pub(super) fn shares_key(&self) -> Key {
        let (p, a, m) = (&self.provider, &self.account, &self.model);
        match self.scope() {
            'a' => format!("tf1:{{judge}}:sh:{p}/{a}").into(),
            _ => format!("tf1:{{judge}}:sh:{p}/{a}/{m}").into(),
        }
    }

    /// Scope of its queue: the account if any window spans models, otherwise the model.
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

/// A client, without limits or with windows of its own.
#[derive(Debug, Clone)]
pub(super) struct TestClient {
    pub id: String,
    pub windows: Vec<Win>,
    pub weight: i64,
    /// Flexible work, which is served after all other requests.
    pub flex: bool,
    /// Version of its record in the replica's cache; 0 without a record.
    pub version: i64,
}

impl Default for TestClient {
    fn default() -> Self {
        Self::named("-")
    }
}

impl TestClient {
    pub(super) fn named(id: &str) -> Self {
        Self { id: id.to_owned(), windows: Vec::new(), weight: 1, flex: false, version: 0 }
    }

    pub(super) fn with(self, windows: &[Win]) -> Self {
        Self { windows: windows.to_vec(), ..self }
    }

    pub(super) fn with_weight(self, weight: i64) -> Self {
        Self { weight, ..self }
    }
}

/// How long a request may wait, and whether it holds a ticket already.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WaitRequest {
    pub wait_ms: i64,
    pub again: bool,
}

/// One ticket of a call that asks for several.
#[derive(Debug, Clone)]
pub(super) struct Asking<'a> {
    pub id: &'a str,
    pub client: &'a TestClient,
    pub choices: Vec<(&'a Cand, &'a [i64])>,
    pub wait_ms: i64,
}

/// A granted admission with everything needed to renew, settle or replay it.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub id: String,
    pub cand: Cand,
    pub client: TestClient,
    pub units: Vec<i64>,
    pub granted_ms: i64,
    /// Index of the chosen candidate.
    pub chosen: usize,
    pub packed: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
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
    pub reasons: Vec<Reason>,
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one at a time, in a test")]
pub(super) enum Admit {
    Go(Lease),
    No(Refusal),
    /// The request is queued and can try again at this time.
    Wait(i64),
    /// The client's record has another version by now.
    Changed,
    /// The replica must `sync` first.
    Lost,
    Hold(i64),
    Stale,
    Cancelled,
    /// The queue has no such ticket any more.
    NoTicket,
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

/// How one call ended: the arguments of `settle`.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// Units that each window keeps; `None` keeps the charge.
    pub used: Option<Vec<i64>>,
    pub sent: bool,
    /// Verdicts for the provider's and the model's breaker.
    pub verdicts: [&'static str; 2],
    pub rules: &'static str,
    pub cooldown: String,
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
            cooldown: String::new(),
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
