//! Status and its controls; start, reload and end of the process.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    eventually,
    fake_upstream::{FakeUpstream, Step, answer, content, stop, stream_head, whole},
    http::Answer,
    redis_server::RedisServer,
};

const ADMIN_KEY: &str = "the-admin-key";

async fn as_admin(app: &TestApp, method: &str, path: &str, body: Value) -> Answer {
    Answer::of(app.request(method, path).bearer_auth(ADMIN_KEY).json(&body)).await
}

#[tokio::test]
async fn status_shows_providers_breakers_and_recent_requests() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().played("groq", &upstream).lab("lab", &upstream).start().await;
    upstream.then(whole(500, "{}"));
    assert_eq!(app.chat("groq/openai/gpt-oss-20b").await.status, 502);
    assert_eq!(app.chat("lab/m").await.status, 200);
    // The journal is written in batches.
    let status = eventually(Duration::from_secs(5), "both requests are counted", async || {
        let status = app.status().await;
        (status["totalRequests"] == 2).then_some(status)
    })
    .await;
    assert_eq!((&status["successRequests"], &status["failedRequests"]), (&json!(1), &json!(1)), "{status}");
    assert_eq!(status["routingStrategy"], "headroom");
    let groq = app.provider_status("groq").await;
    assert_eq!((&groq["enabled"], &groq["circuitBreakerState"]), (&json!(true), &json!("closed")), "{groq}");
    assert!(groq["name"].is_string() && !groq["models"].as_array().unwrap().is_empty(), "{groq}");
    assert_eq!(status["recentRequests"].as_array().unwrap().len(), 2, "{status}");
    assert!(!status.to_string().contains("key-of-groq"));
}

#[tokio::test]
async fn controls_require_the_admin_key() {
    let upstream = FakeUpstream::start().await;
    let setup = TestApp::setup().lab("lab", &upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
    let app = setup.env("TOLLFREE_API_KEY", "team").start().await;
    let calls = [("POST", "/v1/status/providers/lab/reset"), ("PATCH", "/v1/status/routing")];
    for (method, path) in calls {
        let call = || app.request(method, path).json(&json!({ "strategy": "random" }));
        assert_eq!(Answer::of(call()).await.error().0, 401, "{path}");
        let client = Answer::of(call().bearer_auth("team")).await;
        assert_eq!(client.error(), (403, "permission_error".into(), "admin_required".into()), "{path}");
        assert_eq!(Answer::of(call().bearer_auth("guess")).await.error().0, 401, "{path}");
        assert_eq!(Answer::of(call().bearer_auth(ADMIN_KEY)).await.status, 200, "{path}");
    }
    let unknown = as_admin(&app, "POST", "/v1/status/providers/nobody/reset", json!({})).await;
    assert_eq!(unknown.error().0, 404);
    let wrong = as_admin(&app, "PATCH", "/v1/status/routing", json!({ "strategy": "sideways" })).await;
    assert_eq!((wrong.error().0, wrong.error().2.as_str()), (400, "invalid_value"));
    assert!(wrong.message().contains("round_robin"), "{}", wrong.message());
}

#[tokio::test]
async fn without_an_admin_key_the_controls_return_503() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).start().await;
    let answer = as_admin(&app, "PATCH", "/v1/status/routing", json!({ "strategy": "random" })).await;
    assert_eq!(answer.error(), (503, "server_error".into(), "admin_key_not_set".into()));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn a_reset_closes_a_providers_breaker_and_ends_its_cooldowns() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).start().await;
    for _ in 0..3 {
        upstream.then(whole(500, "{}"));
        app.chat("lab/m").await;
        app.settled().await;
    }
    assert_eq!(app.chat("lab/m").await.status, 503, "open");
    let reset = as_admin(&app, "POST", "/v1/status/providers/lab/reset", json!({})).await;
    assert_eq!(reset.status, 200, "{}", reset.text());
    assert_eq!((&reset.json()["id"], &reset.json()["circuitBreakerState"]), (&json!("lab"), &json!("closed")));
    assert_eq!(app.chat("lab/m").await.content(), "hello");
    upstream.then(whole(404, r#"{"error":{"message":"no such model","code":"model_not_found"}}"#));
    app.chat("lab/m").await;
    app.settled().await;
    assert_eq!(app.chat("lab/m").await.status, 503, "in cooldown");
    as_admin(&app, "POST", "/v1/status/providers/lab/reset", json!({})).await;
    assert_eq!(app.chat("lab/m").await.content(), "hello");
}

#[tokio::test]
async fn a_routing_strategy_applies_to_all_replicas() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let setup = || TestApp::setup().redis(&redis).lab("lab", &upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
    let (one, two) = (setup().start().await, setup().start().await);
    let changed = as_admin(&one, "PATCH", "/v1/status/routing", json!({ "strategy": "round_robin" })).await;
    assert_eq!((changed.status, &changed.json()["routingStrategy"]), (200, &json!("round_robin")));
    eventually(Duration::from_secs(3), "the other replica has it", async || {
        (two.status().await["routingStrategy"] == "round_robin").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_invalid_configuration_prevents_the_start_and_names_its_position() {
    let wrong = [
        (TestApp::setup().file("[providers.groq]\nlimits = { rmp = 30 }"), "tollfree.toml:2", "rmp"),
        (TestApp::setup().file("[queue]\nmax_wait_ms = \"soon\""), "tollfree.toml:2", "max_wait_ms"),
        (TestApp::setup().file("[oops]\nx = 1"), "tollfree.toml:1", "oops"),
        (TestApp::setup().env("TOLLFREE_OOPS", "1"), "TOLLFREE_OOPS", ""),
        (TestApp::setup().env("PORT", "99999"), "PORT", "99999"),
        (TestApp::setup().env("TOLLFREE_DATA_DIR", "/proc/nothing"), "/proc/nothing", ""),
    ];
    for (setup, place, name) in wrong {
        let (code, output) = setup.fails().await;
        assert_ne!(code, 0);
        assert!(output.contains(place) && output.contains(name), "{place} {name}:\n{output}");
        assert!(!output.contains("panicked"), "{output}");
    }
}

#[tokio::test]
async fn sighup_reloads_and_a_bad_file_keeps_the_old_one() {
    let (a, b) = (FakeUpstream::start().await, FakeUpstream::start().await);
    b.always(whole(200, &answer("from b")));
    let file = |upstream: &FakeUpstream| {
        format!("[providers.lab]\nbase_url = \"{}\"\n[providers.lab.models.m]\n", upstream.base_url())
    };
    let app = TestApp::setup().file(&file(&a)).start().await;
    assert_eq!(app.chat("lab/m").await.content(), "hello");
    app.write_file(&file(&b));
    app.signal("HUP");
    eventually(Duration::from_secs(5), "the new file is in force", async || {
        (app.chat("lab/m").await.content() == "from b").then_some(())
    })
    .await;
    app.write_file("[oops]\n");
    app.signal("HUP");
    eventually(Duration::from_secs(5), "the bad file is reported", async || app.log().contains("oops").then_some(()))
        .await;
    assert_eq!(app.chat("lab/m").await.content(), "from b");
}

/// What is known of a provider speaks of its former address, key or models, so a change ends its cooldowns and closes its
/// breakers; by a reload as well as by a restart.
#[tokio::test]
async fn a_changed_provider_is_tried_at_once() {
    let (wrong, right) = (FakeUpstream::start().await, FakeUpstream::start().await);
    wrong.always(whole(404, r#"{"error":{"message":"no such path"}}"#));
    let file = |upstream: &FakeUpstream, model: &str| {
        let url = upstream.base_url();
        format!("[providers.lab]\nbase_url = \"{url}\"\n[providers.lab.models.m]\n[providers.lab.models.{model}]\n")
    };
    let mut app = TestApp::setup().file(&file(&wrong, "n")).start().await;
    let is_shut = async |app: &TestApp| {
        assert_eq!(app.chat("lab/m").await.error().0, 502);
        app.settled().await;
        let answer = app.chat("lab/m").await;
        assert_eq!(answer.error(), (503, "server_error".into(), "no_provider_available".into()));
        assert!(answer.message().contains("in cooldown after 404"), "{}", answer.message());
    };
    is_shut(&app).await;
    app.write_file(&file(&wrong, "o"));
    app.signal("HUP");
    let is_called = async || (app.chat("lab/m").await.error().0 == 502).then_some(());
    eventually(Duration::from_secs(5), "another list of models ends the cooldown", is_called).await;
    app.write_file(&file(&right, "o"));
    app.signal("HUP");
    let is_served = async || (app.chat("lab/m").await.status == 200).then_some(());
    eventually(Duration::from_secs(5), "another address does", is_served).await;
    app.write_file(&file(&wrong, "o"));
    app.signal("HUP");
    let is_called = async || (app.chat("lab/m").await.status == 502).then_some(());
    eventually(Duration::from_secs(5), "the wrong address again", is_called).await;
    let is_noted = async || (app.log().matches("of `lab` have changed").count() >= 3).then_some(());
    eventually(Duration::from_secs(5), "each change is noted", is_noted).await;
    app.write_file(&file(&right, "o"));
    app.restart().await;
    app.until_ready().await;
    assert_eq!(app.chat("lab/m").await.content(), "hello", "after a restart");
    assert!(app.log().contains("have changed"), "{}", app.log());
}

#[tokio::test]
async fn sigterm_finishes_accepted_requests_and_exits_with_0() {
    let upstream = FakeUpstream::start().await;
    let mut app = TestApp::setup().lab("lab", &upstream).file("[shutdown]\ngrace_ms = 700\n").start().await;
    let mut script = vec![stream_head(), Step::Bytes(content("one").into()), Step::Pause(Duration::from_millis(1500))];
    script.extend([Step::Bytes(content("two").into()), Step::Bytes(stop().into())]);
    upstream.then(script);
    let stream = app.stream("lab/m").await;
    app.signal("TERM");
    eventually(Duration::from_millis(600), "not ready at once", async || {
        (app.get("/readyz").await.status == 503).then_some(())
    })
    .await;
    let served = app.chat("lab/m").await;
    assert_eq!(served.content(), "hello", "still served during the grace");
    assert_eq!(served.header("connection"), Some("close"));
    let finished = stream.rest().await;
    assert_eq!(finished.content(), "onetwo");
    assert!(finished.is_done(), "{finished:?}");
    // No second signal is sent: that would end the process immediately.
    let status = eventually(Duration::from_secs(5), "it ends", async || app.process().ended()).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn embedded_counts_survive_kill_9() {
    let upstream = FakeUpstream::start().await;
    let url = upstream.base_url();
    let file = format!("[providers.lab]\nbase_url = \"{url}\"\n[providers.lab.models.m]\nlimits = {{ rpd = 5 }}\n");
    let mut app = TestApp::setup().file(&file).start().await;
    for _ in 0..3 {
        assert_eq!(app.chat("lab/m").await.status, 200);
    }
    app.restart().await;
    app.until_ready().await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(app.chat("lab/m").await.status);
    }
    assert_eq!(statuses, [200, 200, 429], "three of five were gone before");
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_check_and_catalog_report_what_they_find() {
    use std::process::Command;
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).start().await;
    let run = |arguments: &[&str], port: u16| {
        let mut command = Command::new(crate::support::app::binary());
        command.args(arguments).env_clear().env("PORT", port.to_string()).env("HOME", app.folder.path());
        command.current_dir(app.folder.path());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    assert_eq!(run(&["healthcheck"], app.port()).0, Some(0));
    assert_ne!(run(&["healthcheck"], crate::support::process::free_port()).0, Some(0));
    let (code, output) = run(&["check"], app.port());
    assert_eq!(code, Some(0), "{output}");
    let (code, output) = run(&["check", "--live"], app.port());
    assert!(code == Some(0) && output.contains("lab"), "{output}");
    let (code, output) = run(&["catalog"], app.port());
    assert!(code == Some(0) && output.contains("lab/m"), "{output}");
}

#[tokio::test]
async fn a_provider_disabled_at_one_replica_is_disabled_at_all() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let setup = || TestApp::setup().redis(&redis).played("groq", &upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
    let (one, two) = (setup().start().await, setup().start().await);
    let (big, small) = ("groq/openai/gpt-oss-120b", "groq/openai/gpt-oss-20b");
    let off = as_admin(&one, "PATCH", &format!("/v1/status/models/{big}"), json!({ "enabled": false })).await;
    assert_eq!(off.status, 200, "{}", off.text());
    let refused = two.chat(big).await;
    assert_eq!((refused.status, two.chat(small).await.status), (400, 200), "{}", refused.text());
    assert!(refused.message().contains("disabled"), "{}", refused.message());
    as_admin(&one, "PATCH", "/v1/status/providers/groq", json!({ "enabled": false })).await;
    assert_eq!(two.chat(small).await.status, 400, "at the very next admission");
    eventually(Duration::from_secs(3), "the status of the other replica shows it", async || {
        (two.provider_status("groq").await["enabled"] == false).then_some(())
    })
    .await;
    for path in [format!("/v1/status/models/{big}"), "/v1/status/providers/groq".to_owned()] {
        assert_eq!(as_admin(&two, "PATCH", &path, json!({ "enabled": true })).await.status, 200);
    }
    assert_eq!((one.chat(big).await.status, one.chat(small).await.status), (200, 200));
    let call = one.request("PATCH", "/v1/status/providers/groq").json(&json!({ "enabled": false }));
    assert_eq!(Answer::of(call).await.error().0, 401, "only the admin may change it");
}

#[tokio::test]
async fn make_run_starts_the_demo_only_without_configuration() {
    let demonstration = TestApp::setup().command(&["serve", "--or-demo"]).start().await;
    assert!(demonstration.log().to_lowercase().contains("simulated"), "a clear banner:\n{}", demonstration.log());
    assert_eq!(demonstration.chat("free").await.status, 200);
    let upstream = FakeUpstream::start().await;
    let own = TestApp::setup().command(&["serve", "--or-demo"]).played("groq", &upstream).start().await;
    assert!(!own.log().to_lowercase().contains("simulated"), "{}", own.log());
    assert_eq!(own.chat("free").await.content(), "hello");
    assert!(own.log().contains(&own.url("/v1")), "it says where it is");
}
