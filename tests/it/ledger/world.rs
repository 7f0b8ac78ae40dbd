//! A ledger among providers: what was admitted, when it arrived, how it ended; and the judgement over all of it.

use std::collections::BTreeMap;

use tollfree::{domain::Unit, ledger::keys::Key};

use super::{
    oracle::{self, Count, Credit},
    rig::{Admit, Asker, Cand, End, LEASE_TTL, Lease, Refusal, SLACK, TestLedger, Win},
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

/// One call, from both sides.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub lease: Lease,
    /// µs; `None`: it never left.
    pub arrived: Option<i64>,
    pub ended: i64,
    /// What it turned out to use, per window.
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
    /// Refusals that were put to the test: asked again just before `e` and at `e`.
    pub tried: u32,
}

impl World {
    pub(super) fn new(cands: &[Cand], seed: u64) -> Self {
        Self { ledger: TestLedger::new(), cands: cands.to_vec(), dice: Dice::new(seed), calls: Vec::new(), tried: 0 }
    }

    /// How late this call reaches its provider, µs: at once, as late as we allow for, or something between.
    fn jitter(&mut self) -> i64 {
        match self.dice.roll(0, 3) {
            0 => 0,
            1 => SLACK * 1000,
            _ => self.dice.roll(0, SLACK * 1000 + 1),
        }
    }

    pub(super) fn admit(&mut self, asker: &Asker, choices: &[(&Cand, &[i64])]) -> Option<Refusal> {
        match self.ledger.admit(asker, choices) {
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
    pub(super) fn ask(&mut self, which: usize, units: &[i64]) -> Option<Refusal> {
        let cand = self.cands[which].clone();
        self.admit(&Asker::default(), &[(&cand, units)])
    }

    pub(super) fn open_calls(&self) -> Vec<usize> {
        (0..self.calls.len()).filter(|i| self.calls[*i].open).collect()
    }

    /// The answer has ended at its provider at some instant up to now; the ledger is told now.
    pub(super) fn settle(&mut self, i: usize, used: Option<Vec<i64>>) {
        let now = self.ledger.now_us();
        let call = &mut self.calls[i];
        call.open = false;
        let arrived = call.arrived.unwrap();
        if arrived >= now {
            // The caller left before the call had arrived: nothing is known of it, and it is not kept open there.
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

    /// It never left.
    pub(super) fn take_back(&mut self, i: usize) {
        let call = &mut self.calls[i];
        call.open = false;
        call.arrived = None;
        call.ended = self.ledger.now_us();
        self.ledger.settle(&call.lease.clone(), &End::not_sent());
    }

    /// Its replica died; the provider noticed at once.
    pub(super) fn die(&mut self, i: usize) {
        let call = &mut self.calls[i];
        call.open = false;
        call.ended = call.arrived.unwrap().max(call.renewed_ms * 1000);
    }

    /// Time passes; calls under way are renewed every ten seconds, and none is longer than `longest` calls ever are.
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
                    assert!(self.ledger.renew(&mut lease), "a lease renewed in time lives: {lease:?}");
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

    /// A refusal that claims to be exact is asked again: just before, and at its instant, when nobody else came.
    pub(super) fn hold_to(&mut self, refusal: &Refusal, asker: &Asker, choices: &[(&Cand, &[i64])]) {
        if !refusal.exact || refusal.opens - refusal.now > 40 * 86_400_000 {
            return;
        }
        for i in self.open_calls() {
            self.die(i);
        }
        if refusal.opens - 2 > self.ledger.now() {
            self.ledger.set_us((refusal.opens - 2) * 1000 + 999);
            let early = self.admit(asker, choices);
            assert!(early.is_some(), "told to wait until {}, admitted 2 ms sooner: {refusal:?}", refusal.opens);
        }
        self.ledger.at(refusal.opens);
        let again = self.admit(asker, choices);
        assert_eq!(again, None, "asked again at the very instant named by {refusal:?}");
        self.tried += 1;
    }

    /// What every window's provider counted, by the window's key; a client's own are counted by the same arrivals.
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
            for w in &call.lease.asker.windows {
                let key = self.ledger.client_key(&call.lease.asker, w);
                let count = Count { at, units: 1, ended: call.ended, used: 1 };
                all.entry(key).or_insert_with(|| (w.clone(), Vec::new())).1.push(count);
            }
        }
        all
    }

    /// No window of any provider ever held more than it allows.
    pub(super) fn judge(&self) {
        for (key, (w, counts)) in self.counts() {
            judge(&key, &w, &counts);
        }
    }
}

/// The list of all charges, for whoever reads a failure: instants in µs from the first.
fn told(counts: &[Count]) -> String {
    let first = counts.iter().map(|c| c.at).min().unwrap_or(0);
    let mut sorted = counts.to_vec();
    sorted.sort_by_key(|c| c.at);
    let line = |c: &Count| {
        let ended = if c.ended == i64::MAX { "never".to_owned() } else { (c.ended - first).to_string() };
        format!("  at {} +{} ended {ended} as {}\n", c.at - first, c.units, c.used)
    };
    sorted.iter().map(line).collect()
}

/// No more than the window allows, as its provider counts.
pub(super) fn judge(key: &str, w: &Win, counts: &[Count]) {
    let span = w.span_ms * 1000;
    let within = |held: i64, how: &str| assert!(held <= w.max, "{key}: {held} of {} ({how})\n{}", w.max, told(counts));
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
                assert!(over <= 1e-6, "{key}: {over} over a bucket of {} ({credit:?})\n{}", w.max, told(counts));
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
