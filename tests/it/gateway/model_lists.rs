//! Lists of models: looked at once for the whole fleet; what is gone is not served, and what is new is tried first.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    app::{Setup, TestApp},
    eventually,
    fake_upstream::FakeUpstream,
    http::Answer,
    redis_server::RedisServer,
};

const ADMIN_KEY: &str = "the-admin-key";
const NEW: &str = "openrouter/acme/brand-new:free";
/// How soon every replica has what one of them has found.
const EVERYWHERE: Duration = Duration::from_secs(5);

fn replica(redis: &RedisServer, upstream: &FakeUpstream) -> Setup {
    TestApp::setup().redis(redis).played("openrouter", upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY)
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
    let all = answer.json();
    all["data"].as_array().unwrap().iter().find(|provider| provider["id"] == "openrouter").unwrap()["list"].clone()
}

async fn members(app: &TestApp) -> Vec<String> {
    let models = Answer::of(app.request("GET", "/admin/v1/models").bearer_auth(ADMIN_KEY)).await.json();
    let free = models["data"].as_array().unwrap().iter().find(|model| model["id"] == "free").unwrap().clone();
    free["members"].as_array().unwrap().iter().map(|member| member["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn one_replica_looks_for_all_and_every_one_serves_what_it_has_found() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let first = replica(&redis, &upstream).start().await;
    let known = served(&first).await;
    assert!(known.len() > 3, "{known:?}");
    eventually(EVERYWHERE, "the list is read at the start", async || (upstream.lists_read() > 0).then_some(())).await;
    let mut apps = vec![first];
    for _ in 0..3 {
        apps.push(replica(&redis, &upstream).start().await);
    }
    for app in &apps {
        assert_eq!(served(app).await, known, "a list that names none of the models retires none");
    }
    assert_eq!(upstream.lists_read(), 1, "one replica reads the list for all");

    let (gone, new) = (&known[0], NEW.replace("openrouter/", ""));
    let listed: Vec<String> = known[1..].iter().cloned().chain([new.clone()]).collect();
    let costly = json!({ "id": "acme/costly", "pricing": { "prompt": "0.000001" } });
    upstream.lists(entries(&listed).into_iter().chain([costly]).collect());
    // A list that one replica has just read is not read again by another, so the request is repeated.
    let found = eventually(Duration::from_secs(30), "the list is read again", async || {
        let found = refresh(&apps[1]).await;
        (found["gone"].as_array().unwrap().len() == 1).then_some(found)
    })
    .await;
    assert_eq!(&found["gone"][0]["id"], gone.as_str());
    let costly = found["new"].as_array().unwrap().iter().find(|new| new["id"] == "acme/costly").unwrap();
    assert_eq!(costly["not_served"], "it has a price");
    for app in &apps {
        eventually(EVERYWHERE, "every replica has it", async || {
            let served = served(app).await;
            (served.contains(&new) && !served.contains(gone) && !served.contains(&"acme/costly".to_owned()))
                .then_some(())
        })
        .await;
        assert!(!members(app).await.contains(&NEW.to_owned()), "a new model has to answer first");
    }
    let retired = apps[2].chat(&format!("openrouter/{gone}")).await;
    assert!(retired.message().contains("retired"), "{}", retired.text());
    assert_eq!(apps[2].chat(NEW).await.content(), "hello");
    for app in &apps {
        eventually(Duration::from_secs(12), "it is a member after an answer", async || {
            members(app).await.contains(&NEW.to_owned()).then_some(())
        })
        .await;
    }
    let metrics = apps[3].get("/metrics").await.text();
    let shows = |change: &str, n: &str| {
        metrics.lines().any(|l| l.starts_with("tollfree_provider_models{") && l.contains(change) && l.ends_with(n))
    };
    assert!(shows("gone", " 1") && shows("new", " 2"), "{metrics}");
}
