//! What one request may still try, and what it has met: the outcome table as code.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::info;

use super::{Attempt, AttemptLog, FlowError};
use crate::{
    domain::{Candidate, Charge, Choice, Client, Fault, FaultKind, KeyRefused, Outcome, RoutePlan, Tier, Unit, Until},
    ledger::{Admission, AdmitRequest, Lease, Ledger, LedgerError, Refusal, RefusalReason, RefusedBy},
    plan::PlanError,
};

/// How long to wait for a limit of which nobody said when it opens.
const NO_TIME_TOLD_MS: i64 = 1_000;

pub struct Failover {
    plan: RoutePlan,
    attempt_log: AttemptLog,
    tier: Tier,
    /// The caller stands in line no longer than this.
    patience: Instant,
    /// No attempt begins after it; standing in line does not count.
    deadline: Instant,
    /// Asked again, once, after all others: its limit may have opened while they were tried.
    limited: Vec<Arc<Candidate>>,
    /// The first provider's 4xx about the request itself.
    rejection: Option<FlowError>,
    /// When the soonest of the limits met opens, as far as it was told, ms.
    soonest_ms: Option<i64>,
}

impl Failover {
    pub fn new(plan: RoutePlan, attempt_log: AttemptLog, tier: Tier, wait: Duration, choosing: Duration) -> Self {
        let now = Instant::now();
        let (patience, deadline) = (now + wait, now + choosing);
        Self { plan, attempt_log, tier, patience, deadline, limited: Vec::new(), rejection: None, soonest_ms: None }
    }

    /// The question for the ledger: all that is left, in order.
    pub fn ask<'a>(&'a self, client: &'a Client) -> AdmitRequest<'a> {
        let wait = self.patience.saturating_duration_since(Instant::now());
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        AdmitRequest {
            client,
            choices: &self.plan.choices,
            wait_ms,
            tier: self.tier,
            waited_us: self.attempt_log.waited_us(),
        }
    }

    /// Keeps only what the client, as its record is now, may be planned to.
    pub fn keep_planned(&mut self, anew: &RoutePlan) {
        let planned = |c: &Choice| anew.choices.iter().any(|other| Arc::ptr_eq(&other.candidate, &c.candidate));
        self.plan.choices.retain(planned);
    }

    /// An admission took so long.
    pub fn stood_still(&mut self, time: Duration) {
        self.deadline += time;
    }

    /// What an admission was charged.
    pub fn charge(&self, candidate: &Candidate) -> Charge {
        self.plan
            .choices
            .iter()
            .find(|c| std::ptr::eq(Arc::as_ptr(&c.candidate), candidate))
            .map_or_else(Charge::default, |c| c.charge)
    }

    /// The right to send now, or why not. While the ledger is away only what has no limit goes on.
    pub fn lease(&mut self, ledger: &Ledger, admission: Result<Admission, LedgerError>) -> Result<Lease, FlowError> {
        match admission {
            Ok(Admission::Granted(lease)) => {
                self.attempt_log.passes_over(lease.passed_over());
                Ok(lease)
            }
            Ok(Admission::Refused(refusal)) => {
                self.attempt_log.passes_over(&refusal.lines);
                Err(self.refused(refusal))
            }
            // The flow has read the record again and asked anew.
            Ok(Admission::ClientChanged) => Err(FlowError::Key(KeyRefused::Unknown)),
            Err(outage @ LedgerError::Unreachable { .. }) => {
                let free = self.plan.choices.iter().find(|c| c.candidate.is_unmetered());
                free.map(|c| ledger.unmetered(&c.candidate)).ok_or(FlowError::Ledger(outage))
            }
            Err(ours) => Err(ours.into()),
        }
    }

    /// One attempt, cut off where choosing must end; a provider known to be slow has its own time.
    pub async fn within<T>(
        &self,
        candidate: &Candidate,
        attempt: Pin<&mut impl Future<Output = Result<T, Fault>>>,
    ) -> Result<T, Fault> {
        self.attempt_log.tries(candidate);
        let own = candidate.provider.first_token_timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        let until = own.map_or(self.deadline, |own| own.max(self.deadline));
        match tokio::time::timeout_at(until, attempt).await {
            Ok(ended) => ended,
            Err(_) => Err(out_of_time()),
        }
    }

    /// Learns from a failed attempt: takes out whom it makes hopeless. `Err`: the search is over.
    pub fn failed(&mut self, candidate: &Arc<Candidate>, fault: &Fault) -> Result<(), FlowError> {
        let name = &candidate.name;
        info!(candidate.name = %name, error.type = %fault.label, "Struck `{name}`: {}", fault.label);
        self.attempt_log.failed(candidate, fault);
        let Candidate { provider, model, account, key, .. } = &**candidate;
        let same_provider = |c: &Candidate| c.provider.id == provider.id;
        let same_model = |c: &Candidate| same_provider(c) && c.model.id == model.id;
        match fault.kind {
            FaultKind::RateLimited => self.limited(candidate, fault),
            FaultKind::BadKey => self.strike(|c| same_provider(c) && c.key.id == key.id),
            FaultKind::Gone => self.strike(|c| same_model(c) && c.account.id == account.id),
            FaultKind::Broken | FaultKind::TimedOut
                if self.plan.choices.iter().any(|c| !same_provider(&c.candidate)) =>
            {
                self.strike(same_provider);
            }
            FaultKind::Broken | FaultKind::TimedOut | FaultKind::Busy => self.strike(same_model),
            FaultKind::TooLarge => {
                let limit = size_limit(candidate, fault);
                self.strike(|c| std::ptr::eq(c, Arc::as_ptr(candidate)) || !limit.is_lower_than(c));
                if self.plan.choices.is_empty() && self.rejection.is_none() {
                    self.rejection = Some(rejected(candidate, fault, 400, Some("context_length_exceeded")));
                }
            }
            FaultKind::Rejected => {
                self.strike(same_provider);
                let first = self.rejection.take();
                let is_second = first.is_some();
                let status = fault.status.unwrap_or(400);
                self.rejection = first.or_else(|| Some(rejected(candidate, fault, status, fault.code.as_deref())));
                if is_second {
                    self.plan.choices.clear();
                }
            }
        }
        if self.plan.choices.is_empty() || Instant::now() >= self.deadline { Err(self.exhausted()) } else { Ok(()) }
    }

    pub fn answered(&self, candidate: &Candidate) {
        self.attempt_log.answered(candidate);
    }

    fn strike(&mut self, hopeless: impl Fn(&Candidate) -> bool) {
        self.plan.choices.retain(|c| !hopeless(&c.candidate));
    }

    /// Its limit is shut for every replica by the settle that follows; so it goes to the end, where it tells the ledger's next
    /// answer when room opens. A second refusal strikes it.
    fn limited(&mut self, candidate: &Arc<Candidate>, fault: &Fault) {
        let told = fault.outcome.cooldown.as_ref().and_then(|shut| match shut.until {
            Until::AfterMs(ms) => Some(ms),
            Until::WindowOpens => None,
        });
        self.soonest_ms = [self.soonest_ms, told].into_iter().flatten().min();
        let choices = &mut self.plan.choices;
        let Some(at) = choices.iter().position(|c| Arc::ptr_eq(&c.candidate, candidate)) else { return };
        let choice: Choice = choices.remove(at);
        if !self.limited.iter().any(|c| Arc::ptr_eq(c, candidate)) {
            self.limited.push(candidate.clone());
            choices.push(choice);
        }
    }

    /// The last admission found no room.
    fn refused(&mut self, refusal: Refusal) -> FlowError {
        if let Some(rejection) = self.rejection.take() {
            return rejection;
        }
        if refusal.by == RefusedBy::Budget && !refusal.lines.is_empty() && refusal.lines.iter().all(|l| l.why == "off")
        {
            let message =
                format!("Every model behind `{}` that could serve this is switched off.", self.plan.requested);
            return PlanError::Unsupported { param: "model".to_owned(), message }.into();
        }
        let by_limits = |a: &Attempt| matches!(a.kind, Some(FaultKind::RateLimited | FaultKind::TooLarge));
        if self.attempt_log.attempts().iter().all(by_limits) { FlowError::Refused(refusal) } else { self.all_failed() }
    }

    /// Nobody is left, or no time.
    fn exhausted(&mut self) -> FlowError {
        if let Some(rejection) = self.rejection.take() {
            return rejection;
        }
        let attempts = self.attempt_log.attempts();
        if !attempts.iter().all(|a| a.kind == Some(FaultKind::RateLimited)) {
            return self.all_failed();
        }
        let retry_ms = self.soonest_ms.unwrap_or(NO_TIME_TOLD_MS);
        let lines = attempts.into_iter().map(|a| RefusalReason {
            candidate: a.candidate,
            why: a.label,
            max: None,
            retry_in_ms: retry_ms,
        });
        FlowError::Refused(Refusal {
            by: RefusedBy::Budget,
            retry_ms,
            exact: false,
            lines: lines.collect(),
            client: None,
        })
    }

    fn all_failed(&self) -> FlowError {
        let attempts = self.attempt_log.attempts();
        let timed_out = attempts.iter().all(|a| a.kind == Some(FaultKind::TimedOut));
        FlowError::AllFailed { attempts, timed_out }
    }
}

/// What a request was too large for.
enum SizeLimit {
    Context(i64),
    /// A whole token window.
    Window(i64),
}

impl SizeLimit {
    fn is_lower_than(&self, candidate: &Candidate) -> bool {
        match self {
            SizeLimit::Context(tokens) => candidate.model.context > *tokens,
            SizeLimit::Window(tokens) => smallest_token_window(candidate) > *tokens,
        }
    }
}

fn size_limit(candidate: &Candidate, fault: &Fault) -> SizeLimit {
    if fault.status == Some(413) && candidate.provider.wire.permanent_413 {
        SizeLimit::Window(smallest_token_window(candidate))
    } else {
        SizeLimit::Context(candidate.model.context)
    }
}

fn smallest_token_window(candidate: &Candidate) -> i64 {
    let tokens = candidate.windows.iter().filter(|w| matches!(w.limit.unit(), Unit::Token | Unit::InputToken));
    tokens.map(|w| w.max).min().unwrap_or(i64::MAX)
}

fn rejected(candidate: &Candidate, fault: &Fault, status: u16, code: Option<&str>) -> FlowError {
    FlowError::Rejected {
        status,
        provider: candidate.provider.id.to_string(),
        message: fault.message.clone(),
        code: code.map(str::to_owned),
    }
}

/// We stopped waiting: the provider may be well, so nothing is learnt about it.
fn out_of_time() -> Fault {
    Fault {
        kind: FaultKind::TimedOut,
        status: None,
        label: "timeout".to_owned(),
        message: "no content before the time for choosing was over".to_owned(),
        code: None,
        outcome: Outcome::unknown(),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::{
        domain::{Cooldown, CooldownScope, Limit, TokenCharge, Usage},
        ledger::ClientUsage,
        plan::test_support::{CandidateBuilder, candidate, names},
    };

    fn failover(candidates: &[Arc<Candidate>]) -> Failover {
        let choices = candidates.iter().map(|c| Choice { candidate: c.clone(), charge: Charge::default() }).collect();
        let plan = RoutePlan { requested: "free".to_owned(), choices };
        Failover::new(plan, AttemptLog::new("r"), Tier::Standard, Duration::ZERO, Duration::from_secs(30))
    }

    fn fault(kind: FaultKind, label: &str) -> Fault {
        let status = label.split('_').next().and_then(|s| s.parse().ok());
        let message = format!("said {label}");
        Fault { kind, status, label: label.to_owned(), message, code: None, outcome: Outcome::unknown() }
    }

    fn left(failover: &Failover) -> Vec<&str> {
        names(&failover.plan.choices)
    }

    fn refusal(why: &[&str]) -> Refusal {
        let line =
            |why: &&str| RefusalReason { candidate: "a/1".into(), why: (*why).into(), max: None, retry_in_ms: 700 };
        let lines = why.iter().map(line).collect();
        Refusal { by: RefusedBy::Budget, retry_ms: 700, exact: true, lines, client: None::<ClientUsage> }
    }

    /// Two providers; `a` with two models and two accounts, each its own key.
    fn pool() -> [Arc<Candidate>; 5] {
        let make = |name, account| candidate(name).account(account).build();
        [make("a/1", "x"), make("a/1", "y"), make("a/2", "x"), make("a/2", "y"), make("b/1", "x")]
    }

    #[tokio::test]
    async fn a_limit_sends_to_the_next_and_is_asked_again_once_after_all_others() {
        let [first, second] = [candidate("a/1").build(), candidate("b/1").build()];
        let mut failover = failover(&[first.clone(), second.clone()]);
        failover.failed(&first, &fault(FaultKind::RateLimited, "429_rpm")).unwrap();
        assert_eq!(left(&failover), ["b/1", "a/1"]);
        failover.failed(&second, &fault(FaultKind::RateLimited, "429_rpm")).unwrap();
        failover.failed(&first, &fault(FaultKind::RateLimited, "429_rpm")).unwrap();
        assert_eq!(left(&failover), ["b/1"]);
        let mut last = fault(FaultKind::RateLimited, "429_rpd");
        last.outcome.cooldown = Some(Cooldown {
            scope: CooldownScope::Account,
            until: Until::AfterMs(86_400),
            cause: "429_rpd".to_owned(),
        });
        let Err(FlowError::Refused(refusal)) = failover.failed(&second, &last) else { panic!() };
        assert_eq!((refusal.retry_ms, refusal.exact, refusal.lines.len()), (86_400, false, 4));
    }

    #[tokio::test]
    async fn each_fault_strikes_what_it_makes_hopeless() {
        for (kind, hopeless) in [
            (FaultKind::Busy, vec!["a/1 x", "a/1 y"]),
            (FaultKind::BadKey, vec!["a/1 x", "a/2 x"]),
            (FaultKind::Gone, vec!["a/1 x"]),
            (FaultKind::Broken, vec!["a/1 x", "a/1 y", "a/2 x", "a/2 y"]),
            (FaultKind::TimedOut, vec!["a/1 x", "a/1 y", "a/2 x", "a/2 y"]),
            (FaultKind::Rejected, vec!["a/1 x", "a/1 y", "a/2 x", "a/2 y"]),
        ] {
            let pool = pool();
            let mut failover = failover(&pool);
            failover.failed(&pool[0], &fault(kind, "500")).unwrap();
            let is_left = |c: &&Arc<Candidate>| failover.plan.choices.iter().any(|l| Arc::ptr_eq(&l.candidate, c));
            let struck = pool.iter().filter(|c| !is_left(c)).map(|c| format!("{} {}", c.name, c.account.id));
            assert_eq!(struck.collect::<Vec<_>>(), hopeless, "{kind:?}");
        }
    }

    #[tokio::test]
    async fn the_only_providers_other_models_are_tried_when_one_breaks() {
        let pool = &pool()[..4];
        let mut failover = failover(pool);
        failover.failed(&pool[0], &fault(FaultKind::Broken, "500")).unwrap();
        assert_eq!(left(&failover), ["a/2", "a/2"]);
    }

    #[tokio::test]
    async fn a_second_providers_refusal_gives_the_caller_the_first() {
        let three = [candidate("a/1").build(), candidate("b/1").build(), candidate("c/1").build()];
        let mut failover = failover(&three);
        failover.failed(&three[0], &fault(FaultKind::Rejected, "422")).unwrap();
        let end = failover.failed(&three[1], &fault(FaultKind::Rejected, "400")).unwrap_err();
        let FlowError::Rejected { status, provider, message, .. } = end else { panic!("{end:?}") };
        assert_eq!((status, provider.as_str(), message.as_str()), (422, "a", "said 422"));
    }

    #[tokio::test]
    async fn a_refusal_of_the_request_outweighs_what_the_others_met() {
        let three = [candidate("a/1").build(), candidate("b/1").build(), candidate("c/1").build()];
        let mut broken = failover(&three[..2]);
        broken.failed(&three[0], &fault(FaultKind::Rejected, "400")).unwrap();
        let end = broken.failed(&three[1], &fault(FaultKind::Broken, "500")).unwrap_err();
        assert_eq!(end.status(), 400);
        let mut full = failover(&three);
        full.failed(&three[0], &fault(FaultKind::Rejected, "400")).unwrap();
        assert_eq!(full.refused(refusal(&["rpm"])).status(), 400);
    }

    #[tokio::test]
    async fn too_large_goes_on_where_there_is_more_room() {
        let context = |name, tokens| candidate(name).model(|m| m.context = tokens).build();
        let all = [context("a/1", 8_000), context("b/1", 8_000), context("c/1", 32_000)];
        let mut failover = failover(&all);
        failover.failed(&all[0], &fault(FaultKind::TooLarge, "400")).unwrap();
        assert_eq!(left(&failover), ["c/1"]);
        let end = failover.failed(&all[2], &fault(FaultKind::TooLarge, "400")).unwrap_err();
        let FlowError::Rejected { status: 400, provider, code, .. } = end else { panic!("{end:?}") };
        assert_eq!((provider.as_str(), code.as_deref()), ("c", Some("context_length_exceeded")));
    }

    #[tokio::test]
    async fn a_wall_of_413_goes_on_to_larger_windows() {
        let groq = |m: CandidateBuilder| m.provider(|p| p.wire.permanent_413 = true).charged_by(TokenCharge::Reserve);
        let window = |name, tpm| groq(candidate(name)).limits(&[(Limit::Tpm, tpm)]).build();
        let all = [window("a/1", 8_000), window("a/2", 8_000), window("a/3", 12_000), candidate("b/1").build()];
        let mut failover = failover(&all);
        failover.failed(&all[0], &fault(FaultKind::TooLarge, "413")).unwrap();
        assert_eq!(left(&failover), ["a/3", "b/1"]);
    }

    #[tokio::test]
    async fn all_by_time_out_is_told_apart() {
        let two = [candidate("a/1").build(), candidate("b/1").build()];
        for (second, status) in [(FaultKind::TimedOut, 504), (FaultKind::Broken, 502)] {
            let mut failover = failover(&two);
            failover.failed(&two[0], &fault(FaultKind::TimedOut, "timeout")).unwrap();
            let end = failover.failed(&two[1], &fault(second, "500")).unwrap_err();
            assert_eq!(end.status(), status, "{end}");
        }
    }

    #[tokio::test]
    async fn no_room_is_a_429_only_where_nothing_else_went_wrong() {
        let three = [candidate("a/1").build(), candidate("b/1").build(), candidate("c/1").build()];
        let mut fresh = failover(&three);
        assert_eq!(fresh.refused(refusal(&["rpm"])).status(), 429);
        fresh.failed(&three[0], &fault(FaultKind::RateLimited, "429_rpm")).unwrap();
        assert_eq!(fresh.refused(refusal(&["rpm"])).status(), 429);
        fresh.failed(&three[1], &fault(FaultKind::Broken, "500")).unwrap();
        assert_eq!(fresh.refused(refusal(&["rpm"])).status(), 502);
    }

    #[tokio::test]
    async fn what_is_switched_off_is_no_quota() {
        let mut failover = failover(&[candidate("a/1").build()]);
        assert_eq!(failover.refused(refusal(&["off", "off"])).status(), 400);
        assert_eq!(failover.refused(refusal(&["off", "rpm"])).status(), 429);
    }

    #[tokio::test(start_paused = true)]
    async fn choosing_ends_at_its_time() {
        let two = [candidate("a/1").build(), candidate("b/1").build()];
        let mut failover = failover(&two);
        let stuck = std::future::pending::<Result<(), Fault>>();
        let began = Instant::now();
        let fault = failover.within(&two[0], pin!(stuck)).await.unwrap_err();
        assert_eq!(began.elapsed().as_secs(), 30);
        assert_eq!((fault.kind, fault.outcome.usage), (FaultKind::TimedOut, Usage::UNKNOWN));
        assert_eq!(failover.failed(&two[0], &fault).unwrap_err().status(), 504);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_provider_has_its_own_time() {
        let slow = candidate("a/1").provider(|p| p.first_token_timeout_ms = Some(90_000)).build();
        let began = Instant::now();
        let never = pin!(std::future::pending::<Result<(), Fault>>());
        let _ = failover(std::slice::from_ref(&slow)).within(&slow, never).await;
        assert_eq!(began.elapsed().as_secs(), 90);
    }
}
