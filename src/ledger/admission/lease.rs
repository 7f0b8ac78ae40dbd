//! A lease: all that one admission reserved, and the right to settle it, once.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::Instrument;

use crate::ledger::{
    admission::{
        lease_record::Numbers,
        reply::{ClientUsage, RefusalReason},
    },
    error::LedgerError,
    script::{
        encode,
        engine::{Reply, ScriptCall},
        keys,
        scripts::Script,
    },
    shared::{Ledger, Shared},
};
use crate::{
    domain::{Candidate, Charge, Choice, Client, Health, Outcome, Usage},
    telemetry,
};

/// An unrenewed lease dies after this: its slots free themselves. ms.
pub(crate) const LEASE_TTL_MS: &str = "30000";
/// A settled lease is remembered so long, so that nothing settles or repeats it again. ms.
pub(crate) const TOMBSTONE_MS: &str = "5000";
/// How often an open lease is renewed.
const RENEWAL: Duration = Duration::from_secs(10);
/// Settlements kept through an outage; older ones are dropped first: their charges simply stay.
const PENDING_MOST: usize = 20_000;

/// What is remembered of a lease by the replica that holds it.
#[derive(Debug)]
pub(crate) struct Core {
    pub id: String,
    pub epoch: Arc<str>,
    pub candidate: Arc<Candidate>,
    pub client: Client,
    pub charge: Charge,
    /// What its client's token windows were charged.
    pub client_tokens: i64,
    /// By the ledger's clock.
    pub granted_ms: i64,
    numbers: Mutex<Numbers>,
    renewed: Mutex<Instant>,
    /// Set once, when settled.
    spent: Mutex<Option<Usage>>,
}

impl Core {
    pub fn numbers(&self) -> Numbers {
        self.numbers.lock().clone()
    }

    pub fn spent(&self) -> Option<Usage> {
        *self.spent.lock()
    }

    pub fn is_open(&self) -> bool {
        self.spent().is_none()
    }

    /// Since it was granted, or renewed.
    pub fn renewed_ago(&self) -> Duration {
        self.renewed.lock().elapsed()
    }
}

/// The right to settle. Dropping it unsettled settles it: given back when nothing was sent, else as unknown.
#[derive(Debug)]
pub struct Lease {
    candidate: Arc<Candidate>,
    client: Option<ClientUsage>,
    passed_over: Vec<RefusalReason>,
    /// None for a candidate without limits while the ledger is away.
    held: Option<Held>,
}

struct Held {
    shared: Arc<Shared>,
    core: Arc<Core>,
    sent: AtomicBool,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("core", &self.core).field("sent", &self.sent).finish_non_exhaustive()
    }
}

/// A granted admission as the script told it.
pub(crate) struct Grant {
    pub id: String,
    pub epoch: Arc<str>,
    pub charge: Charge,
    pub client_tokens: i64,
    pub now_ms: i64,
    pub numbers: Numbers,
    pub standing: Option<ClientUsage>,
    pub passed_over: Vec<RefusalReason>,
}

impl Lease {
    pub(crate) fn new(shared: &Arc<Shared>, candidate: &Arc<Candidate>, client: &Client, grant: Grant) -> Self {
        let core = Arc::new(Core {
            id: grant.id,
            epoch: grant.epoch,
            candidate: candidate.clone(),
            client: client.clone(),
            charge: grant.charge,
            client_tokens: grant.client_tokens,
            granted_ms: grant.now_ms,
            numbers: Mutex::new(grant.numbers),
            renewed: Mutex::new(Instant::now()),
            spent: Mutex::new(None),
        });
        shared.known().remember(core.clone());
        let held = Held { shared: shared.clone(), core, sent: AtomicBool::new(false) };
        let (client, passed_over) = (grant.standing, grant.passed_over);
        Self { candidate: candidate.clone(), client, passed_over, held: Some(held) }
    }

    pub(crate) fn unmetered(candidate: Arc<Candidate>) -> Self {
        Self { candidate, client: None, passed_over: Vec::new(), held: None }
    }

    pub fn candidate(&self) -> &Arc<Candidate> {
        &self.candidate
    }

    /// The client's tightest window after this admission, if it has limits.
    pub fn client_usage(&self) -> Option<&ClientUsage> {
        self.client.as_ref()
    }

    /// Who stood before this candidate and had no room.
    pub fn passed_over(&self) -> &[RefusalReason] {
        &self.passed_over
    }

    /// Says that the call leaves for its provider now: from here on a forgotten lease counts as sent.
    pub fn mark_sent(&self) {
        if let Some(held) = &self.held {
            held.sent.store(true, Ordering::Relaxed);
        }
    }

    /// The answer has begun well: where this call was a breaker's probe, its verdict need not wait for the end.
    pub fn first_token_received(&self) {
        if let Some(held) = &self.held
            && held.core.numbers().is_probe()
        {
            let outcome = Outcome { health: Health::Good, ..Outcome::unknown() };
            let call = held.shared.settlement(&held.core, &outcome, Settling::Commit);
            let shared = held.shared.clone();
            held.shared.tasks.spawn(async move {
                // A verdict lost in an outage is told again at the end.
                let _ = shared.run(&call).await;
            });
        }
    }

    /// Replaces the estimate by what was used, off the caller's path.
    pub fn settle(mut self, outcome: Outcome) {
        if let Some(held) = self.held.take() {
            held.close(outcome);
        }
    }

    /// Takes the lease apart for a settlement in the same round trip as the next admission.
    pub(crate) fn into_core(mut self, outcome: &Outcome) -> Option<Arc<Core>> {
        self.held.take().map(|held| {
            held.core.close(outcome.usage);
            held.core
        })
    }
}

impl Core {
    fn close(&self, spent: Usage) {
        *self.spent.lock() = Some(spent);
    }
}

impl Held {
    fn close(self, outcome: Outcome) {
        self.core.close(outcome.usage);
        let Self { shared, core, .. } = self;
        let tasks = shared.tasks.clone();
        let span = telemetry::script("settle");
        tasks.spawn(async move { shared.settle_now(core, outcome).await }.instrument(span));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let mut outcome = Outcome::unknown();
            if !held.sent.load(Ordering::Relaxed) {
                outcome.usage = Usage::NOT_SENT;
            }
            held.close(outcome);
        }
    }
}

/// What an outage left undone.
#[derive(Debug)]
pub(crate) enum Undone {
    Settle(Arc<Core>, Outcome),
    /// An admission whose reply never came: it must never be used, whenever it is carried out.
    Cancel {
        id: String,
        client: Client,
        choices: Vec<Choice>,
    },
}

/// What is to be settled of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settling {
    /// The attempt is over, and its request with it.
    Over,
    /// The attempt is over, and its request goes on elsewhere: to its client it counts there, once.
    GoesOn,
    /// Content has come: only a probe's verdicts, the lease goes on.
    Commit,
    /// Nothing, only what is held.
    Find,
}

impl Settling {
    fn word(self) -> &'static str {
        match self {
            Self::Over | Self::GoesOn => "end",
            Self::Commit => "commit",
            Self::Find => "find",
        }
    }
}

pub(crate) type Pending = Mutex<VecDeque<Undone>>;

impl Shared {
    pub(crate) fn settlement(&self, core: &Core, outcome: &Outcome, what: Settling) -> ScriptCall {
        let (provider, model) = match outcome.health {
            Health::Good => ("good", "good"),
            Health::ProviderFailed => ("failed", "nothing"),
            Health::ModelFailed => ("nothing", "failed"),
            Health::Unknown => ("nothing", "nothing"),
        };
        let client_spent = if what == Settling::GoesOn { Usage::NOT_SENT } else { outcome.usage };
        let candidate = &core.candidate;
        let mut keys = Vec::with_capacity(11 + candidate.windows.len() + core.client.limits.len());
        keys.extend([self.keys.meta(), self.keys.health(), self.keys.lease(&core.id), self.keys.speed()]);
        keys.extend(self.keys.waiting_room());
        let packed = self.packed.of(&self.keys, candidate);
        keys.push(packed.shares.clone());
        keys.extend(encode::client_keys(&self.keys, &core.client));
        keys.extend_from_slice(&packed.windows);
        let now_ms = self.known().now_ms();
        let first = outcome.first_token.map_or(-1, |d| i64::try_from(d.as_millis()).unwrap_or(-1));
        let args = vec![
            self.slack_ms.clone(),
            Bytes::from(encode::client(&core.client, |limit, _| encode::client_used(limit, &client_spent))),
            packed.candidate(candidate, now_ms, |w| encode::used(w, &outcome.usage)),
            Bytes::from_static(provider.as_bytes()),
            Bytes::from_static(model.as_bytes()),
            self.breaker_rules.clone(),
            Bytes::from(encode::shut(candidate, outcome.cooldown.as_ref())),
            Bytes::from(encode::hints(candidate, &outcome.hints)),
            encode::number(first),
            Bytes::copy_from_slice(keys::speed_field(candidate).as_bytes()),
            Bytes::from_static(TOMBSTONE_MS.as_bytes()),
            Bytes::from_static(what.word().as_bytes()),
            Bytes::copy_from_slice(core.client.id.as_bytes()),
        ];
        ScriptCall { script: Script::Settle, keys, args }
    }

    pub(crate) async fn settle_now(&self, core: Arc<Core>, outcome: Outcome) {
        let call = self.settlement(&core, &outcome, Settling::Over);
        if let Err(LedgerError::Unreachable { .. }) = self.run(&call).await {
            self.later(Undone::Settle(core, outcome));
        }
    }

    pub(crate) fn later(&self, undone: Undone) {
        let mut pending = self.pending.lock();
        if pending.len() >= PENDING_MOST {
            pending.pop_front();
        }
        pending.push_back(undone);
    }

    /// Brings what an outage left undone, as long as the ledger answers.
    pub(crate) async fn catch_up(self: &Arc<Self>) {
        loop {
            let next = self.pending.lock().pop_front();
            match next {
                None => return,
                Some(Undone::Settle(core, outcome)) => {
                    if self.run(&self.settlement(&core, &outcome, Settling::Over)).await.is_err() {
                        return self.later(Undone::Settle(core, outcome));
                    }
                }
                Some(Undone::Cancel { id, client, choices }) => {
                    if self.cancel(&id, &client, &choices).await.is_err() {
                        return self.later(Undone::Cancel { id, client, choices });
                    }
                }
            }
        }
    }

    /// Marks the lease as never to be made, or gives it back where it had been made after all.
    async fn cancel(&self, id: &str, client: &Client, choices: &[Choice]) -> Result<(), LedgerError> {
        let Some(first) = choices.first() else { return Ok(()) };
        let core = |choice: &Choice, numbers: Numbers| Core {
            id: id.to_owned(),
            epoch: Arc::from(""),
            candidate: choice.candidate.clone(),
            client: client.clone(),
            charge: choice.charge,
            client_tokens: 0,
            granted_ms: 0,
            numbers: Mutex::new(numbers),
            renewed: Mutex::new(Instant::now()),
            spent: Mutex::new(Some(Usage::NOT_SENT)),
        };
        let nothing = Outcome { usage: Usage::NOT_SENT, ..Outcome::unknown() };
        if let Reply::Bulk(held) =
            self.run(&self.settlement(&core(first, Numbers::default()), &nothing, Settling::Find)).await?
        {
            let numbers = Numbers(held);
            if let Some(choice) = numbers.candidate().and_then(|n| choices.get(n.wrapping_sub(1))) {
                self.run(&self.settlement(&core(choice, numbers), &nothing, Settling::Over)).await?;
            }
        }
        Ok(())
    }

    async fn renew(&self, core: &Core) {
        let mut list = vec![self.keys.meta(), self.keys.lease(&core.id)];
        let packed = self.packed.of(&self.keys, &core.candidate);
        list.extend(encode::client_keys(&self.keys, &core.client));
        list.extend_from_slice(&packed.windows);
        let client = encode::client(&core.client, |limit, most| encode::client_charge(limit, most, core.client_tokens));
        let (mut windows, now_ms) = (String::new(), self.known().now_ms());
        packed.push_windows(&mut windows, &core.candidate, now_ms, |w| core.charge.units(w));
        let ttl = Bytes::from_static(LEASE_TTL_MS.as_bytes());
        let args = vec![self.slack_ms.clone(), ttl, Bytes::from(client), Bytes::from(windows)];
        if let Ok(Reply::Bulk(held)) = self.run(&ScriptCall { script: Script::Renew, keys: list, args }).await {
            *core.numbers.lock() = Numbers(held);
        }
    }
}

/// Renews every open lease in time.
pub(crate) fn renew_all(ledger: &Ledger) {
    let shared = ledger.shared.clone();
    ledger.shared.tasks.spawn_endless(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let lasting = shared.known().lasting(RENEWAL / 2);
            for core in lasting {
                let due = {
                    let mut renewed = core.renewed.lock();
                    let due = renewed.elapsed() >= RENEWAL;
                    if due {
                        *renewed = Instant::now();
                    }
                    due
                };
                if due && core.is_open() {
                    shared.renew(&core).await;
                }
            }
        }
    });
}
