//! The journal, the roll-ups and the budget over HTTP: complete, bounded, and equal on every replica.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    app::{Setup, TestApp, binary, hi},
    eventually,
    fake_upstream::{FakeUpstream, Step, answer, content, stop, stream_head, whole},
    http::Answer,
    redis_server::RedisServer,
};

mod events;

const ADMIN_KEY: &str = "the-admin-key";
const SOON: Duration = Duration::from_secs(10);

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

trait AdminReads {
    async fn as_admin(&self, path: &str) -> Answer;
    async fn read(&self, path: &str) -> Value;
    async fn journal(&self, query: &str) -> Vec<Value>;
    async fn has(&self, count: usize) -> Vec<Value>;
}

impl AdminReads for TestApp {
    async fn as_admin(&self, path: &str) -> Answer {
        Answer::of(self.request("GET", path).bearer_auth(ADMIN_KEY)).await
    }

    /// Retries while a busy machine makes Redis miss its deadline.
    async fn read(&self, path: &str) -> Value {
        let attempt = async || Some(self.as_admin(path).await).filter(|answer| answer.status != 503);
        let answer = eventually(SOON, path, attempt).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    async fn journal(&self, query: &str) -> Vec<Value> {
        let list = self.read(&format!("/admin/v1/requests?{query}")).await;
        list["data"].as_array().unwrap().clone()
    }

    /// Waits for `count` records and returns them, newest first.
    async fn has(&self, count: usize) -> Vec<Value> {
        let what = format!("{count} lines");
        eventually(SOON, &what, async || {
            let lines = self.journal("limit=200").await;
            (lines.len() >= count).then_some(lines)
        })
        .await
    }
}

fn setup(upstream: &FakeUpstream) -> Setup {
    TestApp::setup().lab("lab", upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY)
}

fn names(lines: &[Value], field: &str) -> Vec<String> {
    lines.iter().map(|line| line[field].as_str().unwrap_or("null").to_owned()).collect()
}

/// Runs a test on one replica with embedded state, and on two with one Redis: requests go to the first, reads to the second.
async fn everywhere(make: impl Fn() -> Setup, run: impl AsyncFn(&TestApp, &TestApp)) {
    let alone = make().start().await;
    run(&alone, &alone).await;
    let redis = RedisServer::start().await;
    let (one, two) = (make().redis(&redis).start().await, make().redis(&redis).start().await);
    run(&one, &two).await;
}

#[tokio::test]
async fn a_record_has_client_attempts_tokens_and_outcome() {
    let (upstream, broken) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let make = || {
        setup(&upstream)
            .lab("bad", &broken)
            .file("[models.both]\nmembers = [\"bad/m\", \"lab/m\"]\nstrategy = \"listed\"\n")
    };
    everywhere(make, async |one, two| {
        broken.then(whole(500, "{}"));
        let mut call = one.chat_call(&hi("both")).header("x-request-id", "first");
        call = call.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(Answer::of(call).await.status, 200);
        let lines = two.has(1).await;
        let line = &lines[0];
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        // `ledger_wait_ms` is present only where the ledger was slow.
        let keys: Vec<&str> = keys.into_iter().filter(|key| *key != "ledger_wait_ms").collect();
        let mut wanted = vec![
            "object",
            "id",
            "cursor",
            "time",
            "client",
            "client_name",
            "protocol",
            "session",
            "model_requested",
            "provider",
            "model",
            "account",
            "status",
            "stream",
            "attempts",
            "passed_over",
            "waited_ms",
            "first_token_ms",
            "duration_ms",
            "tokens_in",
            "tokens_out",
            "tokens_cached",
            "error_code",
            "trace_id",
        ];
        wanted.sort_unstable();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, wanted);
        let field = |name: &str| line[name].clone();
        assert_eq!((field("id"), field("object"), field("status")), (json!("first"), json!("request"), json!(200)));
        assert_eq!(
            (field("model_requested"), field("model"), field("provider")),
            (json!("both"), json!("lab/m"), json!("lab"))
        );
        assert_eq!(field("protocol"), "chat");
        assert_eq!((field("client"), field("client_name")), (json!("anon:127.0.0.1"), Value::Null));
        assert_eq!((field("tokens_in"), field("tokens_out"), field("stream")), (json!(7), json!(3), json!(false)));
        assert_eq!((field("account"), field("error_code")), (json!("none"), Value::Null));
        assert_eq!(field("trace_id"), json!("4bf92f3577b34da6a3ce929d0e0e4736"));
        let attempts = line["attempts"].as_array().unwrap();
        let causes: Vec<(&Value, &Value)> = attempts.iter().map(|a| (&a["candidate"], &a["cause"])).collect();
        assert_eq!(causes, [(&json!("bad/m"), &json!("500")), (&json!("lab/m"), &json!("ok"))]);
        let ms = |value: &Value| value.as_i64().unwrap();
        let ends: Vec<i64> = attempts.iter().map(|a| ms(&a["at_ms"]) + ms(&a["duration_ms"])).collect();
        assert!(ms(&attempts[1]["at_ms"]) >= ends[0] && ends[1] <= ms(&line["duration_ms"]) + 1, "{line}");
        assert!(ms(&line["first_token_ms"]) <= ms(&line["duration_ms"]), "{line}");
    })
    .await;
}

#[tokio::test]
async fn the_record_of_a_refusal_lists_the_skipped_candidates() {
    let upstream = FakeUpstream::start().await;
    let file = format!(
        "[providers.tight]\nbase_url = \"{}\"\n[providers.tight.models.m]\nlimits = {{ rpm = 1 }}\n",
        upstream.base_url()
    );
    everywhere(
        || TestApp::setup().env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).file(&file),
        async |one, two| {
            assert_eq!((one.chat("tight/m").await.status, one.chat("tight/m").await.status), (200, 429));
            assert_eq!(one.chat("tight/nothing").await.status, 404);
            assert_eq!(one.post_raw("/v1/chat/completions", "application/json", "{").await.status, 400);
            let lines = two.has(4).await;
            assert_eq!(names(&lines, "error_code"), ["invalid_json", "model_not_found", "budget_exhausted", "null"]);
            let passed = &lines[2]["passed_over"][0];
            assert_eq!((&passed["candidate"], &passed["why"]), (&json!("tight/m"), &json!("rpm")));
            assert!((1..=60_300).contains(&passed["retry_in_ms"].as_i64().unwrap()), "{passed}");
            for (filter, found) in [
                ("status=ok", vec![200]),
                ("status=429", vec![429]),
                ("status=error", vec![400, 404]),
                ("provider=tight", vec![200]),
                ("model=tight/m", vec![429, 200]),
                ("search=NOTHING", vec![404]),
                ("client=anon:127.0.0.1&limit=2", vec![400, 404]),
                ("client=nobody", vec![]),
            ] {
                let statuses: Vec<Value> =
                    two.journal(filter).await.iter().map(|line| line["status"].clone()).collect();
                assert_eq!(json!(statuses), json!(found), "{filter}");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn pages_have_no_gaps_and_the_last_has_no_cursor() {
    let upstream = FakeUpstream::start().await;
    everywhere(
        || setup(&upstream),
        async |one, two| {
            for number in 0..23 {
                let call = one.chat_call(&hi("lab/m")).header("x-request-id", format!("r{number}"));
                assert_eq!(Answer::of(call).await.status, 200);
            }
            let all = two.has(23).await;
            for filter in ["", "&client=anon:127.0.0.1", "&search=r"] {
                let (mut pages, mut cursor) = (Vec::new(), String::new());
                loop {
                    let list = two.read(&format!("/admin/v1/requests?limit=5{filter}{cursor}")).await;
                    pages.push(list["data"].as_array().unwrap().clone());
                    match list["next_cursor"].as_str() {
                        Some(next) => cursor = format!("&cursor={next}"),
                        None => break,
                    }
                }
                assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 5, 5, 3], "{filter}");
                assert_eq!(pages.concat(), all, "{filter}");
            }
            let (first, last) = (all[22]["time"].as_str().unwrap(), all[0]["time"].as_str().unwrap());
            assert_eq!(two.journal(&format!("since={first}&until={last}&limit=200")).await.len(), 23);
            assert!(two.journal(&format!("since={last}")).await.len() < 23);
            assert!(two.journal("since=2999-01-01T00:00:00Z").await.is_empty());
        },
    )
    .await;
}

#[tokio::test]
async fn an_invalid_parameter_is_400_and_is_named() {
    let upstream = FakeUpstream::start().await;
    let app = setup(&upstream).env("TOLLFREE_API_KEY", "team").start().await;
    for (path, param) in [
        ("requests?limits=5", "limits"),
        ("requests?limit=0", "limit"),
        ("requests?limit=201", "limit"),
        ("requests?limit=1&limit=1", "limit"),
        ("requests?cursor=yesterday", "cursor"),
        ("requests?cursor=1-2-3", "cursor"),
        ("requests?status=bad", "status"),
        ("requests?since=today", "since"),
        ("requests?since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z", "since"),
        ("usage?by=colour", "by"),
        ("usage?step=week", "step"),
        ("usage?from=2026-01-01T00:00:00Z&to=2026-01-09T00:00:00Z", "from"),
        ("usage?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ("usage?step=day&from=0001-01-01T00:00:00Z", "from"),
        ("budget?x=1", "x"),
        ("events?x=1", "x"),
        ("models?x=1", "x"),
    ] {
        let answer = app.as_admin(&format!("/admin/v1/{path}")).await;
        assert_eq!((answer.error().0, answer.error().2.as_str()), (400, "invalid_value"), "{path}");
        assert_eq!(answer.json()["error"]["param"], param, "{path}");
        let open = app.get(&format!("/admin/v1/{path}")).await;
        assert_eq!(open.error().0, 401, "unauthenticated callers get no other error: {path}");
        let client = Answer::of(app.request("GET", &format!("/admin/v1/{path}")).bearer_auth("team")).await;
        assert_eq!(client.error().2, "admin_required", "{path}");
    }
    let own = Answer::of(app.request("GET", "/v1/usage?client=admin").bearer_auth("team")).await;
    assert_eq!((own.error().0, own.json()["error"]["param"].as_str()), (400, Some("client")), "only one's own");
    let events = app.request("GET", "/admin/v1/events").bearer_auth(ADMIN_KEY).header("last-event-id", "x");
    assert_eq!(Answer::of(events).await.json()["error"]["param"], "last-event-id");
    assert_eq!(app.request("POST", "/admin/v1/requests").send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn usage_adds_up_to_the_journal_by_every_grouping() {
    let upstream = FakeUpstream::start().await;
    let file = format!(
        "[providers.tight]\nbase_url = \"{}\"\n[providers.tight.models.m]\nlimits = {{ rpd = 2 }}\n",
        upstream.base_url()
    );
    let make = || setup(&upstream).file(&file).env("TOLLFREE_API_KEY", "team").env("TOLLFREE_AUTH", "open");
    everywhere(make, async |one, two| {
        for _ in 0..4 {
            one.chat("tight/m").await;
            assert_eq!(Answer::of(two.chat_call(&hi("lab/m")).bearer_auth("team")).await.status, 200);
        }
        let lines = one.has(8).await;
        let count = |field: &str, name: &str| lines.iter().filter(|line| line[field] == name).count();
        let clients = two.read("/admin/v1/usage?by=client").await;
        let series = clients["series"].as_array().unwrap();
        assert_eq!(series.len(), 2, "{clients}");
        for one in series {
            let name = one["name"].as_str().unwrap();
            assert_eq!(one["total"]["requests"], count("client", name), "{clients}");
            let points = one["points"].as_array().unwrap();
            let sum: i64 = points.iter().map(|p| p["requests"].as_i64().unwrap()).sum();
            assert_eq!(one["total"]["requests"], sum);
            assert!(points.len() <= 2 && points[0]["time"].as_str().unwrap().ends_with(":00Z"), "{clients}");
        }
        let of = |usage: &Value, name: &str| {
            let series = usage["series"].as_array().unwrap();
            series.iter().find(|s| s["name"] == name).unwrap_or_else(|| panic!("{name} in {usage}"))["total"].clone()
        };
        let anon = of(&clients, "anon:127.0.0.1");
        assert_eq!((&anon["ok"], &anon["limited"], &anon["failed"]), (&json!(2), &json!(2), &json!(0)));
        assert_eq!((&anon["tokens_in"], &anon["tokens_out"]), (&json!(14), &json!(6)));
        assert!(anon["first_token_p50_ms"].is_i64() && anon["first_token_p95_ms"].is_i64());
        for step in ["minute", "hour", "day"] {
            let providers = two.read(&format!("/admin/v1/usage?by=provider&step={step}")).await;
            assert_eq!(of(&providers, "lab")["requests"], 4);
            assert_eq!(of(&providers, "tight")["requests"], 2);
            assert_eq!(of(&providers, "none")["limited"], 2, "no provider was called");
            let models = two.read(&format!("/admin/v1/usage?by=model&client=anon:127.0.0.1&step={step}")).await;
            assert_eq!(models["series"].as_array().unwrap().len(), 2, "{models}");
            assert_eq!(of(&models, "tight/m")["ok"], 2);
            let who = two.read(&format!("/admin/v1/usage?by=client&model=lab/m&step={step}")).await;
            assert_eq!((who["series"].as_array().unwrap().len(), &who["series"][0]["total"]["ok"]), (1, &json!(4)));
        }
        let own = Answer::of(two.request("GET", "/v1/usage").bearer_auth("team")).await.json();
        assert_eq!((own["series"].as_array().unwrap().len(), &own["series"][0]["total"]["requests"]), (1, &json!(4)));
        let admins = two.read("/v1/usage?step=day").await;
        assert_eq!(
            (&admins["series"][0]["name"], &admins["series"][0]["total"]["requests"]),
            (&json!("admin"), &json!(0))
        );
    })
    .await;
}

#[tokio::test]
async fn usage_is_set_against_the_operators_prices_and_top_prints_the_pool() {
    let upstream = FakeUpstream::start().await;
    let app = setup(&upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    app.has(1).await;
    let usage = app.read("/admin/v1/usage?by=model&step=hour").await;
    let saved = &usage["series"][0]["total"]["saved"];
    assert!(usage["currency"].is_null() && saved.is_null(), "off by default: {usage}");

    let file = "[prices]\n\"lab/*\" = { input = 1000, output = 10000 }\n[dashboard]\ncurrency = \"CHF\"\n";
    let app = setup(&upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).file(file).start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    app.has(1).await;
    let usage = app.read("/admin/v1/usage?by=model&step=hour").await;
    let saved = usage["series"][0]["total"]["saved"].as_f64().unwrap();
    assert!((saved - (7.0 * 1000.0 + 3.0 * 10_000.0) / 1e6).abs() < 1e-9, "{usage}");
    assert_eq!(usage["currency"], "CHF");

    let mut top = std::process::Command::new(binary());
    top.args(["top", "--all", "--url", &app.url("")]).env_clear().env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
    let printed = top.current_dir(std::env::temp_dir()).output().unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.status.success() && text.starts_with("Tollfree · 1 replica"), "{text}");
    assert!(!text.contains('\u{1b}'), "no terminal, no escape sequences: {text}");
}

#[tokio::test]
async fn the_budget_shows_each_window_with_its_clients_and_its_reset() {
    let upstream = FakeUpstream::start().await;
    let file = format!(
        "[providers.lab]\nbase_url = \"{}\"\nlimits = {{ concurrency = 9 }}\n[providers.lab.models.m]\nlimits = {{ rpm = 5, rpd = 100, tpd = 1000 }}\ndaily_reset = \"UTC\"\ntoken_charge = \"reserve\"\n",
        upstream.base_url()
    );
    everywhere(
        || TestApp::setup().env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).file(&file),
        async |one, two| {
            for _ in 0..5 {
                assert_eq!(one.chat("lab/m").await.status, 200);
            }
            one.has(5).await;
            let replicas = if std::ptr::eq(one, two) { 1 } else { 2 };
            let budget = eventually(SOON, "the settled charges and all replicas", async || {
                let budget = two.read("/admin/v1/budget").await;
                let tpd = window(&budget["providers"][0]["accounts"][0]["models"][0], "tpd");
                (tpd["used"] == 50 && budget["replicas"] == replicas).then_some(budget)
            })
            .await;
            let account = &budget["providers"][0]["accounts"][0];
            let model = &account["models"][0];
            assert_eq!((&budget["object"], &budget["totals"]["requests"]), (&json!("budget"), &json!(5)), "{budget}");
            assert_eq!((&model["id"], &model["name"], &model["enabled"]), (&json!("m"), &json!("lab/m"), &json!(true)));
            assert_eq!((&model["breaker"]["state"], &model["cooldown"]), (&json!("closed"), &Value::Null));
            let rpm = window(model, "rpm");
            assert_eq!(
                (&rpm["used"], &rpm["left"], &rpm["max"], &rpm["source"]),
                (&json!(5), &json!(0), &json!(5), &json!("file"))
            );
            assert_eq!(rpm["clients"], json!([{ "client": "anon:127.0.0.1", "name": null, "units": 5 }]));
            assert!(rpm["next_free_at"].as_str() > budget["taken_at"].as_str(), "{rpm}");
            assert!(rpm["resets_at"].as_str() >= rpm["next_free_at"].as_str() && rpm["forecast"].is_null(), "{rpm}");
            let tpd = window(model, "tpd");
            assert_eq!((&tpd["kind"], &tpd["left"]), (&json!("calendar"), &json!(950)));
            assert_eq!(tpd["clients"][0]["units"], 50);
            assert!(tpd["resets_at"].as_str().unwrap().ends_with("T00:00:00Z"), "{tpd}");
            assert!((49.0..=50.0).contains(&tpd["forecast"]["pace_per_hour"].as_f64().unwrap()), "{tpd}");
            assert_eq!(window(account, "concurrency")["used"], 0, "of the account, over all its models");
        },
    )
    .await;
}

fn window<'a>(of: &'a Value, limit: &str) -> &'a Value {
    let windows = of["windows"].as_array().unwrap();
    windows.iter().find(|w| w["limit"] == limit).unwrap_or_else(|| panic!("no {limit} in {of}"))
}

#[tokio::test]
async fn a_stopped_replica_is_soon_no_longer_counted() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let (one, mut two) = (setup(&upstream).redis(&redis).start().await, setup(&upstream).redis(&redis).start().await);
    let replicas = async |count: i64| {
        let what = format!("{count} replicas");
        eventually(Duration::from_secs(15), &what, async || {
            (one.read("/admin/v1/budget").await["replicas"] == count).then_some(())
        })
        .await;
    };
    replicas(2).await;
    two.process().kill();
    replicas(1).await;
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
        assert!(ms > 0 || endless.contains(&name), "{key} lives for ever");
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

#[tokio::test]
async fn models_are_listed_in_their_ranking_with_its_reasons() {
    let upstream = FakeUpstream::start().await;
    let app = setup(&upstream).played("groq", &upstream).start().await;
    let models = app.read("/admin/v1/models").await;
    let data = models["data"].as_array().unwrap();
    let find = |id: &str| data.iter().find(|m| m["id"] == id).unwrap_or_else(|| panic!("no {id} in {models}"));
    let free = find("free");
    assert_eq!((&free["kind"], &free["strategy"]), (&json!("meta"), &json!("headroom")));
    let members = free["members"].as_array().unwrap();
    let ranks: Vec<i64> = members.iter().map(|m| m["rank"].as_i64().unwrap()).collect();
    assert_eq!(ranks, (1..=members.len() as i64).collect::<Vec<_>>());
    assert!(members[0]["why"].as_str().unwrap().contains('%'), "{free}");
    let model = find("groq/openai/gpt-oss-120b");
    assert_eq!((&model["kind"], &model["status"]), (&json!("model"), &json!("active")));
    let rpm = model["limits"].as_array().unwrap().iter().find(|l| l["limit"] == "rpm").unwrap();
    assert_eq!((&rpm["source"], rpm["max"].as_i64() > Some(0)), (&json!("catalogue"), true), "{model}");
    let retired: Vec<&Value> = data.iter().filter(|m| m["status"] == "retired").collect();
    assert!(!retired.is_empty() && retired.iter().any(|m| m["successor"].is_string()), "{models}");
    let mut ids = names(data, "id");
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "each once");
}

#[tokio::test]
async fn a_broken_stream_is_recorded_as_broken() {
    let upstream = FakeUpstream::start().await;
    let app = setup(&upstream).start().await;
    upstream.then(vec![stream_head(), Step::Bytes(content("one").into()), Step::Reset]);
    let finished = app.stream("lab/m").await.rest().await;
    assert!(finished.error().is_some(), "{finished:?}");
    upstream.then(vec![stream_head(), Step::Bytes(content("one").into()), Step::Bytes(stop().into())]);
    assert!(app.stream("lab/m").await.rest().await.is_done());
    upstream.then(whole(200, &answer("whole")));
    app.chat("lab/m").await;
    let lines = app.has(3).await;
    let recorded: Vec<(&Value, &Value, &Value)> =
        lines.iter().map(|line| (&line["status"], &line["error_code"], &line["stream"])).collect();
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(recorded[..2], [(&json!(200), &Value::Null, &no), (&json!(200), &Value::Null, &yes)]);
    assert_eq!(recorded[2], (&json!(502), &json!("upstream_error"), &yes));
    assert_ne!(lines[2]["attempts"][0]["cause"], "ok");
}
