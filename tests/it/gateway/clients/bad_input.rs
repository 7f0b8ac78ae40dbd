//! Invalid input gets a clear error and changes nothing; secrets appear nowhere.

use serde_json::{Value, json};

use super::{ADMIN_KEY, admin, audit, chat, create, list, named, ok, on_both, setup};
use crate::support::{fake_upstream::FakeUpstream, http::Answer, redis_server::RedisServer};

#[tokio::test]
async fn bad_input_names_the_field_and_changes_nothing() {
    on_both(async |app, _upstream| {
        let (id, key) = create(&app, json!({ "name": "ann", "limits": { "rpm": 10 } })).await;
        let before = (list(&app).await, audit(&app).await);
        let (client, long) = (format!("/clients/{id}"), "x".repeat(81));
        let fields = [
            (json!({ "name": "" }), "name"),
            (json!({ "name": long }), "name"),
            (json!({ "name": "a", "note": "x".repeat(501) }), "note"),
            (json!({ "name": "a", "color": "red" }), "color"),
            (json!({ "name": "a", "limits": { "rpm": -1 } }), "limits.rpm"),
            (json!({ "name": "a", "limits": { "rpm": 1.5 } }), "limits.rpm"),
            (json!({ "name": "a", "limits": { "rps": 1 } }), "limits.rps"),
            (json!({ "name": "a", "limits": 5 }), "limits"),
            (json!({ "name": "a", "weight": 0 }), "weight"),
            (json!({ "name": "a", "weight": 1001 }), "weight"),
            (json!({ "name": "a", "models": ["gr{o}q"] }), "models[0]"),
            (json!({ "name": "a", "wait_ms": -1 }), "wait_ms"),
            (json!({ "name": "a", "wait_ms": 3_600_001 }), "wait_ms"),
            (json!({ "name": "a", "expires_at": "2020-01-01T00:00:00Z" }), "expires_at"),
            (json!({ "name": "a", "expires_at": "soon" }), "expires_at"),
            (json!({ "name": "a", "priority": 1 }), "priority"),
            (json!({ "name": "a", "disabled": null }), "disabled"),
        ];
        for (body, param) in fields {
            for (method, path) in [("POST", "/clients"), ("PATCH", client.as_str())] {
                let answer = admin(&app, method, path, body.clone()).await;
                let error = answer.error();
                assert_eq!((error.0, error.2.as_str()), (400, "invalid_value"), "{method} {body}");
                assert_eq!(answer.json()["error"]["param"], param, "{method} {body}");
                assert!(answer.message().contains(param), "{}", answer.message());
            }
        }
        let others = [
            ("POST", "/clients".to_owned(), json!({}), 400, "invalid_value"),
            ("POST", "/clients".to_owned(), json!([]), 400, "invalid_value"),
            ("POST", format!("{client}/rotate"), json!({ "overlap_s": -1 }), 400, "invalid_value"),
            ("POST", format!("{client}/rotate"), json!({ "overlap_s": 604_801 }), 400, "invalid_value"),
            ("POST", format!("{client}/rotate"), json!({ "overlap": 5 }), 400, "invalid_value"),
            ("POST", format!("{client}/revoke"), json!({ "why": "x" }), 400, "invalid_value"),
            ("GET", "/clients/nobody".to_owned(), Value::Null, 404, "not_found"),
            ("GET", "/clients/No%20Body".to_owned(), Value::Null, 404, "not_found"),
            ("PATCH", "/clients/nobody".to_owned(), json!({ "weight": 2 }), 404, "not_found"),
            ("POST", "/clients/nobody/rotate".to_owned(), json!({}), 404, "not_found"),
            ("POST", "/clients/nobody/revoke".to_owned(), json!({}), 404, "not_found"),
            ("DELETE", "/clients/nobody".to_owned(), Value::Null, 404, "not_found"),
            ("GET", "/clients?limit=0".to_owned(), Value::Null, 400, "invalid_value"),
            ("GET", "/clients?limit=201".to_owned(), Value::Null, 400, "invalid_value"),
            ("GET", "/clients?cursor=oops".to_owned(), Value::Null, 400, "invalid_value"),
            ("GET", "/clients?colour=red".to_owned(), Value::Null, 400, "invalid_value"),
            ("GET", "/audit?cursor=oops".to_owned(), Value::Null, 400, "invalid_value"),
            ("PUT", client.clone(), json!({}), 405, "method_not_allowed"),
        ];
        for (method, path, body, status, code) in others {
            let error = admin(&app, method, &path, body.clone()).await.error();
            assert_eq!((error.0, error.2.as_str()), (status, code), "{method} {path} {body}");
        }
        let raw =
            app.request("POST", "/admin/v1/clients").bearer_auth(ADMIN_KEY).header("content-type", "application/json");
        assert_eq!(Answer::of(raw.body("{\"name\":")).await.error().2, "invalid_json");
        assert_eq!((list(&app).await, audit(&app).await), before, "nothing was changed");
        assert_eq!(chat(&app, &key, "lab/m").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn callers_without_the_admin_key_change_nothing_and_learn_nothing() {
    on_both(async |app, _upstream| {
        let (id, key) = create(&app, named("ann")).await;
        let before = audit(&app).await;
        let paths = [
            ("GET", "/clients".to_owned()),
            ("POST", "/clients".to_owned()),
            ("GET", format!("/clients/{id}")),
            ("PATCH", format!("/clients/{id}")),
            ("DELETE", format!("/clients/{id}")),
            ("POST", format!("/clients/{id}/rotate")),
            ("POST", format!("/clients/{id}/revoke")),
            ("GET", "/audit".to_owned()),
            ("GET", "/config".to_owned()),
        ];
        for (method, path) in paths {
            let call = || app.request(method, &format!("/admin/v1{path}")).json(&json!({ "oops": 1 }));
            assert_eq!(Answer::of(call()).await.error().0, 401, "{method} {path}");
            let member = Answer::of(call().bearer_auth(&key)).await;
            assert_eq!(member.error(), (403, "permission_error".into(), "admin_required".into()), "{method} {path}");
            let revoked = Answer::of(call().bearer_auth("sk-tf-nobody-x")).await;
            assert_eq!(revoked.error().0, 401, "{method} {path}");
        }
        assert_eq!(audit(&app).await, before);
        assert_eq!(chat(&app, &key, "lab/m").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn keys_and_secrets_are_in_no_log_response_or_metric_and_redis_holds_only_digests() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let app = setup(&upstream).redis(&redis).env("LOG_LEVEL", "trace").start().await;
    let mut secrets = vec![ADMIN_KEY.to_owned()];
    let mut responses = String::new();
    let (id, first) = create(&app, named("ann")).await;
    let rotated = ok(&admin(&app, "POST", &format!("/clients/{id}/rotate"), json!({ "overlap_s": 60 })).await);
    let second = rotated["key"].as_str().unwrap().to_owned();
    for key in [&first, &second] {
        secrets.push(key.clone());
        secrets.push(key.rsplit('-').next().unwrap().to_owned());
        responses += &chat(&app, key, "lab/m").await.text();
        responses += &chat(&app, key, "no/such").await.text();
        responses += &Answer::of(app.request("GET", "/admin/v1/clients").bearer_auth(key)).await.text();
        responses += &Answer::of(app.request("POST", "/admin/v1/session").json(&json!({ "key": key }))).await.text();
        responses += &Answer::of(app.request("POST", "/admin/v1/session").json(&json!({ "kye": key }))).await.text();
    }
    let login = Answer::of(app.request("POST", "/admin/v1/session").json(&json!({ "key": ADMIN_KEY }))).await;
    let cookie = login.header("set-cookie").unwrap();
    secrets.push(cookie.split(['=', ';']).nth(1).unwrap().to_owned());
    responses += &login.text();
    ok(&admin(&app, "POST", &format!("/clients/{id}/revoke"), Value::Null).await);
    for key in [&first, &second] {
        responses += &chat(&app, key, "lab/m").await.text();
    }
    for path in ["/clients", "/audit", "/config", &format!("/clients/{id}")] {
        responses += &admin(&app, "GET", path, Value::Null).await.text();
    }
    for path in ["/metrics", "/v1/status", "/readyz"] {
        responses += &app.get(path).await.text();
    }
    let dump = "local all = {} for _, k in ipairs(redis.call('KEYS','*')) do all[#all+1] = k .. ' ' .. redis.call('DUMP', k) end return table.concat(all)";
    redis.command(&["CONFIG", "SET", "rdbcompression", "no"]);
    let mut line = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let kept: Vec<u8> = redis::cmd("EVAL").arg(dump).arg(0).query(&mut line).unwrap();
    let kept = String::from_utf8_lossy(&kept).into_owned();
    assert!(kept.contains(&id));
    let log = app.log();
    for secret in &secrets {
        for (place, text) in [("the log", &log), ("a response", &responses), ("Redis", &kept)] {
            assert!(!text.contains(secret.as_str()), "a secret is in {place}");
        }
    }
}
