//! Script arguments of a candidate that never change between calls, encoded once.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::{
    encode,
    keys::{Key, Keys},
};
use crate::domain::{Candidate, Window};

/// The keys and encoded arguments of one candidate.
#[derive(Debug)]
pub(crate) struct EncodedCandidate {
    /// Key of the fair shares of its wait queue.
    pub shares: Key,
    /// Keys of its windows, in their order.
    pub windows: Vec<Key>,
    /// Fields of `health`, model and queue scope, each followed by a tab: `p:… b:… k:… m:… a:… model scope`.
    fields: String,
    /// The part of each window that [`encode::window_head`] writes.
    heads: Vec<String>,
}

impl EncodedCandidate {
    fn new(keys: &Keys, candidate: &Candidate) -> Self {
        let (p, m, a, k) = (&*candidate.provider.id, &*candidate.model.id, &*candidate.account.id, &*candidate.key.id);
        let scope = if candidate.queues_by_account() { 'a' } else { 'm' };
        Self {
            shares: keys.shares(candidate),
            windows: candidate.windows.iter().map(|window| keys.window(candidate, window)).collect(),
            fields: format!("p:{p}\tb:{p}/{m}\tk:{p}/{k}\tm:{p}/{a}/{m}\ta:{p}/{a}\t{m}\t{scope}\t"),
            heads: candidate.windows.iter().map(encode::window_head).collect(),
        }
    }

    /// Appends every window of the candidate with the units that `units` returns for it.
    pub(crate) fn push_windows(
        &self,
        text: &mut String,
        candidate: &Candidate,
        now_ms: i64,
        units: impl Fn(&Window) -> i64,
    ) {
        for (head, window) in self.heads.iter().zip(&*candidate.windows) {
            text.push_str(head);
            encode::push_window_tail(text, window, units(window), now_ms);
        }
    }

    /// The argument that `admit` and `settle` read for one candidate: fields of `health`, then its windows.
    pub(crate) fn candidate(&self, candidate: &Candidate, now_ms: i64, units: impl Fn(&Window) -> i64) -> Bytes {
        let heads: usize = self.heads.iter().map(|head| head.len() + 12).sum();
        let mut text = String::with_capacity(self.fields.len() + heads);
        text.push_str(&self.fields);
        self.push_windows(&mut text, candidate, now_ms, units);
        Bytes::from(text)
    }
}

/// Encoded candidates, by the address of the candidate.
#[derive(Default)]
pub(crate) struct ArgCache(RwLock<FxHashMap<usize, Entry>>);

struct Entry {
    /// Keeps the allocation, so that no other candidate gets the same address while the entry exists.
    candidate: Weak<Candidate>,
    encoded: Arc<EncodedCandidate>,
}

impl ArgCache {
    pub(crate) fn get(&self, keys: &Keys, candidate: &Arc<Candidate>) -> Arc<EncodedCandidate> {
        let address = Arc::as_ptr(candidate) as usize;
        if let Some(entry) = self.0.read().get(&address) {
            return entry.encoded.clone();
        }
        let encoded = Arc::new(EncodedCandidate::new(keys, candidate));
        let mut cache = self.0.write();
        // A reload of the catalogue makes new candidates: drop the entries of the old ones.
        cache.retain(|_, entry| entry.candidate.strong_count() > 0);
        cache.insert(address, Entry { candidate: Arc::downgrade(candidate), encoded: encoded.clone() });
        encoded
    }
}
