//! Responses as each HTTP client needs them: HTTP/1.0, HEAD, and bodies of Windows tools.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    app::{TestApp, hi},
    fake_upstream::{DONE, FakeUpstream, answer, content, role, stop, stream, whole},
};

/// Sends a request as it is and reads until the gateway closes the connection.
async fn exchange(app: &TestApp, request: &str) -> (String, String) {
    let mut connection = TcpStream::connect(("127.0.0.1", app.port())).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn an_http_1_0_stream_ends_with_its_connection_and_has_no_chunks() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).start().await;
    let events = [role(), content("one"), stop(), DONE.to_owned()];
    upstream.then(stream(events.clone()));
    let mut body = hi("lab/m");
    body["stream"] = true.into();
    let body = body.to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.0\r\nconnection: keep-alive\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (head, received) = exchange(&app, &request).await;
    assert!(head.contains(" 200 ok") && !head.contains("transfer-encoding"), "{head}");
    assert_eq!(received, events.concat());
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body_also_for_a_stream_without_an_end() {
    let app = TestApp::setup().env("TOLLFREE_ADMIN_KEY", "secret").start().await;
    for path in ["/v1/models", "/v1/status", "/metrics", "/openapi.json", "/admin/v1/events"] {
        let request =
            format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: secret\r\nconnection: close\r\n\r\n");
        let (head, body) = exchange(&app, &request).await;
        assert!(head.starts_with("http/1.1 200 ok") && head.contains("content-type: "), "{path}: {head}");
        assert_eq!(body, "", "{path}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_before_a_body_is_skipped() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).env("TOLLFREE_ADMIN_KEY", "secret").start().await;
    upstream.then(whole(200, &answer("one")));
    let body = hi("lab/m").to_string();
    let answer = app.post_raw("/v1/chat/completions", "application/json", format!("\u{feff}{body}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let client = app.request("POST", "/admin/v1/clients").header("content-type", "application/json");
    let created = client.header("x-api-key", "secret").body("\u{feff}{\"name\":\"ann\"}").send().await.unwrap();
    assert_eq!(created.status(), 201);
}
