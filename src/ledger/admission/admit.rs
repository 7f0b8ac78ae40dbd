//! Admits requests: builds the call of `lua/admission/admit.lua`, and repeats it through waits, holds and a lost state.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    in_flight::{InFlightAdmit, PendingSettlement, WaitTimer},
    instrument::{self, Round},
    known_refusals::RequestFacts,
    lease::Lease,
    lease_state::{Granted, LEASE_TTL_MS, PendingWrite},
    outage_queue::NotReleased,
    queue::QueueTicket,
    reply::{self, AdmitReply},
    request::{Admission, AdmitRequest},
    settle::SettleMode,
    subject::Subject,
    waiters::{Replied, Waiting},
};
use crate::{
    domain::{Outcome, Usage},
    ledger::{
        error::LedgerError,
        script::{
            encode,
            engine::{EngineError, Reply, ScriptCall},
            scripts::Script,
        },
        shared::{Ledger, Shared},
    },
    telemetry::{self, SpanExt},
};

/// Candidates of the first call. Candidates known to be full come last in the plan, so one of the first nearly always has
/// room, and a short call costs both sides less. If these refuse, the request is repeated with all candidates.
const FIRST_CANDIDATES: usize = 2;
/// Rounds without a wait before the admission fails. A sync, a hold and a wrong clock can each cost one.
const MAX_ROUNDS: usize = 6;
/// A round that takes this long counts as time in which the request waited for the ledger. It is also the shortest time after
/// which a grant is late: its call would reach the provider later than its charge allows for.
const SLOW: Duration = Duration::from_millis(100);
/// Pause after a call that failed, while the ledger changes between reachable and unreachable.
const RETRY_MS: i64 = 10;
/// `wait_ms` of the first call: it does not wait, and does not count as demand for fair shares.
const PEEK: i64 = -1;

/// One call of `admit`, with what is needed to read its reply.
struct AdmitCall {
    id: Arc<str>,
    epoch: Arc<str>,
    call: ScriptCall,
}

/// How a request waits for a ledger that cannot be reached.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    /// Its place among the requests of this replica.
    number: u64,
    deadline: Instant,
    waits_for_ledger: bool,
}

impl Ledger {
    /// Checks the client's quota and every candidate's windows, breakers and slots in one atomic step, and reserves for the
    /// first candidate that has room.
    pub async fn admit(&self, request: AdmitRequest<'_>) -> Result<Admission, LedgerError> {
        let AdmitRequest { client, choices, wait_ms, .. } = request;
        let facts = RequestFacts { client, choices, tokens: request.subject().client_tokens(), wait_ms };
        if let Some(refusal) = self.shared.known_refusals.get(facts) {
            return Ok(Admission::Refused(refusal));
        }
        let admission = self.admit_in_parts(request).await;
        if let Ok(Admission::Refused(refusal)) = &admission {
            self.shared.known_refusals.note(facts, refusal);
        }
        admission
    }

    /// The first candidates alone, and then all of them if those have no room.
    async fn admit_in_parts(&self, request: AdmitRequest<'_>) -> Result<Admission, LedgerError> {
        let waits = request.wait_ms > 0;
        // Not after an outage: it would overtake the requests that wait for the ledger.
        let may_peek = !waits || self.shared.outage_queue.is_clear();
        if request.choices.len() > FIRST_CANDIDATES && may_peek {
            let first = AdmitRequest { choices: &request.choices[..FIRST_CANDIDATES], wait_ms: PEEK, ..request };
            match self.shared.admit(first, None).await {
                Ok(Admission::Refused(_)) => {}
                Err(LedgerError::Unreachable { .. }) if waits => {}
                admission => return admission,
            }
        }
        self.shared.admit(request, None).await
    }

    /// Settles a failed attempt and admits the rest of its request, in one round trip. The client's quota is charged once
    /// per request: the failed attempt's charge is moved to the next lease.
    pub async fn settle_and_admit(
        &self,
        lease: Lease,
        outcome: Outcome,
        request: AdmitRequest<'_>,
    ) -> Result<Admission, LedgerError> {
        let Some(lease) = lease.into_state(&outcome) else { return self.admit(request).await };
        let settlement = self.shared.settlement(&lease, &outcome, SettleMode::Continue);
        self.shared.admit(request, Some(Box::new((settlement, PendingWrite::Settle(lease, outcome))))).await
    }
}

impl Shared {
    /// Repeats `admit` calls until one grants or refuses, or the time to wait is over.
    async fn admit(
        self: &Arc<Self>,
        request: AdmitRequest<'_>,
        settlement: Option<Box<(ScriptCall, PendingWrite)>>,
    ) -> Result<Admission, LedgerError> {
        let mut settle_span = settlement.is_some().then(|| telemetry::script("settle"));
        let mut settlement = PendingSettlement::new(self, settlement);
        let started = Instant::now();
        let deadline = started + Duration::from_millis(u64::try_from(request.wait_ms).unwrap_or(0));
        let (mut ticket, mut rounds): (Option<QueueTicket>, _) = (None, 0);
        // Who can be served without the ledger does not wait for it.
        let waits_for_ledger = request.wait_ms > 0 && !request.choices.iter().any(|c| c.candidate.is_unmetered());
        let arrival = Arrival { number: self.outage_queue.next_arrival(), deadline, waits_for_ledger };
        // The reply of a call for several tickets.
        let mut replied: Option<Replied> = None;
        while rounds < MAX_ROUNDS {
            rounds += 1;
            let round = if let Some(replied) = replied.take() {
                self.turn_replied(&request, replied, ticket.as_ref())
            } else {
                let round = self.ask_alone(request, arrival, ticket.as_ref(), &mut settlement).await;
                if let Some(span) = settle_span.take() {
                    span.set_end();
                }
                let Some(round) = round else { break };
                round
            };
            let round = match round {
                Err(LedgerError::Unreachable { .. }) if waits_for_ledger && Instant::now() < deadline => {
                    // The id is cancelled, because the call may have been carried out.
                    (ticket, rounds) = (None, 0);
                    hold(RETRY_MS).await;
                    continue;
                }
                round => round?,
            };
            match round {
                Round::Done(admission) => {
                    if let Some(ticket) = &mut ticket
                        && !matches!(admission, Admission::ClientChanged)
                    {
                        ticket.close(matches!(admission, Admission::Granted(_)));
                    }
                    return Ok(admission);
                }
                Round::Wait { ticket: id, wait_ms } => {
                    let _timer = WaitTimer::start(request.waited_us);
                    let queued = || {
                        let AdmitRequest { client, choices, tier, .. } = request;
                        let (client, choices) = (client.clone(), choices.to_vec());
                        QueueTicket::new(self, Waiting { id, client, choices, tier, deadline })
                    };
                    replied = ticket.get_or_insert_with(queued).turn(wait_ms).await;
                    rounds = 0;
                }
                Round::Hold(ms) if waits_for_ledger && ms > 0 => {
                    self.hold_admissions(ms);
                    rounds = 0;
                }
                Round::Hold(ms) => hold(ms).await,
                Round::Sync => {
                    let was = self.epoch().epoch.clone();
                    match self.sync(Some(&was)).await {
                        Err(LedgerError::Unreachable { .. }) if waits_for_ledger => {}
                        Ok(ms) if !waits_for_ledger => hold(ms).await,
                        synced => drop(synced?),
                    }
                }
                Round::Restart => ticket = None,
                Round::GiveBack(lease) => {
                    if waits_for_ledger && Instant::now() < deadline {
                        rounds = 0;
                    } else if started.elapsed() >= Duration::from_secs(1) {
                        rounds = MAX_ROUNDS;
                    }
                    let not_sent = Outcome { usage: Usage::NOT_SENT, ..Outcome::unknown() };
                    if let Some(lease) = lease.into_state(&not_sent) {
                        let call = self.settlement(&lease, &not_sent, SettleMode::Final);
                        let write = PendingWrite::Settle(lease, not_sent);
                        settlement = PendingSettlement::new(self, Some(Box::new((call, write))));
                    }
                    if let Some(mut ticket) = ticket.take() {
                        ticket.close(true);
                    }
                }
            }
        }
        Err(LedgerError::unreachable())
    }

    /// Waits for the ledger where it cannot be reached, and asks for this request only. `None`: its time to wait is over.
    async fn ask_alone(
        self: &Arc<Self>,
        mut request: AdmitRequest<'_>,
        arrival: Arrival,
        ticket: Option<&QueueTicket>,
        settlement: &mut PendingSettlement<'_>,
    ) -> Option<Result<Round, LedgerError>> {
        let Arrival { number, deadline, waits_for_ledger } = arrival;
        let mut permit = None;
        if waits_for_ledger && !self.outage_queue.is_clear() {
            let _timer = WaitTimer::start(request.ledger_wait_us);
            match self.outage_queue.pass(number, ticket.is_some(), deadline).await {
                Ok(passed) => permit = passed,
                Err(NotReleased) => return None,
            }
        }
        if request.wait_ms > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            request.wait_ms = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
        }
        if self.has_file_client_changed(request.client) {
            settlement.flush().await;
            return Some(Ok(Round::Done(Admission::ClientChanged)));
        }
        let began = Instant::now();
        let round = instrument::traced(pin!(self.admit_once(&request, ticket, settlement))).await;
        drop(permit);
        if began.elapsed() >= SLOW {
            let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            request.ledger_wait_us.fetch_add(us, Ordering::Relaxed);
        }
        Some(round)
    }

    /// What the reply of a call for several tickets means for one of them.
    fn turn_replied(
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
    async fn admit_once(
        self: &Arc<Self>,
        request: &AdmitRequest<'_>,
        ticket: Option<&QueueTicket>,
        settlement: &mut PendingSettlement<'_>,
    ) -> Result<Round, LedgerError> {
        let mut sent = Instant::now();
        let mut call = self.admit_call(request, ticket);
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
            call = self.admit_call(request, ticket);
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
            AdmitReply::Wait { now_ms, wait_ms } => {
                self.epoch().observe(&epoch, 0, now_ms);
                Round::Wait { ticket: id, wait_ms }
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

    fn admit_call(&self, request: &AdmitRequest<'_>, ticket: Option<&QueueTicket>) -> AdmitCall {
        let subject = request.subject();
        let id = ticket.map_or_else(|| self.next_id(), |ticket| ticket.id().clone());
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
            Bytes::from(subject.describe(request.wait_ms, ticket.is_some())),
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

async fn hold(ms: i64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(u64::try_from(ms).unwrap_or(0) + 1)).await;
    }
}
