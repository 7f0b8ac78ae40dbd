//! Refusals by a client's own quota, repeated from memory while they are true: a client that goes on sending costs the ledger a
//! few calls a second.
//!
//! Up to [`FROM_THE_LEDGER`] refusals a second are the ledger's own, so that whoever keeps to `Retry-After` always gets the
//! present state. Beyond it, a refusal is repeated for the rest of that second, and never longer than it is true.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::refusal::{Refusal, RefusedBy};
use crate::domain::{Choice, Client};

/// Refusals of one client per second, each of which calls the ledger.
const FROM_THE_LEDGER: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);
const MAX_CLIENTS: usize = 10_000;

#[derive(Default)]
pub(in crate::ledger) struct KnownRefusals(Mutex<HashMap<Arc<str>, Known>>);

/// The last refusal of a client.
struct Known {
    second: Instant,
    in_second: u32,
    at: Instant,
    refusal: Refusal,
    /// Of the client's record.
    version: i64,
    tokens: i64,
    /// The first candidate, and how many there were.
    choices: (Arc<str>, usize),
}

/// A request, as far as a refusal depends on it.
#[derive(Clone, Copy)]
pub(super) struct RequestFacts<'a> {
    pub client: &'a Client,
    pub choices: &'a [Choice],
    /// That the client's own windows are charged.
    pub tokens: i64,
    pub wait_ms: i64,
}

impl RequestFacts<'_> {
    fn choices(&self) -> Option<(Arc<str>, usize)> {
        Some((self.choices.first()?.candidate.name.clone(), self.choices.len()))
    }
}

impl KnownRefusals {
    /// The refusal of this request, where it is known.
    pub(super) fn get(&self, request: RequestFacts<'_>) -> Option<Refusal> {
        let known = self.0.lock();
        let known = known.get(&request.client.id)?;
        if known.in_second < FROM_THE_LEDGER || known.second.elapsed() >= SECOND {
            return None;
        }
        let passed_ms = i64::try_from(known.at.elapsed().as_millis()).ok()?;
        let retry_ms = known.refusal.retry_ms - passed_ms;
        let is_same = known.version == request.client.version
            && request.tokens >= known.tokens
            && request.choices()? == known.choices;
        if !is_same || retry_ms <= request.wait_ms.max(0) {
            return None;
        }
        let mut refusal = Refusal { retry_ms, ..known.refusal.clone() };
        for reason in &mut refusal.reasons {
            reason.retry_in_ms = (reason.retry_in_ms - passed_ms).max(1);
        }
        let windows = refusal.client.iter_mut().flat_map(|usage| [&mut usage.requests, &mut usage.tokens]);
        for window in windows.flatten() {
            window.reset_ms = (window.reset_ms - passed_ms).max(1);
        }
        Some(refusal)
    }

    /// Remembers a refusal of the ledger, if the client's own quota is its cause and its instant is exact.
    pub(super) fn note(&self, request: RequestFacts<'_>, refusal: &Refusal) {
        if refusal.by != RefusedBy::Client || !refusal.exact {
            return;
        }
        let (Some(choices), now) = (request.choices(), Instant::now()) else { return };
        let mut all = self.0.lock();
        if all.len() >= MAX_CLIENTS && !all.contains_key(&request.client.id) {
            all.retain(|_, known| known.second.elapsed() < SECOND);
            if all.len() >= MAX_CLIENTS {
                return;
            }
        }
        let before = all.get(&request.client.id).filter(|known| known.second.elapsed() < SECOND);
        let (second, in_second) = before.map_or((now, 1), |known| (known.second, known.in_second + 1));
        let (version, tokens) = (request.client.version, request.tokens);
        let known = Known { second, in_second, at: now, refusal: refusal.clone(), version, tokens, choices };
        all.insert(request.client.id.clone(), known);
    }
}
