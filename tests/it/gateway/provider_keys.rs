//! Provider keys that are added at run time: in force at every replica, withdrawn at once, and never shown.

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    app::{Setup, TestApp, binary, hi},
    collector::Collector,
    eventually,
    fake_upstream::{FakeUpstream, WRONG_KEY, answer, with_head},
    http::Answer,
    redis_server::{RedisServer, all_bytes},
    scaled,
    simulator::Simulator,
};

const ADMIN_KEY: &str = "the-admin-key";
const MASTER_KEY: &str = "a-master-key-of-forty-characters-0000001";
const OTHER_MASTER_KEY: &str = "a-master-key-of-forty-characters-0000002";
const SECRET: &str = "gsk_provider-secret-0123456789-wxyz";
const MODEL: &str = "groq/openai/gpt-oss-20b";
/// How soon every replica has a change.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A gateway that knows where Groq is and has no key for it.
fn setup(upstream: &FakeUpstream) -> Setup {
    TestApp::setup().env("GROQ_BASE_URL", upstream.base_url()).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY)
}

fn replica(redis: &RedisServer, upstream: &FakeUpstream) -> Setup {
    setup(upstream).redis(redis).env("TOLLFREE_MASTER_KEY", MASTER_KEY)
}

async fn admin(app: &TestApp, method: &str, path: &str, body: Value) -> Answer {
    Answer::of(app.request(method, &format!("/admin/v1{path}")).bearer_auth(ADMIN_KEY).json(&body)).await
}

async fn add(app: &TestApp, secret: &str) -> Value {
    let added = admin(app, "POST", "/provider-keys", json!({ "provider": "groq", "key": secret })).await;
    assert_eq!(added.status, 201, "{}", added.text());
    added.json()
}

async fn keys(app: &TestApp) -> Vec<Value> {
    let list = Answer::of(app.request("GET", "/admin/v1/provider-keys").bearer_auth(ADMIN_KEY)).await;
    assert_eq!(list.status, 200, "{}", list.text());
    list.json()["data"].as_array().unwrap().clone()
}

async fn shut(app: &TestApp, id: &str, disabled: bool) {
    let changed = admin(app, "PATCH", &format!("/provider-keys/{id}"), json!({ "disabled": disabled })).await;
    assert_eq!((changed.status, &changed.json()["disabled"]), (200, &Value::Null), "{}", changed.text());
}

async fn answers(app: &TestApp) {
    eventually(AT_ONCE, "the key is in force", async || (app.chat(MODEL).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_key_that_one_replica_adds_is_used_by_the_others_within_a_second_and_withdrawn_at_once() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let (one, two) = (replica(&redis, &upstream).start().await, replica(&redis, &upstream).start().await);
    for app in [&one, &two] {
        assert_eq!(app.chat(MODEL).await.error().2, "model_not_found");
    }
    let added = add(&one, SECRET).await;
    assert_eq!(one.chat(MODEL).await.status, 200, "at the replica that added it");
    answers(&two).await;
    assert!(upstream.seen().iter().all(|call| call.headers["authorization"] == format!("Bearer {SECRET}")));

    let id = added["id"].as_str().unwrap();
    for (replica, other) in [(&one, &two), (&two, &one)] {
        shut(replica, id, true).await;
        let before = upstream.seen().len();
        for app in [other, replica] {
            let refused = app.chat(MODEL).await;
            assert!(matches!(refused.status, 404 | 429 | 503), "{}", refused.text());
        }
        assert_eq!(upstream.seen().len(), before, "a disabled key is not used");
        shut(replica, id, false).await;
        answers(replica).await;
        answers(other).await;
    }
    // A reset of the provider does not bring a withdrawn key back.
    shut(&one, id, true).await;
    Answer::of(two.request("POST", "/v1/status/providers/groq/reset").bearer_auth(ADMIN_KEY)).await;
    assert_ne!(two.chat(MODEL).await.status, 200);
    shut(&one, id, false).await;
    answers(&two).await;

    let deleted = admin(&two, "DELETE", &format!("/provider-keys/{id}"), json!({})).await;
    assert_eq!((deleted.status, &deleted.json()["deleted"]), (200, &json!(true)));
    let before = upstream.seen().len();
    for app in [&one, &two] {
        assert_ne!(app.chat(MODEL).await.status, 200);
    }
    assert_eq!(upstream.seen().len(), before, "a deleted key is not used");
    assert!(keys(&one).await.is_empty());
    add(&two, SECRET).await;
    answers(&one).await;

    let log = admin(&one, "GET", "/audit", json!({})).await.json();
    let actions: Vec<_> =
        log["data"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    for action in ["provider_key.create", "provider_key.update", "provider_key.delete"] {
        assert!(actions.contains(&action), "{actions:?}");
    }
    let is_known = |entry: &Value| entry["actor"] == "admin" && entry["address"] == "127.0.0.1";
    assert!(log["data"].as_array().unwrap().iter().all(is_known), "{log}");
}

/// While a key spreads over the replicas, their catalogues differ. That says nothing about the other keys.
#[tokio::test]
async fn a_key_that_spreads_ends_no_cooldown_of_another_one() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let start = || replica(&redis, &upstream).env("GROQ_API_KEY", "key-of-the-environment").start();
    let (one, two) = (start().await, start().await);
    upstream.then(with_head(429, "retry-after: 600\r\n", "{}"));
    assert_ne!(one.chat(MODEL).await.status, 200);
    let (used, mut ids) = (upstream.seen().len(), Vec::new());
    for (app, secret) in [(&one, SECRET), (&two, "gsk_another-secret-0123456789-abcd")] {
        ids.push(add(app, secret).await["id"].as_str().unwrap().to_owned());
        let end = Instant::now() + AT_ONCE * 2;
        while Instant::now() < end {
            for app in [&one, &two] {
                app.chat(MODEL).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(admin(&one, "DELETE", &format!("/provider-keys/{}", ids[0]), json!({})).await.status, 200);
    answers(&two).await;
    let later = &upstream.seen()[used..];
    let of = |key: &str| later.iter().filter(|call| call.headers["authorization"] == format!("Bearer {key}")).count();
    assert!(of(SECRET) > 0 && of("gsk_another-secret-0123456789-abcd") > 0, "the added keys serve");
    assert_eq!(of("key-of-the-environment"), 0, "its cooldown lasts ten minutes");
    for app in [&one, &two] {
        assert!(!app.log().contains("its breakers are closed"), "{}", app.log());
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_not_kept_and_others_are_added_once() {
    let upstream = FakeUpstream::start().await;
    let app = setup(&upstream).env("GEMINI_API_KEY", "key-of-gemini").start().await;
    let wrong = format!("{WRONG_KEY}-0123456789abcdef");
    let post = async |body: Value| admin(&app, "POST", "/provider-keys", body).await;
    let refused = post(json!({ "provider": "groq", "key": wrong })).await;
    assert_eq!(refused.error(), (400, "invalid_request_error".into(), "provider_key_refused".into()));
    assert!(refused.message().contains("Invalid API Key") && !refused.text().contains(&wrong), "{}", refused.text());
    let environment: Vec<Value> = keys(&app).await;
    assert_eq!(environment.len(), 1, "{environment:?}");
    assert_eq!((&environment[0]["provider"], &environment[0]["source"]), (&json!("gemini"), &json!("environment")));

    assert_eq!(post(json!({ "provider": "groq", "key": wrong, "try": false })).await.status, 201);
    let twice = post(json!({ "provider": "groq", "key": wrong, "try": false })).await;
    assert_eq!((twice.error().0, twice.error().2.as_str()), (409, "provider_key_exists"));
    let in_environment = post(json!({ "provider": "gemini", "key": "key-of-gemini", "try": false })).await;
    assert_eq!((in_environment.error().0, in_environment.error().2.as_str()), (409, "provider_key_exists"));
    let path = format!("/provider-keys/{}/test", keys(&app).await[1]["id"].as_str().unwrap());
    let test = admin(&app, "POST", &path, json!({})).await.json();
    assert_eq!((&test["test"], &test["test_detail"]), (&json!("refused"), &json!("Invalid API Key")));
    let of_environment = environment[0]["id"].as_str().unwrap();
    let kept = admin(&app, "DELETE", &format!("/provider-keys/{of_environment}"), json!({})).await;
    assert_eq!((kept.error().0, kept.error().2.as_str()), (409, "provider_key_in_environment"));

    for (body, words) in [
        (json!({ "provider": "grok", "key": "k" }), "Did you mean `groq`"),
        (json!({ "provider": "ollama", "key": "k" }), "takes no key"),
        (json!({ "provider": "cloudflare", "key": "k" }), "address"),
        (json!({ "provider": "groq", "key": "two words" }), "without blanks"),
        (json!({ "provider": "groq", "key": "k", "account": "a/b" }), "account"),
        (json!({ "provider": "groq", "key": "k", "label": "a\nb" }), "label"),
    ] {
        let answer = post(body.clone()).await;
        assert_eq!((answer.error().0, answer.error().2.as_str()), (400, "invalid_value"), "{body}");
        assert!(answer.message().contains(words), "{}", answer.message());
    }
    let unreachable =
        TestApp::setup().env("GROQ_BASE_URL", "http://127.0.0.1:1/v1").env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
    let unreachable = unreachable.start().await;
    let answer = admin(&unreachable, "POST", "/provider-keys", json!({ "provider": "groq", "key": "k" })).await;
    assert_eq!((answer.error().0, answer.error().2.as_str()), (502, "upstream_error"));
    assert!(keys(&unreachable).await.is_empty());
}

#[tokio::test]
async fn keys_of_one_account_share_its_limits_and_simulated_providers_verify_them() {
    let simulator = Simulator::start().await;
    let app = TestApp::setup().env("GROQ_BASE_URL", simulator.base_url("groq")).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
    let app = app.start().await;
    let secrets = simulator.keys("groq");
    let mut ids = Vec::new();
    for secret in &secrets {
        let added = add(&app, secret).await;
        assert_eq!(added["test"], "accepted", "{added}");
        ids.push(added["id"].as_str().unwrap().to_owned());
    }
    assert!(!ids.is_empty());
    assert_eq!(app.chat(MODEL).await.status, 200);
    for id in &ids {
        let path = format!("/provider-keys/{id}");
        let grouped = admin(&app, "PATCH", &path, json!({ "account": "acme", "label": "the team's" })).await;
        assert_eq!((grouped.status, &grouped.json()["account"]), (200, &json!("acme")), "{}", grouped.text());
    }
    // The status is up to a second old.
    eventually(Duration::from_secs(3), "the limits are those of one account", async || {
        let groq = app.provider_status("groq").await;
        let limits = groq["limits"].as_array().unwrap();
        (!limits.is_empty() && limits.iter().all(|limit| limit["account"] == "acme")).then_some(())
    })
    .await;
    let alone = admin(&app, "PATCH", &format!("/provider-keys/{}", ids[0]), json!({ "account": null })).await.json();
    assert_eq!((&alone["account"], &alone["label"]), (&alone["fingerprint"], &json!("the team's")));
}

#[tokio::test]
async fn a_single_replica_makes_its_master_key_and_keeps_its_keys_over_a_crash() {
    let upstream = FakeUpstream::start().await;
    let mut app = setup(&upstream).start().await;
    add(&app, SECRET).await;
    let file = app.folder.path().join("data/master.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    app.restart().await;
    app.until_ready().await;
    assert_eq!(app.chat(MODEL).await.status, 200);
    let stored = all_bytes(&app.folder.path().join("data"));
    assert!(!contains(&stored, SECRET), "the secret is stored in clear");
    assert!(contains(&stored, "groq-"), "the record is stored");
}

fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

#[tokio::test]
async fn with_another_master_key_the_rest_is_served_and_the_key_is_shown_as_unreadable() {
    let (redis, upstream) = (RedisServer::with_aof().await, FakeUpstream::start().await);
    let one = replica(&redis, &upstream).start().await;
    let id = add(&one, SECRET).await["id"].as_str().unwrap().to_owned();
    let wrong = replica(&redis, &upstream).env("TOLLFREE_MASTER_KEY", OTHER_MASTER_KEY).lab("lab", &upstream);
    let wrong = wrong.start().await;
    assert_eq!(wrong.chat("lab/m").await.status, 200);
    assert_ne!(wrong.chat(MODEL).await.status, 200);
    let shown = keys(&wrong).await;
    assert_eq!((&shown[0]["id"], &shown[0]["state"]), (&json!(id), &json!("unreadable")));
    assert!(shown[0]["problem"].as_str().unwrap().contains("master key"), "{shown:?}");
    assert_eq!(wrong.status().await["unreadableProviderKeys"], 1);
    let metrics = wrong.get("/metrics").await.text();
    assert!(
        metrics
            .lines()
            .any(|l| l.starts_with("tollfree_provider_keys{") && l.contains("unreadable") && l.ends_with(" 1")),
        "{metrics}"
    );
    assert!(wrong.log().contains(&format!("The provider key `{id}` is not used")), "{}", wrong.log());
    let test = admin(&wrong, "POST", &format!("/provider-keys/{id}/test"), json!({})).await;
    assert_eq!((test.error().0, test.error().2.as_str()), (409, "provider_key_unreadable"));

    let both = replica(&redis, &upstream).env("TOLLFREE_MASTER_KEY", format!("{OTHER_MASTER_KEY},{MASTER_KEY}"));
    let both = both.start().await;
    assert_eq!(both.chat(MODEL).await.status, 200);
    // It wraps the key by its first master key, which the second replica has.
    eventually(Duration::from_secs(3), "the key can be opened", async || {
        (keys(&wrong).await[0]["state"] == "active").then_some(())
    })
    .await;
    answers(&wrong).await;
    assert_eq!(one.chat(MODEL).await.status, 200, "the first replica has opened it before");

    let none = setup(&upstream).redis(&redis).start().await;
    assert_eq!(keys(&none).await[0]["state"], "unreadable");
    let refused = admin(&none, "POST", "/provider-keys", json!({ "provider": "groq", "key": "another" })).await;
    assert_eq!((refused.error().0, refused.error().2.as_str()), (409, "master_key_not_set"));
}

/// Requests at each replica, all of which must succeed.
async fn load(apps: &[&TestApp]) {
    let mut callers = JoinSet::new();
    for app in apps {
        let calls: Vec<_> = (0..20).map(|_| app.chat_call(&hi(MODEL))).collect();
        callers.spawn(async move {
            for call in calls {
                let answer = Answer::of(call).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_master_key_is_replaced_under_load_without_a_failed_request() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let unlimited = "[providers.groq]\nlimits = { rpm = \"none\" }\n[providers.groq.models.\"openai/gpt-oss-20b\"]\nlimits = { rpm = \"none\", rpd = \"none\", tpm = \"none\", tpd = \"none\" }";
    let start =
        |masters: String| replica(&redis, &upstream).env("TOLLFREE_MASTER_KEY", masters).file(unlimited).start();
    let (mut one, mut two) = (start(MASTER_KEY.into()).await, start(MASTER_KEY.into()).await);
    let id = add(&one, SECRET).await["id"].as_str().unwrap().to_owned();
    answers(&two).await;
    let sealed = || redis.command(&["HGET", "tf1:{default}:pk", &id]);
    let before = sealed();
    // The new one opens everywhere, then wraps everywhere, then stands alone.
    for masters in [
        format!("{MASTER_KEY},{OTHER_MASTER_KEY}"),
        format!("{OTHER_MASTER_KEY},{MASTER_KEY}"),
        OTHER_MASTER_KEY.to_owned(),
    ] {
        for turn in 0..2 {
            let present = [&one, &two];
            let (next, ()) = tokio::join!(start(masters.clone()), load(&present));
            *(if turn == 0 { &mut one } else { &mut two }) = next;
            load(&[&one, &two]).await;
        }
    }
    assert_ne!(before, sealed(), "the key is wrapped again");
    assert_eq!(keys(&one).await[0]["state"], "active");
}

#[tokio::test]
async fn no_reply_log_trace_metric_or_store_holds_a_secret() {
    let (redis, upstream, collector) =
        (RedisServer::with_aof().await, FakeUpstream::start().await, Collector::http().await);
    let app = collector.attach(replica(&redis, &upstream)).env("LOG_LEVEL", "debug").start().await;
    let mut replies = String::new();
    let wrong = format!("{WRONG_KEY}-0123456789abcdef");
    for (method, path, body) in [
        ("POST", "/provider-keys", json!({ "provider": "groq", "key": SECRET })),
        ("POST", "/provider-keys", json!({ "provider": "groq", "key": SECRET })),
        ("POST", "/provider-keys", json!({ "provider": "groq", "key": wrong })),
        ("POST", "/provider-keys", json!({ "provider": "grok", "key": SECRET })),
        ("POST", "/provider-keys", json!({ "provider": "groq", "key": [SECRET] })),
        ("GET", "/audit", json!({})),
        ("GET", "/providers", json!({})),
        ("GET", "/config", json!({})),
        ("GET", "/budget", json!({})),
        ("GET", "/models", json!({})),
    ] {
        replies += &admin(&app, method, path, body).await.text();
    }
    for key in keys(&app).await {
        let id = key["id"].as_str().unwrap();
        replies += &key.to_string();
        assert_eq!(key["last_four"], "wxyz", "{key}");
        replies += &admin(&app, "POST", &format!("/provider-keys/{id}/test"), json!({})).await.text();
        replies += &admin(&app, "PATCH", &format!("/provider-keys/{id}"), json!({ "label": "x" })).await.text();
    }
    // A provider that repeats the key in its error.
    upstream.then(crate::support::fake_upstream::whole(
        401,
        &format!(r#"{{"error":{{"message":"no such key: {SECRET}"}}}}"#),
    ));
    replies += &app.chat(MODEL).await.text();
    replies += &app.status().await.to_string();
    replies += &app.get("/metrics").await.text();
    eventually(Duration::from_secs(10), "the trace is exported", async || {
        collector.spans().iter().any(|span| span.name.starts_with("chat ")).then_some(())
    })
    .await;
    let deadline = Instant::now() + scaled(Duration::from_secs(10));
    while redis.append_only_file().is_empty() {
        assert!(Instant::now() < deadline);
    }
    for secret in [SECRET, &wrong, MASTER_KEY] {
        assert!(!replies.contains(secret), "a reply holds {secret}");
        assert!(!app.log().contains(secret), "the log holds {secret}");
        assert!(!collector.has_received(secret), "the collector has received {secret}");
        assert!(!contains(&redis.append_only_file(), secret), "the store holds {secret}");
    }
    // The searches above can find something: the record with the sealed secret, and what may be shown of the key.
    let id = keys(&app).await[0]["id"].as_str().unwrap().to_owned();
    let record = redis.command(&["HGET", "tf1:{default}:pk", &id]);
    let record = record.lines().nth(1).unwrap();
    assert!(record.len() > SECRET.len() && contains(&redis.append_only_file(), record), "the record is in the store");
    assert!(replies.contains(&id) && app.log().contains("groq") && collector.has_received("groq"));
}

/// The list of models is open to everyone, so a chat shows whether a key is right.
#[tokio::test]
async fn a_wrong_key_is_refused_where_the_list_of_models_is_open_to_everyone() {
    let upstream = FakeUpstream::start().await;
    upstream.lists_to_everyone();
    let setup = TestApp::setup().env("MODELSCOPE_BASE_URL", upstream.base_url()).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
    let app = setup.env("GROQ_BASE_URL", upstream.base_url()).start().await;
    let post = async |provider: &str, key: &str| {
        admin(&app, "POST", "/provider-keys", json!({ "provider": provider, "key": key })).await
    };
    let wrong = format!("{WRONG_KEY}-0123456789abcdef");
    let refused = post("modelscope", &wrong).await;
    assert_eq!(refused.error().2, "provider_key_refused", "{}", refused.text());
    assert!(keys(&app).await.is_empty());

    upstream.then(with_head(200, "content-type: application/json\r\n", &answer("hello")));
    upstream.always(with_head(401, "content-type: application/json\r\n", "{}"));
    let added = post("modelscope", "ms-0123456789abcdef-right").await;
    assert_eq!((added.status, &added.json()["test"]), (201, &json!("accepted")), "{}", added.text());
    let tried = &upstream.seen()[0];
    assert_eq!((&tried.json()["max_tokens"], &tried.json()["messages"][0]["role"]), (&json!(1), &json!("user")));
    // A refusal for another reason, a provider that answers without a key, and one without such a call.
    for (first, then, provider) in [(429, 401, "modelscope"), (200, 200, "modelscope"), (401, 401, "groq")] {
        upstream.then(with_head(first, "", &answer("hello"))).always(with_head(then, "", &answer("hello")));
        let added = post(provider, &format!("key-0123456789-{first}")).await;
        assert_eq!((added.status, &added.json()["test"]), (201, &json!("unverified")), "{first} {}", added.text());
    }
}

/// The ids and accounts of all keys of a provider.
async fn accounts(app: &TestApp, provider: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let own = keys(app).await.into_iter().filter(|key| key["provider"] == provider);
    own.map(|key| (text(&key["id"]), text(&key["account"]))).collect()
}

#[tokio::test]
async fn keys_of_the_environment_are_grouped_for_every_replica_and_leave_the_group_again() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let replica = || {
        let setup = TestApp::setup().redis(&redis).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
        let file = "[providers.groq]\naccounts = { main = [2] }\nlimits = { rpm = 1 }\n";
        setup.env("GROQ_BASE_URL", upstream.base_url()).env("GROQ_API_KEY", "k-1,k-2").file(file).start()
    };
    let (here, there) = (replica().await, replica().await);
    let before = accounts(&there, "groq").await;
    let [(first, own), (second, main)] = &before[..] else { panic!("{before:?}") };
    assert_eq!((main.as_str(), first.ends_with(own.as_str())), ("main", true));
    let path = format!("/provider-keys/{first}");
    let grouped = admin(&here, "PATCH", &path, json!({ "account": "main" })).await;
    assert_eq!((grouped.status, &grouped.json()["account"]), (200, &json!("main")), "{}", grouped.text());
    let is_grouped = async || {
        let all = accounts(&there, "groq").await;
        all.iter().all(|(_, account)| account == "main").then_some(())
    };
    eventually(Duration::from_secs(1), "the other replica counts them together", is_grouped).await;
    assert_eq!(there.chat("groq/openai/gpt-oss-120b").await.status, 200);
    assert_eq!(there.chat("groq/openai/gpt-oss-120b").await.status, 429, "one account has one budget");
    let label = admin(&here, "PATCH", &path, json!({ "label": "x" })).await;
    assert_eq!(label.error().2, "provider_key_in_environment");
    assert_eq!(admin(&here, "PATCH", &path, json!({ "account": null })).await.status, 200);
    let is_as_before = async || (accounts(&there, "groq").await == before).then_some(());
    eventually(Duration::from_secs(1), "it leaves the group", is_as_before).await;
    assert_eq!(there.chat("groq/openai/gpt-oss-120b").await.status, 200, "an account of its own");
    let of_second = admin(&here, "PATCH", &format!("/provider-keys/{second}"), json!({ "account": "other" })).await;
    assert_eq!(of_second.status, 200, "what is set here wins over the file");
}

/// Runs `tollfree providers` with this environment. Returns the exit code and the output.
fn command(env: &[(&str, String)], arguments: &[String], input: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.arg("providers").args(arguments).env_clear().env("HOME", folder.path());
    command.envs(env.iter().map(|(name, value)| (name, value))).current_dir(folder.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[tokio::test]
async fn the_command_works_on_redis_and_through_a_running_gateway() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let shared = replica(&redis, &upstream).start().await;
    let alone = setup(&upstream).start().await;
    let on_redis = [
        ("REDIS_URL", redis.url()),
        ("TOLLFREE_MASTER_KEY", MASTER_KEY.to_owned()),
        ("GROQ_BASE_URL", upstream.base_url()),
    ];
    let through_gateway = [
        ("TOLLFREE_DATA_DIR", alone.folder.path().join("data").display().to_string()),
        ("PORT", alone.port().to_string()),
        ("TOLLFREE_ADMIN_KEY", ADMIN_KEY.to_owned()),
    ];
    for (env, app) in [(&on_redis, &shared), (&through_gateway, &alone)] {
        let run = async |arguments: &[&str], input: &str| {
            let group = (arguments[0] != "refresh").then_some("keys");
            let arguments: Vec<String> = group.iter().chain(arguments).map(|word| (*word).to_owned()).collect();
            let (env, input) = (env.clone(), input.to_owned());
            let (code, printed) = tokio::task::spawn_blocking(move || command(&env, &arguments, &input)).await.unwrap();
            assert!(!printed.contains("panicked") && !printed.contains(SECRET), "{printed}");
            (code, printed)
        };
        let (code, printed) = run(&["add", "groq", "--label", "made by ann"], &format!("{SECRET}\n")).await;
        assert_eq!(code, 0, "{printed}");
        answers(app).await;
        let (_, listed) = run(&["list"], "").await;
        assert!(listed.contains("…wxyz") && listed.contains("made by ann") && listed.contains("active"), "{listed}");
        let id = keys(app).await[0]["id"].as_str().unwrap().to_owned();
        assert_eq!(run(&["test", &id], "").await.0, 0);
        assert!(run(&["set", &id, "--account", "acme"], "").await.1.contains("acme"));
        assert_eq!(run(&["disable", &id], "").await.0, 0);
        assert_ne!(app.chat(MODEL).await.status, 200);
        assert_eq!(run(&["enable", &id], "").await.0, 0);
        answers(app).await;
        assert_eq!(run(&["remove", &id], "").await.0, 0);
        assert_ne!(app.chat(MODEL).await.status, 200);
        let (code, printed) = run(&["add", "groq"], &format!("{WRONG_KEY}-0123456789abcdef\n")).await;
        assert!(code == 1 && printed.contains("refuses this key"), "{printed}");
        let (code, printed) = run(&["test", &id], "").await;
        assert!(code == 1 && printed.contains("there is no provider key"), "{printed}");
        let log = admin(app, "GET", "/audit", json!({})).await.json();
        let actor = if app.port() == shared.port() { "cli" } else { "admin" };
        let entries = log["data"].as_array().unwrap();
        assert!(entries.len() > 4 && entries.iter().all(|entry| entry["actor"] == actor), "{log}");
    }
}

#[tokio::test]
async fn the_command_has_a_running_gateway_look_at_the_lists_of_models() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().played("groq", &upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).start().await;
    let env = [("PORT", app.port().to_string()), ("TOLLFREE_ADMIN_KEY", ADMIN_KEY.to_owned())];
    let refresh = async |words: &[&str]| {
        let arguments: Vec<String> = ["refresh"].iter().chain(words).map(|word| (*word).to_owned()).collect();
        let env = env.clone();
        tokio::task::spawn_blocking(move || command(&env, &arguments, "")).await.unwrap()
    };
    eventually(AT_ONCE * 5, "the list is read at the start", async || (upstream.lists_read() == 1).then_some(())).await;
    upstream.lists(json!([{ "id": "openai/gpt-oss-20b" }, { "id": "acme/brand-new" }]));
    // The replica reads it again on each request for it.
    let (code, printed) = refresh(&["groq"]).await;
    assert!(code == 0 && printed.contains("groq") && printed.contains("new: acme/brand-new"), "{printed}");
    assert_eq!(upstream.lists_read(), 2);
}

#[tokio::test]
async fn the_master_key_can_come_from_a_file() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("master.key");
    std::fs::write(&file, format!("{MASTER_KEY}\n")).unwrap();
    let from_file = setup(&upstream).redis(&redis).env("TOLLFREE_MASTER_KEY_FILE", file.display());
    add(&from_file.start().await, SECRET).await;
    let from_environment = replica(&redis, &upstream).start().await;
    assert_eq!(keys(&from_environment).await[0]["state"], "active", "both are the same key");
    assert_eq!(from_environment.chat(MODEL).await.status, 200);
}
