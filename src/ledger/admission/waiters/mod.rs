//! The requests of this replica that wait in the queue, by ticket: when each is due to ask again, and how it learns its reply.
//!
//! Requests with the same candidates form a group. A group has one call in flight, which asks for all of its tickets that are
//! due; the rest follows in the next call.

mod schedule;

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use self::schedule::{Entry, Group, State};
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
mod tests;
