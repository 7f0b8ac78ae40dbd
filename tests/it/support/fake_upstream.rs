//! An upstream that sends scripted bytes with scripted pauses.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinSet,
    time::Instant,
};

use super::listen;

/// Keys that contain this are refused where the models are listed.
pub(crate) const WRONG_KEY: &str = "wrong-key";

/// One step of a response.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Bytes(Vec<u8>),
    Pause(Duration),
    /// Waits until the test opens the gate.
    Gate(Arc<Notify>),
    /// Sends these bytes repeatedly until the caller disconnects.
    Endless(Vec<u8>),
    /// Sends nothing more and keeps the connection open.
    Hold,
    /// Resets the connection.
    Reset,
}

/// A response, after which the connection is closed.
pub(crate) type Script = Vec<Step>;

/// One received request.
#[derive(Debug, Clone)]
pub(crate) struct RecordedRequest {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// Bytes of the response that the kernel accepted.
    pub written: usize,
    /// When the caller closed the connection before the end of the response.
    pub left_at: Option<Instant>,
}

impl RecordedRequest {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct State {
    next: VecDeque<Script>,
    always: Script,
    seen: Vec<RecordedRequest>,
    /// Entries of the list of models.
    models: Option<Value>,
    /// How often the list was read.
    lists: usize,
    /// Lists that are requested get no answer.
    holds_lists: bool,
    /// Whether wrong keys are refused where the models are listed.
    lists_to_everyone: bool,
    /// Models that are answered with this status.
    absent: Vec<String>,
    absent_status: u16,
    /// What `/api/usage` answers; 500 without it.
    usage: Option<String>,
    usages: usize,
}

#[derive(Clone)]
pub(crate) struct FakeUpstream {
    state: Arc<Mutex<State>>,
    port: u16,
    /// Stops when the last clone is dropped.
    _tasks: Arc<JoinSet<()>>,
}

impl FakeUpstream {
    /// Responds "hello" until a script is set.
    pub(crate) async fn start() -> Self {
        let state = Arc::new(Mutex::new(State { always: whole(200, &answer("hello")), ..State::default() }));
        let shared = state.clone();
        let (port, tasks) = listen(0, move |stream| serve(stream, shared.clone())).await;
        Self { state, port, _tasks: Arc::new(tasks) }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// Queues the response to the next request that has none.
    pub(crate) fn then(&self, script: Script) -> &Self {
        self.state.lock().unwrap().next.push_back(script);
        self
    }

    /// Sets the response for requests without a queued one.
    pub(crate) fn always(&self, script: Script) -> &Self {
        self.state.lock().unwrap().always = script;
        self
    }

    /// Sets the entries of the list of models; `m` until then.
    pub(crate) fn lists(&self, models: Value) -> &Self {
        self.state.lock().unwrap().models = Some(models);
        self
    }

    /// Whether requests for the list of models are left without an answer.
    pub(crate) fn holds_lists(&self, holds: bool) -> &Self {
        self.state.lock().unwrap().holds_lists = holds;
        self
    }

    /// Lists the models for any key, and refuses wrong ones in chats only.
    pub(crate) fn lists_to_everyone(&self) -> &Self {
        self.state.lock().unwrap().lists_to_everyone = true;
        self
    }

    /// Sets the models for which every request is answered 404.
    pub(crate) fn lacks(&self, models: &[&str]) -> &Self {
        self.lacks_with(404, models)
    }

    pub(crate) fn lacks_with(&self, status: u16, models: &[&str]) -> &Self {
        {
            let mut state = self.state.lock().unwrap();
            state.absent = models.iter().map(|model| (*model).to_owned()).collect();
            state.absent_status = status;
        }
        self
    }

    /// Sets what is used of the month's allowance, as a fraction.
    pub(crate) fn reports_usage(&self, share: f64) -> &Self {
        let usage = serde_json::json!({ "limits": { "monthly": { "usage": share } } }).to_string();
        self.state.lock().unwrap().usage = Some(usage);
        self
    }

    /// How often the use of the allowance was read.
    pub(crate) fn usages_read(&self) -> usize {
        self.state.lock().unwrap().usages
    }

    /// How often the list of models was read.
    pub(crate) fn lists_read(&self) -> usize {
        self.state.lock().unwrap().lists
    }

    /// The chat requests so far. Requests for the list of models are not included.
    pub(crate) fn seen(&self) -> Vec<RecordedRequest> {
        self.state.lock().unwrap().seen.clone()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let Some((path, headers, body)) = read_request(&mut stream).await else { return };
    let small = small_answer(&path, &headers, &mut state.lock().unwrap());
    if let Some(script) = small {
        match &script[..] {
            [Step::Bytes(bytes)] => drop(stream.write_all(bytes).await),
            _ => std::future::pending().await,
        }
        return;
    }
    let (number, script) = {
        let mut state = state.lock().unwrap();
        let model = serde_json::from_slice::<Value>(&body).unwrap_or_default()["model"].as_str().map(str::to_owned);
        state.seen.push(RecordedRequest { path, headers, body, written: 0, left_at: None });
        if model.is_some_and(|model| state.absent.contains(&model)) {
            let status = state.absent_status;
            let body = format!(r#"{{"error":{{"message":"No endpoints found for it.","code":{status}}}}}"#);
            state.next.push_front(whole(status, &body));
        }
        let script = state.next.pop_front().unwrap_or_else(|| state.always.clone());
        (state.seen.len() - 1, script)
    };
    let (mut from, mut to) = stream.into_split();
    let mut nothing = [0; 64];
    let answer = async {
        for step in script {
            match step {
                Step::Bytes(bytes) => {
                    if to.write_all(&bytes).await.is_err() {
                        return true;
                    }
                    state.lock().unwrap().seen[number].written += bytes.len();
                }
                Step::Endless(bytes) => loop {
                    if to.write_all(&bytes).await.is_err() {
                        return true;
                    }
                    state.lock().unwrap().seen[number].written += bytes.len();
                },
                Step::Pause(pause) => tokio::time::sleep(pause).await,
                Step::Gate(gate) => gate.notified().await,
                Step::Hold => std::future::pending().await,
                Step::Reset => {
                    to.as_ref().set_zero_linger().ok();
                    return false;
                }
            }
        }
        to.shutdown().await.ok();
        false
    };
    let left = tokio::select! {
        left = answer => left,
        _ = from.read(&mut nothing) => true,
    };
    if left {
        state.lock().unwrap().seen[number].left_at = Some(Instant::now());
    }
}

/// The answer to what is no chat: the list of models, the use of an allowance, and any wrong key.
fn small_answer(path: &str, headers: &BTreeMap<String, String>, state: &mut State) -> Option<Script> {
    let is_list = path.ends_with("/models");
    let is_wrong = headers.get("authorization").is_some_and(|key| key.contains(WRONG_KEY));
    if is_wrong && is_list != state.lists_to_everyone {
        return Some(whole(401, r#"{"error":{"message":"Invalid API Key"}}"#));
    }
    if path == "/api/usage" {
        state.usages += 1;
        return Some(state.usage.as_ref().map_or_else(|| whole(500, "{}"), |usage| whole(200, usage)));
    }
    if !is_list {
        return None;
    }
    state.lists += 1;
    if state.holds_lists {
        return Some(vec![Step::Hold]);
    }
    let models = state.models.clone().unwrap_or_else(|| serde_json::json!([{ "id": "m" }]));
    Some(whole(200, &serde_json::json!({ "object": "list", "data": models }).to_string()))
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, BTreeMap<String, String>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((path, headers, body))
}

/// A chat completion with this content.
pub(crate) fn answer(content: &str) -> String {
    let content = serde_json::to_string(content).unwrap();
    format!(
        r#"{{"id":"c1","object":"chat.completion","created":1790000000,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":{content}}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}}}"#
    )
}

/// A response in one piece, with its length.
pub(crate) fn whole(status: u16, body: &str) -> Script {
    with_head(status, "content-type: application/json\r\n", body)
}

/// A response in one piece, with more header lines that each end with CRLF.
pub(crate) fn with_head(status: u16, headers: &str, body: &str) -> Script {
    let length = body.len();
    vec![Step::Bytes(
        format!("HTTP/1.1 {status} x\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}").into(),
    )]
}

/// The head of a stream, which ends with the connection.
pub(crate) fn stream_head() -> Step {
    Step::Bytes(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_vec())
}

/// `data: {…}` with this delta and an optional finish reason.
pub(crate) fn chunk(delta: &str, finish: Option<&str>) -> String {
    let finish = finish.map_or("null".to_owned(), |reason| format!("\"{reason}\""));
    format!(
        "data: {{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

pub(crate) fn content(text: &str) -> String {
    chunk(&format!("{{\"content\":{}}}", serde_json::to_string(text).unwrap()), None)
}

pub(crate) fn role() -> String {
    chunk(r#"{"role":"assistant","content":""}"#, None)
}

pub(crate) fn stop() -> String {
    chunk("{}", Some("stop"))
}

pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// A stream of these pieces, one write each.
pub(crate) fn stream<S: AsRef<str>>(pieces: impl IntoIterator<Item = S>) -> Script {
    let mut script = vec![stream_head()];
    script.extend(pieces.into_iter().map(|piece| Step::Bytes(piece.as_ref().into())));
    script
}
