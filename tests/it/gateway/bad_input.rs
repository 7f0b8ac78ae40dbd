//! Invalid requests: a clear error with its position, and no budget used.

use serde_json::{Value, json};

use crate::support::{app::TestApp, fake_upstream::FakeUpstream};

const REQUEST: &str = "invalid_request_error";
const MODEL: &str = "groq/openai/gpt-oss-20b";

/// A body, the expected error code, and the expected contents of `param` and the message.
struct InvalidRequest {
    name: &'static str,
    body: Vec<u8>,
    code: &'static str,
    param: Option<&'static str>,
    says: &'static str,
}

fn invalid(
    name: &'static str,
    body: impl Into<Vec<u8>>,
    code: &'static str,
    param: Option<&'static str>,
    says: &'static str,
) -> InvalidRequest {
    InvalidRequest { name, body: body.into(), code, param, says }
}

/// A valid request with one field replaced, or removed by `null`.
fn with(name: &str, value: Value) -> String {
    let mut body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hi" }] });
    if value.is_null() {
        body.as_object_mut().unwrap().remove(name);
    } else {
        body[name] = value;
    }
    body.to_string()
}

fn invalid_requests() -> Vec<InvalidRequest> {
    let good = with("user", json!("me"));
    let mut invalid_utf8 = good.clone().into_bytes();
    let at = good.find("hi").unwrap();
    invalid_utf8[at] = 0xff;
    let nested = format!(
        "{{\"model\":\"{MODEL}\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}],\"x\":{}1",
        "[".repeat(100_000)
    );
    let closed = format!(
        "{{\"model\":\"{MODEL}\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}],\"x\":{}1{}}}",
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    let json = "invalid_json";
    let value = "invalid_value";
    vec![
        invalid("nothing", "", json, None, "line 1"),
        invalid("no JSON", "model=free", json, None, "line 1"),
        invalid("malformed on line 2", format!("{{\"model\":\"{MODEL}\",\n\"messages\": [}}"), json, None, "line 2"),
        invalid("truncated", &good.as_bytes()[..good.len() - 5], json, None, "line 1"),
        invalid("something behind it", format!("{good} x"), json, None, "line 1"),
        invalid("two objects", format!("{good}{good}"), json, None, "line 1"),
        invalid("deep, unclosed", nested, json, None, ""),
        invalid("deep, closed", closed, json, None, ""),
        invalid("invalid UTF-8", invalid_utf8, json, None, "UTF-8"),
        invalid("a list", "[]", json, None, "object"),
        invalid("a string", "\"hi\"", json, None, "object"),
        invalid("no model", with("model", Value::Null), value, Some("model"), "model"),
        invalid("a number as model", with("model", json!(5)), value, Some("model"), "string"),
        invalid("an empty model", with("model", json!("")), value, Some("model"), "model"),
        invalid("no messages", with("messages", Value::Null), value, Some("messages"), "messages"),
        invalid("empty messages", with("messages", json!([])), value, Some("messages"), "messages"),
        invalid("messages as text", with("messages", json!("hi")), value, Some("messages"), "array"),
        invalid("a message as text", with("messages", json!(["hi"])), value, Some("messages[0]"), "object"),
        invalid(
            "a role of number",
            with("messages", json!([{ "role": "user", "content": "x" }, { "role": 1, "content": "x" }])),
            value,
            Some("messages[1].role"),
            "string",
        ),
        invalid(
            "a content of number",
            with("messages", json!([{ "role": "user", "content": 5 }])),
            value,
            Some("messages[0].content"),
            "",
        ),
        invalid("stream as text", with("stream", json!("yes")), value, Some("stream"), "boolean"),
        invalid("n as text", with("n", json!("two")), value, Some("n"), ""),
        invalid("n of nothing", with("n", json!(0)), value, Some("n"), ""),
        invalid("max_tokens as text", with("max_tokens", json!("many")), value, Some("max_tokens"), ""),
        invalid("max_tokens below 1", with("max_tokens", json!(-5)), value, Some("max_tokens"), ""),
        invalid("tools as object", with("tools", json!({})), value, Some("tools"), "array"),
        invalid("stream_options as text", with("stream_options", json!("x")), value, Some("stream_options"), ""),
        invalid("response_format as text", with("response_format", json!("json")), value, Some("response_format"), ""),
    ]
}

#[tokio::test]
async fn an_invalid_request_names_its_position_and_costs_nothing() {
    let upstream = FakeUpstream::start().await;
    let one = format!("[providers.groq.models.\"{}\"]\nlimits = {{ rpm = 1 }}\n", MODEL.trim_start_matches("groq/"));
    let app = TestApp::setup().played("groq", &upstream).file(&one).env("RATE_LIMIT_RPM", 1).start().await;
    let mut wrong = Vec::new();
    for m in invalid_requests() {
        let answer = app.post_raw("/v1/chat/completions", "application/json", m.body).await;
        let (status, kind, code) = answer.error();
        let param = answer.json()["error"]["param"].as_str().map(str::to_owned);
        let fine = (status, kind.as_str(), code.as_str()) == (400, REQUEST, m.code)
            && param.as_deref() == m.param
            && answer.message().contains(m.says);
        if !fine {
            wrong.push(format!("{}: expected {} {:?} {:?}: {}", m.name, m.code, m.param, m.says, answer.text()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(upstream.seen().is_empty(), "nothing of it was sent");
    assert_eq!(
        app.chat(MODEL).await.content(),
        "hello",
        "the client's one request and the provider's one are still there"
    );
    assert_eq!(app.chat(MODEL).await.status, 429, "and were only one each");
    assert_eq!(app.breaker("groq").await, "closed");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_however_it_is_sent() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).start().await;
    let huge =
        json!({ "model": "lab/m", "messages": [{ "role": "user", "content": "x".repeat(20 << 20) }] }).to_string();
    let known = app.post_raw("/v1/chat/completions", "application/json", huge.clone()).await;
    assert_eq!(known.error(), (413, REQUEST.into(), "request_too_large".into()));
    let pieces: Vec<Result<_, std::io::Error>> = huge.into_bytes().chunks(1 << 20).map(|c| Ok(c.to_vec())).collect();
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let unknown = app.post_raw("/v1/chat/completions", "application/json", chunked).await;
    assert_eq!(unknown.error(), (413, REQUEST.into(), "request_too_large".into()));
    assert!(upstream.seen().is_empty());
    assert_eq!(app.chat("lab/m").await.content(), "hello", "the gateway goes on");
}

#[tokio::test]
async fn a_wrong_content_type_is_rejected() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).start().await;
    let good = with("model", json!("lab/m"));
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let answer = app.post_raw("/v1/chat/completions", wrong, good.clone()).await;
        assert_eq!(answer.error(), (400, REQUEST.into(), "invalid_value".into()), "{wrong}");
        assert!(answer.message().contains("application/json"), "{}", answer.message());
    }
    for right in ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"] {
        let answer = app.post_raw("/v1/chat/completions", right, good.clone()).await;
        assert_eq!(answer.content(), "hello", "{right}");
    }
}

#[tokio::test]
async fn unknown_endpoints_and_methods_have_different_errors() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).start().await;
    for path in ["/v1", "/v1/chat", "/v1/images/generations", "/v2/chat/completions", "/v1/chat/completions/x"] {
        let answer = app.post_raw(path, "application/json", "{}").await;
        assert_eq!(answer.error(), (404, REQUEST.into(), "not_found".into()), "{path}");
    }
    for (method, path) in [
        ("GET", "/v1/chat/completions"),
        ("DELETE", "/v1/chat/completions"),
        ("POST", "/v1/models"),
        ("PUT", "/healthz"),
    ] {
        let answer = crate::support::http::Answer::of(app.request(method, path)).await;
        assert_eq!(answer.error(), (405, REQUEST.into(), "method_not_allowed".into()), "{method} {path}");
        assert!(answer.header("allow").is_some(), "{method} {path}");
    }
}

#[tokio::test]
async fn broken_http_neither_hangs_nor_stops_the_gateway() {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).start().await;
    let bad: [&[u8]; 4] = [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{}",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ];
    for bytes in bad {
        let mut stream = TcpStream::connect(("127.0.0.1", app.port())).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = Vec::new();
        let read = tokio::time::timeout(std::time::Duration::from_secs(15), stream.read_to_end(&mut reply)).await;
        assert!(read.is_ok(), "hangs on {:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(app.chat("lab/m").await.content(), "hello");
    assert_eq!(upstream.seen().len(), 1);
}
