//! Clients in the clients file, which may be kept in Git.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{ADMIN_KEY, admin, chat, create, list, named, ok, setup, unauthorised};
use crate::support::{
    app::{TestApp, hi},
    eventually,
    fake_upstream::{FakeUpstream, Step},
    http::Answer,
};

const KEY: &str = "sk-tf-ann-abcdefghijklmnopqrstuvwxyz0123456789";
/// `printf %s "$KEY" | sha256sum`
const HASH: &str = "73b93510ec9913aa0efc257f47983de70646b66c42b16cf3c0b0623ef117d085";

fn client(rest: &str) -> String {
    format!("[[client]]\nname = \"Ann\"\nid = \"ann\"\nsha256 = \"{HASH}\"\n{rest}\n")
}

/// A file without the client of these tests. An empty one would be no change.
fn another_client() -> String {
    client("").replace("Ann", "Bob").replace("ann", "bob").replace(HASH, &"0".repeat(64))
}

fn write(app: &TestApp, text: &str) {
    fs::write(app.folder.path().join("clients.toml"), text).unwrap();
}

async fn reloaded(app: &TestApp, text: &str, what: &str, mut seen: impl AsyncFnMut() -> bool) {
    write(app, text);
    app.signal("HUP");
    eventually(Duration::from_secs(5), what, async || seen().await.then_some(())).await;
}

#[tokio::test]
async fn clients_of_the_file_are_accepted_listed_and_changed_only_there() {
    let (upstream, folder) = (FakeUpstream::start().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("clients.toml");
    fs::write(&file, client("limits = { rpm = 2 }\nmodels = [\"lab/*\"]")).unwrap();
    let app = setup(&upstream).env("TOLLFREE_CLIENTS_FILE", file.display()).start().await;
    assert_eq!(app.chat("lab/m").await.error(), unauthorised(), "a key is required once a client exists");
    let answer = chat(&app, KEY, "lab/m").await;
    assert_eq!((answer.status, answer.header("x-ratelimit-limit-requests")), (200, Some("2")), "{}", answer.text());
    assert_eq!(chat(&app, &format!("{KEY}x"), "lab/m").await.error(), unauthorised());
    let (other, _) = create(&app, named("bob")).await;
    let all = list(&app).await;
    assert_eq!(
        (&all[0]["id"], &all[0]["source"], &all[0]["created_at"]),
        (&json!("ann"), &json!("file"), &json!(null))
    );
    assert_eq!((&all[1]["id"], &all[1]["source"]), (&json!(other), &json!("store")));
    let first = ok(&admin(&app, "GET", "/clients?limit=1", Value::Null).await);
    let second = format!("/clients?limit=1&cursor={}", first["next_cursor"].as_str().unwrap());
    let second = ok(&admin(&app, "GET", &second, Value::Null).await);
    assert_eq!((&second["data"][0]["id"], &second["next_cursor"]), (&json!(other), &json!(null)));
    assert_eq!(ok(&admin(&app, "GET", "/clients/ann", Value::Null).await)["name"], "Ann");
    for (method, path) in [
        ("PATCH", "/clients/ann"),
        ("POST", "/clients/ann/rotate"),
        ("POST", "/clients/ann/revoke"),
        ("DELETE", "/clients/ann"),
    ] {
        let answer = admin(&app, method, path, json!({})).await;
        assert_eq!(answer.error(), (409, "invalid_request_error".into(), "client_in_file".into()), "{path}");
    }
    // Only a change of the file changes the client.
    let off = client("disabled = true");
    fs::write(&file, &off).unwrap();
    app.signal("HUP");
    eventually(Duration::from_secs(5), "the key is off", async || {
        (chat(&app, KEY, "lab/m").await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_bad_file_stops_the_start_and_changes_nothing_at_a_reload() {
    let upstream = FakeUpstream::start().await;
    let missing = setup(&upstream).env("TOLLFREE_CLIENTS_FILE", "nowhere.toml").fails().await;
    assert!(missing.0 == 2 && missing.1.contains("nowhere.toml"), "{missing:?}");
    let app = setup(&upstream).start().await;
    let toml = fs::read_to_string(app.folder.path().join("tollfree.toml")).unwrap();
    app.write_file(&format!("{toml}[clients]\nfile = \"clients.toml\"\n"));
    let opens = async || chat(&app, KEY, "lab/m").await.status == 200;
    reloaded(&app, &client(""), "the file is in force", opens).await;
    reloaded(&app, &client("limits = { rpm = -1 }"), "the error is reported", async || {
        app.log().contains("limits.rpm")
    })
    .await;
    assert!(app.log().contains("clients.toml:5:1: client `Ann`"), "{}", app.log());
    assert_eq!(chat(&app, KEY, "lab/m").await.status, 200);
    reloaded(&app, &another_client(), "the key is gone", async || chat(&app, KEY, "lab/m").await.status == 401).await;
    assert!(!app.log().contains(KEY) && !app.log().contains(ADMIN_KEY));
}

#[tokio::test]
async fn a_waiting_request_is_admitted_by_the_current_file() {
    let (upstream, folder) = (FakeUpstream::start().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("clients.toml");
    fs::write(&file, client("limits = { concurrency = 1 }")).unwrap();
    let app = setup(&upstream).env("TOLLFREE_CLIENTS_FILE", file.display()).env("TOLLFREE__QUEUE__MAX_WAIT_MS", 30_000);
    let app = app.start().await;
    upstream.then(vec![Step::Hold]);
    let call = || Answer::of(app.chat_call(&hi("lab/m")).bearer_auth(KEY));
    let mut calls = JoinSet::new();
    let holds = calls.spawn(call());
    eventually(Duration::from_secs(5), "it is upstream", async || (upstream.seen().len() == 1).then_some(())).await;
    calls.spawn(call());
    eventually(Duration::from_secs(5), "the next one waits", async || {
        (ok(&admin(&app, "GET", "/budget", Value::Null).await)["waiting"] == 1).then_some(())
    })
    .await;
    fs::write(&file, another_client()).unwrap();
    app.signal("HUP");
    // A request with the key itself would wait behind it.
    eventually(Duration::from_secs(5), "the key is gone", async || app.log().contains("Reloaded").then_some(())).await;
    holds.abort();
    let waited = eventually(Duration::from_secs(5), "the next one is answered", async || {
        calls.join_next().await.and_then(Result::ok)
    });
    assert_eq!(waited.await.error(), unauthorised());
    assert_eq!(upstream.seen().len(), 1);
}
