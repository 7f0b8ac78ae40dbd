//! A ledger and simulated providers: every admitted call with its arrival and end, and the check of all windows.

use std::collections::BTreeMap;

use tollfree::{domain::Unit, ledger::keys::Key};

use super::{
    oracle::{self, Count, Credit},
    rig::{Admit, Cand, End, LEASE_TTL, Lease, Refusal, SLACK, TestClient, TestLedger, Win},
};

/// Seeded random choices: the same seed replays a whole history.
#[derive(Debug, Clone)]
pub(super) struct Dice(fastrand::Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        // A fork, because the first numbers of generators with similar seeds are similar.
        Self(fastrand::Rng::with_seed(seed).fork())
    }

    /// One of `from..to`.
    pub(super) fn roll(&mut self, from: i64, to: i64) -> i64 {
        self.0.i64(from..to)
    }

    pub(super) fn one_in(&mut self, n: i64) -> bool {
        self.roll(0, n) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.roll(0, i64::try_from(from.len()).unwrap())).unwrap()]
    }
}

/// One call, as the ledger and the provider know it.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub lease: Lease,
    /// Arrival (µs); `None` if the call was never sent.
    pub arrived: Option<i64>,
    pub ended: i64,
    /// Units finally used, per window.
    pub used: Vec<i64>,
    /// The replica still holds its lease.
    pub open: bool,
    renewed_ms: i64,
}

pub(super) struct World {
    pub ledger: TestLedger,
    pub cands: Vec<Cand>,
    pub dice: Dice,
    pub calls: Vec<Call>,
    /// Number of refusals that were verified by a retry just before `e` and at `e`.
    pub verified: u32,
}

impl World {
    pub(super) fn new(cands: &[Cand], seed: u64) -> Self {
        Self { ledger: TestLedger::new(), cands: cands.to_vec(), dice: Dice::new(seed), calls: Vec::new(), verified: 0 }
    }

    /// Delay (µs) until this call reaches its provider: none, the whole slack, or anything between.
    fn jitter(&mut self) -> i64 {
        match self.dice.roll(0, 3) {
            0 => 0,
            1 => SLACK * 1000,
            _ => self.dice.roll(0, SLACK * 1000 + 1),
        }
    }

    pub(super) fn admit(&mut self, client: &TestClient, choices: &[(&Cand, &[i64])]) -> Option<Refusal> {
        match self.ledger.admit(client, choices) {
            Admit::Go(lease) => {
                let arrived = self.ledger.now_us() + self.jitter();
                self.note(lease, arrived);
                None
            }
            Admit::No(refusal) => Some(refusal),
            other => panic!("neither admitted nor refused: {other:?}"),
        }
    }

    pub(super) fn note(&mut self, lease: Lease, arrived: i64) {
        let used = lease.units.clone();
        let renewed_ms = lease.granted_ms;
        self.calls.push(Call { lease, arrived: Some(arrived), ended: i64::MAX, used, open: true, renewed_ms });
    }

    /// One request to one candidate.
    pub(super) fn request(&mut self, which: usize, units: &[i64]) -> Option<Refusal> {
        let cand = self.cands[which].clone();
        self.admit(&TestClient::default(), &[(&cand, units)])
    }

    pub(super) fn open_calls(&self) -> Vec<usize> {
        (0..self.calls.len()).filter(|i| self.calls[*i].open).collect()
    }

    /// Settles a call that ended at its provider at some instant up to now.
    pub(super) fn settle(&mut self, i: usize, used: Option<Vec<i64>>) {
        let now = self.ledger.now_us();
        let call = &mut self.calls[i];
        call.open = false;
        let arrived = call.arrived.unwrap();
        if arrived >= now {
            // The caller left before the call arrived: its use is unknown, and the provider does not keep it open.
            self.ledger.settle(&call.lease.clone(), &End::default());
            self.calls[i].ended = arrived;
            return;
        }
        call.ended = (arrived + 1).max(now - self.dice.roll(0, 100_000));
        let end = match used {
            Some(used) => {
                call.used = used.iter().zip(&call.lease.units).map(|(u, was)| if *u < 0 { *was } else { *u }).collect();
                End::used(&used)
            }
            None => End::default(),
        };
        self.ledger.settle(&call.lease.clone(), &end);
    }

    /// Settles a call that was never sent.
    pub(super) fn take_back(&mut self, i: usize) {
        let call = &mut self.calls[i];
        call.open = false;
        call.arrived = None;
        call.ended = self.ledger.now_us();
        self.ledger.settle(&call.lease.clone(), &End::not_sent());
    }

    /// The replica of this call crashes, and the provider notices immediately.
    pub(super) fn die(&mut self, i: usize) {
        let call = &mut self.calls[i];
        call.open = false;
        call.ended = call.arrived.unwrap().max(call.renewed_ms * 1000);
    }

    /// Advances the clock. Calls in flight are renewed every ten seconds; a step of more than ten minutes crashes them.
    pub(super) fn pass_us(&mut self, us: i64) {
        let until = self.ledger.now_us() + us;
        if us > 600_000_000 {
            for i in self.open_calls() {
                self.die(i);
            }
        }
        loop {
            let next = (self.ledger.now_us() + 1_000_000).min(until);
            self.ledger.set_us(next);
            let now = self.ledger.now();
            for i in self.open_calls() {
                if now - self.calls[i].renewed_ms >= LEASE_TTL / 3 {
                    let mut lease = self.calls[i].lease.clone();
                    assert!(
                        self.ledger.renew(&mut lease),
                        "a lease that is renewed in time must not expire: {lease:?}"
                    );
                    self.calls[i].lease = lease;
                    self.calls[i].renewed_ms = now;
                }
            }
            if next == until {
                return;
            }
            if self.open_calls().is_empty() {
                self.ledger.set_us(until);
                return;
            }
        }
    }

    /// Verifies an exact refusal: a retry just before its instant is refused, and one at its instant is admitted.
    pub(super) fn verify_refusal(&mut self, refusal: &Refusal, client: &TestClient, choices: &[(&Cand, &[i64])]) {
        if !refusal.exact || refusal.opens - refusal.now > 40 * 86_400_000 {
            return;
        }
        for i in self.open_calls() {
            self.die(i);
        }
        if refusal.opens - 2 > self.ledger.now() {
            self.ledger.set_us((refusal.opens - 2) * 1000 + 999);
            let early = self.admit(client, choices);
            assert!(early.is_some(), "to be refused until {}, but admitted 2 ms earlier: {refusal:?}", refusal.opens);
        }
        self.ledger.at(refusal.opens);
        let again = self.admit(client, choices);
        assert_eq!(again, None, "retried exactly at the instant of {refusal:?}");
        self.verified += 1;
    }

    /// Counts of every window by its key, as the provider counts. Client windows count the same arrivals.
    pub(super) fn counts(&self) -> BTreeMap<Key, (Win, Vec<Count>)> {
        let mut all: BTreeMap<Key, (Win, Vec<Count>)> = BTreeMap::new();
        for call in &self.calls {
            let Some(at) = call.arrived else { continue };
            for ((w, units), used) in call.lease.cand.windows.iter().zip(&call.lease.units).zip(&call.used) {
                let key = call.lease.cand.window_key(w);
                let fixed = w.limit.unit() == Unit::Request;
                let used = if fixed { *units } else { (*used).min(*units) };
                let count = Count { at, units: *units, ended: call.ended, used };
                all.entry(key).or_insert_with(|| (w.clone(), Vec::new())).1.push(count);
            }
            for w in &call.lease.client.windows {
                let key = self.ledger.client_key(&call.lease.client, w);
                let count = Count { at, units: 1, ended: call.ended, used: 1 };
                all.entry(key).or_insert_with(|| (w.clone(), Vec::new())).1.push(count);
            }
        }
        all
    }

    /// Asserts that no window was ever over its limit.
    pub(super) fn assert_within_limits(&self) {
        for (key, (w, counts)) in self.counts() {
            assert_within_limits(&key, &w, &counts);
        }
    }
}

/// All charges as text for the failure message, with instants in µs from the first.
fn listed(counts: &[Count]) -> String {
    let first = counts.iter().map(|c| c.at).min().unwrap_or(0);
    let mut sorted = counts.to_vec();
    sorted.sort_by_key(|c| c.at);
    let line = |c: &Count| {
        let ended = if c.ended == i64::MAX { "never".to_owned() } else { (c.ended - first).to_string() };
        format!("  at {} +{} ended {ended} as {}\n", c.at - first, c.units, c.used)
    };
    sorted.iter().map(line).collect()
}

/// Asserts that a window, as its provider counts it, was never over its limit.
pub(super) fn assert_within_limits(key: &str, w: &Win, counts: &[Count]) {
    let span = w.span_ms * 1000;
    let within =
        |held: i64, how: &str| assert!(held <= w.max, "{key}: {held} of {} ({how})\n{}", w.max, listed(counts));
    let corrected = counts.iter().any(|c| c.used != c.units);
    match w.kind {
        's' => {
            within(oracle::most_in_any_span(counts, span), "in a sliding span");
            for phase in [0, 1, span / 3, span - 1] {
                within(oracle::most_in_clock_windows(counts, span, phase), "in a clock window");
            }
            if !corrected {
                let over = oracle::bucket_overflow(counts, w.max, span, Credit::AtEnd);
                assert!(over <= 1e-6, "{key}: {over} over in a bucket fed by a sliding window");
            }
        }
        'm' => within(oracle::most_debited_in_any_span(counts, span), "debited in a sliding span"),
        'b' => {
            for credit in [Credit::AtEnd, Credit::Recount] {
                let over = oracle::bucket_overflow(counts, w.max, span, credit);
                assert!(over <= 1e-6, "{key}: {over} over a bucket of {} ({credit:?})\n{}", w.max, listed(counts));
            }
        }
        'c' => {
            let zone = &w.zone.as_ref().unwrap().name;
            for off in [-1_500_000, 0, 1_500_000] {
                within(oracle::most_in_a_day(counts, zone, off), "in a day");
            }
        }
        _ => within(oracle::most_open(counts), "at once"),
    }
}
