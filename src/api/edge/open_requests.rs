//! The requests that a replica has at a time, with shares: no client takes more than half of them, and callers that are not known
//! yet take a quarter, so that whoever sends requests without a key, or with slow bodies, leaves room to others.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;

/// A client's part of all requests.
const OF_A_CLIENT: usize = 2;
/// The part of all callers that are not known.
const OF_UNIDENTIFIED: usize = 4;

/// Requests at a time, with those whose bodies are still to come.
#[derive(Default)]
pub(crate) struct OpenRequests(Mutex<Open>);

#[derive(Default)]
struct Open {
    total: usize,
    unidentified: usize,
    by_client: HashMap<Arc<str>, usize>,
}

/// One of them, until it is dropped.
pub(crate) struct OpenRequest {
    requests: Arc<OpenRequests>,
    /// How many there may be.
    max: usize,
    /// Set once the caller is known.
    client: OnceLock<Arc<str>>,
}

impl OpenRequests {
    /// Counts a request of a caller that is not known yet. `None`: there are `max` requests, or too many of such callers.
    pub(crate) fn open(self: &Arc<Self>, max: usize) -> Option<Arc<OpenRequest>> {
        let mut open = self.0.lock();
        if open.total >= max || open.unidentified >= max.div_ceil(OF_UNIDENTIFIED) {
            return None;
        }
        open.total += 1;
        open.unidentified += 1;
        Some(Arc::new(OpenRequest { requests: self.clone(), max, client: OnceLock::new() }))
    }
}

impl OpenRequest {
    /// Counts the request as this client's. `false`: the client has its share already.
    pub(crate) fn belongs_to(&self, client: &Arc<str>) -> bool {
        let mut open = self.requests.0.lock();
        if self.client.get().is_some() {
            return true;
        }
        let of_client = open.by_client.get(client).copied().unwrap_or(0);
        if of_client >= self.max.div_ceil(OF_A_CLIENT) || self.client.set(client.clone()).is_err() {
            return false;
        }
        open.unidentified -= 1;
        open.by_client.insert(client.clone(), of_client + 1);
        true
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut open = self.requests.0.lock();
        open.total -= 1;
        let Some(client) = self.client.get() else {
            open.unidentified -= 1;
            return;
        };
        match open.by_client.get_mut(client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.by_client.remove(client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_client_nor_callers_without_a_name_take_all_requests() {
        let requests = Arc::new(OpenRequests::default());
        let unidentified: Vec<_> = std::iter::from_fn(|| requests.open(8)).collect();
        assert_eq!(unidentified.len(), 2, "a quarter");
        drop(unidentified);
        let of = |client: &str| {
            let request = requests.open(8)?;
            request.belongs_to(&client.into()).then_some(request)
        };
        let ann: Vec<_> = std::iter::from_fn(|| of("ann")).collect();
        assert_eq!(ann.len(), 4, "a half");
        assert!(ann[0].belongs_to(&"ann".into()), "it is counted once");
        let bob: Vec<_> = std::iter::from_fn(|| of("bob")).collect();
        assert_eq!(bob.len(), 4);
        assert!(requests.open(8).is_none(), "all are taken");
        drop((ann, bob));
        let open = requests.0.lock();
        assert_eq!((open.total, open.unidentified, open.by_client.len()), (0, 0, 0));
    }
}
