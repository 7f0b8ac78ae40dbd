//! Authentication and the limits of clients.

use std::{fs, time::Duration};

use crate::support::{
    app::{Setup, TestApp, hi},
    fake_upstream::FakeUpstream,
    http::Answer,
};

async fn setup() -> (Setup, FakeUpstream) {
    let upstream = FakeUpstream::start().await;
    (TestApp::setup().lab("lab", &upstream), upstream)
}

async fn with_key(app: &TestApp, key: &str) -> Answer {
    Answer::of(app.chat_call(&hi("lab/m")).bearer_auth(key)).await
}

fn unauthorised() -> (u16, String, String) {
    (401, "authentication_error".into(), "invalid_api_key".into())
}

#[tokio::test]
async fn a_gateway_on_loopback_without_any_key_is_open() {
    let (setup, upstream) = setup().await;
    let app = setup.start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    assert_eq!(with_key(&app, "whatever").await.status, 200);
    assert_eq!(with_key(&app, "sk-tf-1234-abcd").await.error(), unauthorised(), "a client key must be valid");
    assert!(upstream.seen().iter().all(|seen| !seen.headers.contains_key("authorization")), "it is not passed on");
}

#[tokio::test]
async fn with_a_shared_key_every_caller_needs_a_key() {
    let (setup, upstream) = setup().await;
    let app = setup.env("TOLLFREE_API_KEY", "team-key").start().await;
    assert_eq!(app.chat("lab/m").await.error(), unauthorised());
    for wrong in ["nonsense", "team-kez", "team-key2", "sk-tf-1-2"] {
        assert_eq!(with_key(&app, wrong).await.error(), unauthorised(), "{wrong}");
    }
    assert_eq!(app.get("/v1/models").await.error(), unauthorised());
    assert!(upstream.seen().is_empty());
    assert_eq!(with_key(&app, "team-key").await.status, 200);
    let basic = app.chat_call(&hi("lab/m")).basic_auth("team-key", None::<&str>);
    assert_eq!(Answer::of(basic).await.error(), unauthorised());
    assert!(!app.log().contains("team-key"));
}

#[tokio::test]
async fn the_key_may_come_from_a_file_or_by_freellms_name() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "from-a-file\n").unwrap();
    let (first, _upstream) = setup().await;
    let app = first.env("TOLLFREE_API_KEY_FILE", secret.display()).start().await;
    assert_eq!(app.chat("lab/m").await.status, 401);
    assert_eq!(with_key(&app, "from-a-file").await.status, 200);
    let (second, _upstream) = setup().await;
    let app = second.env("FREELLM_API_KEY", "old-name").start().await;
    assert_eq!((app.chat("lab/m").await.status, with_key(&app, "old-name").await.status), (401, 200));
}

#[tokio::test]
async fn a_public_address_requires_a_key_unless_configured_as_open() {
    let (first, _upstream) = setup().await;
    let app = first.env("HOST", "0.0.0.0").start().await;
    assert_eq!(app.chat("lab/m").await.error(), unauthorised());
    assert!(app.log().to_lowercase().contains("key"), "it starts and warns:\n{}", app.log());
    let (second, _upstream) = setup().await;
    let app = second.env("HOST", "0.0.0.0").env("TOLLFREE_AUTH", "open").start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    let (third, _upstream) = setup().await;
    let app = third.env("TOLLFREE_AUTH", "required").start().await;
    assert_eq!(app.chat("lab/m").await.error(), unauthorised());
}

#[tokio::test]
async fn the_admin_key_is_valid_for_chat() {
    let (setup, _upstream) = setup().await;
    let app = setup.env("TOLLFREE_ADMIN_KEY", "admin-key").env("TOLLFREE_API_KEY", "team").start().await;
    assert_eq!(with_key(&app, "admin-key").await.status, 200);
}

#[tokio::test]
async fn a_client_over_its_quota_gets_429_and_others_are_not_affected() {
    let (setup, upstream) = setup().await;
    let app = setup.env("RATE_LIMIT_RPM", 3).env("TRUSTED_PROXIES", "127.0.0.1").start().await;
    let from = async |address: &str| Answer::of(app.chat_call(&hi("lab/m")).header("x-forwarded-for", address)).await;
    for remaining in ["2", "1", "0"] {
        let answer = from("203.0.113.7").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("3"));
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(remaining));
        let reset = answer.header("x-ratelimit-reset-requests").unwrap();
        assert!(reset.ends_with('s') && (reset.starts_with("59") || reset.starts_with("1m0")), "{reset}");
    }
    let refused = from("203.0.113.7").await;
    assert_eq!(refused.error(), (429, "rate_limit_error".into(), "client_quota_exceeded".into()));
    let wait = refused.retry_after();
    assert!(wait > Duration::from_secs(55) && wait < Duration::from_secs(62), "{wait:?}");
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("0"));
    assert_eq!(upstream.seen().len(), 3);
    assert_eq!(from("203.0.113.8").await.status, 200, "another address is another client");
    assert_eq!(app.chat("lab/m").await.status, 200);
}

#[tokio::test]
async fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
    let (setup, _upstream) = setup().await;
    let app = setup.env("RATE_LIMIT_RPM", 1).start().await;
    let from = async |address: &str| Answer::of(app.chat_call(&hi("lab/m")).header("x-forwarded-for", address)).await;
    assert_eq!(from("203.0.113.7").await.status, 200);
    assert_eq!(
        from("203.0.113.8").await.error().2,
        "client_quota_exceeded",
        "the header of an untrusted peer is ignored"
    );
}

#[tokio::test]
async fn a_shared_key_is_one_client_at_every_address() {
    let (setup, _upstream) = setup().await;
    let setup = setup.env("RATE_LIMIT_RPM", 2).env("TRUSTED_PROXIES", "127.0.0.1").env("TOLLFREE_API_KEY", "team");
    let app = setup.start().await;
    let from = async |address: &str| {
        let call = app.chat_call(&hi("lab/m")).bearer_auth("team").header("x-forwarded-for", address);
        Answer::of(call).await.status
    };
    let statuses = [from("203.0.113.1").await, from("203.0.113.2").await, from("203.0.113.3").await];
    assert_eq!(statuses, [200, 200, 429]);
}
