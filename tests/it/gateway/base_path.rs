//! Below a path of a shared host: the ingress may remove the path or leave it.

use crate::support::{
    app::{TestApp, hi},
    fake_upstream::FakeUpstream,
    http::Answer,
};

#[tokio::test]
async fn requests_come_with_the_base_path_or_without_it() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).env("TOLLFREE__HTTP__BASE_PATH", "/team/llm").start().await;
    for path in ["/v1/chat/completions", "/team/llm/v1/chat/completions", "/team/llm/api/v1/chat/completions?x=1"] {
        let answer = Answer::of(app.request("POST", path).json(&hi("lab/m"))).await;
        assert_eq!(answer.content(), "hello", "{path}");
    }
    for (path, status) in [
        ("/team/llm/healthz", 200),
        ("/team/llm/v1/models", 200),
        ("/team/llm/docs", 200),
        ("/team/llmv1/models", 404),
        ("/team/v1/models", 404),
        ("/team/llm/team/llm/v1/models", 404),
    ] {
        assert_eq!(app.get(path).await.status, status, "{path}");
    }
    let still = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).tls_certs_only([]).no_proxy();
    let still = still.build().unwrap();
    for path in ["/", "/team/llm", "/team/llm/"] {
        let moved = Answer::of(still.get(app.url(path))).await;
        assert_eq!((moved.status, moved.header("location")), (302, Some("/team/llm/dashboard")), "{path}");
    }
    for path in ["/team/llm/dashboard", "/dashboard", "/team/llm/dashboard/clients"] {
        let page = app.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        // Without a build there is a page that says so.
        assert!(!page.text().contains("\"/dashboard/"), "{path}: {}", page.text());
    }
}

#[tokio::test]
async fn a_base_path_that_is_none_stops_the_start() {
    for wrong in ["llm", "/llm/", "//", "/a b", "https://host/llm"] {
        let (code, output) = TestApp::setup().env("TOLLFREE__HTTP__BASE_PATH", wrong).fails().await;
        assert!(code == 2 && output.contains("a path such as /llm"), "{wrong}: {code} {output}");
    }
}
