//! Asks for the tickets of this replica that are due, many in one call of `lua/queue/queue_admit.lua`.

use std::{fmt::Write, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    lease_state::LEASE_TTL_MS,
    waiters::{Batch, Replied, Waiting},
};
use crate::ledger::{
    script::{
        encode,
        engine::{EngineError, Reply, ScriptCall},
        keys::Key,
        scripts::Script,
    },
    shared::Shared,
};

/// Asks for tickets whenever some are due. While the ledger cannot be reached their requests ask by themselves, and wait with
/// those that have no ticket.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        let batches = shared.waiters.take_due(Instant::now());
        if shared.outage_queue.is_clear() {
            for batch in batches {
                let shared = shared.clone();
                shared.tasks.clone().spawn(async move { shared.ask_for(batch).await });
            }
        } else {
            drop(batches);
        }
        shared.waiters.until_due().await;
    }
}

impl Shared {
    /// Sends the call for a batch, and passes its reply on to each request that is admitted or refused.
    async fn ask_for(&self, mut batch: Batch) {
        let requests = batch.requests.clone();
        let mut sent = Instant::now();
        let (mut epoch, mut call) = self.queue_admit_call(&requests);
        let mut reply = self.engine.run(&call, false).await;
        if matches!(reply, Err(EngineError::NoScript)) {
            // A server that does not know this script may have lost more than scripts.
            if self.sync(None).await.is_err() {
                return;
            }
            sent = Instant::now();
            (epoch, call) = self.queue_admit_call(&requests);
            reply = self.engine.run(&call, true).await;
        }
        let failed = reply.as_ref().err().cloned();
        let replies = match self.note(sent, reply) {
            Ok(Reply::List(replies)) if replies.iter().all(|reply| matches!(reply, Reply::List(_))) => replies,
            // Another epoch, or a hold: each request finds out by itself.
            Ok(_) => return,
            Err(_) => Vec::new(),
        };
        for (index, request) in requests.iter().enumerate() {
            let reply = match (replies.get(index), &failed) {
                (Some(reply), _) => Ok(reply.clone()),
                (None, Some(error)) => Err(error.clone()),
                (None, None) => return,
            };
            let items = if let Ok(Reply::List(items)) = &reply { &items[..] } else { &[] };
            match *items {
                [Reply::Int(2), Reply::Int(now_ms), Reply::Int(at_ms), Reply::Int(_), ref place] => {
                    self.epoch().observe(&epoch, 0, now_ms);
                    place.as_str().unwrap_or_default().clone_into(&mut request.place.lock());
                    let wait = Duration::from_millis(u64::try_from(at_ms - now_ms).unwrap_or(0).max(1));
                    batch.waits(&request.id, Instant::now() + wait);
                    continue;
                }
                [Reply::Int(3)] => continue, // it enqueues again
                _ => {}
            }
            let is_admitted = items.first() == Some(&Reply::Int(1));
            batch.replied(&request.id, Replied { reply, epoch: epoch.clone(), sent }, is_admitted);
        }
    }

    /// The call for tickets with the same candidates, and the epoch that it names.
    fn queue_admit_call(&self, requests: &[Arc<Waiting>]) -> (Arc<str>, ScriptCall) {
        let (epoch, sequence, now_ms) = {
            let state = self.epoch();
            (state.epoch.clone(), state.sequence, state.now_ms())
        };
        let choices = requests.first().map_or(&[][..], |request| &request.choices);
        let mut keys: Vec<Key> = vec![self.keys.meta(), self.keys.health()];
        keys.extend(self.keys.queue());
        let ttl = Bytes::from_static(LEASE_TTL_MS.as_bytes());
        let mut args = vec![
            encode::text(&epoch),
            encode::number(sequence),
            self.slack_ms.clone(),
            ttl.clone(),
            ttl,
            encode::number(choices.len()),
        ];
        for choice in choices {
            let encoded = self.args.get(&self.keys, &choice.candidate);
            keys.push(encoded.shares.clone());
            keys.extend_from_slice(&encoded.windows);
            args.push(encoded.candidate(&choice.candidate, now_ms, |_| 0));
        }
        let now = Instant::now();
        for request in requests {
            let subject = request.subject();
            let left = request.deadline.saturating_duration_since(now);
            let mut text = subject.describe(i64::try_from(left.as_millis()).unwrap_or(i64::MAX), true);
            // Writing into a String cannot fail.
            let _ = write!(text, " {}", keys.len() + 1);
            keys.push(self.keys.lease(&request.id));
            keys.extend(subject.client_keys(&self.keys));
            args.extend([Bytes::from(text), subject.client_windows()]);
            for choice in &request.choices {
                let mut units = String::with_capacity(16);
                for window in &*choice.candidate.windows {
                    encode::push_number(&mut units, choice.charge.units(window));
                    units.push(' ');
                }
                args.push(Bytes::from(units));
            }
        }
        (epoch, ScriptCall { script: Script::QueueAdmit, keys, args })
    }
}
