//! An upstream that says exactly what a test scripted, byte by byte, pause by pause.

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

/// One step of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Bytes(Vec<u8>),
    Pause(Duration),
    /// Waits until the test opens the gate.
    Gate(Arc<Notify>),
    /// Sends these bytes again and again until the caller is gone.
    Endless(Vec<u8>),
    /// Nothing more, the connection stays.
    Hold,
    /// RST instead of an orderly end.
    Reset,
}

/// An answer; the connection is closed behind it.
pub(crate) type Script = Vec<Step>;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// Bytes of the answer that the kernel took.
    pub written: usize,
    /// When the caller closed the connection before our answer was over.
    pub left_at: Option<Instant>,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct State {
    next: VecDeque<Script>,
    always: Script,
    seen: Vec<Seen>,
}

#[derive(Clone)]
pub(crate) struct FakeUpstream {
    state: Arc<Mutex<State>>,
    port: u16,
    /// Dropped with the last clone.
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

    /// The answer to the next request that has none yet.
    pub(crate) fn then(&self, script: Script) -> &Self {
        self.state.lock().unwrap().next.push_back(script);
        self
    }

    /// The answer when no other is queued.
    pub(crate) fn always(&self, script: Script) -> &Self {
        self.state.lock().unwrap().always = script;
        self
    }

    /// Chat requests so far (lists of models are answered, not counted).
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let Some((path, headers, body)) = read_request(&mut stream).await else { return };
    if path.ends_with("/models") {
        let list = r#"{"object":"list","data":[{"id":"m","object":"model","owned_by":"lab"}]}"#;
        if let Some(Step::Bytes(bytes)) = whole(200, list).pop() {
            stream.write_all(&bytes).await.ok();
        }
        return;
    }
    let (number, script) = {
        let mut state = state.lock().unwrap();
        state.seen.push(Seen { headers, body, written: 0, left_at: None });
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

/// A whole chat completion that says `content`.
pub(crate) fn answer(content: &str) -> String {
    let content = serde_json::to_string(content).unwrap();
    format!(
        r#"{{"id":"c1","object":"chat.completion","created":1790000000,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":{content}}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}}}"#
    )
}

/// An answer of one piece, with its length.
pub(crate) fn whole(status: u16, body: &str) -> Script {
    with_head(status, "content-type: application/json\r\n", body)
}

/// The same with further header lines, each ended by CRLF.
pub(crate) fn with_head(status: u16, headers: &str, body: &str) -> Script {
    let length = body.len();
    vec![Step::Bytes(
        format!("HTTP/1.1 {status} x\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}").into(),
    )]
}

/// A stream's head; its end is the connection's end.
pub(crate) fn stream_head() -> Step {
    Step::Bytes(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_vec())
}

/// `data: {…}` with this delta and, possibly, a finish reason.
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

/// A stream of these pieces, each its own write.
pub(crate) fn stream<S: AsRef<str>>(pieces: impl IntoIterator<Item = S>) -> Script {
    let mut script = vec![stream_head()];
    script.extend(pieces.into_iter().map(|piece| Step::Bytes(piece.as_ref().into())));
    script
}
