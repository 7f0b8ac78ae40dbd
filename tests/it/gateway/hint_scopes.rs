//! What a header says of one model's window is learned for that window, and can be dismissed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    eventually,
    fake_upstream::{FakeUpstream, answer, with_head},
    http::Answer,
};

const ADMIN_KEY: &str = "the-admin-key";
const FILE: &str = r#"
[providers.groq]
limits = { rpd = 4000 }
[providers.groq.models.narrow]
limits = { rpm = 500, rpd = 50 }
window = "sliding"
[providers.groq.models.wide]
limits = { rpm = 500, rpd = 3000 }
window = "sliding"
"#;

/// The response headers of a model's day.
fn day(limit: u32, remaining: u32) -> String {
    format!(
        "content-type: application/json\r\nx-ratelimit-limit-requests: {limit}\r\nx-ratelimit-remaining-requests: {remaining}\r\n"
    )
}

/// The day of the account, or of one of its models: the limit in force, its source and what is used.
async fn window(app: &TestApp, model: Option<&str>) -> (i64, String, i64) {
    let budget = Answer::of(app.request("GET", "/admin/v1/budget").bearer_auth(ADMIN_KEY)).await.json();
    let account = budget["providers"][0]["accounts"][0].clone();
    let owner = match model {
        Some(id) => account["models"].as_array().unwrap().iter().find(|model| model["id"] == id).unwrap().clone(),
        None => account,
    };
    let window = owner["windows"].as_array().unwrap().iter().find(|window| window["limit"] == "rpd").unwrap().clone();
    (window["max"].as_i64().unwrap(), window["source"].as_str().unwrap().to_owned(), window["used"].as_i64().unwrap())
}

#[tokio::test]
async fn a_models_day_in_a_header_leaves_the_accounts_day_alone_and_is_dismissed_by_request() {
    let upstream = FakeUpstream::start().await;
    let setup = TestApp::setup().played("groq", &upstream).file(FILE).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
    let app = setup.file("[queue]\nmax_wait_ms = 0").start().await;
    let account = {
        let budget = Answer::of(app.request("GET", "/admin/v1/budget").bearer_auth(ADMIN_KEY)).await.json();
        budget["providers"][0]["accounts"][0]["id"].clone()
    };
    // Others have used the model's day but for one request.
    upstream.always(with_head(200, &day(4, 1), &answer("hello")));
    assert_eq!(app.chat("groq/narrow").await.status, 200);
    eventually(Duration::from_secs(5), "the model's day is learned", async || {
        let (max, source, used) = window(&app, Some("narrow")).await;
        ((max, &*source, used) == (4, "learned", 3)).then_some(())
    })
    .await;
    assert_eq!(window(&app, None).await, (4_000, "file".to_owned(), 1));
    upstream.always(with_head(200, &day(3_000, 2_900), &answer("hello")));
    for _ in 0..6 {
        let answer = app.chat("groq/wide").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(window(&app, None).await.0, 4_000);

    let forget = async |body: Value| {
        Answer::of(app.request("POST", "/admin/v1/budget/forget").bearer_auth(ADMIN_KEY).json(&body)).await
    };
    let of_narrow = |limit: &str| json!({ "provider": "groq", "account": account, "model": "narrow", "limit": limit });
    assert_eq!(forget(of_narrow("rpx")).await.error().2, "invalid_value");
    let budget = forget(of_narrow("rpd")).await;
    assert_eq!(budget.status, 200, "{}", budget.text());
    let (max, source, _) = window(&app, Some("narrow")).await;
    assert_eq!((max, &*source), (50, "file"), "the configured limit is in force again");
    let log = Answer::of(app.request("GET", "/admin/v1/audit").bearer_auth(ADMIN_KEY)).await.json();
    let entry = &log["data"][0];
    assert_eq!(
        (&entry["actor"], entry["subject"].as_str().unwrap().contains("narrow")),
        (&json!("admin"), true),
        "{log}"
    );
}
