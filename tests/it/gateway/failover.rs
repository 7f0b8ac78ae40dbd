//! Failover: the order of candidates, and what excludes a candidate.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    app::{TestApp, hi},
    eventually,
    fake_upstream::{FakeUpstream, Step, answer, whole, with_head},
};

const ADMIN_KEY: &str = "the-admin-key";

/// Three unmetered providers in one meta-model `all`, in this order.
async fn three(strategy: &str) -> (TestApp, [FakeUpstream; 3]) {
    let all = [FakeUpstream::start().await, FakeUpstream::start().await, FakeUpstream::start().await];
    let [a, b, c] = &all;
    let file = format!("[models.all]\nmembers = [\"a/m\", \"b/m\", \"c/m\"]\nstrategy = \"{strategy}\"\n");
    let app = TestApp::setup().lab("a", a).lab("b", b).lab("c", c).file(&file).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
    (app.start().await, all)
}

#[tokio::test]
async fn a_reused_connection_that_was_closed_is_replaced_under_a_second_charge() {
    let upstream = FakeUpstream::start().await;
    let provider = format!("[providers.lab]\nbase_url = \"{}\"\n", upstream.base_url());
    let app = TestApp::setup().file(&format!("{provider}[providers.lab.models.m]\nlimits = {{ rpm = 3 }}\n"));
    let app = app.start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    upstream.then(vec![Step::Reset]);
    let second = app.chat("lab/m").await;
    assert_eq!((second.status, second.attempts()), (200, "lab/m;reset, lab/m;ok"));
    assert_eq!(upstream.seen().len(), 3);
    assert_eq!(
        app.chat("lab/m").await.status,
        429,
        "the request that was lost counts, since the provider may count it"
    );
    app.shows_breaker("lab", "closed").await;
}

#[tokio::test]
async fn a_closed_connection_that_another_provider_of_the_host_has_used_is_replaced_too() {
    let upstream = FakeUpstream::start().await;
    let other = upstream.base_url().replace("/v1", "/other/v1");
    let file = format!("[providers.b]\nbase_url = \"{other}\"\n[providers.b.models.m]\n");
    let app = TestApp::setup().lab("a", &upstream).file(&file).start().await;
    assert_eq!(app.chat("a/m").await.status, 200);
    upstream.then(vec![Step::Reset]);
    let second = app.chat("b/m").await;
    assert_eq!((second.status, second.attempts()), (200, "b/m;reset, b/m;ok"));
    app.shows_breaker("b", "closed").await;
}

#[tokio::test]
async fn a_429_before_the_first_byte_fails_over_and_starts_a_cooldown() {
    let (app, [a, b, _c]) = three("listed").await;
    a.then(with_head(429, "retry-after: 2\r\n", r#"{"error":{"message":"slow down"}}"#));
    let first = app.chat("all").await;
    assert_eq!((first.provider(), first.content().as_str()), ("b", "hello"));
    assert!(first.attempts().starts_with("a/m;429") && first.attempts().ends_with(", b/m;ok"), "{}", first.attempts());
    assert_eq!(app.chat("all").await.attempts(), "b/m;ok", "a is in cooldown");
    assert_eq!((a.seen().len(), b.seen().len()), (1, 2));
    app.shows_breaker("a", "closed").await;
    // The cooldown lasts two seconds; the plan sees its end with the next snapshot.
    eventually(Duration::from_secs(5), "a serves again after its cooldown", async || {
        (app.chat("all").await.attempts() == "a/m;ok").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rejected_request_is_tried_at_one_other_provider_only() {
    let (app, [a, b, c]) = three("listed").await;
    let refusal = |word: &str| whole(400, &format!(r#"{{"error":{{"message":"{word} is wrong","code":"odd"}}}}"#));
    a.then(refusal("first"));
    let answer = app.chat("all").await;
    assert_eq!((answer.provider(), answer.content().as_str()), ("b", "hello"), "dialects differ");
    a.then(refusal("first"));
    b.then(refusal("second"));
    let answer = app.chat("all").await;
    assert_eq!((answer.error().0, answer.error().1.as_str()), (400, "invalid_request_error"));
    assert!(answer.message().contains("first is wrong"), "the message of the first rejection: {}", answer.message());
    assert!(c.seen().is_empty());
    for provider in ["a", "b"] {
        app.shows_breaker(provider, "closed").await;
    }
    assert_eq!(app.chat("all").await.provider(), "a", "a rejection has no lasting effect");
}

#[tokio::test]
async fn a_dead_provider_is_excluded_after_three_failures() {
    let (app, [a, _b, _c]) = three("listed").await;
    for _ in 0..3 {
        a.then(whole(500, "boom"));
        assert_eq!(app.chat("all").await.attempts(), "a/m;500, b/m;ok");
    }
    assert_eq!(app.chat("all").await.attempts(), "b/m;ok");
    app.shows_breaker("a", "open").await;
    assert_eq!(a.seen().len(), 3);
    let open = app.chat("a/m").await;
    assert_eq!(open.error().0, 503, "no other provider serves it: {}", open.text());
    assert!(open.retry_after() <= Duration::from_secs(30));
}

#[tokio::test]
async fn round_robin_takes_turns_and_random_reaches_all() {
    for order in ["round_robin", "random"] {
        let (app, all) = three(order).await;
        for _ in 0..30 {
            assert_eq!(app.chat("all").await.status, 200);
        }
        let shares = all.map(|upstream| upstream.seen().len());
        assert_eq!(shares.iter().sum::<usize>(), 30);
        if order == "round_robin" {
            assert!(shares.iter().all(|share| (9..=11).contains(share)), "{shares:?}");
        } else {
            assert!(shares.iter().all(|share| *share >= 1), "{shares:?}");
        }
    }
}

#[tokio::test]
async fn fast_prefers_the_provider_with_the_shortest_latency() {
    let (app, [a, b, c]) = three("fast").await;
    let slow = |ms: u64| {
        let mut script = vec![Step::Pause(Duration::from_millis(ms))];
        script.extend(whole(200, &answer("hello")));
        script
    };
    a.always(slow(300));
    b.always(slow(5));
    c.always(slow(150));
    for provider in ["a/m", "b/m", "c/m", "a/m", "b/m", "c/m"] {
        assert_eq!(app.chat(provider).await.status, 200);
    }
    // The averages arrive with the next snapshot, once a second.
    eventually(Duration::from_secs(5), "the fastest serves all", async || {
        let chosen = futures_util::future::join_all((0..3).map(|_| app.chat("all"))).await;
        chosen.iter().all(|answer| answer.provider() == "b").then_some(())
    })
    .await;
}

#[tokio::test]
async fn smart_prefers_the_highest_quality_and_headroom_the_most_room() {
    let (groq, gemini) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let members = "members = [\"groq/openai/gpt-oss-20b\", \"gemini/gemini-3.8-flash\"]";
    let file =
        format!("[models.wise]\n{members}\nstrategy = \"smart\"\n[models.wide]\n{members}\nstrategy = \"headroom\"\n");
    let app = TestApp::setup().played("groq", &groq).played("gemini", &gemini).file(&file).start().await;
    assert_eq!(app.chat("wise").await.provider(), "gemini");
    assert_eq!(app.chat("wise").await.provider(), "gemini");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(app.chat("wide").await.provider(), "groq", "2 of gemini's 5 a minute are gone, groq's 30 are not");
}

#[tokio::test]
async fn a_bad_key_is_in_cooldown_and_the_accounts_other_key_serves() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().played("groq", &upstream).env("GROQ_API_KEY", "key-one,key-two");
    let app = app.file("[providers.groq]\naccounts = { main = [1, 2] }\n").start().await;
    let refusal = r#"{"error":{"message":"Invalid API Key","type":"invalid_request_error","code":"invalid_api_key"}}"#;
    upstream.then(whole(401, refusal));
    let answer = app.chat("groq/openai/gpt-oss-20b").await;
    assert_eq!(answer.content(), "hello", "the other key: {}", answer.attempts());
    let seen = upstream.seen();
    let (refused, served) = (&seen[0].headers["authorization"], &seen[1].headers["authorization"]);
    assert_ne!(refused, served);
    for _ in 0..4 {
        assert_eq!(app.chat("groq/openai/gpt-oss-20b").await.status, 200);
    }
    assert!(
        upstream.seen()[1..].iter().all(|s| s.headers["authorization"] == *served),
        "the bad key stays in cooldown"
    );
}

#[tokio::test]
async fn the_route_timeout_bounds_all_attempts_together() {
    let (a, b) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let file = "[models.pair]\nmembers = [\"a/m\", \"b/m\"]\nstrategy = \"listed\"\n";
    let app = TestApp::setup().lab("a", &a).lab("b", &b).file(file).env("ROUTE_TIMEOUT_MS", 700).start().await;
    a.always(vec![Step::Hold]);
    b.always(vec![Step::Hold]);
    let answer = app.chat("pair").await;
    assert_eq!(answer.error(), (504, "server_error".into(), "upstream_timeout".into()));
    assert!(answer.took < Duration::from_millis(1500), "{:?}", answer.took);
}

#[tokio::test]
async fn a_context_length_error_fails_over_to_a_larger_context_only() {
    let (a, b, c) = (FakeUpstream::start().await, FakeUpstream::start().await, FakeUpstream::start().await);
    let provider = |name: &str, upstream: &FakeUpstream, context: u32| {
        let url = upstream.base_url();
        format!("[providers.{name}]\nbase_url = \"{url}\"\n[providers.{name}.models.m]\ncontext = {context}\n")
    };
    let file = [provider("a", &a, 8_000), provider("b", &b, 8_000), provider("c", &c, 100_000)].concat();
    let file = format!("{file}[models.all]\nmembers = [\"a/m\", \"b/m\", \"c/m\"]\nstrategy = \"listed\"\n");
    let app = TestApp::setup().file(&file).start().await;
    let refusal = r#"{"error":{"message":"This model's maximum context length is 8000 tokens. However, you requested 9000 tokens.","code":"context_length_exceeded"}}"#;
    a.then(whole(400, refusal));
    let answer = app.chat("all").await;
    assert_eq!((answer.provider(), b.seen().len()), ("c", 0), "{}", answer.attempts());
}

#[tokio::test]
async fn a_disabled_member_and_a_provider_disabled_in_the_file_get_no_requests() {
    let (a, b) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let url = a.base_url();
    let file = format!("[providers.a]\nbase_url = \"{url}\"\nenabled = false\n[providers.a.models.m]\n");
    let file = format!("{file}[models.pair]\nmembers = [\"a/m\", \"b/m\"]\nstrategy = \"listed\"\n");
    let app = TestApp::setup().lab("b", &b).file(&file).start().await;
    assert_eq!(app.chat("pair").await.attempts(), "b/m;ok");
    assert_eq!(app.chat_with(&json!({ "model": "a/m", "messages": hi("")["messages"] })).await.status, 404);
    assert!(a.seen().is_empty());
}
