//! Fair shares in real time: four replicas, one Redis, a client with fifty connections and four with one request a second.

use std::time::Duration;

use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use super::{
    fleet::{Fleet, short},
    team::{MODEL, create_client, team_over},
};
use crate::support::http::{self, Answer};

const RPM: i64 = 600;
const CONNECTIONS: usize = 50;
const MODEST: usize = 4;
const SECOND: Duration = Duration::from_secs(1);
/// Clients become active during the first span, which does not count.
const FROM: Duration = Duration::from_mins(1);
const TILL: Duration = Duration::from_mins(3);
/// A whole span and its slack: units used in one burst return after it, and shorter waits would be refused.
const WAIT: &str = "wait=65";

/// Timing of one request, since the start.
struct RequestTiming {
    came: Duration,
    answered: Duration,
    served: bool,
}

/// Sends the requests of one client over `connections`: continuously, or one per `every`.
async fn client(fleet: &Fleet, name: &str, connections: usize, every: Option<Duration>) -> JoinSet<Vec<RequestTiming>> {
    let (_, key) = create_client(&fleet.apps[0], name, json!({})).await;
    let urls: Vec<String> = fleet.apps.iter().map(|app| app.url("/v1/chat/completions")).collect();
    let (mut callers, http, start) = (JoinSet::new(), http::client(), Instant::now());
    for connection in 0..connections {
        let (urls, key, http, ask) = (urls.clone(), key.clone(), http.clone(), short(&format!("mistral/{MODEL}")));
        callers.spawn(async move {
            let one = async |turn: usize| {
                let came = start.elapsed();
                let call = http.post(&urls[(connection + turn) % urls.len()]).bearer_auth(&key);
                let answer = Answer::of(call.header("prefer", WAIT).json(&ask(0))).await;
                assert!([200, 429, 503].contains(&answer.status), "{}: {}", answer.status, answer.text());
                let served = answer.status == 200;
                let retry_after = if served { Duration::ZERO } else { answer.retry_after() };
                (RequestTiming { came, answered: start.elapsed(), served }, retry_after)
            };
            let (mut timings, mut turn) = (Vec::new(), 0);
            let Some(every) = every else {
                while start.elapsed() < TILL {
                    turn += 1;
                    let (one, retry_after) = one(turn).await;
                    if !one.served {
                        tokio::time::sleep(retry_after.max(SECOND)).await;
                    }
                    timings.push(one);
                }
                return timings;
            };
            let schedule = (0..).map(|turn| (turn, every * u32::try_from(turn).unwrap()));
            let each = schedule.take_while(|(_, at)| *at < TILL).map(async |(turn, at)| {
                tokio::time::sleep_until(start + at).await;
                one(turn).await.0
            });
            futures_util::future::join_all(each).await
        });
    }
    callers
}

/// Requests served within the spans that count.
fn served(timings: &[RequestTiming]) -> usize {
    timings.iter().filter(|one| one.served && (FROM..TILL).contains(&one.answered)).count()
}

async fn shared_fairly(window: &str) {
    let fleet = team_over(window, RPM, 65_000).await;
    let greedy = client(&fleet, "greedy", CONNECTIONS, None).await;
    let mut modest = Vec::new();
    for n in 0..MODEST {
        modest.push(client(&fleet, &format!("modest {n}"), 1, Some(SECOND)).await);
    }
    let greedy = served(&greedy.join_all().await.into_iter().flatten().collect::<Vec<_>>());
    let (mut all, mut satisfied) = (greedy, Vec::new());
    for one in modest {
        let timings: Vec<RequestTiming> = one.join_all().await.into_iter().flatten().collect();
        let counted = timings.iter().filter(|one| (FROM..TILL).contains(&one.came));
        let (got, sent) = (counted.clone().filter(|one| one.served).count(), counted.count());
        assert_eq!(sent, 120);
        satisfied.push(got as f64 / sent as f64);
        all += served(&timings);
    }
    eprintln!("{window}: greedy {greedy}, modest {satisfied:.3?}, together {all} of {}", 2 * RPM);
    assert!(satisfied.iter().all(|part| *part >= 0.95), "{satisfied:?}");
    let rest = (2 * RPM) as usize - MODEST * 120;
    satisfied.push((greedy as f64 / rest as f64).min(1.0));
    let (sum, squares): (f64, f64) = (satisfied.iter().sum(), satisfied.iter().map(|x| x * x).sum());
    let jain = sum * sum / (satisfied.len() as f64 * squares);
    assert!(jain >= 0.98, "{jain:.3} of {satisfied:?}");
    fleet.window("mistral", "main", MODEL, "rpm").await.was_held();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_shared_fairly_over_four_replicas() {
    shared_fairly("bucket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sliding_minute_is_shared_fairly_over_four_replicas() {
    shared_fairly("sliding").await;
}
