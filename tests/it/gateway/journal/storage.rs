//! What is stored: everything once, through an outage, and bounded.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use super::{AdminReads, SOON, everywhere, names, setup};
use crate::support::{
    app::hi,
    eventually,
    fake_upstream::{FakeUpstream, Step, content, stream_head},
    http::Answer,
    redis_server::RedisServer,
};

/// `PTTL` of a key that lives for ever; of one that has expired meanwhile it is -2.
const NO_TTL: i64 = -1;

/// Every Redis key of the pool with its TTL.
fn lives(redis: &RedisServer) -> BTreeMap<String, i64> {
    let keys = redis.command(&["KEYS", "*"]);
    let names = keys.lines().filter(|line| line.starts_with("tf1:")).map(str::to_owned);
    let ttl = |key: String| {
        let reply = redis.command(&["PTTL", &key]);
        let ms = reply.lines().next().and_then(|line| line.strip_prefix(':')).unwrap().parse().unwrap();
        (key, ms)
    };
    names.map(ttl).collect()
}

#[tokio::test]
async fn every_finished_or_cancelled_request_is_in_the_journal_once() {
    let upstream = FakeUpstream::start().await;
    everywhere(|| setup(&upstream), async |one, two| {
        let (mut left, mut answered) = (0, 0);
        for round in 0..30_usize {
            let app = if round % 2 == 0 { one } else { two };
            match round % 3 {
                0 => {
                    assert_eq!(app.chat("lab/m").await.status, 200);
                    answered += 1;
                }
                1 => {
                    // Cancelled in the middle of its stream.
                    upstream.then(vec![stream_head(), Step::Bytes(content("one").into()), Step::Hold]);
                    let mut stream = app.stream("lab/m").await;
                    stream.next().await.unwrap().unwrap();
                    drop(stream);
                    left += 1;
                }
                _ => {
                    // Cancelled while it waits for its first content.
                    upstream.then(vec![Step::Hold]);
                    let waiting = app.chat("lab/m");
                    let seen = upstream.seen().len();
                    tokio::select! {
                        _ = waiting => panic!("it was answered"),
                        () = eventually(SOON, "the provider is called", async || (upstream.seen().len() > seen).then_some(())) => {}
                    }
                    left += 1;
                }
            }
        }
        let lines = one.has(30).await;
        let of = |status: u16| lines.iter().filter(|line| line["status"] == status).count();
        assert_eq!((lines.len(), of(200), of(499)), (30, answered, left));
        let mut ids = names(&lines, "id");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 30);
        let total = two.read("/admin/v1/usage?by=client").await["series"][0]["total"].clone();
        assert_eq!((&total["requests"], &total["ok"], &total["failed"]), (&json!(30), &json!(answered), &json!(left)));
        assert_eq!(two.status().await["totalRequests"], 30);
    })
    .await;
}

#[tokio::test]
async fn an_outage_delays_records_and_duplicates_none() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let app = setup(&upstream).redis(&redis).start().await;
    for round in 0..6 {
        assert_eq!(app.chat("lab/m").await.status, 200);
        // A stopped Redis receives the batch and replies too late: the batch may have been written.
        redis.stop();
        assert_eq!(app.chat("lab/m").await.status, 200, "unmetered models go on");
        tokio::time::sleep(Duration::from_millis(150 + 40 * round)).await;
        redis.cont();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let lines = app.has(12).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!((lines.len(), app.has(12).await.len()), (12, 12));
    assert_eq!(app.status().await["totalRequests"], 12);
}

#[tokio::test]
async fn during_an_outage_reads_fail_and_the_status_shows_the_last_known_requests() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let app = setup(&upstream).redis(&redis).start().await;
    app.chat("lab/m").await;
    app.has(1).await;
    assert_eq!(app.status().await["totalRequests"], 1);
    redis.stop();
    for path in ["/admin/v1/requests", "/admin/v1/usage", "/admin/v1/budget", "/v1/usage", "/admin/v1/events"] {
        let answer = app.as_admin(path).await;
        assert_eq!(answer.error(), (503, "server_error".into(), "ledger_unavailable".into()), "{path}");
        answer.retry_after();
    }
    let status = app.status().await;
    assert_eq!((&status["totalRequests"], &status["ledger"]["reachable"]), (&json!(1), &json!(false)));
    assert_eq!(app.as_admin("/admin/v1/models").await.status, 200, "the catalogue is local");
    redis.cont();
}

#[tokio::test]
async fn all_stored_data_has_a_ttl_or_a_bound() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let setup = setup(&upstream).redis(&redis).env("TRUSTED_PROXIES", "127.0.0.0/8");
    let app = setup.start().await;
    // More clients in a minute than the roll-up has names for.
    let calls = (0..400)
        .map(|n| app.chat_call(&hi("lab/m")).header("x-forwarded-for", format!("10.1.{}.{}", n / 250, n % 250)));
    for some in calls.collect::<Vec<_>>().chunks_mut(40) {
        let some = some.iter_mut().map(|call| Answer::of(call.try_clone().unwrap()));
        assert!(futures_util::future::join_all(some).await.iter().all(|answer| answer.status == 200));
    }
    let usage = eventually(SOON, "all are counted", async || {
        let usage = app.read("/admin/v1/usage?by=client").await;
        let series = usage["series"].as_array().unwrap();
        let all: i64 = series.iter().map(|s| s["total"]["requests"].as_i64().unwrap()).sum();
        (all == 400).then_some(usage)
    })
    .await;
    let series = usage["series"].as_array().unwrap();
    assert_eq!(series.last().unwrap()["name"], "other", "{} names", series.len());
    let mut minutes: BTreeMap<&str, usize> = BTreeMap::new();
    for point in series.iter().flat_map(|s| s["points"].as_array().unwrap()) {
        *minutes.entry(point["time"].as_str().unwrap()).or_default() += 1;
    }
    assert!(minutes.values().all(|names| *names <= 129), "{minutes:?}");
    let endless = ["health", "speed", "totals", "journal"];
    for (key, ms) in lives(&redis) {
        let name = key.strip_prefix("tf1:{default}:").unwrap();
        assert!(ms != NO_TTL || endless.contains(&name), "{key} lives for ever");
    }
}

#[tokio::test]
async fn the_journal_stream_is_capped() {
    let redis = RedisServer::start().await;
    let upstream = FakeUpstream::start().await;
    let app = setup(&upstream).redis(&redis).start().await;
    // Records as a replica writes them.
    let old = r#"'{"time_ms":1,"request_id":"old","client":"x","requested_model":"free","candidate":"","attempts":[],"status":200,"stream":false,"waited_ms":0,"first_token_ms":null,"duration_ms":1,"tokens_in":null,"tokens_out":null}'"#;
    for _ in 0..3 {
        let script = "\"for i=1,4000 do redis.call('XADD','tf1:{default}:journal','*','line',ARGV[1]) end\"";
        let reply = redis.command(&["EVAL", script, "0", old]);
        assert!(reply.starts_with("$-1"), "{reply}");
    }
    app.chat("lab/m").await;
    let length = eventually(SOON, "the next batch trims it", async || {
        let reply = redis.command(&["XLEN", "tf1:{default}:journal"]);
        let length: usize = reply.lines().next()?.strip_prefix(':')?.parse().ok()?;
        (length < 12_000).then_some(length)
    })
    .await;
    assert!((10_000..10_200).contains(&length), "{length}");
    // A search without results ends after a bounded number of reads and returns a cursor.
    let list = app.read("/admin/v1/requests?search=no-such-thing").await;
    assert!(list["data"].as_array().unwrap().is_empty() && list["next_cursor"].is_string(), "{list}");
    assert_eq!(app.journal("search=old&limit=7").await.len(), 7);
}
