//! Admits requests: repeats the call of `lua/admission/admit.lua` through waits, holds and a lost state.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    admit_once::{SLOW, Standing, hold},
    in_flight::{PendingSettlement, WaitTimer},
    instrument::{self, Round},
    known_refusals::RequestFacts,
    lease::Lease,
    lease_state::PendingWrite,
    outage_queue::NotReleased,
    queue::QueueTicket,
    refusal::Refusal,
    request::{Admission, AdmitRequest},
    settle::SettleMode,
    waiters::{Replied, Waiting},
};
use crate::{
    domain::{Outcome, Usage},
    ledger::{
        error::LedgerError,
        script::engine::ScriptCall,
        shared::{Ledger, Shared},
    },
    telemetry::{self, SpanExt},
};

/// Candidates of the first calls, each for plans of more candidates than the second number. Candidates known to be full come last
/// in the plan, so one of the first nearly always has room, and a short call costs both sides less. If these refuse, the request is
/// repeated with all candidates.
const FIRST_CANDIDATES: [(usize, usize); 2] = [(2, 2), (10, 40)];
/// Rounds without a wait before the admission of a request that does not wait (any more) fails. A sync, a hold and a wrong
/// clock can each cost one.
const MAX_ROUNDS: usize = 6;
/// For this time after its wait, and after the first late grant, a request goes on asking where each grant is late: a ledger that
/// is slow is not away.
const MAX_LATE: Duration = Duration::from_secs(1);
/// Pause after a call that failed, while the ledger changes between reachable and unreachable.
const RETRY_MS: i64 = 10;
/// `wait_ms` of the first call: it does not wait, and does not count as demand for fair shares.
const PEEK: i64 = -1;

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
        let (waits, started) = (request.wait_ms > 0, Instant::now());
        // Not after an outage: it would overtake the requests that wait for the ledger.
        let may_peek = !waits || self.shared.outage_queue.is_clear();
        let steps = FIRST_CANDIDATES.into_iter().filter(|(_, over)| request.choices.len() > *over && may_peek);
        for (count, _) in steps {
            let first = AdmitRequest { choices: &request.choices[..count], wait_ms: PEEK, ..request };
            match self.shared.admit(first, None).await {
                Ok(Admission::Refused(_)) => {}
                Err(LedgerError::Unreachable { .. }) if waits => break,
                admission => return admission,
            }
        }
        let passed_ms = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
        let wait_ms = if waits { (request.wait_ms - passed_ms).max(1) } else { request.wait_ms };
        self.shared.admit(AdmitRequest { wait_ms, ..request }, None).await
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
        let deadline = Instant::now() + Duration::from_millis(u64::try_from(request.wait_ms).unwrap_or(0));
        let (mut ticket, mut rounds): (Option<QueueTicket>, _) = (None, 0);
        let (mut place, mut first_late) = (String::new(), None::<Instant>);
        let waits_for_ledger = request.waits_for_ledger();
        let arrival = Arrival { number: self.outage_queue.next_arrival(), deadline, waits_for_ledger };
        // The reply of a call for several tickets.
        let mut replied: Option<Replied> = None;
        loop {
            if rounds == MAX_ROUNDS {
                if !waits_for_ledger || Instant::now() >= deadline {
                    break;
                }
                hold(RETRY_MS).await;
                rounds = 0;
            }
            rounds += 1;
            let standing = Standing { ticket: ticket.as_ref(), place: &place };
            let is_known = standing.is_known();
            let round = if let Some(replied) = replied.take() {
                self.turn_replied(&request, replied, standing.ticket)
            } else {
                let round = self.ask_alone(request, arrival, standing, &mut settlement).await;
                if let Some(span) = settle_span.take() {
                    span.set_end();
                }
                let Some(round) = round else { return Err(LedgerError::unreachable()) };
                round
            };
            let round = match round {
                Err(LedgerError::Unreachable { .. }) if waits_for_ledger && Instant::now() < deadline => {
                    // The id is cancelled, because the call may have been carried out.
                    QueueTicket::give_up(&mut ticket, &mut place);
                    rounds = 0;
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
                Round::Wait { ticket: id, wait_ms, place } => {
                    let _timer = WaitTimer::start(request.waited_us);
                    let ticket = ticket.get_or_insert_with(|| QueueTicket::new(self, waiting(id, &request, deadline)));
                    *ticket.request.place.lock() = place;
                    replied = ticket.turn(wait_ms).await;
                    rounds = 0;
                }
                Round::Hold(ms) if waits_for_ledger && !is_known && ms > 0 && Instant::now() < deadline => {
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
                Round::Restart => QueueTicket::give_up(&mut ticket, &mut place),
                Round::GiveBack(lease) => {
                    let now = Instant::now();
                    let late_since = *first_late.get_or_insert(now);
                    let end = if waits_for_ledger { deadline.max(late_since) } else { late_since } + MAX_LATE;
                    if now >= end {
                        rounds = MAX_ROUNDS;
                    } else if waits_for_ledger {
                        rounds = 0;
                    }
                    let not_sent = Outcome { usage: Usage::NOT_SENT, ..Outcome::unknown() };
                    if let Some(lease) = lease.into_state(&not_sent) {
                        let call = self.settlement(&lease, &not_sent, SettleMode::Final);
                        let write = PendingWrite::Settle(lease, not_sent);
                        settlement = PendingSettlement::new(self, Some(Box::new((call, write))));
                    }
                    if let Some(ticket) = &mut ticket {
                        ticket.close(true);
                    }
                    QueueTicket::give_up(&mut ticket, &mut place);
                }
            }
        }
        if waits_for_ledger && first_late.is_some() {
            return Ok(Admission::Refused(Refusal::out_of_time()));
        }
        Err(LedgerError::unreachable())
    }

    /// Waits for the ledger where it cannot be reached, and asks for this request only. `None`: its time to wait is over.
    async fn ask_alone(
        self: &Arc<Self>,
        mut request: AdmitRequest<'_>,
        arrival: Arrival,
        standing: Standing<'_>,
        settlement: &mut PendingSettlement<'_>,
    ) -> Option<Result<Round, LedgerError>> {
        let Arrival { number, deadline, waits_for_ledger } = arrival;
        let mut permit = None;
        if waits_for_ledger && !self.outage_queue.is_clear() {
            let _timer = WaitTimer::start(request.ledger_wait_us);
            match self.outage_queue.pass(number, standing.is_known(), deadline).await {
                Ok(passed) => permit = passed,
                // The ledger answers, so what it says is what the caller learns.
                Err(NotReleased::TimeOver) if self.outage_queue.away_since().is_none() => {}
                Err(_) => return None,
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
        let round = instrument::traced(pin!(self.admit_once(&request, standing, settlement))).await;
        drop(permit);
        if began.elapsed() >= SLOW {
            let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            request.ledger_wait_us.fetch_add(us, Ordering::Relaxed);
        }
        Some(round)
    }
}

fn waiting(id: Arc<str>, request: &AdmitRequest<'_>, deadline: Instant) -> Waiting {
    let AdmitRequest { client, choices, tier, .. } = *request;
    Waiting { id, client: client.clone(), choices: choices.to_vec(), tier, deadline, place: Mutex::default() }
}
