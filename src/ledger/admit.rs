//! Asking: builds the call of `lua/admit.lua`, reads its answer, and goes through a lost or held state.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Ledger, Shared,
    admission::{Admission, Ask, ClientStanding, LedgerError, Refusal, RefusalLine, RefusedBy},
    host::{HostError, Reply, ScriptCall},
    lease::{Grant, LEASE_TTL_MS, Lease, Undone},
    pack,
    scripts::Script,
};
use crate::domain::{Limit, Outcome};

/// Candidates of the first try. A refusal by these is asked again with all: only then is it true.
const FIRST_TRY: usize = 10;
/// A sync, a hold and later boundaries can each cost a turn; more is a fault.
const TURNS: usize = 6;
/// No refusal names a longer wait. ms.
const LONGEST_WAIT_MS: i64 = 31 * 86_400_000;

/// One call of `admit`, and what is needed to read its answer.
struct Question {
    id: String,
    epoch: Arc<str>,
    call: ScriptCall,
}

enum Answer {
    Admission(Admission),
    /// Another epoch than the one asked under.
    Sync,
    Hold(i64),
    Later(i64),
}

impl Ledger {
    /// One atomic step: the client's quota, every candidate's windows, breakers and slots; a lease or a refusal.
    pub async fn admit(&self, ask: Ask<'_>) -> Result<Admission, LedgerError> {
        let some = Ask { choices: &ask.choices[..ask.choices.len().min(FIRST_TRY)], ..ask };
        match self.shared.admit(some, None).await? {
            Admission::Refused(_) if some.choices.len() < ask.choices.len() => self.shared.admit(ask, None).await,
            admission => Ok(admission),
        }
    }

    /// Settles one lease and asks again for the rest, in one round trip.
    pub async fn settle_and_admit(
        &self,
        lease: Lease,
        outcome: Outcome,
        ask: Ask<'_>,
    ) -> Result<Admission, LedgerError> {
        let Some(core) = lease.into_core(&outcome) else { return self.admit(ask).await };
        let settlement = self.shared.settlement(&core, &outcome, "end");
        self.shared.admit(ask, Some((settlement, Undone::Settle(core, outcome)))).await
    }
}

/// A settlement on its way. Where the caller leaves or the ledger is away, it is brought later.
struct Owed<'a> {
    shared: &'a Shared,
    settlement: Option<(ScriptCall, Undone)>,
}

impl Owed<'_> {
    async fn pay(&mut self) {
        if let Some((call, _)) = &self.settlement
            && !matches!(self.shared.run(call).await, Err(LedgerError::Unreachable { .. }))
        {
            self.settlement = None;
        }
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if let Some((_, undone)) = self.settlement.take() {
            self.shared.later(undone);
        }
    }
}

/// A question on its way. One whose answer nobody read is cancelled as soon as the ledger can be reached: it may have
/// been granted.
struct Asking<'a> {
    shared: &'a Shared,
    ask: &'a Ask<'a>,
    /// Empty: nothing to cancel.
    id: String,
}

impl Asking<'_> {
    fn answered(mut self, answer: Result<Reply, HostError>) -> Result<Reply, HostError> {
        if !matches!(answer, Err(HostError::Unreachable(_))) {
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

impl Shared {
    async fn admit(
        self: &Arc<Self>,
        ask: Ask<'_>,
        before: Option<(ScriptCall, Undone)>,
    ) -> Result<Admission, LedgerError> {
        let mut owed = Owed { shared: self, settlement: before };
        for _ in 0..TURNS {
            let mut question = self.question(&ask);
            let mut asking = Asking { shared: self, ask: &ask, id: question.id.clone() };
            let answer = match &owed.settlement {
                None => self.host.run(&question.call, false).await,
                Some((settlement, _)) => {
                    let (settled, admitted) = self.host.run_both(settlement, &question.call).await;
                    match settled {
                        Ok(_) => owed.settlement = None,
                        Err(HostError::Fresh) => {}
                        Err(error) => {
                            if let HostError::Script { .. } = error {
                                owed.settlement = None; // would fail again
                            }
                            self.note::<Reply>(Err(error))?;
                        }
                    }
                    admitted
                }
            };
            let answer = match answer {
                Err(HostError::Fresh) => {
                    asking.id.clear(); // not carried out
                    // A host that has never seen this script may have lost more than scripts.
                    self.hold(self.sync(None).await?).await;
                    owed.pay().await;
                    question = self.question(&ask);
                    asking.id.clone_from(&question.id);
                    self.host.run(&question.call, true).await
                }
                other => {
                    owed.pay().await;
                    other
                }
            };
            let reply = self.note(asking.answered(answer))?;
            match self.read(&ask, question, &reply)? {
                Answer::Admission(admission) => return Ok(admission),
                Answer::Sync => {
                    let was = self.known().epoch.clone();
                    self.hold(self.sync(Some(&was)).await?).await;
                }
                Answer::Hold(ms) => self.hold(ms).await,
                Answer::Later(now_ms) => self.known().set_clock(now_ms),
            }
        }
        Err(LedgerError::Unreachable { retry_ms: super::OUTAGE_RETRY_MS })
    }

    async fn hold(&self, ms: i64) {
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(u64::try_from(ms).unwrap_or(0) + 1)).await;
        }
    }

    fn question(&self, ask: &Ask<'_>) -> Question {
        let id = format!("{}{:x}", self.replica, self.issued.fetch_add(1, Ordering::Relaxed));
        let (epoch, seen, now_ms) = {
            let known = self.known();
            (known.epoch.clone(), known.seen, known.now_ms())
        };
        let windows: usize = ask.choices.iter().map(|c| c.candidate.windows.len()).sum();
        let mut keys = Vec::with_capacity(3 + ask.client.limits.len() + windows);
        keys.extend([self.keys.meta(), self.keys.health(), self.keys.lease(&id)]);
        pack::push_keys(&mut keys, &self.keys, ask.client, &[]);
        let mut args = Vec::with_capacity(6 + ask.choices.len());
        args.extend(
            [
                epoch.clone(),
                seen.to_string(),
                self.rules.slack_ms.to_string(),
                LEASE_TTL_MS.to_string(),
                LEASE_TTL_MS.to_string(),
                pack::client(ask.client, 1),
            ]
            .map(Bytes::from),
        );
        for choice in ask.choices {
            let candidate = &choice.candidate;
            keys.extend(candidate.windows.iter().map(|w| self.keys.window(candidate, w)));
            args.push(pack::candidate(candidate, now_ms, |w| pack::charged(w, &choice.charge)));
        }
        Question { id, epoch: Arc::from(epoch), call: ScriptCall { script: Script::Admit, keys, args } }
    }

    fn read(self: &Arc<Self>, ask: &Ask<'_>, question: Question, reply: &Reply) -> Result<Answer, LedgerError> {
        let strange = || LedgerError::Internal(format!("`admit` answered {reply:?}"));
        let Reply::List(items) = reply else { return Err(strange()) };
        match &items[..] {
            [
                Reply::Int(1),
                Reply::Int(chosen),
                Reply::Int(now_ms),
                Reply::Int(seq),
                Reply::Bulk(packed),
                Reply::Int(max),
                Reply::Int(used),
                Reply::Bulk(limit),
            ] => {
                let choice = usize::try_from(*chosen - 1).ok().and_then(|i| ask.choices.get(i)).ok_or_else(strange)?;
                self.known().saw(&question.epoch, *seq, *now_ms);
                let span = std::str::from_utf8(limit).ok().and_then(pack::limit_of).map(Limit::span_ms);
                let grant = Grant {
                    id: question.id,
                    epoch: question.epoch,
                    charge: choice.charge,
                    now_ms: *now_ms,
                    packed: String::from_utf8_lossy(packed).into_owned(),
                    standing: span.map(|span_ms| ClientStanding {
                        limit_requests: *max,
                        remaining_requests: (max - used).max(0),
                        reset_ms: span_ms,
                    }),
                };
                Ok(Answer::Admission(Admission::Go(Lease::new(self, &choice.candidate, ask.client, grant))))
            }
            [Reply::Int(0), Reply::Int(now_ms), Reply::Int(e), Reply::Int(exact), Reply::Int(by), lines @ ..] => {
                self.known().saw(&question.epoch, 0, *now_ms);
                let by = if *by == 1 { RefusedBy::Client } else { RefusedBy::Budget };
                let wait = |e: i64| (e - now_ms).clamp(1, LONGEST_WAIT_MS);
                let lines: Vec<RefusalLine> = lines
                    .chunks_exact(3)
                    .enumerate()
                    .filter_map(|(i, line)| {
                        let [Reply::Bulk(why), Reply::Int(max), Reply::Int(opens)] = line else { return None };
                        let name = match by {
                            RefusedBy::Client => ask.client.id.to_string(),
                            RefusedBy::Budget => ask.choices.get(i)?.candidate.name.clone(),
                        };
                        Some(RefusalLine {
                            candidate: name,
                            why: reason(why),
                            max: (*max > 0).then_some(*max),
                            opens_in_ms: wait(*opens),
                        })
                    })
                    .collect();
                let client = (by == RefusedBy::Client).then(|| lines.first()).flatten().map(|line| ClientStanding {
                    limit_requests: line.max.unwrap_or(0),
                    remaining_requests: 0,
                    reset_ms: line.opens_in_ms,
                });
                Ok(Answer::Admission(Admission::Refused(Refusal {
                    by,
                    retry_ms: wait(*e),
                    exact: *exact == 1,
                    lines,
                    client,
                })))
            }
            [Reply::Int(-1)] => Ok(Answer::Sync),
            [Reply::Int(-2), Reply::Int(ms)] => Ok(Answer::Hold(*ms)),
            [Reply::Int(-3), Reply::Int(now_ms)] => Ok(Answer::Later(*now_ms)),
            _ => Err(strange()),
        }
    }
}

/// A limit's name without its scope, or any other reason as it stands.
fn reason(why: &[u8]) -> String {
    let why = String::from_utf8_lossy(why);
    pack::limit_of(&why).map_or_else(|| why.into_owned(), |limit| limit.to_string())
}
