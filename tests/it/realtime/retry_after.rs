//! Retry-After is exact: a caller that waits exactly that long is served.

use std::{fmt::Write, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    app::{TestApp, hi},
    fake_upstream::{FakeUpstream, answer, whole},
    http::{self, Answer},
    redis_server::RedisServer,
};

const MODELS: usize = 60;
const TIME: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_at_the_named_time_is_served_by_any_replica() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    upstream.always(whole(200, &answer("hi")));
    // Each model has one caller, so no other request takes its room.
    let mut file = format!("[providers.lab]\nbase_url = \"{}\"\n", upstream.base_url());
    for n in 0..MODELS {
        let (window, rpm) = (["sliding", "bucket"][n % 2], 2 + n % 5);
        writeln!(file, "[providers.lab.models.m{n}]\nlimits = {{ rpm = {rpm} }}\nwindow = \"{window}\"").unwrap();
    }
    let mut apps = Vec::new();
    for _ in 0..4 {
        apps.push(TestApp::setup().file(&file).redis(&redis).env("LOG_LEVEL", "warn").start().await);
    }
    let urls: Vec<String> = apps.iter().map(|app| app.url("/v1/chat/completions")).collect();
    let (client, end) = (http::client(), Instant::now() + TIME);
    let mut callers = JoinSet::new();
    for n in 0..MODELS {
        let (urls, client) = (urls.clone(), client.clone());
        callers.spawn(async move {
            let (mut refused_before, mut kept, mut broken) = (false, 0, 0);
            for turn in n.. {
                let answer = Answer::of(client.post(&urls[turn % 4]).json(&hi(&format!("lab/m{n}")))).await;
                match answer.status {
                    200 if refused_before => kept += 1,
                    429 if refused_before => broken += 1,
                    _ => {}
                }
                refused_before = answer.status == 429;
                if answer.status != 200 {
                    // 503: a call to Redis can exceed 100 ms on a busy machine.
                    assert!([429, 503].contains(&answer.status), "{}", answer.text());
                    tokio::time::sleep(answer.retry_after()).await;
                } else if Instant::now() > end {
                    break;
                } else {
                    // Spreads the charges over the window.
                    tokio::time::sleep(Duration::from_millis(37 * (n as u64 % 11))).await;
                }
            }
            (kept, broken)
        });
    }
    let all = callers.join_all().await;
    let (kept, broken) = all.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    eprintln!("{kept} of {} came back in time", kept + broken);
    assert!(kept >= 300 && kept * 100 >= (kept + broken) * 99, "{kept} kept, {broken} broken");
}
