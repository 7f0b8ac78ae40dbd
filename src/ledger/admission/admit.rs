//! Asking: builds the call of `lua/admission/admit.lua`, reads its answer, and goes through a lost or held state.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::ledger::{
    admission::{
        instrument,
        lease::{Grant, LEASE_TTL_MS, Lease, Settling, Undone},
        lease_record::Numbers,
        queue::{ALIVE_MS, Place},
        reply::{Admission, AdmitRequest, ClientUsage, Refusal, RefusalReason, RefusedBy, WindowState},
    },
    error::{LedgerError, OUTAGE_RETRY_MS},
    script::{
        encode,
        engine::{EngineError, Reply, ScriptCall},
        scripts::Script,
    },
    shared::{Ledger, Shared},
};
use crate::{
    domain::{Choice, Client, Outcome, Tier, Unit},
    telemetry::{self, SpanExt},
};

/// Candidates of the first try: who is known to be full stands behind, so one of the first nearly always has room, and a
/// short question costs both sides less. A refusal by these is asked again with all: only then is it true.
const FIRST_TRY: usize = 2;
/// A sync, a hold and later boundaries can each cost a turn; more is a fault.
const TURNS: usize = 6;
/// The first try does not wait, nor does it count as asking.
const ONLY_LOOKING: i64 = -1;
/// No refusal names a longer wait. ms.
const LONGEST_WAIT_MS: i64 = 31 * 86_400_000;

/// One call of `admit`, and what is needed to read its answer.
struct Question {
    id: Arc<str>,
    epoch: Arc<str>,
    call: ScriptCall,
}

pub(super) enum Answer {
    Admission(Admission),
    /// A place in line; ask again in so many ms.
    Wait(i64),
    /// Another epoch than the one asked under.
    Sync,
    Hold(i64),
    Later(i64),
}

impl Ledger {
    /// One atomic step: the client's quota, every candidate's windows, breakers and slots; a lease or a refusal.
    pub async fn admit(&self, ask: AdmitRequest<'_>) -> Result<Admission, LedgerError> {
        if ask.choices.len() > FIRST_TRY {
            let some = AdmitRequest { choices: &ask.choices[..FIRST_TRY], wait_ms: ONLY_LOOKING, ..ask };
            match self.shared.admit(some, None).await? {
                Admission::Refused(_) => {}
                admission => return Ok(admission),
            }
        }
        self.shared.admit(ask, None).await
    }

    /// Settles one attempt and asks again for the rest of its request, in one round trip. To the client it is one request:
    /// what the attempt was charged to its own quota is given back, and charged where it goes on.
    pub async fn settle_and_admit(
        &self,
        lease: Lease,
        outcome: Outcome,
        ask: AdmitRequest<'_>,
    ) -> Result<Admission, LedgerError> {
        let Some(core) = lease.into_core(&outcome) else { return self.admit(ask).await };
        let settlement = self.shared.settlement(&core, &outcome, Settling::GoesOn);
        self.shared.admit(ask, Some(Box::new((settlement, Undone::Settle(core, outcome))))).await
    }
}

/// A settlement on its way. Where the caller leaves or the ledger is away, it is brought later.
struct Owed<'a> {
    shared: &'a Shared,
    /// Large and rare: boxed.
    settlement: Option<Box<(ScriptCall, Undone)>>,
}

impl Owed<'_> {
    async fn pay(&mut self) {
        if let Some((call, _)) = self.settlement.as_deref()
            && !matches!(self.shared.run(call).await, Err(LedgerError::Unreachable { .. }))
        {
            self.settlement = None;
        }
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if let Some(owed) = self.settlement.take() {
            let (_, undone) = *owed;
            self.shared.later(undone);
        }
    }
}

/// A question on its way. One whose answer nobody read is cancelled as soon as the ledger can be reached: it may have
/// been granted.
struct Asking<'a> {
    shared: &'a Shared,
    ask: &'a AdmitRequest<'a>,
    /// Empty: nothing to cancel.
    id: String,
}

impl Asking<'_> {
    fn answered(mut self, answer: Result<Reply, EngineError>) -> Result<Reply, EngineError> {
        if !matches!(answer, Err(EngineError::Unreachable(_))) {
            self.id.clear();
        }
        answer
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.id.is_empty() {
            let (client, choices) = (self.ask.client.clone(), self.ask.choices.to_vec());
            self.shared.later(Undone::Cancel { id: std::mem::take(&mut self.id), client, choices });
        }
    }
}

/// The time of one stay in line is counted even where it ends by being dropped.
struct Standing<'a> {
    since: Instant,
    adds_to: &'a AtomicU64,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let us = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.adds_to.fetch_add(us, Ordering::Relaxed);
    }
}

impl Shared {
    /// Asks until there is an answer that is none of the waiting room's, or the caller's patience is over.
    async fn admit(
        self: &Arc<Self>,
        ask: AdmitRequest<'_>,
        before: Option<Box<(ScriptCall, Undone)>>,
    ) -> Result<Admission, LedgerError> {
        let mut settling = before.is_some().then(|| telemetry::script("settle"));
        let mut owed = Owed { shared: self, settlement: before };
        let patience = Instant::now() + Duration::from_millis(u64::try_from(ask.wait_ms).unwrap_or(0));
        let (mut place, mut turns): (Option<Place>, _) = (None, 0);
        while turns < TURNS {
            let wait_ms =
                if ask.wait_ms > 0 { ms(patience.saturating_duration_since(Instant::now())) } else { ask.wait_ms };
            let ask = AdmitRequest { wait_ms, ..ask };
            if self.has_left_the_file(ask.client) {
                owed.pay().await;
                return Ok(Admission::ClientChanged);
            }
            let turn = instrument::asked(pin!(self.turn(&ask, place.as_ref(), &mut owed))).await;
            if let Some(settling) = settling.take() {
                settling.set_end();
            }
            match turn? {
                (_, Answer::Admission(admission)) => {
                    if let Some(place) = &mut place
                        && !matches!(admission, Admission::ClientChanged)
                    {
                        place.is_over(matches!(admission, Admission::Granted(_)));
                    }
                    return Ok(admission);
                }
                (id, Answer::Wait(ms)) => {
                    let _standing = Standing { since: Instant::now(), adds_to: ask.waited_us };
                    place.get_or_insert_with(|| Place::take(self, &id)).sleep(ms, patience).await;
                    turns = 0;
                    continue;
                }
                (_, Answer::Sync) => {
                    let was = self.known().epoch.clone();
                    self.hold(self.sync(Some(&was)).await?).await;
                }
                (_, Answer::Hold(ms)) => self.hold(ms).await,
                (_, Answer::Later(now_ms)) => self.known().set_clock(now_ms),
            }
            turns += 1;
        }
        Err(LedgerError::Unreachable { retry_ms: OUTAGE_RETRY_MS })
    }

    /// Asks once, and brings what is owed on the way. Says under which id.
    async fn turn(
        self: &Arc<Self>,
        ask: &AdmitRequest<'_>,
        place: Option<&Place>,
        owed: &mut Owed<'_>,
    ) -> Result<(Arc<str>, Answer), LedgerError> {
        let mut question = self.question(ask, place);
        let mut asking = Asking { shared: self, ask, id: question.id.to_string() };
        let mut came_before = false; // the question, before the settlement that may make room for it
        let answer = match owed.settlement.as_deref() {
            None => self.host.run(&question.call, false).await,
            Some((settlement, _)) => {
                let (settled, admitted) = self.host.run_both(settlement, &question.call).await;
                match settled {
                    Ok(_) => owed.settlement = None,
                    Err(EngineError::NoScript) => came_before = true,
                    Err(error) => {
                        if let EngineError::Script { .. } = error {
                            owed.settlement = None; // would fail again
                        }
                        self.note::<Reply>(Err(error))?;
                    }
                }
                admitted
            }
        };
        let answer = match answer {
            Err(EngineError::NoScript) => {
                asking.id.clear(); // not carried out
                // A host that has never seen this script may have lost more than scripts.
                self.hold(self.sync(None).await?).await;
                owed.pay().await;
                came_before = false;
                question = self.question(ask, place);
                asking.id = question.id.to_string();
                self.host.run(&question.call, true).await
            }
            other => {
                owed.pay().await;
                other
            }
        };
        let reply = self.note(asking.answered(answer))?;
        let id = question.id.clone();
        let answer = match self.read(ask, question, &reply)? {
            Answer::Admission(Admission::Refused(_)) if came_before && owed.settlement.is_none() => Answer::Hold(0),
            answer => answer,
        };
        Ok((id, answer))
    }

    async fn hold(&self, ms: i64) {
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(u64::try_from(ms).unwrap_or(0) + 1)).await;
        }
    }

    /// The next lease's: this process, and a number.
    fn next_id(&self) -> Arc<str> {
        let mut id = String::with_capacity(self.replica.len() + 12);
        id.push_str(&self.replica);
        encode::push_number(&mut id, self.issued.fetch_add(1, Ordering::Relaxed));
        id.into()
    }

    fn question(&self, ask: &AdmitRequest<'_>, place: Option<&Place>) -> Question {
        let id: Arc<str> = match place {
            Some(place) => place.id.clone(),
            None => self.next_id(),
        };
        let (epoch, seen, now_ms) = {
            let known = self.known();
            (known.epoch.clone(), known.seen, known.now_ms())
        };
        let windows: usize = ask.choices.iter().map(|c| c.candidate.windows.len()).sum();
        let mut keys = Vec::with_capacity(10 + ask.client.limits.len() + ask.choices.len() + windows);
        keys.extend([self.keys.meta(), self.keys.health(), self.keys.lease(&id)]);
        keys.extend(self.keys.waiting_room());
        // Without a record there is none to look at.
        keys.push(if ask.client.version == 0 { self.keys.meta() } else { self.keys.member(&ask.client.id) });
        keys.extend(encode::client_keys(&self.keys, ask.client));
        let mut args = Vec::with_capacity(7 + ask.choices.len());
        let tokens = client_tokens(ask.choices);
        let (client, class) = (ask.client, i64::from(ask.tier == Tier::Flex));
        let mut who = String::with_capacity(client.id.len() + 48);
        who.push_str(&client.id);
        let again = i64::from(place.is_some());
        for number in [client.version, ask.tier.weight(client.weight), class, ask.wait_ms, again, ALIVE_MS] {
            who.push(' ');
            encode::push_number(&mut who, number);
        }
        let ttl = Bytes::from_static(LEASE_TTL_MS.as_bytes());
        args.extend([
            Bytes::copy_from_slice(epoch.as_bytes()),
            encode::number(seen),
            self.slack_ms.clone(),
            ttl.clone(),
            ttl,
            Bytes::from(who),
            Bytes::from(encode::client(client, |limit, most| encode::client_charge(limit, most, tokens))),
        ]);
        for choice in ask.choices {
            let candidate = &choice.candidate;
            let packed = self.packed.of(&self.keys, candidate);
            keys.push(packed.shares.clone());
            keys.extend_from_slice(&packed.windows);
            args.push(packed.candidate(candidate, now_ms, |w| choice.charge.units(w)));
        }
        Question { id, epoch, call: ScriptCall { script: Script::Admit, keys, args } }
    }

    fn read(
        self: &Arc<Self>,
        ask: &AdmitRequest<'_>,
        question: Question,
        reply: &Reply,
    ) -> Result<Answer, LedgerError> {
        let strange = || LedgerError::Internal(format!("`admit` answered {reply:?}"));
        let Reply::List(items) = reply else { return Err(strange()) };
        match &items[..] {
            [
                Reply::Int(1),
                Reply::Int(chosen),
                Reply::Int(now_ms),
                Reply::Int(seq),
                Reply::Bulk(numbers),
                lines @ ..,
            ] => {
                let choice = usize::try_from(*chosen - 1).ok().and_then(|i| ask.choices.get(i)).ok_or_else(strange)?;
                let numbers = Numbers(numbers.clone());
                let standing = client_usage(ask.client, numbers.used());
                self.known().saw(&question.epoch, *seq, *now_ms);
                let grant = Grant {
                    id: question.id.to_string(),
                    epoch: question.epoch,
                    charge: choice.charge,
                    client_tokens: client_tokens(ask.choices),
                    now_ms: *now_ms,
                    numbers,
                    standing,
                    passed_over: told_lines(ask, RefusedBy::Budget, lines, *now_ms),
                };
                Ok(Answer::Admission(Admission::Granted(Lease::new(self, &choice.candidate, ask.client, grant))))
            }
            [Reply::Int(2), Reply::Int(now_ms), Reply::Int(e), Reply::Int(_)] => {
                self.known().saw(&question.epoch, 0, *now_ms);
                Ok(Answer::Wait((e - now_ms).clamp(1, LONGEST_WAIT_MS)))
            }
            [
                Reply::Int(0),
                Reply::Int(now_ms),
                Reply::Int(e),
                Reply::Int(exact),
                Reply::Int(by),
                Reply::Bulk(used),
                lines @ ..,
            ] => {
                self.known().saw(&question.epoch, 0, *now_ms);
                let by = if *by == 1 { RefusedBy::Client } else { RefusedBy::Budget };
                let used = String::from_utf8_lossy(used);
                let standing = client_usage(ask.client, used.split_ascii_whitespace().map_while(|n| n.parse().ok()));
                let lines = told_lines(ask, by, lines, *now_ms);
                let retry_ms = wait(*e, *now_ms);
                Ok(Answer::Admission(Admission::Refused(Refusal {
                    by,
                    retry_ms,
                    exact: *exact == 1,
                    client: standing.map(|standing| refused_standing(standing, by, &lines)),
                    lines,
                })))
            }
            [Reply::Int(-1)] => Ok(Answer::Sync),
            [Reply::Int(-2), Reply::Int(ms)] => Ok(Answer::Hold(*ms)),
            [Reply::Int(-3), Reply::Int(now_ms)] => Ok(Answer::Later(*now_ms)),
            [Reply::Int(-5)] => Ok(Answer::Admission(Admission::ClientChanged)),
            _ => Err(strange()),
        }
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn wait(e: i64, now_ms: i64) -> i64 {
    (e - now_ms).clamp(1, LONGEST_WAIT_MS)
}

/// Why each candidate in order (or the client) has no room.
fn told_lines(ask: &AdmitRequest<'_>, by: RefusedBy, lines: &[Reply], now_ms: i64) -> Vec<RefusalReason> {
    let line = |(i, line): (usize, &[Reply])| {
        let [Reply::Bulk(why), Reply::Int(max), Reply::Int(opens)] = line else { return None };
        let candidate = match by {
            RefusedBy::Client => ask.client.id.clone(),
            RefusedBy::Budget => ask.choices.get(i)?.candidate.name.clone(),
        };
        let (why, max) = (reason(why), (*max > 0).then_some(*max));
        Some(RefusalReason { candidate, why, max, retry_in_ms: wait(*opens, now_ms) })
    };
    lines.chunks_exact(3).enumerate().filter_map(line).collect()
}

/// What a request is taken for in its client's token windows: the dearest of its candidates' charges.
fn client_tokens(choices: &[Choice]) -> i64 {
    choices.iter().map(|choice| choice.charge.tokens.max(choice.charge.input)).max().unwrap_or(0)
}

/// The client's tightest windows, of the units that are in each of its windows, in order.
fn client_usage(client: &Client, used: impl Iterator<Item = i64>) -> Option<ClientUsage> {
    let mut standing = ClientUsage::default();
    for (&(limit, max), used) in client.limits.iter().zip(used) {
        let tightest = match limit.unit() {
            Unit::Slot => continue,
            Unit::Request => &mut standing.requests,
            Unit::Token | Unit::InputToken => &mut standing.tokens,
        };
        let remaining = (max - used).max(0);
        if tightest.is_none_or(|tight| remaining < tight.remaining) {
            *tightest = Some(WindowState { limit: max, remaining, reset_ms: limit.span_ms() });
        }
    }
    (standing != ClientUsage::default()).then_some(standing)
}

/// Where the client's own quota refused, its window has nothing left until it opens.
fn refused_standing(mut standing: ClientUsage, by: RefusedBy, lines: &[RefusalReason]) -> ClientUsage {
    if let (RefusedBy::Client, Some(line)) = (by, lines.first()) {
        let is_tokens = line.why.starts_with('t');
        let refused = WindowState { limit: line.max.unwrap_or(0), remaining: 0, reset_ms: line.retry_in_ms };
        *(if is_tokens { &mut standing.tokens } else { &mut standing.requests }) = Some(refused);
    }
    standing
}

/// A limit's name without its scope, or any other reason as it stands.
fn reason(why: &[u8]) -> String {
    let why = String::from_utf8_lossy(why);
    encode::limit_of(&why).map_or_else(|| why.into_owned(), |limit| limit.to_string())
}
