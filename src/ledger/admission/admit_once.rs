//! One call of `lua/admission/admit.lua`: how it is built and sent, and what its reply means for the request.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    in_flight::{InFlightAdmit, PendingSettlement},
    instrument::{self, Round},
    lease::Lease,
    lease_state::{Granted, LEASE_TTL_MS},
    queue::QueueTicket,
    reply::{self, AdmitReply},
    request::{Admission, AdmitRequest},
    subject::Subject,
    waiters::Replied,
};
use crate::ledger::{
    error::LedgerError,
    script::{
        encode,
        engine::{EngineError, Reply, ScriptCall},
        scripts::Script,
    },
    shared::Shared,
};

/// A round that takes this long counts as time in which the request waited for the ledger. It is also the shortest time after
/// which a grant is late: its call would reach the provider later than its charge allows for.
pub(super) const SLOW: Duration = Duration::from_millis(100);

/// One call of `admit`, with what is needed to read its reply.
struct AdmitCall {
    id: Arc<str>,
    epoch: Arc<str>,
    call: ScriptCall,
}

/// Where a request stands in the wait queue, or stood.
#[derive(Clone, Copy)]
pub(super) struct Standing<'a> {
    pub ticket: Option<&'a QueueTicket>,
    /// Its place there, as a reply named it; empty before the first one. A ticket that was lost gets it back.
    pub place: &'a str,
}

impl Standing<'_> {
    /// It has waited there already.
    pub(super) fn is_known(self) -> bool {
        self.ticket.is_some() || !self.place.is_empty()
    }
}

/// Appends a place to the description of a request.
fn push_place(text: &mut String, place: &str) {
    if !place.is_empty() {
        text.push(' ');
        text.push_str(place);
    }
}

impl Shared {
    /// What the reply of a call for several tickets means for one of them.
    pub(super) fn turn_replied(
        self: &Arc<Self>,
        request: &AdmitRequest<'_>,
        replied: Replied,
        ticket: Option<&QueueTicket>,
    ) -> Result<Round, LedgerError> {
        let Replied { reply, epoch, sent } = replied;
        let Some(ticket) = ticket else { return Ok(Round::Restart) };
        let reply = InFlightAdmit::new(self, request.subject(), ticket.id()).finish(reply);
        let round = match reply {
            Ok(reply) if self.has_file_client_changed(request.client) => {
                // As for every request, but what was granted is given back.
                drop(self.next_round(request.subject(), ticket.id().clone(), epoch, &reply)?);
                Ok(Round::Done(Admission::ClientChanged))
            }
            Ok(reply) => self.next_round(request.subject(), ticket.id().clone(), epoch, &reply),
            Err(EngineError::Unreachable(_) | EngineError::NoScript) => Err(LedgerError::unreachable()),
            Err(error) => Err(LedgerError::Internal(error.to_string())),
        };
        instrument::record(sent, round.map(|round| self.unless_late(round, sent)))
    }

    /// A grant whose reply took too long is given back: its call would reach the provider too late.
    fn unless_late(&self, round: Round, sent: Instant) -> Round {
        match round {
            Round::Done(Admission::Granted(lease)) if sent.elapsed() > self.slack.max(SLOW) => Round::GiveBack(lease),
            round => round,
        }
    }

    /// Sends one `admit` call, with the settlement before it if there is one.
    pub(super) async fn admit_once(
        self: &Arc<Self>,
        request: &AdmitRequest<'_>,
        standing: Standing<'_>,
        settlement: &mut PendingSettlement<'_>,
    ) -> Result<Round, LedgerError> {
        let mut sent = Instant::now();
        let mut call = self.admit_call(request, standing);
        let mut in_flight = InFlightAdmit::new(self, request.subject(), &call.id);
        // Whether the admission ran before the settlement that it should have seen.
        let mut ran_first = false;
        let mut reply = match settlement.call() {
            None => self.engine.run(&call.call, false).await,
            Some(first) => {
                let (settled, admitted) = self.engine.run_both(first, &call.call).await;
                match settled {
                    Ok(_) => settlement.done(),
                    Err(EngineError::NoScript) => ran_first = true,
                    Err(error) => {
                        if let EngineError::Script { .. } = error {
                            settlement.done(); // It would fail again.
                        }
                        self.note::<Reply>(sent, Err(error))?;
                    }
                }
                admitted
            }
        };
        let is_unknown = matches!(reply, Err(EngineError::NoScript));
        if is_unknown {
            in_flight.nothing_to_cancel();
            // A server that does not know this script may have lost more than scripts.
            let hold_ms = self.sync(None).await?;
            if request.wait_ms > 0 && hold_ms > 0 {
                settlement.flush().await;
                return Ok(Round::Hold(hold_ms)); // waited out in order
            }
            hold(hold_ms).await;
        }
        settlement.flush().await;
        if is_unknown {
            ran_first = false;
            call = self.admit_call(request, standing);
            in_flight.restart(&call.id);
            sent = Instant::now();
            reply = self.engine.run(&call.call, true).await;
        }
        let reply = self.note(sent, in_flight.finish(reply))?;
        let round = self.next_round(request.subject(), call.id, call.epoch, &reply)?;
        let is_outdated = ran_first && settlement.is_done();
        Ok(match round {
            Round::Done(Admission::Refused(_)) if is_outdated => Round::Hold(0),
            // The settlement may have closed the candidate that was granted.
            Round::Done(Admission::Granted(lease)) if is_outdated => Round::GiveBack(lease),
            round => self.unless_late(round, sent),
        })
    }

    fn next_round(
        self: &Arc<Self>,
        request: Subject<'_>,
        id: Arc<str>,
        epoch: Arc<str>,
        reply: &Reply,
    ) -> Result<Round, LedgerError> {
        let reply = reply::decode(request, reply).ok_or_else(|| LedgerError::unexpected("admit", reply))?;
        Ok(match reply {
            AdmitReply::Granted { choice, now_ms, sequence, record, usage, passed_over } => {
                self.epoch().observe(&epoch, sequence, now_ms);
                let choice = &request.choices[choice];
                let granted = Granted {
                    id: id.to_string(),
                    epoch,
                    charge: choice.charge,
                    client_tokens: request.client_tokens(),
                    now_ms,
                    record,
                };
                let lease = Lease::new(self, &choice.candidate, request.client, granted, usage, passed_over);
                Round::Done(Admission::Granted(lease))
            }
            AdmitReply::Refused { now_ms, refusal } => {
                self.epoch().observe(&epoch, 0, now_ms);
                Round::Done(Admission::Refused(refusal))
            }
            AdmitReply::Wait { now_ms, wait_ms, place } => {
                self.epoch().observe(&epoch, 0, now_ms);
                Round::Wait { ticket: id, wait_ms, place }
            }
            AdmitReply::WrongClock { now_ms } => {
                self.epoch().set_time(now_ms);
                Round::Hold(0)
            }
            AdmitReply::Sync => Round::Sync,
            AdmitReply::Hold(ms) => Round::Hold(ms),
            // Only a call whose caller gave up is cancelled, so this reply is not read. A new id is safe in any case.
            AdmitReply::Cancelled | AdmitReply::NoTicket => Round::Restart,
            AdmitReply::ClientChanged => Round::Done(Admission::ClientChanged),
        })
    }

    /// The id of the next lease: this process, and a number.
    fn next_id(&self) -> Arc<str> {
        let mut id = String::with_capacity(self.replica.len() + 12);
        id.push_str(&self.replica);
        encode::push_number(&mut id, self.issued.fetch_add(1, Ordering::Relaxed));
        id.into()
    }

    fn admit_call(&self, request: &AdmitRequest<'_>, standing: Standing<'_>) -> AdmitCall {
        let subject = request.subject();
        let mut text = subject.describe(request.wait_ms, standing.is_known());
        match standing.ticket {
            Some(ticket) => push_place(&mut text, &ticket.request.place.lock()),
            None => push_place(&mut text, standing.place),
        }
        let id = standing.ticket.map_or_else(|| self.next_id(), |ticket| ticket.id().clone());
        let (epoch, sequence, now_ms) = {
            let state = self.epoch();
            (state.epoch.clone(), state.sequence, state.now_ms())
        };
        let windows: usize = request.choices.iter().map(|c| c.candidate.windows.len()).sum();
        let mut keys = Vec::with_capacity(10 + request.client.limits.len() + request.choices.len() + windows);
        keys.extend([self.keys.meta(), self.keys.health(), self.keys.lease(&id)]);
        keys.extend(self.keys.queue());
        keys.extend(subject.client_keys(&self.keys));
        let ttl = Bytes::from_static(LEASE_TTL_MS.as_bytes());
        let mut args = Vec::with_capacity(7 + request.choices.len());
        args.extend([
            encode::text(&epoch),
            encode::number(sequence),
            self.slack_ms.clone(),
            ttl.clone(),
            ttl,
            Bytes::from(text),
            subject.client_windows(),
        ]);
        for choice in request.choices {
            let candidate = &choice.candidate;
            let encoded = self.args.get(&self.keys, candidate);
            keys.push(encoded.shares.clone());
            keys.extend_from_slice(&encoded.windows);
            args.push(encoded.candidate(candidate, now_ms, |w| choice.charge.units(w)));
        }
        AdmitCall { id, epoch, call: ScriptCall { script: Script::Admit, keys, args } }
    }
}

pub(super) async fn hold(ms: i64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(u64::try_from(ms).unwrap_or(0) + 1)).await;
    }
}
