//! Which candidates one request may still try after each fault: the outcome table as code.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::info;

use super::{Attempt, AttemptLog, FlowError};
use crate::{
    domain::{
        Candidate, Charge, Choice, Client, Fault, FaultKind, KeyRefused, Outcome, RoutePlan, Tier, Unit, Until,
        provider::DialectName,
    },
    ledger::{Admission, AdmitRequest, Lease, Ledger, LedgerError, Refusal, RefusalReason, RefusedBy},
    plan::PlanError,
};

/// Retry delay for a limit whose reset time is unknown.
const DEFAULT_RETRY_MS: i64 = 1_000;

/// State of one request between its attempts.
pub(crate) struct Failover {
    plan: RoutePlan,
    attempt_log: AttemptLog,
    tier: Tier,
    /// End of the time in the wait queue.
    wait_deadline: Instant,
    /// No attempt begins after this. Time in the wait queue extends it.
    deadline: Instant,
    /// Candidates that returned a rate limit and moved to the end of the plan. Each is tried once more: its limit may have
    /// reset while the others were tried.
    limited: Vec<Arc<Candidate>>,
    /// Candidates whose reused connection was closed; each is called once more.
    reconnected: Vec<Arc<Candidate>>,
    /// The first provider's 4xx about the request itself.
    rejection: Option<FlowError>,
    /// Dialects of the providers that refused the request.
    rejected_by: Vec<DialectName>,
    /// Shortest reported time until one of the limits resets.
    earliest_reset_ms: Option<i64>,
}

impl Failover {
    pub(crate) fn new(
        plan: RoutePlan,
        attempt_log: AttemptLog,
        tier: Tier,
        wait: Duration,
        route_timeout: Duration,
    ) -> Self {
        let now = Instant::now();
        let (wait_deadline, deadline) = (now + wait, now + route_timeout);
        Self {
            plan,
            attempt_log,
            tier,
            wait_deadline,
            deadline,
            limited: Vec::new(),
            reconnected: Vec::new(),
            rejection: None,
            rejected_by: Vec::new(),
            earliest_reset_ms: None,
        }
    }

    /// An admission request for the remaining candidates, in order.
    pub(crate) fn admit_request<'a>(&'a self, client: &'a Client) -> AdmitRequest<'a> {
        let wait = self.wait_deadline.saturating_duration_since(Instant::now());
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        AdmitRequest {
            client,
            choices: &self.plan.choices,
            wait_ms,
            tier: self.tier,
            waited_us: self.attempt_log.waited_us(),
            ledger_wait_us: self.attempt_log.ledger_wait_us(),
        }
    }

    /// Keeps the candidates that are also in `plan`, which was made for the client's changed record.
    pub(crate) fn retain_planned(&mut self, plan: &RoutePlan) {
        let planned = |c: &Choice| plan.choices.iter().any(|other| Arc::ptr_eq(&other.candidate, &c.candidate));
        self.plan.choices.retain(planned);
    }

    /// Adds the time of an admission, which does not count as routing.
    pub(crate) fn extend_deadline(&mut self, time: Duration) {
        self.deadline += time;
    }

    /// Charge that the plan made for a candidate.
    pub(crate) fn charge(&self, candidate: &Candidate) -> Charge {
        self.plan
            .choices
            .iter()
            .find(|c| std::ptr::eq(Arc::as_ptr(&c.candidate), candidate))
            .map_or_else(Charge::default, |c| c.charge)
    }

    /// The granted lease, or the error that ends the request. While the ledger is unreachable, candidates without limits are
    /// still served.
    pub(crate) fn granted_lease(
        &mut self,
        ledger: &Ledger,
        admission: Result<Admission, LedgerError>,
    ) -> Result<Lease, FlowError> {
        match admission {
            Ok(Admission::Granted(lease)) => {
                self.attempt_log.set_passed_over(lease.passed_over());
                Ok(lease)
            }
            Ok(Admission::Refused(refusal)) => {
                self.attempt_log.set_passed_over(&refusal.reasons);
                Err(self.refused(refusal))
            }
            // The flow has already read the record again and repeated the admission.
            Ok(Admission::ClientChanged) => Err(FlowError::Key(KeyRefused::Unknown)),
            Err(outage @ LedgerError::Unreachable { .. }) => {
                let unmetered = self.plan.choices.iter().find(|c| c.candidate.is_unmetered());
                unmetered.map(|c| ledger.unmetered(&c.candidate)).ok_or(FlowError::Ledger(outage))
            }
            Err(ours) => Err(ours.into()),
        }
    }

    /// Runs one attempt until the routing deadline, or for the provider's own timeout where that ends later.
    pub(crate) async fn attempt<T>(
        &self,
        candidate: &Candidate,
        attempt: Pin<&mut impl Future<Output = Result<T, Fault>>>,
    ) -> Result<T, Fault> {
        self.attempt_log.begin(candidate);
        let own = candidate.provider.first_token_timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        let until = own.map_or(self.deadline, |own| own.max(self.deadline));
        match tokio::time::timeout_at(until, attempt).await {
            Ok(ended) => ended,
            Err(_) => Err(routing_timeout()),
        }
    }

    /// Whether another model is left to try.
    pub(crate) fn has_alternative(&self, candidate: &Candidate) -> bool {
        self.plan.choices.iter().any(|choice| choice.candidate.name != candidate.name)
    }

    /// Excludes the candidates that a fault rules out. `Err`: none is left, or no time.
    pub(crate) fn exclude(&mut self, candidate: &Arc<Candidate>, fault: &Fault) -> Result<(), FlowError> {
        let name = &candidate.name;
        info!(candidate.name = %name, error.type = %fault.label, "Attempt at `{name}` failed: {}", fault.label);
        self.attempt_log.failed(candidate, fault);
        let Candidate { provider, model, account, key, .. } = &**candidate;
        let same_provider = |c: &Candidate| c.provider.id == provider.id;
        let same_model = |c: &Candidate| same_provider(c) && c.model.id == model.id;
        match fault.kind {
            FaultKind::RateLimited => self.move_to_end(candidate, fault),
            FaultKind::BadKey => self.remove(|c| same_provider(c) && c.key.id == key.id),
            FaultKind::Gone => self.remove(|c| same_model(c) && c.account.id == account.id),
            FaultKind::StaleConnection if !self.reconnected.iter().any(|c| Arc::ptr_eq(c, candidate)) => {
                self.reconnected.push(candidate.clone());
            }
            FaultKind::StaleConnection | FaultKind::Broken | FaultKind::TimedOut
                if self.plan.choices.iter().any(|c| !same_provider(&c.candidate)) =>
            {
                self.remove(same_provider);
            }
            FaultKind::StaleConnection | FaultKind::Broken | FaultKind::TimedOut | FaultKind::Busy => {
                self.remove(same_model);
            }
            FaultKind::TooLarge => {
                let limit = SizeLimit::new(candidate, fault);
                self.remove(|c| std::ptr::eq(c, Arc::as_ptr(candidate)) || !limit.is_below(c));
                if self.plan.choices.is_empty() && self.rejection.is_none() {
                    self.rejection = Some(rejected(candidate, fault, 400, Some("context_length_exceeded")));
                }
            }
            FaultKind::Rejected => {
                let dialect = provider.wire.dialect;
                // One refusal speaks for a dialect; for the servers that share the plain one, two do.
                let speaks_for_dialect = dialect != DialectName::Openai || self.rejected_by.contains(&dialect);
                self.remove(|c| same_provider(c) || speaks_for_dialect && c.provider.wire.dialect == dialect);
                self.rejected_by.push(dialect);
                let status = fault.status.unwrap_or(400);
                self.rejection.get_or_insert_with(|| rejected(candidate, fault, status, fault.code.as_deref()));
            }
        }
        if self.plan.choices.is_empty() || Instant::now() >= self.deadline { Err(self.exhausted()) } else { Ok(()) }
    }

    pub(crate) fn replied(&self, candidate: &Candidate) {
        self.attempt_log.replied(candidate);
    }

    fn remove(&mut self, excluded: impl Fn(&Candidate) -> bool) {
        self.plan.choices.retain(|c| !excluded(&c.candidate));
    }

    /// Moves a rate-limited candidate to the end of the plan. The settlement that follows puts it in cooldown for all replicas;
    /// keeping it in the plan lets the next admission report when it reopens. A second rate limit removes it.
    fn move_to_end(&mut self, candidate: &Arc<Candidate>, fault: &Fault) {
        let reset_ms = fault.outcome.cooldown.as_ref().and_then(|cooldown| match cooldown.until {
            Until::AfterMs(ms) => Some(ms),
            Until::WindowOpens => None,
        });
        self.earliest_reset_ms = [self.earliest_reset_ms, reset_ms].into_iter().flatten().min();
        let choices = &mut self.plan.choices;
        let Some(at) = choices.iter().position(|c| Arc::ptr_eq(&c.candidate, candidate)) else { return };
        let choice: Choice = choices.remove(at);
        if !self.limited.iter().any(|c| Arc::ptr_eq(c, candidate)) {
            self.limited.push(candidate.clone());
            choices.push(choice);
        }
    }

    /// The error of a refused admission.
    fn refused(&mut self, refusal: Refusal) -> FlowError {
        if let Some(rejection) = self.rejection.take() {
            return rejection;
        }
        if refusal.by == RefusedBy::Budget
            && !refusal.reasons.is_empty()
            && refusal.reasons.iter().all(|l| l.why == "off")
        {
            let message =
                format!("Every model behind `{}` that could serve this request is disabled.", self.plan.requested);
            return PlanError::Unsupported { param: "model".to_owned(), message }.into();
        }
        let by_limits = |a: &Attempt| matches!(a.kind, Some(FaultKind::RateLimited | FaultKind::TooLarge));
        if self.attempt_log.attempts().iter().all(by_limits) { FlowError::Refused(refusal) } else { self.all_failed() }
    }

    /// The error when no candidate is left, or no time.
    fn exhausted(&mut self) -> FlowError {
        if let Some(rejection) = self.rejection.take() {
            return rejection;
        }
        let attempts = self.attempt_log.attempts();
        if !attempts.iter().all(|a| a.kind == Some(FaultKind::RateLimited)) {
            return self.all_failed();
        }
        let retry_ms = self.earliest_reset_ms.unwrap_or(DEFAULT_RETRY_MS);
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
            reasons: lines.collect(),
            client: None,
        })
    }

    fn all_failed(&self) -> FlowError {
        let attempts = self.attempt_log.attempts();
        let timed_out = attempts.iter().all(|a| a.kind == Some(FaultKind::TimedOut));
        FlowError::AllFailed { attempts, timed_out }
    }
}

/// The limit that a request exceeded, in tokens.
enum SizeLimit {
    Context(i64),
    /// A whole token window.
    Window(i64),
}

impl SizeLimit {
    fn new(candidate: &Candidate, fault: &Fault) -> Self {
        if fault.status == Some(413) && candidate.provider.wire.permanent_413 {
            Self::Window(smallest_token_window(candidate))
        } else {
            Self::Context(candidate.model.context)
        }
    }

    /// Whether the candidate takes larger requests.
    fn is_below(&self, candidate: &Candidate) -> bool {
        match self {
            SizeLimit::Context(tokens) => candidate.model.context > *tokens,
            SizeLimit::Window(tokens) => smallest_token_window(candidate) > *tokens,
        }
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

/// The gateway stopped waiting. The provider may be healthy, so its breaker learns nothing.
fn routing_timeout() -> Fault {
    Fault {
        kind: FaultKind::TimedOut,
        status: None,
        label: "timeout".to_owned(),
        message: "no content before the routing timeout".to_owned(),
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
        let message = format!("returned {label}");
        Fault { kind, status, label: label.to_owned(), message, code: None, outcome: Outcome::unknown() }
    }

    fn left(failover: &Failover) -> Vec<&str> {
        names(&failover.plan.choices)
    }

    fn refusal(why: &[&str]) -> Refusal {
        let line =
            |why: &&str| RefusalReason { candidate: "a/1".into(), why: (*why).into(), max: None, retry_in_ms: 700 };
        let lines = why.iter().map(line).collect();
        Refusal { by: RefusedBy::Budget, retry_ms: 700, exact: true, reasons: lines, client: None::<ClientUsage> }
    }

    /// Two providers; `a` with two models and two accounts, each its own key.
    fn pool() -> [Arc<Candidate>; 5] {
        let make = |name, account| candidate(name).account(account).build();
        [make("a/1", "x"), make("a/1", "y"), make("a/2", "x"), make("a/2", "y"), make("b/1", "x")]
    }

    #[tokio::test]
    async fn a_rate_limit_moves_a_candidate_to_the_end_for_one_more_attempt() {
        let [first, second] = [candidate("a/1").build(), candidate("b/1").build()];
        let mut failover = failover(&[first.clone(), second.clone()]);
        failover.exclude(&first, &fault(FaultKind::RateLimited, "429_rpm")).unwrap();
        assert_eq!(left(&failover), ["b/1", "a/1"]);
        failover.exclude(&second, &fault(FaultKind::RateLimited, "429_rpm")).unwrap();
        failover.exclude(&first, &fault(FaultKind::RateLimited, "429_rpm")).unwrap();
        assert_eq!(left(&failover), ["b/1"]);
        let mut last = fault(FaultKind::RateLimited, "429_rpd");
        last.outcome.cooldown = Some(Cooldown {
            scope: CooldownScope::Account,
            until: Until::AfterMs(86_400),
            cause: "429_rpd".to_owned(),
        });
        let Err(FlowError::Refused(refusal)) = failover.exclude(&second, &last) else { panic!() };
        assert_eq!((refusal.retry_ms, refusal.exact, refusal.reasons.len()), (86_400, false, 4));
    }

    #[tokio::test]
    async fn each_fault_excludes_the_candidates_it_rules_out() {
        for (kind, excluded) in [
            (FaultKind::Busy, vec!["a/1 x", "a/1 y"]),
            (FaultKind::BadKey, vec!["a/1 x", "a/2 x"]),
            (FaultKind::Gone, vec!["a/1 x"]),
            (FaultKind::Broken, vec!["a/1 x", "a/1 y", "a/2 x", "a/2 y"]),
            (FaultKind::TimedOut, vec!["a/1 x", "a/1 y", "a/2 x", "a/2 y"]),
            (FaultKind::Rejected, vec!["a/1 x", "a/1 y", "a/2 x", "a/2 y"]),
        ] {
            let pool = pool();
            let mut failover = failover(&pool);
            failover.exclude(&pool[0], &fault(kind, "500")).unwrap();
            let is_left = |c: &&Arc<Candidate>| failover.plan.choices.iter().any(|l| Arc::ptr_eq(&l.candidate, c));
            let removed = pool.iter().filter(|c| !is_left(c)).map(|c| format!("{} {}", c.name, c.account.id));
            assert_eq!(removed.collect::<Vec<_>>(), excluded, "{kind:?}");
        }
    }

    #[tokio::test]
    async fn other_models_of_the_only_provider_are_tried_after_a_fault() {
        let pool = &pool()[..4];
        let mut failover = failover(pool);
        failover.exclude(&pool[0], &fault(FaultKind::Broken, "500")).unwrap();
        assert_eq!(left(&failover), ["a/2", "a/2"]);
    }

    #[tokio::test]
    async fn after_two_rejections_the_caller_gets_the_first() {
        let three = [candidate("a/1").build(), candidate("b/1").build(), candidate("c/1").build()];
        let mut failover = failover(&three);
        failover.exclude(&three[0], &fault(FaultKind::Rejected, "422")).unwrap();
        let end = failover.exclude(&three[1], &fault(FaultKind::Rejected, "400")).unwrap_err();
        let FlowError::Rejected { status, provider, message, .. } = end else { panic!("{end:?}") };
        assert_eq!((status, provider.as_str(), message.as_str()), (422, "a", "returned 422"));
    }

    #[tokio::test]
    async fn a_refused_request_goes_to_every_dialect_that_has_not_refused_it() {
        let with = |name: &str, dialect| candidate(name).provider(|p| p.wire.dialect = dialect).build();
        let four = [
            with("a/1", DialectName::Groq),
            with("b/1", DialectName::Groq),
            with("c/1", DialectName::Mistral),
            with("d/1", DialectName::Ollama),
        ];
        let mut failover = failover(&four);
        failover.exclude(&four[0], &fault(FaultKind::Rejected, "400")).unwrap();
        assert!(failover.plan.choices.iter().all(|choice| choice.candidate.provider.wire.dialect != DialectName::Groq));
        failover.exclude(&four[2], &fault(FaultKind::Rejected, "422")).unwrap();
        assert_eq!(failover.exclude(&four[3], &fault(FaultKind::Rejected, "400")).unwrap_err().status(), 400);
    }

    #[tokio::test]
    async fn a_rejection_takes_precedence_over_other_faults() {
        let three = [candidate("a/1").build(), candidate("b/1").build(), candidate("c/1").build()];
        let mut broken = failover(&three[..2]);
        broken.exclude(&three[0], &fault(FaultKind::Rejected, "400")).unwrap();
        let end = broken.exclude(&three[1], &fault(FaultKind::Broken, "500")).unwrap_err();
        assert_eq!(end.status(), 400);
        let mut full = failover(&three);
        full.exclude(&three[0], &fault(FaultKind::Rejected, "400")).unwrap();
        assert_eq!(full.refused(refusal(&["rpm"])).status(), 400);
    }

    #[tokio::test]
    async fn a_request_too_large_moves_to_a_larger_context() {
        let context = |name, tokens| candidate(name).model(|m| m.context = tokens).build();
        let all = [context("a/1", 8_000), context("b/1", 8_000), context("c/1", 32_000)];
        let mut failover = failover(&all);
        failover.exclude(&all[0], &fault(FaultKind::TooLarge, "400")).unwrap();
        assert_eq!(left(&failover), ["c/1"]);
        let end = failover.exclude(&all[2], &fault(FaultKind::TooLarge, "400")).unwrap_err();
        let FlowError::Rejected { status: 400, provider, code, .. } = end else { panic!("{end:?}") };
        assert_eq!((provider.as_str(), code.as_deref()), ("c", Some("context_length_exceeded")));
    }

    #[tokio::test]
    async fn a_413_moves_to_larger_token_windows() {
        let groq = |m: CandidateBuilder| m.provider(|p| p.wire.permanent_413 = true).charged_by(TokenCharge::Reserve);
        let window = |name, tpm| groq(candidate(name)).limits(&[(Limit::Tpm, tpm)]).build();
        let all = [window("a/1", 8_000), window("a/2", 8_000), window("a/3", 12_000), candidate("b/1").build()];
        let mut failover = failover(&all);
        failover.exclude(&all[0], &fault(FaultKind::TooLarge, "413")).unwrap();
        assert_eq!(left(&failover), ["a/3", "b/1"]);
    }

    #[tokio::test]
    async fn all_attempts_timed_out_is_a_504() {
        let two = [candidate("a/1").build(), candidate("b/1").build()];
        for (second, status) in [(FaultKind::TimedOut, 504), (FaultKind::Broken, 502)] {
            let mut failover = failover(&two);
            failover.exclude(&two[0], &fault(FaultKind::TimedOut, "timeout")).unwrap();
            let end = failover.exclude(&two[1], &fault(second, "500")).unwrap_err();
            assert_eq!(end.status(), status, "{end}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_a_429_unless_other_faults_occurred() {
        let three = [candidate("a/1").build(), candidate("b/1").build(), candidate("c/1").build()];
        let mut fresh = failover(&three);
        assert_eq!(fresh.refused(refusal(&["rpm"])).status(), 429);
        fresh.exclude(&three[0], &fault(FaultKind::RateLimited, "429_rpm")).unwrap();
        assert_eq!(fresh.refused(refusal(&["rpm"])).status(), 429);
        fresh.exclude(&three[1], &fault(FaultKind::Broken, "500")).unwrap();
        assert_eq!(fresh.refused(refusal(&["rpm"])).status(), 502);
    }

    #[tokio::test]
    async fn disabled_models_are_not_a_quota_error() {
        let mut failover = failover(&[candidate("a/1").build()]);
        assert_eq!(failover.refused(refusal(&["off", "off"])).status(), 400);
        assert_eq!(failover.refused(refusal(&["off", "rpm"])).status(), 429);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_end_at_the_routing_timeout() {
        let two = [candidate("a/1").build(), candidate("b/1").build()];
        let mut failover = failover(&two);
        let stuck = std::future::pending::<Result<(), Fault>>();
        let began = Instant::now();
        let fault = failover.attempt(&two[0], pin!(stuck)).await.unwrap_err();
        assert_eq!(began.elapsed().as_secs(), 30);
        assert_eq!((fault.kind, fault.outcome.usage), (FaultKind::TimedOut, Usage::UNKNOWN));
        assert_eq!(failover.exclude(&two[0], &fault).unwrap_err().status(), 504);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_provider_has_its_own_timeout() {
        let slow = candidate("a/1").provider(|p| p.first_token_timeout_ms = Some(90_000)).build();
        let began = Instant::now();
        let never = pin!(std::future::pending::<Result<(), Fault>>());
        let _ = failover(std::slice::from_ref(&slow)).attempt(&slow, never).await;
        assert_eq!(began.elapsed().as_secs(), 90);
    }
}
