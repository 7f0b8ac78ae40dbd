//! What replicas look up at providers for each other: each list of models and each allowance once per interval.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{app::TestApp, eventually, fake_upstream::FakeUpstream, http::Answer, redis_server::RedisServer};

const ADMIN_KEY: &str = "the-admin-key";
const FOUND: &str = "tf1:{default}:found";
const ALLOWANCES: &str = "tf1:{default}:allow";
const REFUSED: &str = "tf1:{default}:gone";
const VERSION: &str = "tf1:{default}:pk";
const NEW: &str = "acme/brand-new:free";
/// How soon every replica has what one of them has found.
const EVERYWHERE: Duration = Duration::from_secs(5);
/// Within this time a replica looks again at what is due, and a list that gets no answer is given up.
const NEXT_LOOK: Duration = Duration::from_secs(20);
const INTERVAL_MS: i64 = 6 * 3_600_000;

async fn admin(app: &TestApp, path: &str) -> Value {
    Answer::of(app.request("GET", &format!("/admin/v1{path}")).bearer_auth(ADMIN_KEY)).await.json()
}

/// The models of a provider that are served, by the provider's names.
async fn served(app: &TestApp, provider: &str) -> Vec<String> {
    let models = app.get("/v1/models").await.json();
    let ids = models["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str());
    ids.filter_map(|id| id.strip_prefix(provider)?.strip_prefix('/')).map(str::to_owned).collect()
}

/// What the page Providers shows of a provider's list.
async fn shown(app: &TestApp, provider: &str) -> Value {
    let providers = admin(app, "/providers").await;
    providers["data"].as_array().unwrap().iter().find(|each| each["id"] == provider).unwrap()["list"].clone()
}

/// Runs one command in the store.
fn command<T: redis::FromRedisValue>(redis: &RedisServer, words: &[&str]) -> T {
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).unwrap()
}

/// The text of a field of a hash in the store.
fn field(redis: &RedisServer, key: &str, name: &str) -> Option<String> {
    command(redis, &["HGET", key, name])
}

/// What the store has about a provider's list.
fn found(redis: &RedisServer, provider: &str) -> Option<Value> {
    Some(serde_json::from_str(&field(redis, FOUND, provider)?).unwrap())
}

/// Has every replica read the store again.
fn announce(redis: &RedisServer) {
    let version: i64 = command(redis, &["HINCRBY", VERSION, "v", "1"]);
    command::<()>(redis, &["PUBLISH", "tf1:{default}:queue", &format!("provider_keys {version}")]);
}

/// The last look at a list was an interval earlier than it was.
fn set_back(redis: &RedisServer, provider: &str) {
    let mut findings = found(redis, provider).unwrap();
    findings["looked_ms"] = json!(findings["looked_ms"].as_i64().unwrap() - INTERVAL_MS);
    command::<()>(redis, &["HSET", FOUND, provider, &findings.to_string()]);
}

fn entries(ids: impl IntoIterator<Item = String>) -> Value {
    ids.into_iter().map(|id| json!({ "id": id, "pricing": { "prompt": "0", "completion": "0" } })).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn four_replicas_look_at_each_list_once_per_interval_although_one_hangs() {
    let (redis, backup) = (RedisServer::start().await, FakeUpstream::start().await);
    let (groq, mistral, router) =
        (FakeUpstream::start().await, FakeUpstream::start().await, FakeUpstream::start().await);
    let lists = [("groq", &groq), ("mistral", &mistral), ("openrouter", &router)];
    groq.holds_lists(true);
    let start = || {
        let setup = TestApp::setup().redis(&redis).lab("backup", &backup).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
        lists.iter().fold(setup, |setup, (name, upstream)| setup.played(name, upstream)).start()
    };
    let apps = join_all((0..4).map(|_| start())).await;
    eventually(NEXT_LOOK, "each list has been looked at", async || {
        lists.iter().all(|(name, _)| found(&redis, name).is_some()).then_some(())
    })
    .await;
    for (name, upstream) in lists {
        assert_eq!(upstream.lists_read(), 1, "{name}: one replica looks for all");
    }
    assert_eq!(found(&redis, "groq").unwrap()["has_failed"], true);

    let (of_mistral, of_router) = (served(&apps[0], "mistral").await, served(&apps[0], "openrouter").await);
    assert!(of_mistral.len() > 3 && of_router.len() > 3, "{of_mistral:?} {of_router:?}");
    let is_over = AtomicBool::new(false);
    let requests = join_all(apps.iter().map(|app| app.chats_until(&is_over, Duration::from_millis(50))));
    let changes = async {
        groq.holds_lists(false);
        mistral.lists(entries(of_mistral[1..].to_vec())).lacks(&[&of_mistral[0]]);
        router.lists(entries(of_router[1..].iter().cloned().chain([NEW.to_owned()]))).lacks(&[&of_router[0]]);
        for (name, _) in lists {
            set_back(&redis, name);
        }
        announce(&redis);
        eventually(NEXT_LOOK, "each list is read again", async || {
            lists.iter().all(|(_, upstream)| upstream.lists_read() > 1).then_some(())
        })
        .await;
        join_all(apps.iter().map(|app| is_right(app, &of_mistral[0], &of_router[0]))).await;
        // Every replica notes this at the end of a look of its own at what is due.
        assert_eq!(apps[1].chat(&format!("openrouter/{NEW}")).await.content(), "hello");
        join_all(apps.iter().map(joins_the_members)).await;
        is_over.store(true, Ordering::Relaxed);
    };
    let (failed, ()) = tokio::join!(requests, changes);
    assert_eq!(failed.concat(), Vec::<String>::new(), "no caller notices");
    for (name, upstream) in lists {
        assert_eq!(upstream.lists_read(), 2, "{name}: one look more for all replicas");
    }
}

/// `/v1/models` and the page show what the lists gained and lost.
async fn is_right(app: &TestApp, gone_at_mistral: &str, gone_at_router: &str) {
    eventually(EVERYWHERE, "the replica has what was found", async || {
        let (mistral, router) = (served(app, "mistral").await, served(app, "openrouter").await);
        let shows_gone = async |provider: &str, id: &str| {
            let list = shown(app, provider).await;
            list["gone"].as_array().unwrap().iter().any(|each| each["id"] == id)
        };
        let is_new_shown =
            shown(app, "openrouter").await["new"].as_array().unwrap().iter().any(|each| each["id"] == NEW);
        let are_served = router.iter().any(|id| id == NEW)
            && !mistral.iter().any(|id| id == gone_at_mistral)
            && !router.iter().any(|id| id == gone_at_router);
        let are_shown = shows_gone("mistral", gone_at_mistral).await && shows_gone("openrouter", gone_at_router).await;
        (are_served && are_shown && is_new_shown).then_some(())
    })
    .await;
}

async fn joins_the_members(app: &TestApp) {
    eventually(NEXT_LOOK, "it is a member after an answer", async || {
        let models = admin(app, "/models").await;
        let free = models["data"].as_array().unwrap().iter().find(|model| model["id"] == "free")?.clone();
        free["members"].as_array()?.iter().any(|member| member["name"] == format!("openrouter/{NEW}")).then_some(())
    })
    .await;
}

/// Four lists without an answer hold a replica up for longer than another one needs to read the fifth.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_held_up_does_not_read_what_another_has_read() {
    let (redis, slow, router) = (RedisServer::start().await, FakeUpstream::start().await, FakeUpstream::start().await);
    slow.holds_lists(true);
    let setup = TestApp::setup().redis(&redis).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).played("openrouter", &router);
    let slow_ones = ["groq", "gemini", "cerebras", "mistral"];
    let _app = slow_ones.iter().fold(setup, |setup, name| setup.played(name, &slow)).start().await;
    eventually(NEXT_LOOK, "four lists are requested", async || (slow.lists_read() == 4).then_some(())).await;
    // As another replica would leave it, whose claim has ended.
    let looked_ms = jiff::Timestamp::now().as_millisecond();
    command::<()>(&redis, &["HSET", FOUND, "openrouter", &json!({ "looked_ms": looked_ms, "listed": 1 }).to_string()]);
    eventually(NEXT_LOOK, "the replica goes on to the fifth list", async || {
        command::<bool>(&redis, &["EXISTS", "tf1:{default}:claim:models:openrouter"]).then_some(())
    })
    .await;
    set_back(&redis, "openrouter");
    announce(&redis);
    eventually(NEXT_LOOK, "the next look", async || {
        (found(&redis, "openrouter").unwrap()["looked_ms"].as_i64() >= Some(looked_ms)).then_some(())
    })
    .await;
    assert_eq!((slow.lists_read(), router.lists_read()), (4, 1), "the list is read when it is due again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_answered_410_is_retired_for_a_day() {
    let (redis, router) = (RedisServer::start().await, FakeUpstream::start().await);
    let start = || {
        let setup = TestApp::setup().redis(&redis).played("openrouter", &router);
        setup.env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).start()
    };
    let apps = [start().await, start().await];
    let model = "openrouter/free";
    let name = format!("openrouter/{model}");
    router.lacks_with(410, &[model]);
    assert_eq!(apps[0].chat(&name).await.status, 502);
    for app in &apps {
        eventually(EVERYWHERE, "no replica serves it", async || {
            (!served(app, "openrouter").await.iter().any(|id| id == model)).then_some(())
        })
        .await;
        assert_eq!(shown(app, "openrouter").await["gone"][0]["why"], "a request was refused: 410");
    }
    // A day later.
    router.lacks(&[]);
    let refusal = field(&redis, REFUSED, &name).unwrap();
    let [since, _, cause] = refusal.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{refusal}") };
    command::<()>(&redis, &["HSET", REFUSED, &name, &format!("{since} {since} {cause}")]);
    announce(&redis);
    for app in &apps {
        eventually(NEXT_LOOK, "it is served again", async || {
            served(app, "openrouter").await.iter().any(|id| id == model).then_some(())
        })
        .await;
    }
}

/// The bar of Ollama Cloud's allowance: where its figure comes from, and how much is used.
async fn allowance(app: &TestApp) -> Option<(String, i64)> {
    let budget = admin(app, "/budget").await;
    let provider = budget["providers"].as_array()?.iter().find(|each| each["id"] == "ollama-cloud")?.clone();
    let windows = provider["accounts"][0]["windows"].as_array()?.clone();
    let bar = windows.into_iter().find(|window| window["limit"] == "allowance")?;
    Some((bar["source"].as_str()?.to_owned(), bar["used"].as_i64()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowance_is_read_once_in_ten_minutes_for_all_and_is_unknown_until_it_is_reported() {
    let (redis, cloud) = (RedisServer::start().await, FakeUpstream::start().await);
    let start = || {
        let setup = TestApp::setup().redis(&redis).env("OLLAMA_API_KEY", "key-of-ollama");
        let setup = setup.file(&format!("[providers.ollama-cloud]\nbase_url = \"{}\"\n", cloud.base_url()));
        setup.env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).start()
    };
    let apps = join_all((0..4).map(|_| start())).await;
    let show = async |source: &str, used: i64| {
        announce(&redis);
        for app in &apps {
            eventually(EVERYWHERE, "every replica shows it", async || {
                (allowance(app).await? == (source.to_owned(), used)).then_some(())
            })
            .await;
        }
    };
    let accounts = admin(&apps[0], "/budget").await["providers"][0]["accounts"].clone();
    let account = format!("ollama-cloud/{}", accounts[0]["id"].as_str().unwrap());
    let stored = || field(&redis, ALLOWANCES, &account);
    let is_unknown = |text: &str| text.starts_with("unknown ");
    eventually(NEXT_LOOK, "it was read", async || stored().filter(|text| is_unknown(text))).await;
    show("unknown", 0).await;
    assert_eq!(cloud.usages_read(), 1, "one replica reads it for all, and not again at once after a failure");

    cloud.reports_usage(0.25);
    let at_ms: i64 = stored().unwrap().strip_prefix("unknown ").unwrap().parse().unwrap();
    command::<()>(&redis, &["HSET", ALLOWANCES, &account, &format!("unknown {}", at_ms - 600_000)]);
    announce(&redis);
    eventually(NEXT_LOOK, "it is read again", async || stored().filter(|text| !is_unknown(text))).await;
    show("provider", 250).await;
    assert_eq!(cloud.usages_read(), 2);
}
