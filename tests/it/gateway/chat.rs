//! The contract of `POST /v1/chat/completions` and `/v1/models`: bytes, headers and model names.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    app::{TestApp, hi},
    fake_upstream::{FakeUpstream, Step, answer, stream_head, whole, with_head},
};

async fn lab() -> (TestApp, FakeUpstream) {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).start().await;
    (app, upstream)
}

#[tokio::test]
async fn unknown_fields_and_number_formats_reach_the_provider_untouched() {
    let (app, upstream) = lab().await;
    let body = r#"{ "x_first" : [1.0, 2.50,  1e3, 12345678901234567890],"model":  "lab/m" ,
        "temperature":1.00,"messages":[{"role":"user","content":"h\u00e9 😀 \/","x_note":{"b":1,"a":null}}],
        "x_last":{"z":true,"model":"lab/m"}, "seed": 7 }"#;
    let answer = app.post_raw("/v1/chat/completions", "application/json", body).await;
    assert_eq!(answer.content(), "hello");
    let sent = body.replacen("\"lab/m\"", "\"m\"", 1);
    assert_eq!(String::from_utf8(upstream.seen()[0].body.clone()).unwrap(), sent);
}

#[tokio::test]
async fn a_response_is_relayed_byte_for_byte() {
    let (app, upstream) = lab().await;
    let odd = "{ \"id\":\"x\",\"x_new\":{\"b\":1.50,\"a\":[ ]},\"object\":\"chat.completion\",\"created\":7,\"model\":\"their-name\",\n\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"h\\u00e9\"},\"finish_reason\":\"stop\"}], \"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2,\"x\":1e0}}\n";
    upstream.then(whole(200, odd));
    let answer = app.chat("lab/m").await;
    assert_eq!(answer.text(), odd);
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn headers_name_the_provider_and_the_attempts() {
    let (app, _upstream) = lab().await;
    let answer = app.chat("lab/m").await;
    assert_eq!(answer.provider(), "lab");
    assert_eq!(answer.header("x-tollfree-model"), Some("lab/m"));
    assert_eq!(answer.attempts(), "lab/m;ok");
    assert_eq!(answer.header("x-tollfree-waited-ms"), Some("0"), "requests outside the queue do not wait");
    assert!(!answer.header("x-request-id").unwrap().is_empty());
    let streamed = app.stream("lab/m").await;
    assert_eq!(streamed.header("x-tollfree-provider"), Some("lab"));
    assert_eq!(streamed.header("x-tollfree-attempts"), Some("lab/m;ok"));
    assert_eq!(streamed.header("x-tollfree-waited-ms"), Some("0"));
}

#[tokio::test]
async fn a_safe_request_id_is_kept_and_any_other_is_replaced() {
    let (app, _upstream) = lab().await;
    let with_id = async |id: &str| {
        let call = app.chat_call(&hi("lab/m")).header("x-request-id", id);
        crate::support::http::Answer::of(call).await.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(with_id("abc-123_X.y").await, "abc-123_X.y");
    assert_ne!(with_id("a b\"c").await, "a b\"c");
    let long = "x".repeat(129);
    assert_ne!(with_id(&long).await, long);
    let bad = app.get("/v1/nothing").await;
    assert!(bad.header("x-request-id").is_some(), "errors carry one too");
}

#[tokio::test]
async fn api_v1_is_the_same_as_v1() {
    let (app, _upstream) = lab().await;
    let answer = app.post_raw("/api/v1/chat/completions", "application/json", hi("lab/m").to_string()).await;
    assert_eq!(answer.content(), "hello");
    assert_eq!(app.get("/api/v1/models").await.json(), app.get("/v1/models").await.json());
}

#[tokio::test]
async fn models_lists_meta_models_first_then_configured_models() {
    let upstream = FakeUpstream::start().await;
    let file = "[models.my-pair]\nmembers = [\"lab/*\", \"groq/openai/gpt-oss-20b\"]\nstrategy = \"listed\"\n";
    let app = TestApp::setup().lab("lab", &upstream).played("groq", &upstream).file(file).start().await;
    let list = app.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    let metas = ids.iter().take_while(|id| !id.contains('/')).count();
    for meta in ["free", "free-fast", "free-smart", "my-pair"] {
        assert!(ids[..metas].contains(&meta), "{meta} among {ids:?}");
    }
    assert!(ids[metas..].iter().all(|id| id.starts_with("lab/") || id.starts_with("groq/")), "{ids:?}");
    assert!(ids.contains(&"lab/m") && ids.contains(&"groq/openai/gpt-oss-120b"), "{ids:?}");
    let one = app.get("/v1/models/groq/openai/gpt-oss-120b").await.json();
    let listed = list["data"].as_array().unwrap().iter().find(|m| m["id"] == one["id"]).unwrap();
    assert_eq!(&one, listed);
    assert_eq!(one["object"], "model");
    assert_eq!(one["context_length"], 131_072);
    assert!(one["capabilities"].as_array().unwrap().contains(&json!("tools")), "{one}");
    assert_eq!(app.get("/v1/models/free").await.json()["id"], "free");
    assert_eq!(app.get("/v1/models/no-such").await.error().2, "model_not_found");
}

#[tokio::test]
async fn a_bare_id_fails_over_among_the_providers_that_serve_it() {
    let (groq, cerebras) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let file = "[providers.cerebras.models.\"gpt-oss-120b\"]\n";
    let app = TestApp::setup().played("groq", &groq).played("cerebras", &cerebras).file(file).start().await;
    groq.always(whole(500, "{}"));
    let answer = app.chat("gpt-oss-120b").await;
    assert_eq!(answer.content(), "hello");
    assert_eq!(answer.provider(), "cerebras");
    cerebras.always(whole(500, "{}"));
    groq.always(whole(200, &crate::support::fake_upstream::answer("from groq")));
    let answer = app.chat("openai/gpt-oss-120b").await;
    assert_eq!((answer.provider(), answer.content().as_str()), ("groq", "from groq"));
    assert_eq!(groq.seen().last().unwrap().json()["model"], "openai/gpt-oss-120b");
    let own_id = cerebras.seen().iter().all(|seen| seen.json()["model"] == "gpt-oss-120b");
    assert!(own_id, "each provider gets its own model id");
}

#[tokio::test]
async fn a_retired_model_names_its_successor_and_a_typo_the_closest() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().played("groq", &upstream).start().await;
    for retired in ["llama-3.3-70b-versatile", "groq/llama-3.3-70b-versatile"] {
        let gone = app.chat(retired).await;
        assert_eq!(gone.error(), (404, "invalid_request_error".into(), "model_not_found".into()));
        assert!(gone.message().contains("gpt-oss-120b"), "{}", gone.message());
    }
    let typo = app.chat("groq/openai/gpt-oss-12b").await;
    assert_eq!(typo.error().2, "model_not_found");
    assert!(typo.message().contains("gpt-oss-120b"), "{}", typo.message());
    assert_eq!(typo.json()["error"]["param"], "model");
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn without_any_provider_key_the_error_says_what_to_do() {
    let app = TestApp::setup().start().await;
    let answer = app.chat("free").await;
    assert_eq!(answer.error(), (404, "invalid_request_error".into(), "model_not_found".into()));
    assert!(answer.message().contains("tollfree demo"), "{}", answer.message());
}

#[tokio::test]
async fn only_what_differs_per_provider_is_edited() {
    let (groq, mistral) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let app = TestApp::setup().played("groq", &groq).played("mistral", &mistral).start().await;
    let mut body = json!({
        "model": "groq/openai/gpt-oss-20b", "seed": 7, "max_completion_tokens": 50, "store": true, "x_own": 1,
        "messages": [{ "role": "developer", "content": "be kind" }, { "role": "user", "content": "hi", "name": "ann" }],
    });
    assert_eq!(app.chat_with(&body).await.status, 200);
    let sent = groq.seen()[0].json();
    assert_eq!(sent["model"], "openai/gpt-oss-20b");
    assert_eq!(sent["messages"][0]["role"], "system");
    assert!(sent.get("store").is_none() && sent["messages"][1].get("name").is_none(), "{sent}");
    assert_eq!((&sent["seed"], &sent["max_completion_tokens"]), (&json!(7), &json!(50)));
    assert!(sent.get("x_own").is_none(), "groq takes no fields that it does not know: {sent}");
    body["model"] = "mistral/mistral-medium-2604".into();
    assert_eq!(app.chat_with(&body).await.status, 200);
    let sent = mistral.seen()[0].json();
    assert_eq!((&sent["random_seed"], &sent["max_tokens"]), (&json!(7), &json!(50)), "{sent}");
    assert!(sent.get("seed").is_none() && sent.get("max_completion_tokens").is_none(), "{sent}");
}

#[tokio::test]
async fn a_parameter_whose_loss_would_change_the_meaning_excludes_the_candidate() {
    let (groq, lab) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let file = "[models.pair]\nmembers = [\"groq/openai/gpt-oss-20b\", \"lab/m\"]\nstrategy = \"listed\"\n";
    let app = TestApp::setup().played("groq", &groq).lab("lab", &lab).file(file).start().await;
    let mut body = hi("pair");
    body["n"] = 2.into();
    let answer = app.chat_with(&body).await;
    assert_eq!(answer.provider(), "lab", "groq returns one choice only");
    assert_eq!(lab.seen()[0].json()["n"], 2);
    body["model"] = "groq/openai/gpt-oss-20b".into();
    let refused = app.chat_with(&body).await;
    assert_eq!(refused.error(), (400, "invalid_request_error".into(), "unsupported_by_models".into()));
    assert_eq!(refused.json()["error"]["param"], "n");
    let image = json!({ "model": "groq/openai/gpt-oss-20b", "messages": [{ "role": "user", "content": [
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } }] }] });
    let refused = app.chat_with(&image).await;
    assert_eq!(refused.error().2, "unsupported_by_models");
    assert!(groq.seen().is_empty());
}

#[tokio::test]
async fn a_prompt_larger_than_every_model_is_rejected_before_any_call() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).file("context = 32768").start().await;
    let body = json!({ "model": "lab/m", "messages": [{ "role": "user", "content": "word ".repeat(60_000) }] });
    let answer = app.chat_with(&body).await;
    assert_eq!(answer.error(), (400, "invalid_request_error".into(), "context_length_exceeded".into()));
    assert!(answer.message().contains("32768"), "{}", answer.message());
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn when_every_candidate_failed_the_error_lists_each_attempt() {
    let (a, b) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let file = "[models.pair]\nmembers = [\"a/m\", \"b/m\"]\nstrategy = \"listed\"\n";
    let app = TestApp::setup().lab("a", &a).lab("b", &b).file(file).start().await;
    a.then(whole(500, "boom"));
    b.then(vec![Step::Reset]);
    let answer = app.chat("pair").await;
    assert_eq!(answer.error(), (502, "server_error".into(), "upstream_error".into()));
    assert!(answer.message().contains("a/m") && answer.message().contains("b/m"), "{}", answer.message());
    let labels: Vec<_> = answer.attempts().split(", ").map(|a| a.split_once(';').unwrap().0).collect();
    assert_eq!(labels, ["a/m", "b/m"]);
}

#[tokio::test]
async fn when_every_candidate_was_too_slow_the_error_is_a_timeout() {
    let upstream = FakeUpstream::start().await;
    let file = "[timeouts]\nfirst_content_ms = 300\n";
    let app = TestApp::setup().lab("lab", &upstream).file(file).start().await;
    upstream.then(vec![Step::Hold]);
    let answer = app.chat("lab/m").await;
    assert_eq!(answer.error(), (504, "server_error".into(), "upstream_timeout".into()));
    assert!(answer.took > Duration::from_millis(250) && answer.took < Duration::from_secs(3), "{:?}", answer.took);
    upstream.then(vec![stream_head(), Step::Hold]);
    let streamed = app.stream("lab/m").await.rest().await;
    assert_eq!(streamed.status, 504);
    assert_eq!(streamed.error(), None, "an error body is no event");
}

#[tokio::test]
async fn a_providers_rejection_is_relayed_with_its_name_and_without_secrets() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().played("groq", &upstream).start().await;
    let body = r#"{"error":{"message":"`temperature` too high for key key-of-groq","type":"invalid_request_error","param":"temperature","code":"bad_temp"}}"#;
    upstream.always(whole(400, body));
    let answer = app.chat("groq/openai/gpt-oss-20b").await;
    assert_eq!((answer.error().0, answer.error().1), (400, "invalid_request_error".into()));
    assert!(answer.message().contains("groq") && answer.message().contains("temperature"), "{}", answer.message());
    assert!(!answer.text().contains("key-of-groq"), "{}", answer.text());
    assert!(!app.log().contains("key-of-groq"), "secrets are never logged");
}

#[tokio::test]
async fn browsers_of_allowed_origins_may_call_and_read_every_header() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).env("ALLOWED_ORIGINS", "http://ui.test").start().await;
    let preflight = app
        .request("OPTIONS", "/v1/chat/completions")
        .header("origin", "http://ui.test")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type");
    let preflight = crate::support::http::Answer::of(preflight).await;
    assert!(preflight.status == 200 || preflight.status == 204, "{}", preflight.status);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("http://ui.test"));
    let call = app.chat_call(&hi("lab/m")).header("origin", "http://ui.test");
    let answer = crate::support::http::Answer::of(call).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://ui.test"));
    let exposed = answer.header("access-control-expose-headers").unwrap().to_ascii_lowercase();
    for name in ["x-request-id", "x-tollfree-provider", "x-tollfree-attempts", "x-tollfree-waited-ms", "retry-after-ms"]
    {
        assert!(exposed.contains(name), "{name} in {exposed}");
    }
    let call = app.chat_call(&hi("lab/m")).header("origin", "http://evil.test");
    let answer = crate::support::http::Answer::of(call).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_configured_provider_may_have_slashes_in_its_model_ids_and_its_own_limits() {
    let upstream = FakeUpstream::start().await;
    let file = format!(
        "[providers.lab]\nbase_url = \"{}\"\n[providers.lab.models.\"org/big\"]\nlimits = {{ rpm = 1 }}\ncontext = 1000\n",
        upstream.base_url()
    );
    let app = TestApp::setup().file(&file).start().await;
    assert_eq!(app.chat("lab/org/big").await.content(), "hello");
    assert_eq!(upstream.seen()[0].json()["model"], "org/big");
    let full = app.chat("lab/org/big").await;
    assert_eq!(full.error(), (429, "rate_limit_error".into(), "budget_exhausted".into()));
    let wait = full.retry_after();
    assert!(wait > Duration::from_secs(55) && wait < Duration::from_secs(62), "{wait:?}");
    assert!(
        full.message().contains("requests per minute") && full.message().contains("lab/org/big"),
        "{}",
        full.message()
    );
    assert_eq!(app.get("/v1/models/lab/org/big").await.json()["context_length"], 1000);
}

#[tokio::test]
async fn a_wrong_length_or_an_empty_body_is_a_failure_of_the_provider() {
    let (app, upstream) = lab().await;
    for broken in [
        whole(200, ""),
        whole(200, "not json"),
        whole(200, r#"{"error":{"message":"inner","code":500}}"#),
        whole(200, r#"{"id":"x","object":"chat.completion","choices":[]}"#),
        vec![Step::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"id\":".to_vec())],
    ] {
        upstream.then(broken);
        // At most two failures in a row, so that the breaker stays closed.
        upstream.then(whole(200, &answer("fine")));
        assert_eq!(app.chat("lab/m").await.error().0, 502);
        assert_eq!(app.chat("lab/m").await.content(), "fine");
    }
}

#[tokio::test]
async fn a_redirect_or_an_html_page_is_a_failure_and_is_not_followed() {
    let (app, upstream) = lab().await;
    upstream.then(with_head(302, "location: http://127.0.0.1:1/\r\n", ""));
    assert_eq!(app.chat("lab/m").await.error().0, 502);
    upstream.then(with_head(200, "content-type: text/html\r\n", "<html>captive portal</html>"));
    assert_eq!(app.chat("lab/m").await.error().0, 502);
}

#[tokio::test]
async fn probes_and_the_dashboard_page_are_public() {
    let app = TestApp::setup().env("TOLLFREE_API_KEY", "k").env("TOLLFREE_AUTH", "required").start().await;
    for path in ["/healthz", "/readyz", "/dashboard"] {
        assert_eq!(app.get(path).await.status, 200, "{path}");
    }
}
