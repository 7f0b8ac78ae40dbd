//! Admin access: sessions of the dashboard, failed logins and the audit log.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ADMIN_KEY, admin, audit, create, named, ok, on_both, pair, setup};
use crate::support::{app::TestApp, fake_upstream::FakeUpstream, http::Answer, redis_server::RedisServer};

/// A logged-in page.
struct Page {
    cookie: String,
    csrf: String,
}

impl Page {
    async fn log_in(app: &TestApp) -> Self {
        let call = app.request("POST", "/admin/v1/session").header("origin", app.url(""));
        let answer = Answer::of(call.json(&json!({ "key": ADMIN_KEY }))).await;
        let body = ok(&answer);
        let set = answer.header("set-cookie").unwrap().to_owned();
        for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
            assert!(set.contains(part), "{set}");
        }
        assert!(!set.contains("Secure"), "{set}");
        assert!(body["expires_at"].as_str().unwrap().ends_with('Z'), "{body}");
        Self { cookie: set.split(';').next().unwrap().to_owned(), csrf: body["csrf"].as_str().unwrap().to_owned() }
    }

    /// A request as the browser sends it from our own page.
    fn call(&self, app: &TestApp, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.bare(app, method, path).header("x-csrf-token", &self.csrf).header("sec-fetch-site", "same-origin")
    }

    /// A request with the cookie only.
    fn bare(&self, app: &TestApp, method: &str, path: &str) -> reqwest::RequestBuilder {
        app.request(method, path).header("cookie", format!("theme=dark; {}", self.cookie))
    }
}

fn crossed() -> (u16, String, String) {
    (403, "permission_error".into(), "cross_site_request".into())
}

#[tokio::test]
async fn a_session_grants_admin_access_until_it_ends() {
    on_both(async |app, _upstream| {
        let page = Page::log_in(&app).await;
        let shown = ok(&Answer::of(page.bare(&app, "GET", "/admin/v1/session")).await);
        assert_eq!(shown["csrf"], page.csrf.as_str());
        let made = Answer::of(page.call(&app, "POST", "/admin/v1/clients").json(&named("ann"))).await;
        assert_eq!(made.status, 201, "{}", made.text());
        assert_eq!(Answer::of(page.bare(&app, "GET", "/admin/v1/clients")).await.status, 200);
        let routing = page.call(&app, "PATCH", "/v1/status/routing").json(&json!({ "strategy": "random" }));
        assert_eq!(Answer::of(routing).await.status, 200);
        let chat = page.call(&app, "POST", "/v1/chat/completions").json(&crate::support::app::hi("lab/m"));
        assert_eq!(Answer::of(chat).await.content(), "hello", "the playground's");
        let ended = Answer::of(page.call(&app, "DELETE", "/admin/v1/session")).await;
        assert_eq!(ended.status, 204);
        assert!(ended.header("set-cookie").unwrap().contains("Max-Age=0"));
        for path in ["/admin/v1/session", "/admin/v1/clients"] {
            assert_eq!(Answer::of(page.bare(&app, "GET", path)).await.error().0, 401, "{path}");
        }
        let actual: Vec<_> = audit(&app).await.iter().map(|l| l["action"].as_str().unwrap().to_owned()).collect();
        assert_eq!(actual, ["session.delete", "routing.set", "client.create", "session.create"]);
    })
    .await;
}

#[tokio::test]
async fn a_session_is_valid_at_every_replica_and_ends_with_the_admin_key() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let [one, two] = pair(&redis, &upstream).await;
    let page = Page::log_in(&one).await;
    assert_eq!(Answer::of(page.bare(&two, "GET", "/admin/v1/clients")).await.status, 200);
    let other_key = setup(&upstream).redis(&redis).env("TOLLFREE_ADMIN_KEY", "another-admin-key").start().await;
    assert_eq!(Answer::of(page.bare(&other_key, "GET", "/admin/v1/clients")).await.error().0, 401);
    assert_eq!(Answer::of(page.call(&two, "DELETE", "/admin/v1/session")).await.status, 204);
    assert_eq!(Answer::of(page.bare(&one, "GET", "/admin/v1/clients")).await.error().0, 401);
}

#[tokio::test]
async fn a_replayed_cookie_without_its_page_changes_nothing() {
    let upstream = FakeUpstream::start().await;
    let app = setup(&upstream).start().await;
    let (id, _) = create(&app, named("ann")).await;
    let (page, path) = (Page::log_in(&app).await, format!("/admin/v1/clients/{id}"));
    let before = audit(&app).await;
    let call = |method: &str, headers: &[(&str, &str)]| {
        let call = page.bare(&app, method, &path);
        headers.iter().fold(call, |call, (name, value)| call.header(*name, *value))
    };
    let (token, ours) = (page.csrf.as_str(), app.url(""));
    let calls: [&[(&str, &str)]; 8] = [
        &[],
        &[("x-csrf-token", token)],
        &[("origin", &ours)],
        &[("origin", &ours), ("x-csrf-token", "guess")],
        &[("origin", "https://evil.example"), ("x-csrf-token", token)],
        &[("origin", "null"), ("x-csrf-token", token)],
        &[("sec-fetch-site", "cross-site"), ("x-csrf-token", token)],
        &[("sec-fetch-site", "same-site"), ("origin", &ours), ("x-csrf-token", token)],
    ];
    for headers in calls {
        for method in ["PATCH", "DELETE"] {
            let answer = Answer::of(call(method, headers).json(&json!({ "weight": 2 }))).await;
            assert_eq!(answer.error(), crossed(), "{method} {headers:?}");
        }
    }
    for headers in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(Answer::of(call("GET", &[headers])).await.error(), crossed(), "{headers:?}");
    }
    let foreign = app.request("POST", "/admin/v1/session").header("origin", "https://evil.example");
    assert_eq!(Answer::of(foreign.json(&json!({ "key": ADMIN_KEY }))).await.error(), crossed());
    assert_eq!(audit(&app).await, before);
    let good = call("PATCH", &[("origin", &ours), ("x-csrf-token", token)]).json(&json!({ "weight": 2 }));
    assert_eq!(ok(&Answer::of(good).await)["weight"], 2);
}

#[tokio::test]
async fn a_page_served_by_https_gets_a_secure_cookie() {
    let upstream = FakeUpstream::start().await;
    let app = setup(&upstream).env("TRUSTED_PROXIES", "127.0.0.1").start().await;
    let call = || app.request("POST", "/admin/v1/session").json(&json!({ "key": ADMIN_KEY }));
    let by_proxy = Answer::of(call().header("x-forwarded-proto", "https")).await;
    assert!(by_proxy.header("set-cookie").unwrap().contains("; Secure"));
}

#[tokio::test]
async fn failed_logins_are_counted_over_all_replicas_and_slow_only_wrong_keys_of_their_address() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let start = || setup(&upstream).redis(&redis).env("TRUSTED_PROXIES", "127.0.0.1").start();
    let (one, two) = (start().await, start().await);
    let from = |app: &TestApp, address: &str, key: &str| {
        let call = app.request("GET", "/admin/v1/clients").header("x-forwarded-for", address);
        Answer::of(call.bearer_auth(key))
    };
    let log_in = |app: &TestApp, address: &str, key: &str| {
        let call = app.request("POST", "/admin/v1/session").header("x-forwarded-for", address);
        Answer::of(call.json(&json!({ "key": key })))
    };
    for n in 0..10 {
        let app = if n % 2 == 0 { &one } else { &two };
        let answer = if n % 3 == 0 {
            log_in(app, "203.0.113.7", "guess").await
        } else {
            from(app, "203.0.113.7", "guess").await
        };
        assert_eq!(answer.error().0, 401, "{n}");
    }
    for app in [&one, &two] {
        for answer in [
            from(app, "203.0.113.7", "guess").await,
            log_in(app, "203.0.113.7", "guess").await,
            from(app, "203.0.113.7", "x").await,
        ] {
            assert_eq!(answer.error(), (429, "rate_limit_error".into(), "too_many_attempts".into()));
            let wait = answer.retry_after();
            assert!(wait > Duration::from_secs(20) && wait <= Duration::from_mins(1), "{wait:?}");
            assert_eq!(answer.header("x-should-retry"), Some("false"));
        }
        assert_eq!(from(app, "203.0.113.7", ADMIN_KEY).await.status, 200, "the right key is never refused");
        assert_eq!(log_in(app, "203.0.113.7", ADMIN_KEY).await.status, 200);
        assert_eq!(from(app, "203.0.113.8", ADMIN_KEY).await.status, 200, "the right key from elsewhere");
    }
    // A flood from many addresses is refused without the ledger, and no right key with it.
    let mut refused = 0;
    for n in 0..95 {
        refused += u32::from(from(&one, &format!("198.51.100.{n}"), "guess").await.error().0 == 429);
    }
    assert!(refused > 0);
    assert_eq!(from(&two, "192.0.2.2", ADMIN_KEY).await.status, 200);
    assert_eq!(log_in(&one, "192.0.2.3", ADMIN_KEY).await.status, 200);
}

#[tokio::test]
async fn every_change_by_an_admin_is_in_the_audit_log() {
    on_both(async |app, _upstream| {
        let change = async |method: &str, path: &str, body: Value| {
            ok(&Answer::of(app.request(method, path).bearer_auth(ADMIN_KEY).json(&body)).await);
        };
        change("PATCH", "/v1/status/routing", json!({ "strategy": "random" })).await;
        change("PATCH", "/v1/status/routing", json!({ "strategy": "fast" })).await;
        change("PATCH", "/v1/status/providers/lab", json!({ "enabled": false })).await;
        change("PATCH", "/v1/status/models/lab/m", json!({ "enabled": false })).await;
        change("PATCH", "/v1/status/models/lab/m", json!({ "enabled": true })).await;
        change("POST", "/v1/status/providers/lab/reset", json!({})).await;
        let lines = audit(&app).await;
        let actual: Vec<Value> = lines
            .iter()
            .rev()
            .map(|l| json!([l["action"], l["subject"], l["before"], l["after"], l["actor"], l["address"]]))
            .collect();
        let line = |action: &str, subject: &str, before: Value, after: Value| {
            json!([action, subject, before, after, "admin", "127.0.0.1"])
        };
        let on = |on: bool| json!({ "enabled": on });
        let expected = [
            line("routing.set", "free", json!(null), json!({ "strategy": "random" })),
            line("routing.set", "free", json!({ "strategy": "random" }), json!({ "strategy": "fast" })),
            line("provider.switch", "lab", on(true), on(false)),
            line("model.switch", "lab/m", on(true), on(false)),
            line("model.switch", "lab/m", on(false), on(true)),
            line("provider.reset", "lab", json!(null), json!(null)),
        ];
        assert_eq!(actual, expected);
        assert!(lines.iter().all(|l| l["time"].as_str().unwrap().ends_with('Z') && l["id"].is_string()));
    })
    .await;
}

#[tokio::test]
async fn the_settings_in_force_are_returned_without_secrets() {
    let upstream = FakeUpstream::start().await;
    let link = "[dashboard]\ntrace_link = \"https://traces.example/trace/{trace_id}\"\n";
    let app = setup(&upstream).file(link).env("GROQ_API_KEY", "gsk-hunter2");
    let app = app.env("TOLLFREE_PUBLIC_URL", "https://gateway.example/").start().await;
    let config = admin(&app, "GET", "/config", Value::Null).await;
    assert!(!config.text().contains("hunter2") && !config.text().contains(ADMIN_KEY), "{}", config.text());
    let config = ok(&config);
    let setting = |name: &str| {
        let found = config["settings"].as_array().unwrap().iter().find(|setting| setting["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {config}")).clone()
    };
    assert_eq!(
        setting("server.port"),
        json!({ "name": "server.port", "value": app.port().to_string(), "source": "env PORT" })
    );
    assert_eq!(setting("queue.flex_max_wait_ms")["source"], "default");
    assert_eq!(setting("TOLLFREE_ADMIN_KEY")["value"], "set");
    assert_eq!(config["public_url"], "https://gateway.example");
    assert_eq!(config["trace_link"], "https://traces.example/trace/{trace_id}");
}
