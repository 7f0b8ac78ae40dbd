//! Clients: their keys, their administration and access control.

mod access;
mod bad_input;
mod cli;
mod file;
mod keys;

use serde_json::{Value, json};

use crate::support::{
    app::{Setup, TestApp, hi},
    fake_upstream::FakeUpstream,
    http::Answer,
    redis_server::RedisServer,
};

pub(super) const ADMIN_KEY: &str = "the-own-admin-key";

/// A gateway with an admin and one unmetered model, `lab/m`.
pub(super) fn setup(upstream: &FakeUpstream) -> Setup {
    TestApp::setup().lab("lab", upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY)
}

/// Runs a test on both kinds of state.
pub(super) async fn on_both(run: impl AsyncFn(TestApp, FakeUpstream)) {
    let upstream = FakeUpstream::start().await;
    run(setup(&upstream).start().await, upstream).await;
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    run(setup(&upstream).redis(&redis).start().await, upstream).await;
}

/// Two replicas on one Redis.
pub(super) async fn pair(redis: &RedisServer, upstream: &FakeUpstream) -> [TestApp; 2] {
    [setup(upstream).redis(redis).start().await, setup(upstream).redis(redis).start().await]
}

/// A call by the admin, without a body for `Value::Null`.
pub(super) async fn admin(app: &TestApp, method: &str, path: &str, body: Value) -> Answer {
    let call = app.request(method, &format!("/admin/v1{path}")).bearer_auth(ADMIN_KEY);
    Answer::of(if body.is_null() { call } else { call.json(&body) }).await
}

#[track_caller]
pub(super) fn ok(answer: &Answer) -> Value {
    assert!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text());
    answer.json()
}

/// A new client and its key.
pub(super) async fn create(app: &TestApp, body: Value) -> (String, String) {
    let answer = admin(app, "POST", "/clients", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let client = answer.json();
    let text = |field: &str| client[field].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

pub(super) async fn list(app: &TestApp) -> Vec<Value> {
    ok(&admin(app, "GET", "/clients?limit=200", Value::Null).await)["data"].as_array().unwrap().clone()
}

pub(super) async fn audit(app: &TestApp) -> Vec<Value> {
    ok(&admin(app, "GET", "/audit?limit=200", Value::Null).await)["data"].as_array().unwrap().clone()
}

/// "hi" to a model, with this key.
pub(super) async fn chat(app: &TestApp, key: &str, model: &str) -> Answer {
    Answer::of(app.chat_call(&hi(model)).bearer_auth(key)).await
}

pub(super) fn unauthorised() -> (u16, String, String) {
    (401, "authentication_error".into(), "invalid_api_key".into())
}

pub(super) fn named(name: &str) -> Value {
    json!({ "name": name })
}
