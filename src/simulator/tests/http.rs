//! The simulator over HTTP: limits, faults and clients that leave.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::simulator::{Running, SimulatorSettings, recorded::Case, start};

/// A running simulator and a minimal HTTP client.
struct TestClient {
    running: Running,
    address: String,
}

/// A response: status line and headers, then the part of the body that arrived.
struct RawResponse {
    head: String,
    body: String,
    /// The connection ended before the response did.
    torn: bool,
}

impl RawResponse {
    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(sent, _)| *sent == name)
            .map(|(_, value)| value)
    }
}

impl TestClient {
    async fn with(profile: Value) -> Self {
        let settings =
            SimulatorSettings { profile: serde_json::from_value(profile).unwrap(), ..SimulatorSettings::default() };
        let running = start(settings).await.unwrap();
        let address = running.control_url.strip_prefix("http://").unwrap().to_owned();
        Self { running, address }
    }

    async fn open(&self, method: &str, path: &str, key: &str, body: &Value) -> TcpStream {
        let mut socket = TcpStream::connect(&self.address).await.unwrap();
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nuser-agent: test\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    }

    async fn request(&self, method: &str, path: &str, key: &str, body: &Value) -> RawResponse {
        let mut socket = self.open(method, path, key, body).await;
        let mut received = Vec::new();
        let torn = timeout(Duration::from_secs(5), socket.read_to_end(&mut received)).await.unwrap().is_err();
        let text = String::from_utf8_lossy(&received).into_owned();
        let (start, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let chunked = start.contains("chunked");
        let torn = torn || received.is_empty() || chunked && !body.ends_with("0\r\n\r\n");
        RawResponse { head: start.to_owned(), body: body.to_owned(), torn }
    }

    async fn groq(&self, extra: Value) -> RawResponse {
        let mut body =
            json!({"model": "openai/gpt-oss-120b", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        self.request("POST", "/groq/openai/v1/chat/completions", "gsk_simulated_main_0001", &body).await
    }

    async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let received = self.request(method, path, "", &body).await;
        assert_eq!(received.status(), 200, "{}", received.body);
        serde_json::from_str(&received.body).unwrap()
    }

    async fn audit(&self) -> Value {
        self.control("GET", "/_audit", json!({})).await
    }
}

fn no_latency() -> Value {
    json!({"every_provider": {"latency": {"first_ms": 0, "chunk_ms": 0}}})
}

#[tokio::test]
async fn thirty_requests_are_served_and_the_next_is_refused_with_a_time() {
    let client = TestClient::with(no_latency()).await;
    for _ in 0..30 {
        assert_eq!(client.groq(json!({})).await.status(), 200);
    }
    let refused = client.groq(json!({})).await;
    assert_eq!(refused.status(), 429, "{}", refused.body);
    assert!(refused.body.contains("requests per minute (RPM): Limit 30, Used 30, Requested 1. Please try again in "));
    assert!(["1", "2"].contains(&refused.header("retry-after").unwrap()));
    let window = client.audit().await["providers"]["groq"]["accounts"]["main"]["openai/gpt-oss-120b"].clone();
    assert_eq!((&window["tally"]["admitted"], &window["tally"]["refused"]["rpm"]), (&json!(30), &json!(1)));
    let over = window["windows"]["rpm"]["over"].as_f64().unwrap();
    assert!(over > 0.0 && over <= 1.0, "{over}");
    client.running.stop().await;
}

#[tokio::test]
async fn keys_of_one_account_share_a_limit_and_unknown_keys_are_rejected() {
    let profile = json!({"every_provider": {"latency": {"first_ms": 0, "chunk_ms": 0}}, "providers": {"gemini": {
        "accounts": {"one": ["a", "b"], "two": ["c"]}, "every_model": {"limits": {"rpm": 1, "rpd": 1}, "window": "sliding"}}}});
    let client = TestClient::with(profile).await;
    let body = json!({"model": "gemini-flash-latest", "messages": [{"role": "user", "content": "hi"}]});
    let mut statuses = Vec::new();
    for key in ["a", "b", "c", "d"] {
        statuses.push(client.request("POST", "/gemini/v1beta/openai/chat/completions", key, &body).await.status());
    }
    assert_eq!(statuses, [200, 429, 200, 400]);
    assert_eq!(client.audit().await["providers"]["gemini"]["rejected"]["400"], 1);
}

#[tokio::test]
async fn a_reservation_larger_than_the_minute_is_a_wall_and_counts_nowhere() {
    let client = TestClient::with(no_latency()).await;
    let refused = client.groq(json!({"max_tokens": 9_000})).await;
    assert_eq!(refused.status(), 413);
    let audit = client.audit().await;
    assert_eq!(audit["providers"]["groq"]["accounts"]["main"]["openai/gpt-oss-120b"]["windows"]["rpm"]["units"], 0);
}

#[tokio::test]
async fn counts_are_kept_when_limits_change() {
    let client = TestClient::with(no_latency()).await;
    assert_eq!(client.groq(json!({})).await.status(), 200);
    let one = json!({"providers": {"groq": {"every_model": {"limits": {"rpm": 1}}}}});
    client.control("POST", "/_control/profile", one).await;
    assert_eq!(client.groq(json!({})).await.status(), 429);
    client.control("POST", "/_control/profile", json!({"base": "unlimited"})).await;
    assert_eq!(client.groq(json!({})).await.status(), 200);
    let wrong =
        client.request("POST", "/_control/profile", "", &json!({"providers": {"groq": {"window": "cubic"}}})).await;
    assert_eq!(wrong.status(), 400);
}

#[tokio::test]
async fn a_recorded_fault_is_sent_verbatim_a_set_number_of_times() {
    let client = TestClient::with(no_latency()).await;
    client
        .control("POST", "/_control/faults", json!({"provider": "groq", "fault": "groq.503-overload", "times": 1}))
        .await;
    let failed = client.groq(json!({})).await;
    assert_eq!((failed.status(), failed.body.as_bytes()), (503, Case::find("groq.503-overload").unwrap().body()));
    assert_eq!(client.groq(json!({})).await.status(), 200);
    client.control("POST", "/_control/faults", json!({"fault": "custom.stream-cut"})).await;
    let cut = client.groq(json!({"stream": true})).await;
    assert!(cut.torn && cut.body.contains("caf"), "{}", cut.body);
    client.control("DELETE", "/_control/faults", json!({})).await;
    assert!(!client.groq(json!({"stream": true})).await.torn);
}

#[tokio::test]
async fn connections_are_reset_and_responses_cut() {
    let client = TestClient::with(no_latency()).await;
    client.control("POST", "/_control/faults", json!({"fault": "reset", "times": 1})).await;
    let reset = client.groq(json!({})).await;
    assert!(reset.torn && reset.head.is_empty());
    client.control("POST", "/_control/faults", json!({"fault": "cut_after_chunks", "after": 3, "times": 2})).await;
    let cut = client.groq(json!({"stream": true})).await;
    assert!(cut.torn && cut.body.matches("data: ").count() == 3, "{}", cut.body);
    assert!(client.groq(json!({})).await.torn);
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_within_a_tenth_of_a_second() {
    let client = TestClient::with(json!({"every_provider": {"latency": {"first_ms": 0, "chunk_ms": 100}}})).await;
    let body = |stream: bool| {
        json!({"model": "ministral-3b-2512", "stream": stream,
        "messages": [{"role": "user", "content": "hi [[tokens=4000 size=4]]"}]})
    };
    for stream in [true, false] {
        let socket =
            client.open("POST", "/mistral/v1/chat/completions", "simulatedMistralMain0001", &body(stream)).await;
        sleep(Duration::from_millis(350)).await;
        drop(socket);
        let left_ms = jiff::Timestamp::now().as_millisecond();
        sleep(Duration::from_millis(150)).await;
        let log = client.control("GET", "/_audit/log?provider=mistral", json!({})).await;
        let call = log["calls"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(call["cancelled"], true, "stream {stream}: {call}");
        assert!(call["ended_ms"].as_i64().unwrap() - left_ms <= 100, "{call}");
        let tokens = call["tokens"].as_i64().unwrap();
        assert!(tokens < 100, "more than the sent tokens were debited: {call}");
    }
}

#[tokio::test]
async fn ollama_queues_and_then_responds_that_it_is_busy() {
    let profile =
        json!({"providers": {"ollama": {"latency": {"first_ms": 300, "chunk_ms": 0}, "switches": {"queue": 1}}}});
    let client = TestClient::with(profile).await;
    let body = json!({"model": "llama3.2", "messages": [{"role": "user", "content": "hi"}]});
    let request = || client.request("POST", "/ollama/v1/chat/completions", "", &body);
    let (first, second, third) = tokio::join!(request(), request(), request());
    let mut statuses = [first.status(), second.status(), third.status()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503]);
    let tally = client.audit().await["providers"]["ollama"]["accounts"]["main"]["llama3.2:latest"]["tally"].clone();
    assert_eq!((&tally["in_flight_most"], &tally["refused"]["concurrency"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn the_local_server_lists_its_models() {
    let client = TestClient::with(json!({})).await;
    let tags = client.control("GET", "/ollama/api/tags", json!({})).await;
    assert_eq!(tags["models"].as_array().unwrap().len(), 4);
    let shown = client.control("POST", "/ollama/api/show", json!({"model": "llama3.2"})).await;
    assert_eq!(shown["capabilities"], json!(["completion", "tools"]));
}
