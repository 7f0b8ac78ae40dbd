//! The life of a client key, on both kinds of state and over replicas.

use std::time::Duration;

use serde_json::{Value, json};

use super::{admin, audit, chat, create, list, named, ok, on_both, pair, setup, unauthorised};
use crate::support::{
    app::{Setup, TestApp},
    eventually,
    fake_upstream::{FakeUpstream, whole},
    redis_server::RedisServer,
};

#[tokio::test]
async fn a_key_is_returned_once_and_valid_until_it_is_revoked() {
    on_both(async |app, _upstream| {
        let made =
            admin(&app, "POST", "/clients", json!({ "name": "ann", "note": "laptop", "limits": { "rpd": 9 } })).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let made = made.json();
        let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
        assert!(key.starts_with(&format!("sk-tf-{id}-")) && key.len() > 45, "{key}");
        assert_eq!(made["prefix"], format!("sk-tf-{id}-"));
        assert_eq!(chat(&app, key, "lab/m").await.content(), "hello");

        let shown = ok(&admin(&app, "GET", &format!("/clients/{id}"), Value::Null).await);
        assert!(shown.get("key").is_none(), "{shown}");
        for (field, value) in [
            ("object", json!("client")),
            ("name", json!("ann")),
            ("note", json!("laptop")),
            ("source", json!("store")),
            ("limits", json!({ "rpm": null, "rpd": 9, "tpm": null, "tpd": null, "concurrency": null })),
            ("weight", json!(1)),
            ("models", json!([])),
            ("priority", json!(false)),
            ("wait_ms", json!(null)),
            ("expires_at", json!(null)),
            ("disabled", json!(false)),
            ("revoked_at", json!(null)),
            ("rotated_at", json!(null)),
            ("old_secret_until", json!(null)),
            ("version", json!(1)),
        ] {
            assert_eq!(shown[field], value, "{field} in {shown}");
        }
        assert!(shown["created_at"].as_str().unwrap().ends_with('Z'), "{shown}");

        let revoked = ok(&admin(&app, "POST", &format!("/clients/{id}/revoke"), Value::Null).await);
        assert!(revoked["revoked_at"].is_string(), "{revoked}");
        let refused = chat(&app, key, "lab/m").await;
        assert_eq!(refused.error(), unauthorised());
        assert!(refused.message().contains("revoked"), "{}", refused.message());
        let again = ok(&admin(&app, "POST", &format!("/clients/{id}/revoke"), json!({})).await);
        assert_eq!((&again["revoked_at"], &again["version"]), (&revoked["revoked_at"], &revoked["version"]));
        for (method, path) in [("PATCH", format!("/clients/{id}")), ("POST", format!("/clients/{id}/rotate"))] {
            let answer = admin(&app, method, &path, json!({})).await;
            assert_eq!(answer.error(), (409, "invalid_request_error".into(), "client_revoked".into()), "{path}");
        }
        assert_eq!(list(&app).await.len(), 1, "it stays on the list");

        let gone = ok(&admin(&app, "DELETE", &format!("/clients/{id}"), Value::Null).await);
        assert_eq!(gone, json!({ "id": id, "object": "client", "deleted": true }));
        assert!(list(&app).await.is_empty());
        assert_eq!(chat(&app, key, "lab/m").await.error(), unauthorised());
        assert_eq!(admin(&app, "GET", &format!("/clients/{id}"), Value::Null).await.error().0, 404);
    })
    .await;
}

#[tokio::test]
async fn a_change_is_returned_reverted_and_audited() {
    on_both(async |app, _upstream| {
        let (id, key) = create(&app, named("bob")).await;
        let path = format!("/clients/{id}");
        let change = json!({ "limits": { "rpm": 2, "tpd": 1_000_000 }, "weight": 3, "priority": true, "wait_ms": 1500,
            "expires_at": "2099-01-01T00:00:00Z", "models": ["free", "lab/*"], "disabled": true });
        let changed = ok(&admin(&app, "PATCH", &path, change.clone()).await);
        for (field, value) in change.as_object().unwrap() {
            if field != "limits" {
                assert_eq!(&changed[field], value, "{changed}");
            }
        }
        assert_eq!((&changed["limits"]["rpm"], &changed["version"]), (&json!(2), &json!(2)));
        let refused = chat(&app, &key, "lab/m").await;
        assert!(refused.status == 401 && refused.message().contains("disabled"), "{}", refused.text());
        let back = json!({ "disabled": false, "limits": { "rpm": null }, "expires_at": null, "wait_ms": null });
        let back = ok(&admin(&app, "PATCH", &path, back).await);
        assert_eq!(
            (&back["limits"]["rpm"], &back["expires_at"], &back["wait_ms"]),
            (&json!(null), &json!(null), &json!(null))
        );
        assert_eq!(chat(&app, &key, "lab/m").await.status, 200);
        let same = ok(&admin(&app, "PATCH", &path, json!({ "weight": 3 })).await);
        assert_eq!(same["version"], 3, "nothing differs, nothing is written");

        let lines = audit(&app).await;
        let actions: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["client.update", "client.update", "client.create"]);
        assert!(
            lines
                .iter()
                .all(|line| line["subject"] == *id && line["actor"] == "admin" && line["address"] == "127.0.0.1")
        );
        assert_eq!(
            (&lines[1]["before"]["weight"], &lines[1]["after"]["weight"]),
            (&json!(1), &json!(3)),
            "{}",
            lines[1]
        );
        assert!(lines[1]["before"].get("name").is_none(), "only what differs");
        assert_eq!((&lines[2]["before"], &lines[2]["after"]["name"]), (&json!(null), &json!("bob")));
    })
    .await;
}

#[tokio::test]
async fn after_a_rotation_both_keys_work_for_the_overlap_and_then_the_new_one() {
    on_both(async |app, _upstream| {
        let (id, first) = create(&app, named("ann")).await;
        let rotated = ok(&admin(&app, "POST", &format!("/clients/{id}/rotate"), json!({ "overlap_s": 2 })).await);
        let second = rotated["key"].as_str().unwrap().to_owned();
        assert_ne!(first, second);
        assert!(rotated["old_secret_until"].is_string() && rotated["rotated_at"].is_string(), "{rotated}");
        assert_eq!((chat(&app, &first, "lab/m").await.status, chat(&app, &second, "lab/m").await.status), (200, 200));
        eventually(Duration::from_secs(5), "the old key ends", async || {
            let refused = chat(&app, &first, "lab/m").await;
            (refused.status == 401 && refused.message().contains("replaced")).then_some(())
        })
        .await;
        assert_eq!(chat(&app, &second, "lab/m").await.status, 200);
        let third = ok(&admin(&app, "POST", &format!("/clients/{id}/rotate"), Value::Null).await);
        assert_eq!(
            chat(&app, &second, "lab/m").await.error(),
            unauthorised(),
            "without an overlap the old key ends immediately"
        );
        assert_eq!(chat(&app, third["key"].as_str().unwrap(), "lab/m").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_key_expires_at_its_time() {
    on_both(async |app, _upstream| {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(2_500);
        let (_, key) = create(&app, json!({ "name": "guest", "expires_at": at.to_string() })).await;
        assert_eq!(chat(&app, &key, "lab/m").await.status, 200);
        eventually(Duration::from_secs(6), "the key has expired", async || {
            let refused = chat(&app, &key, "lab/m").await;
            (refused.status == 401 && refused.message().contains("expired")).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_change_at_one_replica_applies_immediately_at_the_other() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let [one, two] = pair(&redis, &upstream).await;
    let (id, key) = create(&one, named("ann")).await;
    let path = format!("/clients/{id}");
    for _ in 0..3 {
        assert_eq!(chat(&two, &key, "lab/m").await.status, 200);
        ok(&admin(&one, "PATCH", &path, json!({ "disabled": true })).await);
        assert_eq!(chat(&two, &key, "lab/m").await.error(), unauthorised());
        ok(&admin(&two, "PATCH", &path, json!({ "disabled": false })).await);
        assert_eq!(chat(&one, &key, "lab/m").await.status, 200);
    }
    ok(&admin(&two, "PATCH", &path, json!({ "limits": { "rpm": 1 } })).await);
    let answers = [chat(&one, &key, "lab/m").await, chat(&one, &key, "lab/m").await];
    assert_eq!(answers[0].header("x-ratelimit-limit-requests"), Some("1"), "{}", answers[0].text());
    assert_eq!(answers[1].error().2, "client_quota_exceeded");
    ok(&admin(&one, "POST", &format!("{path}/revoke"), Value::Null).await);
    for app in [&one, &two] {
        assert_eq!(chat(app, &key, "lab/m").await.error(), unauthorised());
        assert_eq!(list(app).await.len(), 1);
    }
}

#[tokio::test]
async fn no_concurrent_change_is_lost() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let [one, two] = pair(&redis, &upstream).await;
    let (id, _) = create(&one, named("ann")).await;
    let path = format!("/clients/{id}");
    let changes = ["rpm", "rpd", "tpm", "tpd"].map(|limit| json!({ "limits": { limit: 7 } }));
    let calls =
        changes.into_iter().zip([&one, &two, &one, &two]).map(|(change, app)| admin(app, "PATCH", &path, change));
    for answer in futures_util::future::join_all(calls).await {
        ok(&answer);
    }
    let shown = ok(&admin(&one, "GET", &path, Value::Null).await);
    assert_eq!(shown["limits"], json!({ "rpm": 7, "rpd": 7, "tpm": 7, "tpd": 7, "concurrency": null }));
    assert_eq!((&shown["version"], audit(&two).await.len()), (&json!(5), 5));
}

#[tokio::test]
async fn lists_come_in_pages_and_can_be_searched() {
    on_both(async |app, _upstream| {
        for n in 0..7 {
            create(&app, named(&format!("member-{n}"))).await;
        }
        create(&app, json!({ "name": "other", "note": "of Member-3" })).await;
        let mut seen = Vec::new();
        let mut query = "/clients?limit=3".to_owned();
        loop {
            let page = ok(&admin(&app, "GET", &query, Value::Null).await);
            assert_eq!(page["object"], "list");
            seen.extend(page["data"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            query = format!("/clients?limit=3&cursor={cursor}");
        }
        let expected: Vec<String> =
            ["other".to_owned()].into_iter().chain((0..7).rev().map(|n| format!("member-{n}"))).collect();
        assert_eq!(seen, expected, "the newest first, each once");
        let found = ok(&admin(&app, "GET", "/clients?search=MEMBER-3&limit=1", Value::Null).await);
        assert_eq!((found["data"].as_array().unwrap().len(), found["next_cursor"].is_string()), (1, true), "{found}");
        let rest = format!("/clients?search=MEMBER-3&cursor={}", found["next_cursor"].as_str().unwrap());
        let rest = ok(&admin(&app, "GET", &rest, Value::Null).await);
        assert_eq!((&rest["data"][0]["name"], &rest["next_cursor"]), (&json!("member-3"), &json!(null)));
        let lines = ok(&admin(&app, "GET", "/audit?limit=5", Value::Null).await);
        let more = format!("/audit?limit=5&cursor={}", lines["next_cursor"].as_str().unwrap());
        let more = ok(&admin(&app, "GET", &more, Value::Null).await);
        assert_eq!((lines["data"].as_array().unwrap().len(), more["data"].as_array().unwrap().len()), (5, 3));
        assert_eq!(more["next_cursor"], json!(null));
    })
    .await;
}

#[tokio::test]
async fn the_last_use_is_recorded_soon() {
    on_both(async |app, _upstream| {
        let (id, key) = create(&app, named("ann")).await;
        let path = format!("/clients/{id}");
        assert_eq!(ok(&admin(&app, "GET", &path, Value::Null).await)["last_used_at"], json!(null));
        chat(&app, &key, "lab/m").await;
        eventually(Duration::from_secs(8), "the last use is noted", async || {
            ok(&admin(&app, "GET", &path, Value::Null).await)["last_used_at"].is_string().then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_key_gets_the_models_it_may_use() {
    let (a, b) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let team = "[models.team]\nmembers = [\"lab/m\", \"den/m\"]\nstrategy = \"listed\"\n\
                [providers.lab.models.\"den/other\"]\n";
    let app = setup(&a).lab("den", &b).file(team).start().await;
    let (_, one) = create(&app, json!({ "name": "one", "models": ["den/*"] })).await;
    let (_, meta) = create(&app, json!({ "name": "meta", "models": ["team"] })).await;
    let refused = chat(&app, &one, "lab/m").await;
    assert_eq!(refused.error(), (403, "permission_error".into(), "model_not_allowed".into()));
    assert_eq!(chat(&app, &one, "lab/den/other").await.error().0, 403, "the pattern is of the provider den");
    let (_, exact) = create(&app, json!({ "name": "exact", "models": ["den/other"] })).await;
    assert_eq!(chat(&app, &exact, "lab/den/other").await.provider(), "lab", "an id without its provider");
    assert_eq!(chat(&app, &one, "den/m").await.provider(), "den");
    assert_eq!(chat(&app, &one, "team").await.provider(), "den", "a meta-model routes to its allowed members");
    assert_eq!(chat(&app, &one, "m").await.provider(), "den");
    assert_eq!(chat(&app, &meta, "team").await.provider(), "lab", "an allowed meta-model routes to all its members");
    assert_eq!(chat(&app, &meta, "den/m").await.error().0, 403);
    let ids = async |key: &str| {
        let answer = crate::support::http::Answer::of(app.request("GET", "/v1/models").bearer_auth(key)).await;
        let models = ok(&answer)["data"].as_array().unwrap().clone();
        models.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let seen = ids(&one).await;
    assert!(seen.contains(&"den/m".to_owned()) && seen.contains(&"team".to_owned()), "{seen:?}");
    assert!(!seen.contains(&"lab/m".to_owned()), "{seen:?}");
    assert_eq!(ids(&meta).await, ["team"]);
    let (_, nothing) = create(&app, json!({ "name": "nothing", "models": ["nobody/*"] })).await;
    assert_eq!(chat(&app, &nothing, "team").await.error().2, "model_not_allowed");
}

#[tokio::test]
async fn during_a_redis_outage_a_recently_verified_key_may_use_unmetered_models() {
    let (mut redis, upstream) = (RedisServer::with_aof().await, FakeUpstream::start().await);
    let app = setup(&upstream).redis(&redis).played("groq", &upstream).env("TOLLFREE_AUTH", "open").start().await;
    let (_, used) = create(&app, named("ann")).await;
    let (_, unused) = create(&app, named("bob")).await;
    assert_eq!(chat(&app, &used, "lab/m").await.status, 200);
    redis.kill();
    eventually(Duration::from_secs(5), "the outage is noticed", async || {
        (app.status().await["ledger"]["reachable"] == false).then_some(())
    })
    .await;
    assert_eq!(chat(&app, &used, "lab/m").await.status, 200);
    assert_eq!(chat(&app, &used, "groq/openai/gpt-oss-20b").await.error().2, "ledger_unavailable");
    let unknown = chat(&app, &unused, "lab/m").await;
    assert_eq!(unknown.error(), (503, "server_error".into(), "ledger_unavailable".into()));
    assert!(unknown.retry_after() <= Duration::from_secs(5));
    let forged = format!("{}x", &used[..used.len() - 1]);
    assert_eq!(chat(&app, &forged, "lab/m").await.status, 503, "an unverified key is refused");
    let refused = admin(&app, "POST", "/clients", named("eve")).await;
    assert_eq!(refused.error().2, "ledger_unavailable");
    redis.restart().await;
    eventually(Duration::from_secs(10), "all is well again", async || {
        (chat(&app, &unused, "lab/m").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(list(&app).await.len(), 2);
}

#[tokio::test]
async fn the_first_key_is_required_at_once_and_survives_kill_9() {
    let upstream = FakeUpstream::start().await;
    let mut app: TestApp = setup(&upstream).start().await;
    assert_eq!(app.chat("lab/m").await.status, 200, "open without any client key");
    let first = ok(&admin(&app, "POST", "/clients", named("ann")).await);
    assert!(first["notice"].as_str().is_some_and(|notice| notice.contains("callers need a key")), "{first}");
    let key = first["key"].as_str().unwrap().to_owned();
    assert_eq!(app.chat("lab/m").await.error(), unauthorised());
    let second = ok(&admin(&app, "POST", "/clients", named("ben")).await);
    assert!(second.get("notice").is_none(), "nothing changes any more: {second}");
    app.signal("HUP");
    eventually(Duration::from_secs(5), "it is reloaded", async || app.log().contains("Reloaded").then_some(())).await;
    assert_eq!(app.chat("lab/m").await.error(), unauthorised(), "a reload does not open it again");
    app.restart().await;
    app.until_ready().await;
    assert_eq!(app.chat("lab/m").await.error(), unauthorised());
    assert_eq!(chat(&app, &key, "lab/m").await.status, 200);
}

#[tokio::test]
async fn the_first_key_is_required_at_every_replica() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let [one, two] = pair(&redis, &upstream).await;
    assert_eq!((one.chat("lab/m").await.status, two.chat("lab/m").await.status), (200, 200));
    let (_, key) = create(&one, named("ann")).await;
    assert_eq!(one.chat("lab/m").await.error(), unauthorised());
    eventually(Duration::from_secs(1), "the other replica needs a key, too", async || {
        (two.chat("lab/m").await.status == 401).then_some(())
    })
    .await;
    assert_eq!(chat(&two, &key, "lab/m").await.status, 200);
}

/// An overlap is a promise to everybody who still has the older key.
#[tokio::test]
async fn a_second_rotation_keeps_the_overlap_of_the_first() {
    on_both(async |app, _upstream| {
        let (id, first) = create(&app, named("ann")).await;
        let path = format!("/clients/{id}/rotate");
        let key = |rotated: Value| rotated["key"].as_str().unwrap().to_owned();
        let second = key(ok(&admin(&app, "POST", &path, json!({ "overlap_s": 3 })).await));
        let third = key(ok(&admin(&app, "POST", &path, json!({ "overlap_s": 0 })).await));
        assert_eq!(chat(&app, &third, "lab/m").await.status, 200);
        assert_eq!(chat(&app, &first, "lab/m").await.status, 200, "it was promised three seconds");
        for replaced in [&second, &first] {
            eventually(Duration::from_secs(5), "a replaced key is named as replaced", async || {
                let refused = chat(&app, replaced, "lab/m").await;
                (refused.status == 401 && refused.message().contains("replaced")).then_some(())
            })
            .await;
        }
        for _ in 0..8 {
            ok(&admin(&app, "POST", &path, json!({ "overlap_s": 600 })).await);
        }
        let refused = admin(&app, "POST", &path, json!({ "overlap_s": 600 })).await;
        assert_eq!(refused.error(), (400, "invalid_request_error".into(), "invalid_value".into()));
        assert!(refused.message().contains("still valid"), "{}", refused.message());
    })
    .await;
}

#[tokio::test]
async fn a_request_that_fails_over_counts_once_to_its_client() {
    for redis in [None, Some(RedisServer::start().await)] {
        let (first, second) = (FakeUpstream::start().await, FakeUpstream::start().await);
        let file = "[models.two]\nmembers = [\"lab/m\", \"spare/m\"]\nstrategy = \"listed\"\n";
        let setup = setup(&first).lab("spare", &second).file(file);
        let app = redis.iter().fold(setup, Setup::redis).start().await;
        let (_, key) = create(&app, json!({ "name": "ann", "limits": { "rpm": 2, "concurrency": 1 } })).await;
        for left in ["1", "0"] {
            first.then(whole(500, "boom"));
            let answer = chat(&app, &key, "two").await;
            assert_eq!((answer.status, answer.attempts()), (200, "lab/m;500, spare/m;ok"), "{}", answer.text());
            assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(left));
        }
        assert_eq!(chat(&app, &key, "two").await.error().2, "client_quota_exceeded");
        // A request that no provider answers counts too, because it was sent.
        let (_, other) = create(&app, json!({ "name": "ben", "limits": { "rpm": 1 } })).await;
        first.then(whole(500, "boom"));
        second.then(whole(500, "boom"));
        assert_eq!(chat(&app, &other, "two").await.status, 502);
        assert_eq!(chat(&app, &other, "two").await.error().2, "client_quota_exceeded");
    }
}
