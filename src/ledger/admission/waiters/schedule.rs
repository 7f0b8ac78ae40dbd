//! When each ticket of this replica is due to ask again, by group of requests with the same candidates.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use tokio::{sync::oneshot, time::Instant};

use super::{Turn, Waiting};

/// The candidates of a request, by address.
pub(super) type Group = Arc<[usize]>;

/// Position among the tickets of a group: when it is due, and its number.
type Position = (Instant, u64);

pub(super) struct Entry {
    pub request: Arc<Waiting>,
    pub group: Group,
    pub number: u64,
    pub due: Instant,
    /// A call for it is in flight.
    pub is_asking: bool,
    /// It was notified of this instant since that call was sent, or while its request was calling by itself.
    pub notified: Option<Instant>,
    /// `None` while its request asks by itself.
    pub turn: Option<oneshot::Sender<Turn>>,
}

#[derive(Default)]
pub(super) struct GroupState {
    pub due: BTreeSet<(Position, Arc<str>)>,
    pub is_asking: bool,
    /// All tickets of the last call were admitted: the number of tickets in the next one, due or not.
    pub more: usize,
    pub tickets: usize,
}

#[derive(Default)]
pub(super) struct State {
    pub entries: HashMap<Arc<str>, Entry>,
    pub groups: HashMap<Group, GroupState>,
    pub numbers: u64,
    pub early: VecDeque<(String, i64)>,
    /// Clients that were rechecked so far.
    pub rechecked: usize,
}

impl State {
    /// Changes when a ticket that waits for its turn is due.
    pub(super) fn set_due(&mut self, id: &str, due: Instant) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let group = self.groups.entry(entry.group.clone()).or_default();
        let id = entry.request.id.clone();
        group.due.remove(&((entry.due, entry.number), id.clone()));
        entry.due = due.min(entry.request.deadline);
        group.due.insert(((entry.due, entry.number), id));
    }

    /// A ticket may go at this instant.
    pub(super) fn notify(&mut self, id: &str, at: Instant) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.is_asking || entry.turn.is_none() {
            entry.notified = Some(entry.notified.map_or(at, |earlier| earlier.min(at)));
        } else if at < entry.due {
            self.set_due(id, at);
        }
    }

    /// Ends the wait of a ticket, whose entry stays until its request removes it.
    pub(super) fn end(&mut self, id: &str, turn: Turn) {
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
