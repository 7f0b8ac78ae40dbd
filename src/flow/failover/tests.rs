//! Which candidates are left after each fault, and which error ends a request.

use std::pin::pin;

use super::*;
use crate::{
    domain::{Cooldown, CooldownScope, Limit, TokenCharge, Until, Usage},
    ledger::{ClientUsage, Refusal, RefusalReason, RefusedBy},
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
    let line = |why: &&str| RefusalReason { candidate: "a/1".into(), why: (*why).into(), max: None, retry_in_ms: 700 };
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
    last.outcome.cooldown =
        Some(Cooldown { scope: CooldownScope::Account, until: Until::AfterMs(86_400), cause: "429_rpd".to_owned() });
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
async fn a_request_too_large_is_tried_where_the_context_is_only_assumed() {
    let context =
        |name, tokens, assumed| candidate(name).model(|m| (m.context, m.context_assumed) = (tokens, assumed)).build();
    let all = [context("a/1", 32_768, true), context("b/1", 32_768, true), context("c/1", 8_000, false)];
    let mut failover = failover(&all);
    failover.exclude(&all[0], &fault(FaultKind::TooLarge, "400")).unwrap();
    assert_eq!(left(&failover), ["b/1", "c/1"]);
    failover.exclude(&all[2], &fault(FaultKind::TooLarge, "400")).unwrap();
    assert_eq!(left(&failover), ["b/1"]);
    assert_eq!(failover.exclude(&all[1], &fault(FaultKind::TooLarge, "400")).unwrap_err().status(), 400);
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
