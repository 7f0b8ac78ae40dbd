//! Four replicas, one Redis and a hundred callers: limits are never exceeded and almost fully used.

use std::time::Duration;

use serde_json::json;

use super::fleet::{Crowd, Fleet, JITTER_MS, short, trial_time};
use crate::support::{app::Setup, simulator::Simulator};

pub(crate) const GROQ: &str = "openai/gpt-oss-20b";
pub(crate) const MISTRAL: &str = "mistral-medium-2604";
pub(crate) const LIMIT: i64 = 240;

/// Simulator profile of one model with one limit.
pub(crate) fn only(provider: &str, model: &str, limits: serde_json::Value, window: &str) -> serde_json::Value {
    let model_profile = json!({ "limits": limits, "window": window });
    json!({
        "providers": { provider: {
            "jitter_ms": JITTER_MS,
            "latency": { "first_ms": 20, "chunk_ms": 1, "reasoning_tokens": 0 },
            "models": { model: model_profile },
        } },
    })
}

/// The same limit in the gateway's file.
pub(crate) fn with_limits(setup: Setup, simulator: &Simulator, provider: &str, model: &str, limits: &str) -> Setup {
    let file = format!("[providers.{provider}.models.\"{model}\"]\n{limits}\n");
    setup.simulated(simulator, provider).file(&file)
}

pub(crate) fn rpm(limit: i64) -> serde_json::Value {
    json!({ "rpm": limit, "rpd": "none", "tpm": "none", "tpd": "none" })
}

pub(crate) const NO_MORE: &str = "rpd = \"none\", tpm = \"none\", tpd = \"none\"";

/// Capacity of a sliding minute in this time.
pub(crate) fn sliding(limit: i64, time: Duration) -> f64 {
    (limit * (i64::try_from(time.as_secs()).unwrap() / 60 + 1)) as f64
}

/// Capacity of a bucket in this time: its size and its refill.
pub(crate) fn bucket(limit: i64, time: Duration) -> f64 {
    limit as f64 * (1.0 + time.as_secs_f64() / 60.0)
}

async fn sliding_fleet() -> Fleet {
    let profile = only("mistral", MISTRAL, rpm(LIMIT), "sliding");
    let limits = format!("limits = {{ rpm = {LIMIT}, tpm = \"none\" }}");
    Fleet::start(4, profile, |setup, sim| with_limits(setup, sim, "mistral", MISTRAL, &limits)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sliding_minute_is_held_and_used_by_four_replicas() {
    let fleet = sliding_fleet().await;
    let crowd = Crowd::new(100, short(&format!("mistral/{MISTRAL}")));
    let tally = fleet.until_over(&crowd, trial_time()).await;
    let seen = fleet.window("mistral", "main", MISTRAL, "rpm").await;
    seen.was_held();
    assert!(seen.most_in_any_span <= LIMIT as f64, "{seen:?}");
    seen.was_used(0.97, sliding(LIMIT, trial_time()));
    // 503: a call to Redis can exceed 100 ms on a busy machine.
    assert!(tally.keys().all(|status| [200, 429, 503].contains(status)), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_every_10_s_exceeds_no_limit_and_wastes_little() {
    let mut fleet = sliding_fleet().await;
    let crowd = Crowd::new(100, short(&format!("mistral/{MISTRAL}")));
    let time = trial_time();
    let (mut callers, tally) = fleet.crowd(&crowd, time);
    let end = tokio::time::Instant::now() + time;
    for victim in (0..fleet.apps.len()).cycle() {
        if tokio::time::timeout_at(end.min(tokio::time::Instant::now() + Duration::from_secs(10)), async {
            while callers.join_next().await.is_some() {}
        })
        .await
        .is_ok()
        {
            break;
        }
        if tokio::time::Instant::now() < end {
            fleet.apps[victim].restart().await;
        }
    }
    eprintln!("callers got {:?}", tally.lock().unwrap());
    let seen = fleet.window("mistral", "main", MISTRAL, "rpm").await;
    seen.was_held();
    seen.was_used(0.97, sliding(LIMIT, time));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_held_and_used_by_four_replicas() {
    let profile = only("groq", GROQ, rpm(LIMIT), "bucket");
    let limits = format!("limits = {{ rpm = {LIMIT}, {NO_MORE} }}\nwindow = \"bucket\"");
    let fleet = Fleet::start(4, profile, |setup, sim| with_limits(setup, sim, "groq", GROQ, &limits)).await;
    let crowd = Crowd::new(100, short(&format!("groq/{GROQ}")));
    fleet.until_over(&crowd, trial_time()).await;
    let seen = fleet.window("groq", "main", GROQ, "rpm").await;
    seen.was_held();
    seen.was_used(0.97, bucket(LIMIT, trial_time()));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_of_one_account_share_its_limit() {
    let mut profile = only("groq", GROQ, rpm(LIMIT), "sliding");
    profile["providers"]["groq"]["accounts"] = json!({ "main": ["gsk_one", "gsk_two"] });
    let limits = format!("limits = {{ rpm = {LIMIT}, {NO_MORE} }}\nwindow = \"sliding\"");
    let fleet = Fleet::start(4, profile, |setup, sim| {
        let setup = with_limits(setup, sim, "groq", GROQ, &limits).env("GROQ_API_KEY", "gsk_one,gsk_two");
        setup.file("[providers.groq]\naccounts = { main = [1, 2] }\n")
    })
    .await;
    let crowd = Crowd::new(60, short(&format!("groq/{GROQ}")));
    fleet.until_over(&crowd, trial_time()).await;
    let seen = fleet.window("groq", "main", GROQ, "rpm").await;
    seen.was_held();
    seen.was_used(0.97, sliding(LIMIT, trial_time()));
}

/// A zone (POSIX TZ) whose midnight is in this many seconds.
fn zone_with_midnight_in(seconds: i64) -> String {
    const DAY: i64 = 86_400;
    let now = jiff::Timestamp::now().as_second().rem_euclid(DAY);
    let mut east = (DAY - now - seconds).rem_euclid(DAY);
    if east > DAY / 2 {
        east -= DAY;
    }
    // In POSIX, offsets west of Greenwich are positive.
    let (sign, west) = if east > 0 { ('-', east) } else { ('+', -east) };
    format!("<TRIAL>{sign}{:02}:{:02}:{:02}", west / 3600, west / 60 % 60, west % 60)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_midnight_during_the_run_separates_two_full_days() {
    const PER_DAY: i64 = 400;
    let zone = zone_with_midnight_in(75);
    eprintln!("zone {zone}");
    let limits = json!({ "rpm": "none", "rpd": PER_DAY, "tpm": "none", "tpd": "none" });
    let mut profile = only("groq", GROQ, limits, "calendar");
    profile["providers"]["groq"]["zone"] = json!(zone);
    let limits = format!("limits = {{ rpm = \"none\", rpd = {PER_DAY}, tpm = \"none\", tpd = \"none\" }}");
    let limits = format!("{limits}\ndaily_reset = \"{zone}\"");
    let fleet = Fleet::start(4, profile, |setup, sim| with_limits(setup, sim, "groq", GROQ, &limits)).await;
    let crowd = Crowd::new(100, short(&format!("groq/{GROQ}")));
    fleet.until_over(&crowd, Duration::from_secs(130)).await;
    let seen = fleet.window("groq", "main", GROQ, "rpd").await;
    seen.was_held();
    assert_eq!(seen.periods.len(), 2, "{seen:?}");
    seen.was_used(0.97, 2.0 * PER_DAY as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_under_load_exceeds_no_minute() {
    let fleet = sliding_fleet().await;
    let crowd = Crowd::new(100, short(&format!("mistral/{MISTRAL}")));
    let (callers, tally) = fleet.crowd(&crowd, trial_time());
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(25)).await;
        fleet.redis.flush();
    }
    callers.join_all().await;
    eprintln!("callers got {:?}", tally.lock().unwrap());
    let seen = fleet.window("mistral", "main", MISTRAL, "rpm").await;
    seen.was_held();
    seen.was_used(0.9, sliding(LIMIT, trial_time()));
}
