//! A team on four replicas and one Redis: quotas, revoked keys, the waiting room.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use super::fleet::{Fleet, short};
use crate::support::{
    app::{Setup, TestApp},
    http::{self, Answer},
    scaled,
    simulator::Simulator,
};

pub(super) const MODEL: &str = "mistral-medium-2604";
const BOSS: &str = "boss-of-the-team";

async fn team(rpm: i64, wait_ms: i64) -> Fleet {
    team_over("sliding", rpm, wait_ms).await
}

/// One model at one provider, whose one limit is `rpm`.
pub(super) async fn team_over(window: &str, rpm: i64, wait_ms: i64) -> Fleet {
    let limits = json!({ "rpm": rpm, "tpm": "none", "tpd": "none", "rpd": "none" });
    let profile = json!({ "providers": { "mistral": {
        "jitter_ms": 200,
        "latency": { "first_ms": 20, "chunk_ms": 1, "reasoning_tokens": 0 },
        "models": { MODEL: { "limits": limits, "window": window } },
    } } });
    let change = |setup: Setup, simulator: &Simulator| {
        let file = format!(
            "[providers.mistral]\nlimits = {{ rps = \"none\" }}\n[providers.mistral.models.\"{MODEL}\"]\nlimits = {{ rpm = {rpm}, tpm = \"none\" }}\nwindow = \"{window}\"\n"
        );
        let setup = setup.simulated(simulator, "mistral").file(&file).env("TOLLFREE_ADMIN_KEY", BOSS);
        setup.env("TOLLFREE_AUTH", "open").env("TOLLFREE__QUEUE__MAX_WAIT_MS", wait_ms)
    };
    Fleet::start(4, profile, change).await
}

/// A key of its own, made at one replica.
pub(super) async fn member(app: &TestApp, name: &str, limits: Value) -> (String, String) {
    let call = http::client().post(app.url("/admin/v1/clients")).bearer_auth(BOSS);
    let made = Answer::of(call.json(&json!({ "name": name, "limits": limits }))).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let text = |field: &str| made.json()[field].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

/// The most of these instants within any 60 s.
fn most_in_a_minute(instants: &[Instant]) -> usize {
    let mut sorted = instants.to_vec();
    sorted.sort();
    let within = |i: usize| sorted[..=i].iter().filter(|at| **at + Duration::from_mins(1) > sorted[i]).count();
    (0..sorted.len()).map(within).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_members_of_ten_a_minute_never_get_an_eleventh_on_any_replica() {
    let fleet = team(100_000, 0).await;
    let mut keys = Vec::new();
    for n in 0..20 {
        keys.push(member(&fleet.apps[0], &format!("member {n}"), json!({ "rpm": 10 })).await.1);
    }
    let urls: Vec<String> = fleet.apps.iter().map(|app| app.url("/v1/chat/completions")).collect();
    let end = Instant::now() + Duration::from_secs(130);
    let mut members = JoinSet::new();
    for (n, key) in keys.into_iter().enumerate() {
        let (urls, ask) = (urls.clone(), short(&format!("mistral/{MODEL}")));
        members.spawn(async move {
            let (client, mut served, mut turn) = (http::client(), Vec::new(), n);
            while Instant::now() < end {
                turn += 1;
                let call = client.post(&urls[turn % urls.len()]).bearer_auth(&key).json(&ask(0));
                let answer = Answer::of(call).await;
                match answer.status {
                    200 => {
                        let left: i64 = answer.header("x-ratelimit-remaining-requests").unwrap().parse().unwrap();
                        assert!((0..10).contains(&left));
                        served.push(Instant::now());
                    }
                    429 => assert_eq!(answer.error().2, "client_quota_exceeded"),
                    503 => {}
                    other => panic!("{other}: {}", answer.text()),
                }
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
            served
        });
    }
    for served in members.join_all().await {
        assert!(most_in_a_minute(&served) <= 10, "an eleventh within a minute");
        assert!(served.len() >= 28, "only {} of 30 were served", served.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_passes_nowhere_once_the_admin_has_been_answered() {
    let fleet = team(100_000, 0).await;
    let (id, key) = member(&fleet.apps[0], "leaves", json!({})).await;
    let revoked = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for n in 0..20 {
        let url = fleet.apps[n % 4].url("/v1/chat/completions");
        let (key, revoked, ask) = (key.clone(), revoked.clone(), short(&format!("mistral/{MODEL}")));
        callers.spawn(async move {
            let (client, mut passed, mut refused) = (http::client(), 0, 0);
            for _ in 0..25 {
                let late = revoked.load(Ordering::SeqCst);
                let answer = Answer::of(client.post(&url).bearer_auth(&key).json(&ask(0))).await;
                match answer.status {
                    200 => {
                        assert!(!late, "asked after the key was revoked, and served");
                        passed += 1;
                    }
                    401 => refused += 1,
                    503 => {}
                    other => panic!("{other}: {}", answer.text()),
                }
                tokio::time::sleep(Duration::from_millis(350)).await;
            }
            (passed, refused)
        });
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let url = fleet.apps[1].url(&format!("/admin/v1/clients/{id}/revoke"));
    let answer = Answer::of(http::client().post(url).bearer_auth(BOSS)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    revoked.store(true, Ordering::SeqCst);
    let (passed, refused) =
        callers.join_all().await.into_iter().fold((0, 0), |(a, b), (passed, refused)| (a + passed, b + refused));
    eprintln!("{passed} passed before, {refused} were turned away after");
    assert!(passed > 50 && refused > 50);
}

/// What one caller in line met: when it came, when it was answered, with what.
type Met = (Instant, Instant, u16);

fn in_line(fleet: &Fleet, callers: usize) -> JoinSet<Met> {
    let (mut room, client) = (JoinSet::new(), http::client());
    let start = Instant::now();
    for n in 0..callers {
        let url = fleet.apps[n % fleet.apps.len()].url("/v1/chat/completions");
        let (ask, client) = (short(&format!("mistral/{MODEL}")), client.clone());
        let at = start + Duration::from_millis(40 * n as u64);
        room.spawn(async move {
            tokio::time::sleep_until(at).await;
            let call = client.post(&url).header("prefer", "wait=120").json(&ask(0));
            match Answer::try_of(call).await {
                Ok(answer) => (at, Instant::now(), answer.status),
                Err(_) => (at, Instant::now(), 0),
            }
        });
    }
    room
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_at_once_over_thirty_a_minute_are_all_served_in_order() {
    let fleet = team(30, 120_000).await;
    let mut met = in_line(&fleet, 60).join_all().await;
    met.sort_by_key(|(came, _, _)| *came);
    assert!(met.iter().all(|(_, _, status)| *status == 200), "{met:?}");
    let ends: Vec<Instant> = met.iter().map(|(_, end, _)| *end).collect();
    for (i, end) in ends.iter().enumerate() {
        let earlier = ends[..i].iter().max().copied().unwrap_or(*end);
        assert!(earlier <= *end + Duration::from_secs(1), "number {i} was overtaken by more than a second");
    }
    let took = *ends.iter().max().unwrap() - met[0].0;
    eprintln!("the last of 60 after {:.1} s", took.as_secs_f64());
    let seen = fleet.window("mistral", "main", MODEL, "rpm").await;
    seen.was_held();
    // Perfect: the second thirty leave a minute (and the slack) after the first.
    assert!(took <= scaled(Duration::from_millis(64_500)), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_replica_dies_with_its_waiters_the_others_get_their_turn() {
    let mut fleet = team(30, 120_000).await;
    let room = in_line(&fleet, 60);
    tokio::time::sleep(Duration::from_secs(20)).await;
    fleet.apps[3].restart().await;
    let met = room.join_all().await;
    let served = met.iter().filter(|(_, _, status)| *status == 200).count();
    let died = met.iter().filter(|(_, _, status)| *status == 0).count();
    eprintln!("{served} served, {died} died with their replica");
    assert_eq!(served + died, 60, "{met:?}");
    assert!((1..=15).contains(&died));
    let last = met.iter().filter(|(_, _, status)| *status == 200).map(|(_, end, _)| *end).max().unwrap();
    let first = met.iter().map(|(came, _, _)| *came).min().unwrap();
    assert!(last - first <= Duration::from_secs(66), "{:?}", last - first);
    let seen = fleet.window("mistral", "main", MODEL, "rpm").await;
    seen.was_held();
}
