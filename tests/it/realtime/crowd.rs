//! A crowd that waits for one window: four replicas, one Redis, 600 callers, five of them per unit of the limit in its wait.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use super::{
    fleet::short,
    team::{MODEL, team_over},
};
use crate::support::{
    http::{self, Answer},
    scaled,
};

const RPM: i64 = 300;
const CALLERS: usize = 600;
/// A minute window that opens twice.
const TIME: Duration = Duration::from_secs(125);

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_waits_without_an_error_and_fills_the_window_as_it_opens() {
    let fleet = team_over("sliding", RPM, 30_000).await;
    let urls: Vec<String> = fleet.apps.iter().map(|app| app.url("/v1/chat/completions")).collect();
    let (start, http) = (Instant::now(), http::client());
    let tally: Arc<Mutex<BTreeMap<u16, usize>>> = Arc::default();
    let served: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (url, http, ask) = (urls[caller % urls.len()].clone(), http.clone(), short(&format!("mistral/{MODEL}")));
        let (tally, served) = (tally.clone(), served.clone());
        callers.spawn(async move {
            tokio::time::sleep(Duration::from_millis(caller as u64 * 5)).await;
            while start.elapsed() < TIME {
                let answer = Answer::of(http.post(&url).header("prefer", "wait=30").json(&ask(0))).await;
                *tally.lock().unwrap().entry(answer.status).or_default() += 1;
                if answer.status == 200 {
                    served.lock().unwrap().push(start.elapsed());
                } else {
                    let pause = if answer.status == 429 { answer.retry_after() } else { Duration::from_secs(1) };
                    tokio::time::sleep(pause.min(Duration::from_secs(5))).await;
                }
            }
        });
    }
    callers.join_all().await;
    let (tally, mut served) = (tally.lock().unwrap().clone(), served.lock().unwrap().clone());
    served.sort();
    eprintln!("callers got {tally:?}");
    let limit = usize::try_from(RPM).unwrap();
    for opening in 1..served.len() / limit {
        let (first, last) = (served[opening * limit], served[(opening * limit + limit - 1).min(served.len() - 1)]);
        let took = last.saturating_sub(first);
        eprintln!("opening {opening} filled within {took:?}");
        assert!(took < scaled(Duration::from_secs(8)), "from {first:?} to {last:?}");
    }
    // Beside other tests a call of the ledger can take longer than a second.
    let (failed, answers) = (tally.get(&503).copied().unwrap_or(0), tally.values().sum::<usize>());
    assert!(failed * 50 <= answers, "{tally:?}");
    let seen = fleet.window("mistral", "main", MODEL, "rpm").await;
    seen.was_held();
    seen.was_used(0.98, (RPM * 3) as f64);
}
