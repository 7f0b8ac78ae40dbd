//! A simulation of the wait queue: callers arrive, wait, are notified, are admitted, give up, or die with their
//! replica. It processes one event at a time, on a clock that only the test moves.

use std::collections::{BTreeMap, BTreeSet};

use tollfree::ledger::keys::Key;

use super::{
    oracle::Count,
    rig::{Admit, Asking, Cand, End, Lease, Refusal, TestClient, TestLedger, WaitRequest},
    world::assert_within_limits,
};

/// One caller: its request and its outcome.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub client: TestClient,
    pub choices: Vec<(Cand, Vec<i64>)>,
    pub came_ms: i64,
    pub wait_ms: i64,
    /// Duration of its reply, ms.
    pub life_ms: i64,
    /// Units used by then; `None` if as charged.
    pub used: Option<Vec<i64>>,
    pub leaves_ms: Option<i64>,
    pub dies_ms: Option<i64>,
    pub next_ms: Option<i64>,
    pub is_queued: bool,
    pub attempts: u32,
    pub went_ms: Option<i64>,
    pub refused: Option<(i64, Refusal)>,
    pub client_changed: bool,
    pub lease: Option<Lease>,
}

impl Caller {
    pub(super) fn new(client: &TestClient, choices: &[(&Cand, &[i64])]) -> Self {
        Self {
            client: client.clone(),
            choices: choices.iter().map(|(c, u)| ((*c).clone(), u.to_vec())).collect(),
            came_ms: 0,
            wait_ms: 120_000,
            life_ms: 500,
            used: None,
            leaves_ms: None,
            dies_ms: None,
            next_ms: None,
            is_queued: false,
            attempts: 0,
            went_ms: None,
            refused: None,
            client_changed: false,
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

/// The next event of a caller, or of all waiting ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Request,
    End,
    Leave,
    Heartbeat,
}

/// More events than this at one instant are callers that notify each other without end: histories of 120 stay below 50.
const MOST_EVENTS_AT_ONCE: u32 = 1_000;

pub(super) struct QueueSimulation {
    pub ledger: TestLedger,
    pub callers: BTreeMap<String, Caller>,
    /// Callers that wait or have a reply in flight.
    active: BTreeSet<String>,
    pub lose_notifications: bool,
    /// One call for all tickets that are due, as a replica sends it; otherwise one for each.
    pub lists: bool,
    heartbeat_ms: i64,
    pub counts: BTreeMap<Key, Vec<Count>>,
    windows: BTreeMap<Key, super::rig::Win>,
}

impl QueueSimulation {
    pub(super) fn new() -> Self {
        let ledger = TestLedger::new();
        let heartbeat_ms = ledger.now() + 1_000;
        Self {
            ledger,
            callers: BTreeMap::new(),
            active: BTreeSet::new(),
            lose_notifications: false,
            lists: true,
            heartbeat_ms,
            counts: BTreeMap::new(),
            windows: BTreeMap::new(),
        }
    }

    /// Adds a caller that arrives in `at` ms. Returns its name.
    pub(super) fn arrive(&mut self, at: i64, caller: Caller) -> String {
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
                offer(next, Event::Request);
            }
        }
        if anybody && best.is_none_or(|(b, _, _)| self.heartbeat_ms < b) {
            return Some((self.heartbeat_ms, Event::Heartbeat, String::new()));
        }
        best.map(|(at, event, id)| (at, event, id.to_owned()))
    }

    /// Processes all events of the next `ms`.
    pub(super) fn pass(&mut self, ms: i64) {
        let until = self.ledger.now() + ms;
        let mut events = 0;
        while let Some((at, event, id)) = self.next().filter(|(at, _, _)| *at <= until) {
            if at > self.ledger.now() {
                self.ledger.at(at);
                events = 0;
            }
            events += 1;
            assert!(events < MOST_EVENTS_AT_ONCE, "callers notify each other without end, now {event:?} of {id}");
            match event {
                Event::Request => self.request(&id),
                Event::End => self.end(&id),
                Event::Leave => {
                    self.ledger.leave(&id);
                    let caller = self.callers.get_mut(&id).unwrap();
                    (caller.next_ms, caller.is_queued) = (None, false);
                }
                Event::Heartbeat => self.heartbeat(),
            }
            self.receive_notifications();
            if self.callers.get(&id).is_some_and(|c| c.is_over() && c.lease.is_none()) {
                self.active.remove(&id);
            }
        }
        self.ledger.at(until);
    }

    /// Processes events until no caller waits, at most for `ms`.
    pub(super) fn pass_until_over(&mut self, ms: i64) {
        let until = self.ledger.now() + ms;
        while self.active.iter().map(|id| &self.callers[id]).any(|c| !c.is_over() && c.dies_ms.is_none())
            && self.ledger.now() < until
        {
            self.pass(1_000);
        }
    }

    fn heartbeat(&mut self) {
        let now = self.ledger.now();
        let alive = |c: &Caller| c.is_queued && !c.is_over() && c.dies_ms.is_none_or(|dies| now < dies);
        let ids: Vec<&str> = self.active.iter().map(String::as_str).filter(|id| alive(&self.callers[*id])).collect();
        if !ids.is_empty() {
            self.ledger.heartbeat(&ids);
        }
        self.heartbeat_ms = now + 1_000;
        // A replica makes the first ticket of each client due.
        let mut first = BTreeMap::new();
        for id in self.active.iter().filter(|id| self.lists && alive(&self.callers[*id])) {
            first.entry(self.callers[id].client.id.clone()).or_insert_with(|| id.clone());
        }
        for id in first.into_values() {
            let next = &mut self.callers.get_mut(&id).unwrap().next_ms;
            *next = next.map(|next| next.min(now + 1));
        }
    }

    fn receive_notifications(&mut self) {
        let now = self.ledger.now();
        let notify = |caller: &mut Caller, at: i64| {
            if let Some(next) = &mut caller.next_ms {
                *next = (*next).min(at.max(now));
            }
        };
        for (id, at) in self.ledger.notifications() {
            if self.lose_notifications {
                continue;
            }
            if let Some(provider) = id.strip_prefix("p:") {
                let uses = |caller: &Caller| caller.choices.iter().any(|(cand, _)| cand.provider == provider);
                self.callers.values_mut().filter(|c| c.is_queued && uses(c)).for_each(|caller| notify(caller, at));
            } else if let Some(caller) = self.callers.get_mut(&id) {
                notify(caller, at);
            }
        }
    }

    fn request(&mut self, id: &str) {
        let caller = self.callers.get_mut(id).unwrap();
        caller.attempts += 1;
        let caller = caller.clone();
        if self.lists && caller.is_queued {
            return self.request_list(id, &caller);
        }
        let wait = WaitRequest { wait_ms: self.left(&caller), again: caller.is_queued };
        let choices: Vec<(&Cand, &[i64])> = caller.choices.iter().map(|(c, u)| (c, &u[..])).collect();
        let admit = self.ledger.admit_queued(id, &caller.client, &choices, wait);
        self.handle(id, admit);
    }

    fn left(&self, caller: &Caller) -> i64 {
        if caller.wait_ms > 0 { (caller.came_ms + caller.wait_ms - self.ledger.now()).max(0) } else { caller.wait_ms }
    }

    /// Asks for a ticket, for others with the same candidates that are due, and for two that are not.
    fn request_list(&mut self, id: &str, first: &Caller) {
        let now = self.ledger.now();
        let is_same = |a: &Cand, b: &Cand| {
            (&a.provider, &a.model, &a.account, &a.key) == (&b.provider, &b.model, &b.account, &b.key)
        };
        let is_grouped = |caller: &Caller| {
            caller.choices.len() == first.choices.len()
                && caller.choices.iter().zip(&first.choices).all(|((a, _), (b, _))| is_same(a, b))
        };
        let is_waiting = |c: &Caller| c.is_queued && !c.is_over() && c.dies_ms.is_none_or(|dies| now < dies);
        let others = self.active.iter().filter(|other| *other != id).map(|other| (&self.callers[other], other));
        let mut others: Vec<(i64, String)> = others
            .filter(|(caller, _)| is_waiting(caller) && is_grouped(caller))
            .map(|(caller, other)| (caller.next_ms.unwrap(), other.clone()))
            .collect();
        others.sort();
        let due = others.iter().filter(|(next, _)| *next <= now).count();
        others.truncate((due + 2).min(23));
        let ids: Vec<String> = [id.to_owned()].into_iter().chain(others.into_iter().map(|(_, id)| id)).collect();
        let callers: Vec<Caller> = ids.iter().map(|id| self.callers[id].clone()).collect();
        let asking = |(id, caller)| {
            let caller: &Caller = caller;
            let choices = caller.choices.iter().map(|(c, u)| (c, &u[..])).collect();
            Asking { id, client: &caller.client, choices, wait_ms: self.left(caller) }
        };
        let tickets: Vec<Asking<'_>> = ids.iter().map(String::as_str).zip(&callers).map(asking).collect();
        for (id, admit) in ids.iter().zip(self.ledger.admit_list(&tickets)) {
            if let Admit::NoTicket = admit {
                // It asks by itself, and is enqueued again.
                self.callers.get_mut(id).unwrap().is_queued = false;
                self.callers.get_mut(id).unwrap().next_ms = Some(now);
            } else {
                self.handle(id, admit);
            }
            if self.callers.get(id).is_some_and(|c| c.is_over() && c.lease.is_none()) {
                self.active.remove(id);
            }
        }
    }

    fn handle(&mut self, id: &str, admit: Admit) {
        let now = self.ledger.now();
        let caller = self.callers.get_mut(id).unwrap();
        match admit {
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
                assert!(e > now, "the next try must be in the future: {e}, now {now}");
                caller.is_queued = true;
                caller.next_ms = Some(e.min(caller.came_ms + caller.wait_ms).max(now + 1));
            }
            Admit::No(refusal) => {
                caller.refused = Some((now, refusal));
                (caller.next_ms, caller.is_queued) = (None, false);
            }
            Admit::Changed => {
                caller.client_changed = true;
                (caller.next_ms, caller.is_queued) = (None, false);
            }
            other => panic!("unexpected reply of admit: {other:?}"),
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

    /// Asserts that no window, as its provider counts it, was over its limit.
    pub(super) fn assert_within_limits(&self) {
        for (key, w) in &self.windows {
            assert_within_limits(key, w, &self.counts[key]);
        }
    }

    /// Instants at which these callers were admitted, in the order of `ids`; `None` if not admitted.
    pub(super) fn went(&self, ids: &[String]) -> Vec<Option<i64>> {
        ids.iter().map(|id| self.callers[id].went_ms).collect()
    }
}
