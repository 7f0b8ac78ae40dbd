//! The typed door of the ledger, on both hosts: leases, refusals, settlements, and what replicas see of each other.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tollfree::{
    catalog::{Catalog, Current},
    config,
    domain::{
        BreakerState, Candidate, Charge, Choice, Client, Cooldown, CooldownScope, Health, Hint, Limit, Outcome,
        PoolSnapshot, RoutingStrategy, Scope, Tier, Until, Usage, client::ClientKind,
    },
    ledger::{
        Admission, AdmitRequest, AttemptRecord, ChangedBy, JournalRange, Lease, Ledger, LedgerError, Refusal,
        RefusedBy, RequestRecord, Rules,
        embedded::EmbeddedEngine,
        engine::{EngineError, OnMessage, Reply, ScriptCall, ScriptEngine},
        redis::RedisEngine,
        scripts::Script,
    },
    shutdown::Tasks,
};

use crate::support::{eventually, redis_server::RedisServer, scaled};

const MODEL: &str = "groq/openai/gpt-oss-120b";

fn catalog() -> Current {
    let env = BTreeMap::from([("GROQ_API_KEY".to_owned(), "gsk_one,gsk_two".to_owned())]);
    let settings = config::load(&env, Path::new("/nonexistent")).unwrap().settings;
    Arc::new(ArcSwap::from_pointee(Catalog::build(&settings, &BTreeMap::new()).unwrap()))
}

fn rules(pool: &str) -> Rules {
    Rules {
        pool: pool.to_owned(),
        slack_ms: 250,
        failure_threshold: 3,
        success_threshold: 2,
        open_ms: 3_000,
        outage_requests: 1_000,
    }
}

fn client(limits: &[(Limit, i64)]) -> Client {
    Client::new("shared:test", ClientKind::Shared, limits)
}

/// The candidates of one model: one per key.
fn choices(catalog: &Current) -> Vec<Choice> {
    let all = catalog.load_full();
    let charge = Charge { requests: 1, input: 100, tokens: 200, audio: 0 };
    all.candidates.iter().filter(|c| &*c.name == MODEL).map(|c| Choice { candidate: c.clone(), charge }).collect()
}

struct Rig {
    ledger: Ledger,
    catalog: Current,
    tasks: Tasks,
}

fn rig(host: Arc<dyn ScriptEngine>, tasks: Tasks) -> Rig {
    let catalog = catalog();
    Rig { ledger: Ledger::start(host, &rules("door"), catalog.clone(), tasks.clone()), catalog, tasks }
}

async fn rigs(run: impl AsyncFn(Rig)) {
    let tasks = Tasks::new();
    run(rig(Arc::new(EmbeddedEngine::in_memory()), tasks)).await;
    let server = RedisServer::start().await;
    run(redis_rig(&server).await).await;
}

async fn redis_rig(server: &RedisServer) -> Rig {
    let tasks = Tasks::new();
    let redis = RedisEngine::connect(server.url().parse().unwrap(), "default", &tasks);
    let rig = rig(Arc::new(redis), tasks);
    until("the ledger is ready", || rig.ledger.is_ready()).await;
    rig
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    eventually(Duration::from_secs(5), what, async || holds().then_some(())).await;
}

impl Rig {
    async fn admit(&self, client: &Client, choices: &[Choice]) -> Result<Lease, Refusal> {
        match self
            .ledger
            .admit(AdmitRequest {
                client,
                choices,
                wait_ms: 0,
                tier: Tier::Standard,
                waited_us: &AtomicU64::new(0),
                ledger_wait_us: &AtomicU64::new(0),
            })
            .await
            .unwrap()
        {
            Admission::Granted(lease) => Ok(lease),
            Admission::Refused(refusal) => Err(refusal),
            Admission::ClientChanged => panic!("there is no record of this client"),
        }
    }

    /// Units of a window as last looked at; -1 before the first look.
    fn used(&self, candidate: &Candidate, limit: Limit) -> i64 {
        let snapshot = self.ledger.snapshot();
        let subject = snapshot.subject(candidate);
        subject.and_then(|s| s.levels.iter().find(|l| l.limit == limit)).map_or(-1, |l| l.used)
    }

    /// Waits until a look says so.
    async fn sees(&self, what: &str, holds: impl Fn(&PoolSnapshot) -> bool) {
        until(what, || holds(&self.ledger.snapshot())).await;
    }
}

fn good(total: i64) -> Outcome {
    Outcome {
        health: Health::Good,
        usage: Usage { sent: true, input: Some(90), total: Some(total), audio: None },
        ..Outcome::unknown()
    }
}

fn failed() -> Outcome {
    Outcome { health: Health::ProviderFailed, ..Outcome::unknown() }
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_are_admitted_per_account_and_the_next_gets_an_exact_time() {
    rigs(async |rig| {
        let (who, choices) = (client(&[]), choices(&rig.catalog));
        assert_eq!(choices.len(), 2, "two keys, two accounts");
        let mut leases = Vec::new();
        let refusal = loop {
            match rig.admit(&who, &choices).await {
                Ok(lease) => leases.push(lease),
                Err(refusal) => break refusal,
            }
        };
        // 30 a minute each, and a bucket gives one back every two seconds; tokens: 8000 / 200 = 40 fit.
        assert!((60..=62).contains(&leases.len()), "{} went", leases.len());
        assert_eq!(refusal.by, RefusedBy::Budget);
        assert!(refusal.exact && refusal.retry_ms <= 2_250, "{refusal:?}");
        assert_eq!(refusal.reasons.len(), 2);
        assert_eq!((refusal.reasons[0].why.as_str(), refusal.reasons[0].max), ("rpm", Some(30)));
        tokio::time::sleep(Duration::from_millis(u64::try_from(refusal.retry_ms).unwrap())).await;
        assert!(rig.admit(&who, &choices).await.is_ok(), "a retry at exactly that time is admitted");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_lists_the_candidates_before_it_that_had_no_room() {
    rigs(async |rig| {
        let (who, choices) = (client(&[]), choices(&rig.catalog));
        let mut leases = Vec::new();
        while let Ok(lease) = rig.admit(&who, &choices[..1]).await {
            assert!(lease.passed_over().is_empty());
            leases.push(lease);
        }
        // (A bucket gives one back every two seconds: then the first one takes it.)
        let lease = loop {
            let lease = rig.admit(&who, &choices).await.unwrap();
            if lease.candidate().account.id == choices[1].candidate.account.id {
                break lease;
            }
            leases.push(lease);
        };
        let passed: Vec<(&str, &str)> =
            lease.passed_over().iter().map(|line| (&*line.candidate, line.why.as_str())).collect();
        assert_eq!(passed, [(MODEL, "rpm")]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_gives_back_what_was_not_used() {
    rigs(async |rig| {
        let (who, choices) = (client(&[]), choices(&rig.catalog));
        let lease = rig.admit(&who, &choices[..1]).await.unwrap();
        let subject = lease.candidate().clone();
        rig.sees("the charge", |_| rig.used(&subject, Limit::Tpd) >= 199).await;
        lease.mark_sent();
        lease.settle(good(120));
        // A day's bucket drains 2.3 tokens a second, and slack withholds half a token more.
        rig.sees("the correction", |_| (110..=121).contains(&rig.used(&subject, Limit::Tpd))).await;
        drop(rig.admit(&who, &choices[..1]).await.unwrap());
        rig.sees("nothing of a call that never left", |_| (0..=121).contains(&rig.used(&subject, Limit::Tpd))).await;
        assert!(rig.tasks.drain(Duration::from_secs(1)).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_own_quota_binds_every_candidate() {
    rigs(async |rig| {
        let (who, choices) = (client(&[(Limit::Rpm, 3)]), choices(&rig.catalog));
        let mut leases = Vec::new();
        for left in [2, 1, 0] {
            let lease = rig.admit(&who, &choices).await.unwrap();
            assert_eq!(lease.client_usage().unwrap().requests.unwrap().remaining, left);
            leases.push(lease);
        }
        let refusal = rig.admit(&who, &choices).await.unwrap_err();
        assert_eq!((refusal.by, &*refusal.reasons[0].candidate), (RefusedBy::Client, "shared:test"));
        assert!((55_000..=60_300).contains(&refusal.retry_ms), "{refusal:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_opened_by_one_replica_binds_the_other_at_once() {
    let server = RedisServer::start().await;
    let (one, two) = (redis_rig(&server).await, redis_rig(&server).await);
    let (who, choices) = (client(&[]), choices(&one.catalog));
    for _ in 0..3 {
        let lease = one.admit(&who, &choices[..1]).await.unwrap();
        lease.settle(failed());
        assert!(one.tasks.drain(Duration::from_secs(1)).await);
    }
    let refusal = two.admit(&who, &choices).await.unwrap_err();
    assert_eq!(refusal.reasons[0].why, "breaker");
    assert!(refusal.exact && refusal.retry_ms <= 3_000, "{refusal:?}");
    two.sees("an open breaker", |s| matches!(s.breakers.get("groq"), Some(BreakerState::Open { .. }))).await;
    tokio::time::sleep(Duration::from_millis(u64::try_from(refusal.retry_ms).unwrap())).await;
    let probe = two.admit(&who, &choices).await.unwrap();
    assert_eq!(one.admit(&who, &choices).await.unwrap_err().reasons[0].why, "probe");
    probe.settle(good(100));
    assert!(two.tasks.drain(Duration::from_secs(1)).await);
    one.admit(&who, &choices).await.expect("the next probe").settle(good(100));
    assert!(one.tasks.drain(Duration::from_secs(1)).await);
    let both = [one.admit(&who, &choices).await, two.admit(&who, &choices).await];
    assert!(both.iter().all(Result::is_ok), "two successes close it");
}

#[tokio::test(flavor = "multi_thread")]
async fn cool_downs_switches_limits_and_the_order_are_everybodys() {
    let server = RedisServer::start().await;
    let (one, two) = (redis_rig(&server).await, redis_rig(&server).await);
    let (who, choices) = (client(&[]), choices(&one.catalog));
    let lease = one.admit(&who, &choices[..1]).await.unwrap();
    lease.settle(Outcome {
        cooldown: Some(Cooldown {
            scope: CooldownScope::Limit(Limit::Rpd, Scope::Model),
            until: Until::AfterMs(40_000),
            cause: "429_rpd".to_owned(),
        }),
        hints: vec![Hint { limit: Limit::Rpd, scope: Scope::Model, max: Some(500), remaining: None }],
        usage: Usage::REFUSED,
        ..Outcome::unknown()
    });
    assert!(one.tasks.drain(Duration::from_secs(1)).await);
    let refusal = two.admit(&who, &choices[..1]).await.unwrap_err();
    assert_eq!(refusal.reasons[0].why, "cooldown: 429_rpd");
    assert!((39_000..=40_000).contains(&refusal.retry_ms));
    assert!(two.admit(&who, &choices).await.is_ok(), "the other account is open");
    let subject = choices[0].candidate.subject.clone();
    two.sees("the learned limit", |s| {
        let levels = s.subjects.get(&subject).map_or(&[][..], |subject| &subject.levels);
        levels.iter().any(|l| l.limit == Limit::Rpd && l.max == 500 && l.learned)
    })
    .await;
    two.sees("the cool-down", |s| s.subjects[&subject].cooldown.as_ref().is_some_and(|(_, why)| why == "429_rpd"))
        .await;
    let by = ChangedBy { actor: "cli", address: None };
    one.ledger.set_enabled(MODEL, false, &by).await.unwrap();
    assert_eq!(two.admit(&who, &choices).await.unwrap_err().reasons[1].why, "off");
    one.ledger.set_enabled(MODEL, true, &by).await.unwrap();
    two.ledger.reset_provider("groq", &by).await.unwrap();
    assert!(one.admit(&who, &choices[..1]).await.is_ok(), "reset lifts the cool-down");
    one.ledger.set_strategy(RoutingStrategy::RoundRobin, &by).await.unwrap();
    two.sees("the order", |s| s.strategy == Some(RoutingStrategy::RoundRobin)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_is_no_plenty() {
    let server = RedisServer::start().await;
    let (one, two) = (redis_rig(&server).await, redis_rig(&server).await);
    let (who, choices) = (client(&[]), choices(&one.catalog));
    let mut leases = Vec::new();
    for rig in [&one, &two] {
        for _ in 0..14 {
            let lease = rig.admit(&who, &choices[..1]).await.unwrap();
            if leases.len() % 2 == 0 {
                lease.settle(good(50));
            } else {
                leases.push(lease);
            }
        }
    }
    server.flush();
    let began = Instant::now();
    let mut after = 0;
    while rig_goes(&one, &who, &choices).await || rig_goes(&two, &who, &choices).await {
        after += 1;
        assert!(began.elapsed() < scaled(Duration::from_secs(8)), "it never refuses again");
    }
    assert!(began.elapsed() >= Duration::from_millis(400), "nobody is admitted while the pool is repeated");
    // 28 of 30 are known again, as if nothing had drained; what the bucket refills meanwhile may go too.
    let refilled = began.elapsed().as_secs() / 2 + 1;
    assert!(after <= 2 + refilled, "{after} went after the flush");
}

async fn rig_goes(rig: &Rig, who: &Client, choices: &[Choice]) -> bool {
    rig.admit(who, &choices[..1]).await.map(|lease| lease.mark_sent()).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_reported_soon_and_ends_without_help() {
    let server = RedisServer::start().await;
    let rig = redis_rig(&server).await;
    let (who, choices) = (client(&[]), choices(&rig.catalog));
    let lease = rig.admit(&who, &choices[..1]).await.unwrap();
    server.stop();
    // The first call meets a connection that is silent, the others one that is known to be dead.
    for bound_ms in [1_200, 150, 150] {
        let began = Instant::now();
        let answer = rig
            .ledger
            .admit(AdmitRequest {
                client: &who,
                choices: &choices,
                wait_ms: 0,
                tier: Tier::Standard,
                waited_us: &AtomicU64::new(0),
                ledger_wait_us: &AtomicU64::new(0),
            })
            .await;
        assert!(matches!(answer, Err(LedgerError::Unreachable { .. })), "{answer:?}");
        assert!(began.elapsed() < scaled(Duration::from_millis(bound_ms)), "{:?}", began.elapsed());
    }
    lease.settle(good(10));
    server.cont();
    let began = Instant::now();
    until("it answers again", || rig.ledger.is_reachable()).await;
    assert!(began.elapsed() < scaled(Duration::from_secs(1)), "{:?}", began.elapsed());
    let subject = choices[0].candidate.clone();
    // The cancelled admissions may have been carried out late: they are given back, and the lease is settled.
    rig.sees("nothing but the one request", |_| (0..=11).contains(&rig.used(&subject, Limit::Tpd))).await;
    let rpd = rig.used(&subject, Limit::Rpd);
    assert!(rpd <= 1, "{rpd} requests are charged");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_the_pools() {
    rigs(async |rig| {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let tried = AttemptRecord {
            candidate: MODEL.into(),
            account: "one".into(),
            cause: "ok".into(),
            ..AttemptRecord::default()
        };
        let line = RequestRecord {
            time_ms: now_ms,
            request_id: "r1".into(),
            client: "anon".into(),
            requested_model: "free".into(),
            candidate: MODEL.into(),
            attempts: vec![tried],
            status: 200,
            first_token_ms: Some(5),
            duration_ms: 9,
            tokens_in: Some(3),
            ..RequestRecord::default()
        };
        let failed = RequestRecord { status: 502, request_id: "r2".into(), ..line.clone() };
        for _ in 0..2 {
            // The second time as after a lost reply.
            rig.ledger.record(1, &[line.clone(), failed.clone()]).await.unwrap();
        }
        let page = rig.ledger.journal(10, JournalRange::Newest).await.unwrap();
        assert_eq!((page.totals.requests, page.totals.successes, page.totals.failures), (2, 1, 1));
        let lines: Vec<&RequestRecord> = page.records.iter().map(|(_, line)| line).collect();
        assert_eq!(lines, [&failed, &line], "newest first");
        let older = rig.ledger.journal(10, JournalRange::OlderThan(page.records[0].0)).await.unwrap();
        assert_eq!(older.records, page.records[1..]);
        let newer = rig.ledger.journal(10, JournalRange::NewerThan(page.records[1].0)).await.unwrap();
        assert_eq!(newer.records, page.records[..1]);
        let today = rig.ledger.usage_today(&["anon", "nobody"]).await.unwrap();
        let sums = today["anon"];
        assert_eq!((today.len(), sums.requests, sums.ok, sums.failed, sums.tokens_in), (1, 2, 1, 1, 6));
    })
    .await;
}

/// Counts the admissions that reach an engine.
struct Counting {
    engine: EmbeddedEngine,
    admissions: Arc<AtomicU64>,
}

impl ScriptEngine for Counting {
    fn run<'a>(&'a self, call: &'a ScriptCall, load: bool) -> BoxFuture<'a, Result<Reply, EngineError>> {
        self.admissions.fetch_add(u64::from(call.script == Script::Admit), Ordering::Relaxed);
        self.engine.run(call, load)
    }

    fn run_both<'a>(
        &'a self,
        first: &'a ScriptCall,
        second: &'a ScriptCall,
    ) -> BoxFuture<'a, (Result<Reply, EngineError>, Result<Reply, EngineError>)> {
        self.engine.run_both(first, second)
    }

    fn subscribe(&self, channel: &str, on_message: OnMessage) {
        self.engine.subscribe(channel, on_message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_floods_beyond_its_quota_costs_the_ledger_a_few_calls_a_second() {
    let (tasks, admissions) = (Tasks::new(), Arc::new(AtomicU64::new(0)));
    let rig = rig(Arc::new(Counting { engine: EmbeddedEngine::in_memory(), admissions: admissions.clone() }), tasks);
    let (flooding, other) = (client(&[(Limit::Rpm, 2)]), Client::new("shared:other", ClientKind::Shared, []));
    let choices = choices(&rig.catalog);
    for _ in 0..2 {
        let lease = rig.admit(&flooding, &choices).await.unwrap();
        lease.settle(good(100));
    }
    let began = Instant::now();
    let before = admissions.load(Ordering::Relaxed);
    let mut last_ms = i64::MAX;
    for _ in 0..2_000 {
        let refusal = rig.admit(&flooding, &choices).await.unwrap_err();
        assert!(refusal.by == RefusedBy::Client && refusal.retry_ms <= last_ms, "{refusal:?}");
        last_ms = refusal.retry_ms;
    }
    let seconds = began.elapsed().as_secs() + 1;
    let calls = admissions.load(Ordering::Relaxed) - before;
    assert!(calls <= 50 * seconds, "{calls} calls within {seconds} s");
    assert!(rig.admit(&other, &choices).await.is_ok());
    // A larger request of the same client, or one to another model, is the ledger's to refuse.
    let before = admissions.load(Ordering::Relaxed);
    assert!(rig.admit(&flooding, &choices[..1]).await.is_err());
    assert!(admissions.load(Ordering::Relaxed) > before);
}

/// TIME with a jump, beside the real clocks of the replicas.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_jumps_gives_no_second_budget_and_keeps_no_one_waiting() {
    let ahead_us = Arc::new(AtomicI64::new(0));
    let (clock, tasks) = (ahead_us.clone(), Tasks::new());
    let engine = EmbeddedEngine::with_clock(Arc::new(move || {
        jiff::Timestamp::now().as_microsecond() + clock.load(Ordering::Relaxed)
    }));
    let engine: Arc<dyn ScriptEngine> = Arc::new(engine);
    let (one, two) = (rig(engine.clone(), tasks.clone()), rig(engine, tasks));
    let (who, choices) = (client(&[(Limit::Rpm, 3)]), choices(&one.catalog));
    for rig in [&one, &two, &one] {
        rig.admit(&who, &choices).await.unwrap().settle(good(100));
    }
    for jump_s in [2 * 3_600, -2 * 3_600, -600, 86_400] {
        ahead_us.fetch_add(jump_s * 1_000_000, Ordering::Relaxed);
        for rig in [&one, &two] {
            let refusal = rig.admit(&who, &choices).await.unwrap_err();
            assert!((30_000..=60_251).contains(&refusal.retry_ms), "{jump_s} s: {refusal:?}");
            let shown_ms = rig.ledger.now_ms() - jiff::Timestamp::now().as_millisecond();
            assert_eq!(
                (shown_ms + 500).div_euclid(1_000),
                ahead_us.load(Ordering::Relaxed) / 1_000_000,
                "dates go by TIME"
            );
        }
    }
}
