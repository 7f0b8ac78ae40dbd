//! A crowd that waits for one window: four replicas, one Redis, 600 callers, five of them per unit of the limit in its wait.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use super::{
    fleet::short,
    team::{MODEL, create_client, team_over},
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
    let tally: Arc<Mutex<BTreeMap<(u16, String), usize>>> = Arc::default();
    let served: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (url, http, ask) = (urls[caller % urls.len()].clone(), http.clone(), short(&format!("mistral/{MODEL}")));
        let (tally, served) = (tally.clone(), served.clone());
        callers.spawn(async move {
            tokio::time::sleep(Duration::from_millis(caller as u64 * 5)).await;
            while start.elapsed() < TIME {
                let answer = Answer::of(http.post(&url).header("prefer", "wait=30").json(&ask(0))).await;
                let code = if answer.status == 200 { String::new() } else { answer.error().2.clone() };
                *tally.lock().unwrap().entry((answer.status, code)).or_default() += 1;
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
    // A Redis that is silent for a second is away, which may happen beside other tests.
    let is_excused = fleet.apps.iter().any(|app| app.log().contains("cannot be reached"));
    assert!(is_excused || tally.keys().all(|(status, _)| [200, 429].contains(status)), "{tally:?}");
    let seen = fleet.window("mistral", "main", MODEL, "rpm").await;
    seen.was_held();
    seen.was_used(0.98, (RPM * 3) as f64);
}

/// One request: its client, when it came and was answered, since the start, and its status.
type Timing = (usize, Duration, Duration, u16);

/// A client with many connections, each of which sends its next request after an answer, and four that send one a second.
async fn greedy_and_modest(connections: usize, wait_s: u64) {
    const MODEST: usize = 4;
    let fleet = team_over("sliding", RPM, 30_000).await;
    let urls: Vec<String> = fleet.apps.iter().map(|app| app.url("/v1/chat/completions")).collect();
    let mut keys = Vec::new();
    for name in ["greedy", "ann", "bob", "cid", "dan"] {
        keys.push(create_client(&fleet.apps[0], name, json!({})).await.1);
    }
    let (start, http, timings) = (Instant::now(), http::client(), Arc::new(Mutex::new(Vec::<Timing>::new())));
    let mut callers = JoinSet::new();
    for caller in 0..connections + MODEST {
        let client = (caller + 1).saturating_sub(connections);
        let (url, key, http, timings) =
            (urls[caller % urls.len()].clone(), keys[client].clone(), http.clone(), timings.clone());
        let body = short(&format!("mistral/{MODEL}"))(0);
        let one = async move || {
            let came = start.elapsed();
            let call = http.post(&url).bearer_auth(&key).header("prefer", format!("wait={wait_s}"));
            let answer = Answer::of(call.json(&body)).await;
            timings.lock().unwrap().push((client, came, start.elapsed(), answer.status));
            if answer.status == 429 { answer.retry_after().min(Duration::from_secs(5)) } else { Duration::ZERO }
        };
        callers.spawn(async move {
            if client == 0 {
                while start.elapsed() < TIME {
                    tokio::time::sleep(one().await).await;
                }
                return;
            }
            let mut requests = JoinSet::new();
            while start.elapsed() < TIME {
                let one = one.clone();
                requests.spawn(async move { one().await });
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            requests.join_all().await;
        });
    }
    callers.join_all().await;
    let timings = timings.lock().unwrap().clone();
    for client in 0..=MODEST {
        let own = timings.iter().filter(|(of, ..)| *of == client);
        let mut tally = BTreeMap::<u16, usize>::new();
        own.clone().for_each(|(.., status)| *tally.entry(*status).or_default() += 1);
        let mut served: Vec<&Timing> = own.filter(|(.., status)| *status == 200).collect();
        served.sort();
        let mut last = Duration::ZERO;
        let overtaken = served.iter().map(|(_, _, answered, _)| {
            last = last.max(*answered);
            last.saturating_sub(*answered)
        });
        let overtaken = overtaken.max().unwrap_or_default();
        eprintln!("client {client} got {tally:?}, overtaken by {overtaken:?} at most");
        assert!(tally.keys().all(|status| [200, 429].contains(status)), "{tally:?}");
        // What is reserved for the others is known to a second: the last units before that go to whichever replica asks first.
        assert!(overtaken < scaled(Duration::from_secs(6)), "client {client}: {overtaken:?}");
    }
    let seen = fleet.window("mistral", "main", MODEL, "rpm").await;
    seen.was_held();
    // Who waits for 5 s may sleep when the window opens for the last time.
    seen.was_used(0.98, (RPM * if wait_s < 30 { 2 } else { 3 }) as f64);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for `make test-long`: it needs the machine for itself"]
async fn fifty_connections_of_a_client_and_four_modest_ones_that_wait_30_s_get_no_error() {
    greedy_and_modest(50, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for `make test-long`: it needs the machine for itself"]
async fn five_hundred_connections_of_a_client_and_four_modest_ones_that_wait_5_s_get_no_error() {
    greedy_and_modest(500, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for `make test-long`: it needs the machine for itself"]
async fn two_thousand_connections_of_a_client_and_four_modest_ones_that_wait_30_s_get_no_error() {
    greedy_and_modest(2_000, 30).await;
}
