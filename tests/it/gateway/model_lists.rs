//! Lists of models: looked at once for the whole fleet; what is gone is not served, and what is new is tried first.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    app::{Setup, TestApp},
    eventually,
    fake_upstream::FakeUpstream,
    http::{Answer, Stream},
    redis_server::RedisServer,
};

const ADMIN_KEY: &str = "the-admin-key";
const NEW: &str = "openrouter/acme/brand-new:free";
/// How soon every replica has what one of them has found.
const EVERYWHERE: Duration = Duration::from_secs(5);

fn replica(redis: &RedisServer, upstream: &FakeUpstream) -> Setup {
    let app = TestApp::setup().redis(redis).played("openrouter", upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
    app.file("[providers.openrouter]\nlimits = { rpm = 100000, rpd = 1000000 }\n")
}

/// The models of OpenRouter that are served, as its list names them.
async fn served(app: &TestApp) -> Vec<String> {
    let models = app.get("/v1/models").await.json();
    let ids = models["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str());
    ids.filter_map(|id| id.strip_prefix("openrouter/")).map(str::to_owned).collect()
}

fn entries(ids: &[String]) -> Vec<Value> {
    ids.iter().map(|id| json!({ "id": id, "pricing": { "prompt": "0", "completion": "0" } })).collect()
}

async fn refresh(app: &TestApp) -> Value {
    let call = app.request("POST", "/admin/v1/providers/refresh").bearer_auth(ADMIN_KEY);
    let answer = Answer::of(call.json(&json!({ "provider": "openrouter" }))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    list_of(&answer.json())
}

fn list_of(providers: &Value) -> Value {
    let providers = providers["data"].as_array().unwrap();
    providers.iter().find(|provider| provider["id"] == "openrouter").unwrap()["list"].clone()
}

/// What the page Providers shows of the list.
async fn shown(app: &TestApp) -> Value {
    list_of(&Answer::of(app.request("GET", "/admin/v1/providers").bearer_auth(ADMIN_KEY)).await.json())
}

async fn members(app: &TestApp) -> Vec<String> {
    let models = Answer::of(app.request("GET", "/admin/v1/models").bearer_auth(ADMIN_KEY)).await.json();
    let free = models["data"].as_array().unwrap().iter().find(|model| model["id"] == "free").unwrap().clone();
    free["members"].as_array().unwrap().iter().map(|member| member["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_looks_for_all_and_every_one_serves_what_it_has_found() {
    let (redis, upstream, backup) =
        (RedisServer::start().await, FakeUpstream::start().await, FakeUpstream::start().await);
    let first = replica(&redis, &upstream).lab("backup", &backup).start().await;
    let known = served(&first).await;
    assert!(known.len() > 3, "{known:?}");
    eventually(EVERYWHERE, "the list is read at the start", async || (upstream.lists_read() > 0).then_some(())).await;
    let mut apps = vec![first];
    for _ in 0..3 {
        apps.push(replica(&redis, &upstream).lab("backup", &backup).start().await);
    }
    for app in &apps {
        assert_eq!(served(app).await, known, "a list that names none of the models retires none");
    }
    assert_eq!(upstream.lists_read(), 1, "one replica reads the list for all");

    let is_over = AtomicBool::new(false);
    let requests = join_all(apps.iter().map(|app| app.chats_until(&is_over, Duration::from_millis(20))));
    let changes = async {
        gain_and_lose(&apps, &upstream, &known).await;
        is_over.store(true, Ordering::Relaxed);
    };
    let (failed, ()) = tokio::join!(requests, changes);
    assert_eq!(failed.concat(), Vec::<String>::new(), "no caller notices");
}

/// The provider loses one model and gains two while requests are served.
async fn gain_and_lose(apps: &[TestApp], upstream: &FakeUpstream, known: &[String]) {
    let (gone, new) = (&known[0], NEW.replace("openrouter/", ""));
    let listed: Vec<String> = known[1..].iter().cloned().chain([new.clone()]).collect();
    let costly = json!({ "id": "acme/costly", "pricing": { "prompt": "0.000001" } });
    upstream.lists(entries(&listed).into_iter().chain([costly]).collect()).lacks(&[gone]);
    // A list that one replica has just read is not read again by another, so the request is repeated.
    let found = eventually(Duration::from_secs(30), "the list is read again", async || {
        let all = join_all(apps.iter().map(refresh)).await;
        all.into_iter().find(|found| found["listed"] == listed.len() + 1)
    })
    .await;
    assert_eq!(upstream.lists_read(), 2, "one replica reads the list for all that want it");
    let vanished: Vec<_> = found["gone"].as_array().unwrap().iter().map(|each| each["id"].clone()).collect();
    assert_eq!(vanished, ["m", gone.as_str()], "`m` was in the first list: {found}");
    let costly = found["new"].as_array().unwrap().iter().find(|new| new["id"] == "acme/costly").unwrap();
    assert_eq!(costly["not_served"], "it has a price");
    for app in apps {
        eventually(EVERYWHERE, "every replica has it", async || {
            let (served, shown) = (served(app).await, shown(app).await);
            let is_gone = shown["gone"].as_array().unwrap().iter().any(|each| each["id"] == gone.as_str());
            let is_shown = is_gone && shown["new"].as_array().unwrap().len() == 2;
            (is_shown && served.contains(&new) && !served.contains(gone) && !served.contains(&"acme/costly".to_owned()))
                .then_some(())
        })
        .await;
        assert!(!members(app).await.contains(&NEW.to_owned()), "a new model has to answer first");
    }
    let retired = apps[2].chat(&format!("openrouter/{gone}")).await;
    assert!(retired.message().contains("retired"), "{}", retired.text());
    assert_eq!(apps[2].chat(NEW).await.content(), "hello");
    for app in apps {
        eventually(Duration::from_secs(12), "it is a member after an answer", async || {
            members(app).await.contains(&NEW.to_owned()).then_some(())
        })
        .await;
    }
    let metrics = apps[3].get("/metrics").await.text();
    let shows = |change: &str, n: &str| {
        metrics.lines().any(|l| l.starts_with("tollfree_provider_models{") && l.contains(change) && l.ends_with(n))
    };
    assert!(shows("gone", " 2") && shows("new", " 2"), "{metrics}");
}

#[tokio::test]
async fn a_model_that_is_answered_404_is_retired_for_the_fleet_until_it_is_looked_at_again() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let apps = [replica(&redis, &upstream).start().await, replica(&redis, &upstream).start().await];
    let model = "openrouter/free".to_owned();
    let name = format!("openrouter/{model}");
    let mut events = Stream::of(apps[1].request("GET", "/admin/v1/events").bearer_auth(ADMIN_KEY)).await;
    upstream.lacks(&[&model]);
    assert_eq!(apps[0].chat(&name).await.status, 502);
    let calls = upstream.seen().len();
    for app in &apps {
        eventually(EVERYWHERE, "no replica serves it", async || (!served(app).await.contains(&model)).then_some(()))
            .await;
        let shown = shown(app).await;
        assert_eq!(shown["gone"][0]["id"], model.as_str(), "{shown}");
        assert_eq!(shown["gone"][0]["why"], "a request was refused: 404");
        let refusal = app.chat(&name).await;
        assert!(refusal.message().contains("retired"), "{}", refusal.text());
        let models = Answer::of(app.request("GET", "/admin/v1/models").bearer_auth(ADMIN_KEY)).await.json();
        let retired = models["data"].as_array().unwrap().iter().find(|model| model["id"] == name.as_str()).unwrap();
        assert!(retired["status"] == "retired" && retired["retired_on"].is_string(), "{retired}");
    }
    assert_eq!(upstream.seen().len(), calls, "it costs no further attempt");
    let metrics = apps[1].get("/metrics").await.text();
    assert!(
        metrics
            .lines()
            .any(|l| l.starts_with("tollfree_provider_models{") && l.contains("refused") && l.ends_with(" 1"))
    );
    let event = eventually(EVERYWHERE, "the event", async || {
        let event = events.next().await?.unwrap();
        event.strip_prefix("event: models\ndata: ").map(str::to_owned)
    })
    .await;
    let event: Value = serde_json::from_str(&event).unwrap();
    assert_eq!(event, json!({ "provider": "openrouter", "new": [], "gone": [model], "back": [] }));

    upstream.lacks(&[]);
    let reset = apps[1].request("POST", "/v1/status/providers/openrouter/reset").bearer_auth(ADMIN_KEY);
    assert_eq!(Answer::of(reset).await.status, 200);
    for app in &apps {
        eventually(EVERYWHERE, "it is served again", async || served(app).await.contains(&model).then_some(())).await;
        assert_eq!(app.chat(&name).await.content(), "hello");
    }
}

#[tokio::test]
async fn a_provider_without_a_key_serves_once_the_operator_switches_it_on() {
    let upstream = FakeUpstream::start().await;
    let setup = TestApp::setup().env("KILO_BASE_URL", upstream.base_url()).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
    let off = setup.start().await;
    assert_eq!(off.chat("kilo/kilo-auto/free").await.status, 404);
    let setup = TestApp::setup().env("KILO_BASE_URL", upstream.base_url()).env("TOLLFREE_KEYLESS", "kilo");
    let on = setup.start().await;
    assert_eq!(on.chat("free").await.provider(), "kilo");
    assert!(!upstream.seen()[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn an_administrator_switches_a_provider_without_a_key_on_and_off_for_all_replicas() {
    const FREE: &str = "kilo/kilo-auto/free";
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let replica = || {
        let setup = TestApp::setup().redis(&redis).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
        setup.env("KILO_BASE_URL", upstream.base_url()).start()
    };
    let (here, there) = (replica().await, replica().await);
    let switch = async |app: &TestApp, id: &str, keyless: bool| {
        let call = app.request("PATCH", &format!("/admin/v1/providers/{id}")).bearer_auth(ADMIN_KEY);
        Answer::of(call.json(&json!({ "keyless": keyless }))).await
    };
    for round in 0..2 {
        assert_eq!(there.chat(FREE).await.status, 404, "round {round}");
        let on = switch(&here, "kilo", true).await;
        assert_eq!((on.status, &on.json()["keyless"]), (200, &json!(true)), "{}", on.text());
        assert_eq!(here.chat(FREE).await.status, 200, "at the replica that has switched it on");
        let is_served = async || (there.chat(FREE).await.status == 200).then_some(());
        eventually(Duration::from_secs(1), "the other replica serves it", is_served).await;
        assert!(upstream.seen().iter().all(|call| !call.headers.contains_key("authorization")));
        let off = switch(&there, "kilo", false).await;
        assert_eq!((off.status, &off.json()["keyless"]), (200, &json!(false)), "{}", off.text());
        let before = upstream.seen().len();
        for app in [&here, &there] {
            assert_ne!(app.chat(FREE).await.status, 200);
        }
        assert_eq!(upstream.seen().len(), before, "switched off at once");
        let is_gone = async || (there.chat(FREE).await.status == 404).then_some(());
        eventually(Duration::from_secs(1), "it is not served any more", is_gone).await;
    }
    assert_eq!(switch(&here, "groq", true).await.status, 400);
    assert_eq!(switch(&here, "nobody", true).await.status, 404);
    let setup = TestApp::setup().env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).env("TOLLFREE_KEYLESS", "kilo");
    let set = setup.env("KILO_BASE_URL", upstream.base_url()).start().await;
    assert_eq!(switch(&set, "kilo", false).await.error().2, "keyless_in_configuration");
    let log = Answer::of(here.request("GET", "/admin/v1/audit").bearer_auth(ADMIN_KEY)).await.json();
    assert_eq!(log["data"].as_array().unwrap().len(), 4, "{log}");
}
