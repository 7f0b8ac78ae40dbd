//! What stays the same in every call for a candidate, put into words once: its keys, its fields, the heads of its windows.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use crate::domain::{Candidate, Window};
use crate::ledger::script::{
    encode,
    keys::{Key, Keys},
};

/// A candidate as the scripts know it.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The shares of its line.
    pub shares: Key,
    /// One of each window, in order.
    pub windows: Vec<Key>,
    /// Its fields of `health`, its model and whose its line is, each with a tab behind it: `p:… b:… k:… m:… a:… model
    /// scope`.
    fields: String,
    /// `limit kind max span ` of each window; without the span where it is a calendar's.
    heads: Vec<String>,
}

impl Packed {
    fn new(keys: &Keys, candidate: &Candidate) -> Self {
        let (p, m, a, k) = (&*candidate.provider.id, &*candidate.model.id, &*candidate.account.id, &*candidate.key.id);
        let scope = if candidate.lines_up_by_account() { 'a' } else { 'm' };
        Self {
            shares: keys.shares(candidate),
            windows: candidate.windows.iter().map(|window| keys.window(candidate, window)).collect(),
            fields: format!("p:{p}\tb:{p}/{m}\tk:{p}/{k}\tm:{p}/{a}/{m}\ta:{p}/{a}\t{m}\t{scope}\t"),
            heads: candidate.windows.iter().map(encode::head).collect(),
        }
    }

    /// Appends every window of the candidate; `units` says how many of each.
    pub fn push_windows(&self, text: &mut String, candidate: &Candidate, now_ms: i64, units: impl Fn(&Window) -> i64) {
        for (head, window) in self.heads.iter().zip(&*candidate.windows) {
            text.push_str(head);
            encode::push_tail(text, window, units(window), now_ms);
        }
    }

    /// One candidate as `admit` and `settle` read it: the fields of `health` to look at, then its windows.
    pub fn candidate(&self, candidate: &Candidate, now_ms: i64, units: impl Fn(&Window) -> i64) -> Bytes {
        let heads: usize = self.heads.iter().map(|head| head.len() + 12).sum();
        let mut text = String::with_capacity(self.fields.len() + heads);
        text.push_str(&self.fields);
        self.push_windows(&mut text, candidate, now_ms, units);
        Bytes::from(text)
    }
}

/// Of every candidate that was asked for, by where it lies.
#[derive(Default)]
pub(crate) struct Book(RwLock<FxHashMap<usize, Entry>>);

struct Entry {
    /// While this points to it, no other candidate can lie there.
    candidate: Weak<Candidate>,
    packed: Arc<Packed>,
}

impl Book {
    pub fn of(&self, keys: &Keys, candidate: &Arc<Candidate>) -> Arc<Packed> {
        let place = Arc::as_ptr(candidate) as usize;
        if let Some(entry) = self.0.read().get(&place) {
            return entry.packed.clone();
        }
        let packed = Arc::new(Packed::new(keys, candidate));
        let mut book = self.0.write();
        // A reload brings other candidates; those of before go when nobody holds them any more.
        book.retain(|_, entry| entry.candidate.strong_count() > 0);
        book.insert(place, Entry { candidate: Arc::downgrade(candidate), packed: packed.clone() });
        packed
    }
}
