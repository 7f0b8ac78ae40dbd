//! Seconds of sound over four replicas, one of which is killed every ten seconds while it has calls in flight.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use super::fleet::{Fleet, trial_time};
use crate::support::{
    http,
    recording::{FORM, form, wav},
};

const WHISPER: &str = "whisper-large-v3-turbo";
const PER_HOUR: f64 = 7_200.0;
const CALLERS: u32 = 6;
/// Recordings have 3 to 120 seconds.
const MEAN_SECONDS: f64 = 61.5;
/// Longest simulated delay of a request to the provider. What a kill catches before it arrives there is lost to the hour.
const JITTER_MS: u64 = 100;
/// The provider finds a little less sound than the headers state.
const SECONDS_FOUND: f64 = 0.985;
/// Longest pause after a refusal, so that a shorter recording is tried meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Time that the provider takes for a call: the hour is used up over most of the trial, and over several kills.
fn latency_ms() -> f64 {
    let seconds = (0.6 * trial_time().as_secs_f64()).min(100.0);
    let pauses_ms = 300.0;
    (f64::from(CALLERS) * MEAN_SECONDS * seconds / PER_HOUR * 1e3 - pauses_ms).max(500.0)
}

/// One replica, and the calls that it has in flight.
struct Replica {
    url: String,
    in_flight: AtomicU64,
}

#[derive(Default)]
struct Seen {
    served: AtomicU64,
    /// Calls that a kill ended.
    cut: AtomicU64,
}

/// Posts recordings until the end, one after another, each to any replica.
async fn post_recordings(number: u32, end: Instant, replicas: Arc<Vec<Replica>>, seen: Arc<Seen>) {
    let (mut random, client) = (fastrand::Rng::with_seed(number.into()), http::client());
    while Instant::now() < end {
        let body = form(&[("model", WHISPER)], &wav(random.u32(3..=120)));
        let replica = &replicas[random.usize(..replicas.len())];
        replica.in_flight.fetch_add(1, Ordering::Relaxed);
        let call = client.post(&replica.url).header("content-type", FORM).body(body);
        let answer = http::Answer::try_of(call).await;
        replica.in_flight.fetch_sub(1, Ordering::Relaxed);
        let pause = match answer {
            Ok(answer) if [429, 503].contains(&answer.status) => answer.retry_after().min(LONGEST_PAUSE),
            Ok(answer) => {
                assert_eq!(answer.status, 200, "{}", answer.text());
                seen.served.fetch_add(1, Ordering::Relaxed);
                Duration::ZERO
            }
            Err(error) => {
                seen.cut.fetch_add(u64::from(!error.is_connect()), Ordering::Relaxed);
                Duration::from_millis(100)
            }
        };
        let jitter = Duration::from_millis(random.u64(..=500));
        sleep_until((Instant::now() + pause + jitter).min(end)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_sound_is_held_and_used_by_four_replicas() {
    let limits = json!({ "rpm": "none", "rpd": "none" });
    let whisper = json!({ "limits": limits, "seconds_found": SECONDS_FOUND, "latency": { "first_ms": latency_ms() } });
    let profile = json!({ "providers": { "groq": { "jitter_ms": JITTER_MS, "models": { WHISPER: whisper } } } });
    let file = format!("[providers.groq.models.{WHISPER}]\nlimits = {{ rpm = \"none\", rpd = \"none\" }}\n");
    let mut fleet = Fleet::start(4, profile, |setup, simulator| setup.simulated(simulator, "groq").file(&file)).await;
    let end = Instant::now() + trial_time();
    let replica = |app: &crate::support::app::TestApp| Replica {
        url: app.url("/v1/audio/transcriptions"),
        in_flight: AtomicU64::new(0),
    };
    let replicas: Arc<Vec<Replica>> = Arc::new(fleet.apps.iter().map(replica).collect());
    let (mut callers, seen) = (JoinSet::new(), Arc::new(Seen::default()));
    for number in 0..CALLERS {
        callers.spawn(post_recordings(number, end, replicas.clone(), seen.clone()));
    }
    let mut kills_with_calls = 0;
    for turn in 0.. {
        let until = end.min(Instant::now() + Duration::from_secs(10));
        let all =
            async { while callers.join_next().await.transpose().expect("a caller's request is answered").is_some() {} };
        if timeout_at(until, all).await.is_ok() {
            break;
        }
        if Instant::now() < end {
            // The next in turn that has calls in flight.
            let calls_at = |at: usize| replicas[at % replicas.len()].in_flight.load(Ordering::Relaxed);
            let victim = (turn..turn + replicas.len()).find(|at| calls_at(*at) > 0).unwrap_or(turn);
            kills_with_calls += u32::from(calls_at(victim) > 0);
            fleet.apps[victim % replicas.len()].restart().await;
        }
    }
    let (served, cut) = (seen.served.load(Ordering::Relaxed), seen.cut.load(Ordering::Relaxed));
    eprintln!("served {served}, cut {cut}, kills with calls in flight {kills_with_calls}");
    let window = fleet.window("groq", "main", WHISPER, "ash").await;
    window.was_held();
    let given = PER_HOUR * (1.0 + trial_time().as_secs_f64() / 3_600.0);
    window.was_used(0.97, given);
    assert!(served > 50 && cut >= 3 && kills_with_calls >= 3, "served {served}, cut {cut} at {kills_with_calls} kills");
}
