//! A simulation of the wait queue: callers arrive, wait, are notified, are admitted, give up, or die with their
//! replica. It processes one event at a time, on a clock that only the test moves.

use std::collections::{BTreeMap, BTreeSet};

use tollfree::ledger::keys::Key;

use super::{
    oracle::Count,
    rig::{Admit, Asker, Cand, End, Lease, Refusal, TestLedger, WaitRequest},
    world::judge,
};

/// One caller: what it wants, and what became of it.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub asker: Asker,
    pub choices: Vec<(Cand, Vec<i64>)>,
    pub came_ms: i64,
    pub wait_ms: i64,
    /// How long its answer takes, ms.
    pub life_ms: i64,
    /// What it then has used; `None`: as charged.
    pub used: Option<Vec<i64>>,
    pub leaves_ms: Option<i64>,
    pub dies_ms: Option<i64>,
    pub next_ms: Option<i64>,
    pub is_queued: bool,
    pub asked: u32,
    pub went_ms: Option<i64>,
    pub refused: Option<(i64, Refusal)>,
    pub shut_out: bool,
    pub lease: Option<Lease>,
}

impl Caller {
    pub(super) fn new(asker: &Asker, choices: &[(&Cand, &[i64])]) -> Self {
        Self {
            asker: asker.clone(),
            choices: choices.iter().map(|(c, u)| ((*c).clone(), u.to_vec())).collect(),
            came_ms: 0,
            wait_ms: 120_000,
            life_ms: 500,
            used: None,
            leaves_ms: None,
            dies_ms: None,
            next_ms: None,
            is_queued: false,
            asked: 0,
            went_ms: None,
            refused: None,
            shut_out: false,
            lease: None,
        }
    }

    pub(super) fn waiting(self, wait_ms: i64) -> Self {
        Self { wait_ms, ..self }
    }

    pub(super) fn is_over(&self) -> bool {
        self.next_ms.is_none()
    }
}

/// What happens next, to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Ask,
    End,
    Leave,
    Stay,
}

pub(super) struct QueueSimulation {
    pub ledger: TestLedger,
    pub callers: BTreeMap<String, Caller>,
    /// Who still waits, or has an answer under way.
    active: BTreeSet<String>,
    pub lose_knocks: bool,
    stay_ms: i64,
    pub counts: BTreeMap<Key, Vec<Count>>,
    windows: BTreeMap<Key, super::rig::Win>,
}

impl QueueSimulation {
    pub(super) fn new() -> Self {
        let ledger = TestLedger::new();
        let stay_ms = ledger.now() + 1_000;
        Self {
            ledger,
            callers: BTreeMap::new(),
            active: BTreeSet::new(),
            lose_knocks: false,
            stay_ms,
            counts: BTreeMap::new(),
            windows: BTreeMap::new(),
        }
    }

    /// A caller that comes at `at` ms from now. Returns its name.
    pub(super) fn comes(&mut self, at: i64, caller: Caller) -> String {
        let id = self.ledger.fresh_id();
        let came_ms = self.ledger.now() + at;
        self.active.insert(id.clone());
        self.callers.insert(id.clone(), Caller { came_ms, next_ms: Some(came_ms), ..caller });
        id
    }

    fn next(&self) -> Option<(i64, Event, String)> {
        let mut best: Option<(i64, Event, &str)> = None;
        let mut anybody = false;
        for id in &self.active {
            let caller = &self.callers[id];
            let mut offer = |at: i64, event: Event| {
                if best.is_none_or(|(b, _, _)| at < b) {
                    best = Some((at, event, id.as_str()));
                }
            };
            if let Some(lease) = &caller.lease {
                offer(lease.granted_ms + caller.life_ms, Event::End);
            }
            let Some(next) = caller.next_ms else { continue };
            anybody |= caller.is_queued;
            if let Some(leaves) = caller.leaves_ms.filter(|leaves| caller.is_queued && *leaves <= next) {
                offer(leaves, Event::Leave);
            } else if caller.dies_ms.is_none_or(|dies| next < dies) {
                offer(next, Event::Ask);
            }
        }
        if anybody && best.is_none_or(|(b, _, _)| self.stay_ms < b) {
            return Some((self.stay_ms, Event::Stay, String::new()));
        }
        best.map(|(at, event, id)| (at, event, id.to_owned()))
    }

    /// Lets everything happen up to `ms` from now.
    pub(super) fn pass(&mut self, ms: i64) {
        let until = self.ledger.now() + ms;
        while let Some((at, event, id)) = self.next().filter(|(at, _, _)| *at <= until) {
            if at > self.ledger.now() {
                self.ledger.at(at);
            }
            match event {
                Event::Ask => self.ask(&id),
                Event::End => self.end(&id),
                Event::Leave => {
                    self.ledger.leave(&id);
                    let caller = self.callers.get_mut(&id).unwrap();
                    (caller.next_ms, caller.is_queued) = (None, false);
                }
                Event::Stay => self.stay(),
            }
            self.hear();
            if self.callers.get(&id).is_some_and(|c| c.is_over() && c.lease.is_none()) {
                self.active.remove(&id);
            }
        }
        self.ledger.at(until);
    }

    /// Until nobody waits any more; at most `ms`.
    pub(super) fn pass_until_over(&mut self, ms: i64) {
        let until = self.ledger.now() + ms;
        while self.active.iter().map(|id| &self.callers[id]).any(|c| !c.is_over() && c.dies_ms.is_none())
            && self.ledger.now() < until
        {
            self.pass(1_000);
        }
    }

    fn stay(&mut self) {
        let now = self.ledger.now();
        let alive = |c: &Caller| c.is_queued && !c.is_over() && c.dies_ms.is_none_or(|dies| now < dies);
        let ids: Vec<&str> = self.active.iter().map(String::as_str).filter(|id| alive(&self.callers[*id])).collect();
        if !ids.is_empty() {
            self.ledger.stay(&ids);
        }
        self.stay_ms = now + 1_000;
    }

    fn hear(&mut self) {
        let now = self.ledger.now();
        for (id, at) in self.ledger.knocks() {
            if let Some(caller) = self.callers.get_mut(&id)
                && !self.lose_knocks
                && let Some(next) = &mut caller.next_ms
            {
                *next = (*next).min(at.max(now));
            }
        }
    }

    fn ask(&mut self, id: &str) {
        let now = self.ledger.now();
        let caller = self.callers.get_mut(id).unwrap();
        caller.asked += 1;
        let left = if caller.wait_ms > 0 { (caller.came_ms + caller.wait_ms - now).max(0) } else { caller.wait_ms };
        let wish = WaitRequest { wait_ms: left, again: caller.is_queued };
        let choices: Vec<(&Cand, &[i64])> = caller.choices.iter().map(|(c, u)| (c, &u[..])).collect();
        match self.ledger.admit_in_line(id, &caller.asker, &choices, wish) {
            Admit::Go(lease) => {
                caller.went_ms = Some(now);
                (caller.next_ms, caller.is_queued) = (None, false);
                for (w, units) in lease.cand.windows.iter().zip(&lease.units) {
                    let key = lease.cand.window_key(w);
                    let counts = self.counts.entry(key.clone()).or_default();
                    counts.push(Count { at: now * 1000, units: *units, ended: i64::MAX, used: *units });
                    self.windows.insert(key, w.clone());
                }
                caller.lease = Some(lease);
            }
            Admit::Wait(e) => {
                assert!(e > now, "told to ask again at {e}, now {now}");
                caller.is_queued = true;
                caller.next_ms = Some(e.min(caller.came_ms + caller.wait_ms).max(now + 1));
            }
            Admit::No(refusal) => {
                caller.refused = Some((now, refusal));
                (caller.next_ms, caller.is_queued) = (None, false);
            }
            Admit::Changed => {
                caller.shut_out = true;
                (caller.next_ms, caller.is_queued) = (None, false);
            }
            other => panic!("admit answered {other:?}"),
        }
    }

    fn end(&mut self, id: &str) {
        let now = self.ledger.now();
        let caller = self.callers.get_mut(id).unwrap();
        let lease = caller.lease.take().unwrap();
        let end = End { used: caller.used.clone(), ..End::verdict("good", "good") };
        for (i, (w, units)) in lease.cand.windows.iter().zip(&lease.units).enumerate() {
            let used = caller.used.as_ref().map_or(-1, |used| used[i]);
            let counts = self.counts.get_mut(&lease.cand.window_key(w)).unwrap();
            let at = lease.granted_ms * 1000;
            let mine = counts.iter_mut().find(|c| c.at == at && c.ended == i64::MAX && c.units == *units);
            if let Some(count) = mine {
                (count.ended, count.used) = (now * 1000, if used < 0 { *units } else { used });
            }
        }
        self.ledger.close(&lease, &end);
    }

    /// Never over, as every window's provider counts.
    pub(super) fn judge(&self) {
        for (key, w) in &self.windows {
            judge(key, w, &self.counts[key]);
        }
    }

    /// Instants at which these went, in the order of their coming; `None`: not (yet).
    pub(super) fn went(&self, ids: &[String]) -> Vec<Option<i64>> {
        ids.iter().map(|id| self.callers[id].went_ms).collect()
    }
}
