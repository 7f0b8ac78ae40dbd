//! The requests of this replica that wait in the queue, by ticket: when each is due to ask again, and how it learns its reply.
//!
//! Requests with the same candidates form a group. A group has one call in flight, which asks for all of its tickets that are
//! due; the rest follows in the next call.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::subject::Subject;
use crate::{
    domain::{Choice, Client, Tier},
    ledger::script::engine::{EngineError, Reply},
};

/// The most candidates in one call, over all of its tickets, which bounds its time.
const MAX_EVALUATIONS: usize = 40;
/// The most tickets in one call.
const MAX_TICKETS: usize = 20;
/// Clients whose first tickets are made due at a time.
const MAX_RECHECKED: usize = 200;
/// Notifications of tickets that are not here yet, because the reply that enqueued them has just arrived.
const MAX_EARLY: usize = 64;

/// A request with a ticket.
#[derive(Debug)]
pub(super) struct Waiting {
    pub id: Arc<str>,
    pub client: Client,
    pub choices: Vec<Choice>,
    pub tier: Tier,
    /// The end of its time to wait.
    pub deadline: Instant,
    /// As the last reply named it.
    pub place: Mutex<String>,
}

impl Waiting {
    pub(super) fn subject(&self) -> Subject<'_> {
        Subject { client: &self.client, choices: &self.choices, tier: self.tier }
    }

    /// Its candidates, by address: they live as long as the request.
    fn group(&self) -> Group {
        self.choices.iter().map(|choice| Arc::as_ptr(&choice.candidate) as usize).collect()
    }

    fn uses(&self, provider: &str) -> bool {
        self.choices.iter().any(|choice| &*choice.candidate.provider.id == provider)
    }
}

type Group = Arc<[usize]>;

/// What ends a wait.
#[derive(Debug)]
pub(super) enum Turn {
    /// The reply of a call for this ticket and others.
    Replied(Replied),
    /// The request is to ask by itself.
    Woken,
}

/// The part of a call's reply that concerns one ticket.
#[derive(Debug)]
pub(super) struct Replied {
    pub reply: Result<Reply, EngineError>,
    /// The epoch that the call named.
    pub epoch: Arc<str>,
    pub sent: Instant,
}

/// Position among the tickets of a group: when it is due, and its number.
type Position = (Instant, u64);

struct Entry {
    request: Arc<Waiting>,
    group: Group,
    number: u64,
    due: Instant,
    /// A call for it is in flight.
    is_asking: bool,
    /// It was notified of this instant since that call was sent, or while its request was calling by itself.
    notified: Option<Instant>,
    /// `None` while its request asks by itself.
    turn: Option<oneshot::Sender<Turn>>,
}

#[derive(Default)]
struct GroupState {
    due: BTreeSet<(Position, Arc<str>)>,
    is_asking: bool,
    /// All tickets of the last call were admitted: the number of tickets in the next one, due or not.
    more: usize,
    tickets: usize,
}

#[derive(Default)]
struct State {
    entries: HashMap<Arc<str>, Entry>,
    groups: HashMap<Group, GroupState>,
    numbers: u64,
    early: VecDeque<(String, i64)>,
    /// Clients that were rechecked so far.
    rechecked: usize,
}

impl State {
    /// Changes when a ticket that waits for its turn is due.
    fn set_due(&mut self, id: &str, due: Instant) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let group = self.groups.entry(entry.group.clone()).or_default();
        let id = entry.request.id.clone();
        group.due.remove(&((entry.due, entry.number), id.clone()));
        entry.due = due.min(entry.request.deadline);
        group.due.insert(((entry.due, entry.number), id));
    }

    /// A ticket may go at this instant.
    fn notify(&mut self, id: &str, at: Instant) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.is_asking || entry.turn.is_none() {
            entry.notified = Some(entry.notified.map_or(at, |earlier| earlier.min(at)));
        } else if at < entry.due {
            self.set_due(id, at);
        }
    }

    /// Ends the wait of a ticket, whose entry stays until its request removes it.
    fn end(&mut self, id: &str, turn: Turn) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Some(group) = self.groups.get_mut(&entry.group) {
            group.due.remove(&((entry.due, entry.number), entry.request.id.clone()));
        }
        entry.is_asking = false;
        if let Some(sender) = entry.turn.take() {
            // The request reads it, or finds it when it is dropped.
            let _ = sender.send(turn);
        }
    }
}

#[derive(Default)]
pub(crate) struct Waiters {
    state: Mutex<State>,
    changed: Notify,
}

impl std::fmt::Debug for Waiters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiters").field("tickets", &self.state.lock().entries.len()).finish_non_exhaustive()
    }
}

/// Tickets of one group for one call. A drop ends the call: whose reply did not come asks by itself.
pub(super) struct Batch {
    waiters: Arc<Waiters>,
    group: Group,
    pub requests: Vec<Arc<Waiting>>,
    admitted: usize,
}

impl Batch {
    /// The ticket goes on waiting.
    pub(super) fn waits(&mut self, id: &str, due: Instant) {
        let mut state = self.waiters.state.lock();
        let Some(entry) = state.entries.get_mut(id) else { return };
        entry.is_asking = false;
        let due = entry.notified.take().map_or(due, |notified| notified.min(due));
        state.set_due(id, due);
    }

    pub(super) fn replied(&mut self, id: &str, replied: Replied, is_admitted: bool) {
        self.admitted += usize::from(is_admitted);
        self.waiters.state.lock().end(id, Turn::Replied(replied));
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let mut state = self.waiters.state.lock();
        for request in &self.requests {
            if state.entries.get(&request.id).is_some_and(|entry| entry.is_asking) {
                state.end(&request.id, Turn::Woken);
            }
        }
        if let Some(group) = state.groups.get_mut(&self.group) {
            group.is_asking = false;
            group.more = if self.admitted == self.requests.len() { 2 * self.admitted } else { 0 };
            if group.tickets == 0 {
                state.groups.remove(&self.group);
            }
        }
        drop(state);
        self.waiters.changed.notify_one();
    }
}

impl Waiters {
    /// Waits from now on for the turn of a ticket, which is due at this instant. The ticket stays until [`Self::remove`].
    pub(super) fn wait(&self, request: &Arc<Waiting>, due: Instant, now_ms: i64) -> oneshot::Receiver<Turn> {
        let (sender, turn) = oneshot::channel();
        let mut state = self.state.lock();
        if let Some(entry) = state.entries.get_mut(&request.id) {
            entry.turn = Some(sender);
            let due = entry.notified.take().map_or(due, |notified| notified.min(due));
            state.set_due(&request.id, due);
        } else {
            state.numbers += 1;
            let (number, group) = (state.numbers, request.group());
            let entry = Entry {
                request: request.clone(),
                group: group.clone(),
                number,
                due,
                is_asking: false,
                notified: None,
                turn: Some(sender),
            };
            state.entries.insert(request.id.clone(), entry);
            state.groups.entry(group).or_default().tickets += 1;
            state.set_due(&request.id, due);
            let early = state.early.iter().position(|(id, _)| **id == *request.id);
            if let Some((_, at_ms)) = early.and_then(|index| state.early.remove(index)) {
                state.notify(&request.id, instant(at_ms, now_ms));
            }
        }
        drop(state);
        self.changed.notify_one();
        turn
    }

    /// Forgets a ticket. Returns whether a call for it is in flight.
    pub(super) fn remove(&self, id: &str) -> bool {
        let mut state = self.state.lock();
        let Some(entry) = state.entries.remove(id) else { return false };
        if let Some(group) = state.groups.get_mut(&entry.group) {
            group.due.remove(&((entry.due, entry.number), entry.request.id.clone()));
            group.tickets -= 1;
            if group.tickets == 0 && !group.is_asking {
                state.groups.remove(&entry.group);
            }
        }
        entry.is_asking
    }

    /// Lets a ticket's request ask by itself, unless a call for it is in flight.
    pub(super) fn wake(&self, id: &str) {
        let mut state = self.state.lock();
        if state.entries.get(id).is_some_and(|entry| !entry.is_asking) {
            state.end(id, Turn::Woken);
        }
    }

    /// Lets all requests ask by themselves.
    pub(in crate::ledger) fn wake_all(&self) {
        for id in self.tickets() {
            self.wake(&id);
        }
    }

    /// Handles a published notification: `ticket instant`, or `p:provider instant` for all tickets with a candidate there.
    /// `prefix`: that of the tickets of this replica.
    pub(super) fn notify(&self, message: &str, prefix: &str, now_ms: i64) {
        let Some((subject, at_ms)) = message.split_once(' ') else { return };
        let Ok(at_ms) = at_ms.parse() else { return };
        let at = instant(at_ms, now_ms);
        let mut state = self.state.lock();
        if let Some(provider) = subject.strip_prefix("p:") {
            let concerned = state.entries.values().filter(|entry| entry.request.uses(provider));
            for id in concerned.map(|entry| entry.request.id.clone()).collect::<Vec<_>>() {
                state.notify(&id, at);
            }
        } else if state.entries.contains_key(subject) {
            state.notify(subject, at);
        } else if subject.starts_with(prefix) {
            state.early.truncate(MAX_EARLY - 1);
            state.early.push_front((subject.to_owned(), at_ms));
            return;
        } else {
            return;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Makes the first ticket of each client due: the client may have come below its share meanwhile, which no notification
    /// reports. Of many clients some are rechecked each time.
    pub(super) fn recheck(&self) {
        let mut state = self.state.lock();
        let mut first = HashMap::<&str, (u64, &Arc<str>)>::new();
        for entry in state.entries.values().filter(|entry| entry.turn.is_some() && !entry.is_asking) {
            let own = first.entry(&entry.request.client.id).or_insert((entry.number, &entry.request.id));
            *own = (*own).min((entry.number, &entry.request.id));
        }
        let mut due: Vec<(u64, Arc<str>)> = first.into_values().map(|(number, id)| (number, id.clone())).collect();
        if due.is_empty() {
            return;
        }
        due.sort_unstable();
        let (clients, now) = (due.len(), Instant::now());
        due.rotate_left(state.rechecked % clients);
        state.rechecked = (state.rechecked + MAX_RECHECKED.min(clients)) % clients;
        for (_, id) in due.iter().take(MAX_RECHECKED) {
            state.notify(id, now);
        }
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn tickets(&self) -> Vec<Arc<str>> {
        self.state.lock().entries.keys().cloned().collect()
    }

    /// Tickets that are due, a batch for each group that has no call in flight.
    pub(super) fn take_due(self: &Arc<Self>, now: Instant) -> Vec<Batch> {
        let mut batches = Vec::new();
        let mut state = self.state.lock();
        let State { entries, groups, .. } = &mut *state;
        for (group, its) in groups {
            if its.is_asking || its.due.first().is_none_or(|((due, _), _)| *due > now) && its.more == 0 {
                continue;
            }
            let most = (MAX_EVALUATIONS / group.len().max(1)).clamp(1, MAX_TICKETS);
            let wanted = its.due.iter().take_while(|((due, _), _)| *due <= now).take(most).count();
            let mut requests = Vec::new();
            for _ in 0..wanted.max(its.more.min(most)) {
                let Some((_, id)) = its.due.pop_first() else { break };
                if let Some(entry) = entries.get_mut(&id) {
                    entry.is_asking = true;
                    requests.push(entry.request.clone());
                }
            }
            its.more = 0;
            if !requests.is_empty() {
                its.is_asking = true;
                batches.push(Batch { waiters: self.clone(), group: group.clone(), requests, admitted: 0 });
            }
        }
        batches
    }

    /// Waits until a ticket is due whose group has no call in flight.
    pub(super) async fn until_due(&self) {
        let changed = self.changed.notified();
        let next = {
            let state = self.state.lock();
            let idle = state.groups.values().filter(|group| !group.is_asking);
            idle.filter_map(|group| group.due.first().map(|((due, _), _)| *due)).min()
        };
        let Some(next) = next else { return changed.await };
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = changed => {}
        }
    }
}

/// The local instant of an instant of the ledger, whose clock shows `now_ms`.
fn instant(at_ms: i64, now_ms: i64) -> Instant {
    Instant::now() + Duration::from_millis(u64::try_from(at_ms.saturating_sub(now_ms)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Candidate, Charge, client::ClientKind},
        plan::test_support::candidate,
    };

    fn waiting(id: &str, candidate: &Arc<Candidate>) -> Arc<Waiting> {
        let choice = Choice { candidate: candidate.clone(), charge: Charge::default() };
        Arc::new(Waiting {
            id: id.into(),
            client: Client::new("ann", ClientKind::Registered, []),
            choices: vec![choice],
            tier: Tier::Standard,
            deadline: after(60_000),
            place: Mutex::default(),
        })
    }

    fn after(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    fn ids(batches: &[Batch]) -> Vec<Vec<&str>> {
        batches.iter().map(|batch| batch.requests.iter().map(|request| &*request.id).collect()).collect()
    }

    fn replied() -> Replied {
        Replied { reply: Ok(Reply::Nil), epoch: "e".into(), sent: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_has_one_call_in_flight_and_more_follow_while_all_are_admitted() {
        let (waiters, lab, other) =
            (Arc::new(Waiters::default()), candidate("lab/m").build(), candidate("b/m").build());
        let turns: Vec<_> = (0..6_u64)
            .map(|n| waiters.wait(&waiting(&format!("r{n}"), &lab), after(if n == 0 { 0 } else { 1_000 * n }), 0))
            .collect();
        let _of_other = waiters.wait(&waiting("r9", &other), after(0), 0);
        let mut batches = waiters.take_due(after(0));
        batches.sort_by_key(|batch| batch.requests[0].id.clone());
        assert_eq!(ids(&batches), [["r0"], ["r9"]]);
        assert!(waiters.take_due(after(9_000)).is_empty(), "both calls are in flight");
        let mut first = batches.remove(0);
        first.replied("r0", replied(), true);
        drop(first);
        let mut next = waiters.take_due(after(0));
        assert_eq!(ids(&next), [["r1", "r2"]], "twice as many, though none is due");
        let mut next = next.remove(0);
        next.replied("r1", replied(), true);
        next.waits("r2", after(500));
        drop(next);
        assert!(waiters.take_due(after(0)).is_empty(), "the last one was not admitted");
        let mut due = Vec::new();
        let began = Instant::now();
        while due.is_empty() {
            waiters.until_due().await;
            due = waiters.take_due(Instant::now());
        }
        assert_eq!((ids(&due), began.elapsed().as_millis() / 10), (vec![vec!["r2"]], 50));
        assert!(turns.into_iter().take(2).all(|mut turn| matches!(turn.try_recv(), Ok(Turn::Replied(_)))));
    }

    #[tokio::test(start_paused = true)]
    async fn whose_call_brings_no_reply_asks_by_itself_and_whose_caller_left_is_known_to_be_in_flight() {
        let (waiters, lab) = (Arc::new(Waiters::default()), candidate("lab/m").build());
        let (stays, leaves) = (waiting("r1", &lab), waiting("r2", &lab));
        let mut turn = waiters.wait(&stays, after(0), 0);
        drop(waiters.wait(&leaves, after(0), 0));
        let batches = waiters.take_due(after(0));
        assert_eq!(batches[0].requests.len(), 2);
        assert!(waiters.remove("r2") && !waiters.remove("r2"));
        waiters.wake_all();
        assert!(turn.try_recv().is_err(), "its reply is still expected");
        drop(batches);
        assert!(matches!(turn.try_recv(), Ok(Turn::Woken)));
        assert_eq!(waiters.tickets(), std::slice::from_ref(&stays.id), "the heartbeat keeps its ticket");
        assert!(!waiters.remove("r1") && waiters.state.lock().groups.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_ticket_of_each_client_is_rechecked() {
        let (waiters, lab) = (Arc::new(Waiters::default()), candidate("lab/m").build());
        let of = |id: &str, client: &str| {
            let mut request = Arc::into_inner(waiting(id, &lab)).unwrap();
            request.client = Client::new(client, ClientKind::Registered, []);
            Arc::new(request)
        };
        let requests = [of("r1", "ann"), of("r2", "ann"), of("r3", "bob")];
        let _turns = requests.each_ref().map(|request| waiters.wait(request, after(30_000), 0));
        assert!(waiters.take_due(after(0)).is_empty());
        waiters.recheck();
        assert_eq!(ids(&waiters.take_due(after(0))), [["r1", "r3"]]);
    }

    #[tokio::test(start_paused = true)]
    async fn notifications_bring_tickets_forward_whenever_they_come() {
        let (waiters, lab) = (Arc::new(Waiters::default()), candidate("lab/m").build());
        let due = |waiters: &Arc<Waiters>| ids(&waiters.take_due(after(0))).concat().join(" ");
        waiters.notify("r1 0", "r", 0);
        let _early = waiters.wait(&waiting("r1", &lab), after(5_000), 0);
        assert_eq!(due(&waiters), "r1", "notified just before its request waits");
        let request = waiting("r2", &lab);
        let _turn = waiters.wait(&request, after(5_000), 0);
        assert_eq!(due(&waiters), "");
        waiters.notify("p:other 0", "r", 0);
        waiters.notify("elsewhere 0", "r", 0);
        assert_eq!(due(&waiters), "");
        waiters.notify("p:lab 0", "r", 0);
        let mut batch = waiters.take_due(after(0)).remove(0);
        waiters.notify("r2 0", "r", 0);
        batch.waits("r2", after(5_000));
        drop(batch);
        assert_eq!(due(&waiters), "r2", "notified while its call was in flight");
    }
}
