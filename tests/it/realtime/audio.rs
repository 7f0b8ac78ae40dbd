//! Seconds of sound over four replicas, one of which is killed every ten seconds.

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

use super::fleet::{Fleet, JITTER_MS, trial_time};
use crate::support::{
    http,
    recording::{FORM, form, wav},
};

const WHISPER: &str = "whisper-large-v3-turbo";
const PER_HOUR: f64 = 7_200.0;
const CALLERS: u64 = 24;

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_sound_is_held_and_used_by_four_replicas() {
    let limits = json!({ "rpm": "none", "rpd": "none" });
    let profile =
        json!({ "providers": { "groq": { "jitter_ms": JITTER_MS, "models": { WHISPER: { "limits": limits } } } } });
    let file = format!("[providers.groq.models.{WHISPER}]\nlimits = {{ rpm = \"none\", rpd = \"none\" }}\n");
    let mut fleet = Fleet::start(4, profile, |setup, simulator| setup.simulated(simulator, "groq").file(&file)).await;
    let end = Instant::now() + trial_time();
    let urls: Arc<Vec<String>> = Arc::new(fleet.apps.iter().map(|app| app.url("/v1/audio/transcriptions")).collect());
    let (mut callers, sent) = (JoinSet::new(), Arc::new(AtomicU64::new(0)));
    for number in 0..CALLERS {
        let (urls, sent, client) = (urls.clone(), sent.clone(), http::client());
        callers.spawn(async move {
            let mut random = fastrand::Rng::with_seed(number);
            while Instant::now() < end {
                let body = form(&[("model", WHISPER)], &wav(random.u32(3..=120)));
                let url = &urls[random.usize(..urls.len())];
                let call = client.post(url).header("content-type", FORM).body(body);
                let pause = match http::Answer::try_of(call).await {
                    Ok(answer) if [429, 503].contains(&answer.status) => answer.retry_after(),
                    Ok(answer) => {
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        sent.fetch_add(1, Ordering::Relaxed);
                        Duration::ZERO
                    }
                    Err(_) => Duration::from_millis(100),
                };
                let jitter = Duration::from_millis(random.u64(..=500));
                sleep_until((Instant::now() + pause + jitter).min(end)).await;
            }
        });
    }
    for victim in (0..fleet.apps.len()).cycle() {
        let until = end.min(Instant::now() + Duration::from_secs(10));
        let all =
            async { while callers.join_next().await.transpose().expect("a caller's request is answered").is_some() {} };
        if timeout_at(until, all).await.is_ok() {
            break;
        }
        if Instant::now() < end {
            fleet.apps[victim].restart().await;
        }
    }
    let seen = fleet.window("groq", "main", WHISPER, "ash").await;
    seen.was_held();
    let given = PER_HOUR * (1.0 + trial_time().as_secs_f64() / 3_600.0);
    seen.was_used(0.97, given);
    assert!(sent.load(Ordering::Relaxed) > 50, "{sent:?}");
}
