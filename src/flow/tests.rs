//! Whole requests through plan, ledger, upstream and relay, against a scripted provider.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::*;
use crate::{
    catalog::{Catalog, MetaModel},
    domain::{Candidate, Limit, PoolSnapshot, RoutingStrategy, TokenCharge, client::ClientKind},
    ledger::{
        JournalRange, RequestRecord, Rules,
        embedded::EmbeddedEngine,
        engine::{EngineError, OnMessage, Reply as HostReply, ScriptCall, ScriptEngine},
    },
    plan::{PlanError, test_support::candidate},
    protocol::chat,
    upstream::UpstreamSettings,
};

/// How the scripted provider handles one connection.
#[derive(Clone)]
enum Play {
    /// Sends a response and closes.
    Says(String),
    /// Sends a partial response, waits until the caller disconnects, and counts that.
    SaysAndHangs(String),
}

struct Provider {
    url: String,
    calls: Arc<AtomicUsize>,
    abandoned: Arc<AtomicUsize>,
}

/// Handles connections by `plays` in order; the last one repeats.
async fn provider(tasks: &Tasks, plays: Vec<Play>) -> Provider {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (calls, abandoned) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let provider = Provider { url, calls: calls.clone(), abandoned: abandoned.clone() };
    let of_connection = tasks.clone();
    tasks.spawn_endless(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let play = plays[calls.fetch_add(1, Ordering::SeqCst).min(plays.len() - 1)].clone();
            of_connection.spawn_endless(perform(stream, play, abandoned.clone()));
        }
    });
    provider
}

async fn perform(mut stream: TcpStream, play: Play, abandoned: Arc<AtomicUsize>) {
    let mut seen = Vec::new();
    // All of it: closing a connection with unread bytes resets it, and the response may be lost.
    while !is_whole_request(&seen) {
        if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let (Play::Says(text) | Play::SaysAndHangs(text)) = &play;
    let _ = stream.write_all(text.as_bytes()).await;
    if matches!(play, Play::SaysAndHangs(_)) {
        while stream.read_buf(&mut seen).await.unwrap_or(0) > 0 {}
        abandoned.fetch_add(1, Ordering::SeqCst);
    }
}

fn is_whole_request(seen: &[u8]) -> bool {
    let text = String::from_utf8_lossy(seen);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn says(status: &str, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n{body}")
}

fn chunk(content: &str, rest: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}{rest}}}]}}\n\n"
    )
}

/// The chunk that begins a choice, with its role.
fn first_chunk(content: &str) -> String {
    chunk(content, "").replace("\"delta\":{", "\"delta\":{\"role\":\"assistant\",")
}

const STOP: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":70,\"completion_tokens\":30,\"total_tokens\":100}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn sse(body: &str) -> String {
    says("200 OK", "text/event-stream", body)
}

fn whole(content: &str) -> Play {
    let choice =
        format!(r#"{{"index":0,"message":{{"role":"assistant","content":"{content}"}},"finish_reason":"stop"}}"#);
    let usage = r#"{"prompt_tokens":70,"completion_tokens":30,"total_tokens":100}"#;
    let body = format!(r#"{{"id":"c","object":"chat.completion","choices":[{choice}],"usage":{usage}}}"#);
    Play::Says(says("200 OK", "application/json", &body))
}

/// An engine that is unreachable.
struct Unreachable;

impl ScriptEngine for Unreachable {
    fn run<'a>(&'a self, _: &'a ScriptCall, _: bool) -> BoxFuture<'a, Result<HostReply, EngineError>> {
        Box::pin(async { Err(EngineError::Unreachable("away".to_owned())) })
    }

    fn run_both<'a>(
        &'a self,
        _: &'a ScriptCall,
        _: &'a ScriptCall,
    ) -> BoxFuture<'a, (Result<HostReply, EngineError>, Result<HostReply, EngineError>)> {
        let away = || Err(EngineError::Unreachable("away".to_owned()));
        Box::pin(async move { (away(), away()) })
    }

    fn subscribe(&self, _: &str, _: OnMessage) {}
}

/// An engine whose replies are delayed.
struct Slow(EmbeddedEngine);

impl ScriptEngine for Slow {
    fn run<'a>(&'a self, call: &'a ScriptCall, load: bool) -> BoxFuture<'a, Result<HostReply, EngineError>> {
        Box::pin(async move {
            let answer = self.0.run(call, load).await;
            tokio::time::sleep(SLOWNESS).await;
            answer
        })
    }

    fn run_both<'a>(
        &'a self,
        first: &'a ScriptCall,
        second: &'a ScriptCall,
    ) -> BoxFuture<'a, (Result<HostReply, EngineError>, Result<HostReply, EngineError>)> {
        Box::pin(async move {
            let answers = self.0.run_both(first, second).await;
            tokio::time::sleep(SLOWNESS).await;
            answers
        })
    }

    fn subscribe(&self, channel: &str, heard: OnMessage) {
        self.0.subscribe(channel, heard);
    }
}

const SLOWNESS: Duration = Duration::from_millis(80);

fn flow(tasks: &Tasks, host: Arc<dyn ScriptEngine>, members: Vec<Arc<Candidate>>) -> Arc<Flow> {
    let free = MetaModel {
        name: "free".to_owned(),
        strategy: RoutingStrategy::Listed,
        quality_floor: 0,
        members: members.clone(),
    };
    let catalog = Catalog { candidates: members, metas: vec![free], hash: "h".to_owned(), ..Catalog::default() };
    let catalog: Current = Arc::new(ArcSwap::from_pointee(catalog));
    let rules = Rules {
        pool: "p".to_owned(),
        slack_ms: 0,
        failure_threshold: 3,
        success_threshold: 2,
        open_ms: 30_000,
        outage_requests: 1_000,
    };
    let ledger = Ledger::start(host, &rules, catalog.clone(), tasks.clone());
    let settings = UpstreamSettings { connect_ms: 1_000, first_token_ms: 5_000, stream_idle_ms: 300, proxy: None };
    let queue = WaitLimits { max_wait: Duration::from_secs(30), flex_max_wait: Duration::from_mins(1) };
    Flow::new(
        catalog,
        ledger,
        Upstream::new(settings, 1, crate::memory::Memory::new(None)).unwrap(),
        tasks.clone(),
        queue,
        Duration::from_secs(10),
    )
}

fn embedded() -> Arc<dyn ScriptEngine> {
    Arc::new(EmbeddedEngine::in_memory())
}

fn at(provider: &Provider, name: &str, limits: &[(Limit, i64)]) -> Arc<Candidate> {
    let charged = candidate(name).charged_by(TokenCharge::Reserve).limits(limits);
    charged.provider(|p| p.base_url.clone_from(&provider.url)).build()
}

fn asking(body: &str) -> ChatRequest {
    chat::decode(Bytes::from(body.to_owned())).unwrap()
}

fn question() -> ChatRequest {
    asking(r#"{"model":"free","messages":[{"role":"user","content":"hi"}],"max_tokens":500}"#)
}

fn streamed() -> ChatRequest {
    asking(r#"{"model":"free","messages":[{"role":"user","content":"hi"}],"max_tokens":500,"stream":true}"#)
}

fn anonymous() -> Client {
    Client::new("anon:127.0.0.1", ClientKind::Anonymous, [])
}

async fn chat(flow: &Arc<Flow>, request: ChatRequest) -> (Result<ChatReply, FlowError>, AttemptLog) {
    let attempt_log = AttemptLog::new("req-1");
    (flow.chat(anonymous(), request, attempt_log.clone(), Duration::ZERO).await, attempt_log)
}

async fn text(body: ChatBody) -> String {
    match body {
        ChatBody::Whole(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        ChatBody::Stream(stream) => {
            let parts: Vec<Bytes> = stream.collect().await;
            String::from_utf8(parts.concat()).unwrap()
        }
    }
}

/// Waits for a value that is written asynchronously.
async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "timed out");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn recorded(flow: &Arc<Flow>) -> RequestRecord {
    until(async || Some(flow.ledger.journal(1, JournalRange::Newest).await.ok()?.records.pop()?.1)).await
}

/// Tokens in the candidate's window of tokens per minute, once they are `expected`.
async fn charged(flow: &Arc<Flow>, candidate: &Candidate, expected: i64) {
    let used = |snapshot: &PoolSnapshot| {
        let levels = &snapshot.subject(candidate)?.levels;
        levels.iter().find(|l| l.limit == Limit::Tpm).map(|l| l.used)
    };
    until(async || (used(&flow.ledger.snapshot()) == Some(expected)).then_some(())).await;
}

const LIMITS: [(Limit, i64); 2] = [(Limit::Rpm, 30), (Limit::Tpm, 8_000)];

#[tokio::test]
async fn a_whole_reply_is_relayed_settled_learned_and_recorded() {
    let tasks = Tasks::new();
    let provider = provider(&tasks, vec![whole("Hello!")]).await;
    let candidate = at(&provider, "groq/gpt", &LIMITS);
    let flow = flow(&tasks, embedded(), vec![candidate.clone()]);
    let (answer, attempt_log) = chat(&flow, question()).await;
    let answer = answer.unwrap();
    assert_eq!((&*answer.provider, &*answer.model), ("groq", "groq/gpt"));
    assert!(text(answer.body).await.contains("Hello!"));
    assert_eq!(attempt_log.header(), "groq/gpt;ok");
    charged(&flow, &candidate, 100).await;
    let line = recorded(&flow).await;
    assert_eq!(
        (line.status, line.candidate.as_str(), line.tokens_in, line.tokens_out),
        (200, "groq/gpt", Some(70), Some(30))
    );
    assert!(flow.estimates.charge(&candidate, &question()).input > 50, "the preamble was learnt");
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte_without_unrequested_usage() {
    let tasks = Tasks::new();
    let sent = [&first_chunk("Hel"), &chunk("lo", ""), STOP, USAGE, DONE].map(str::to_owned).concat();
    let provider = provider(&tasks, vec![Play::Says(sse(&sent))]).await;
    let candidate = at(&provider, "groq/gpt", &LIMITS);
    let flow = flow(&tasks, embedded(), vec![candidate.clone()]);
    let answer = chat(&flow, streamed()).await.0.unwrap();
    assert_eq!(text(answer.body).await, sent.replace(USAGE, ""));
    charged(&flow, &candidate, 100).await;
    let mut with_usage = streamed();
    with_usage.include_usage = true;
    assert_eq!(text(chat(&flow, with_usage).await.0.unwrap().body).await, sent);
}

#[tokio::test]
async fn a_missing_done_is_added_after_the_finish_reason() {
    let tasks = Tasks::new();
    let sent = [&first_chunk("Hello"), STOP].map(str::to_owned).concat();
    let provider = provider(&tasks, vec![Play::Says(sse(&sent))]).await;
    let flow = flow(&tasks, embedded(), vec![at(&provider, "groq/gpt", &LIMITS)]);
    let answer = chat(&flow, streamed()).await.0.unwrap();
    assert_eq!(text(answer.body).await, sent + DONE);
    assert_eq!(recorded(&flow).await.status, 200);
}

#[tokio::test]
async fn a_cut_stream_ends_in_an_error_event_and_keeps_its_reserve() {
    let tasks = Tasks::new();
    let provider = provider(&tasks, vec![Play::Says(sse(&first_chunk("Hel")))]).await;
    let candidate = at(&provider, "groq/gpt", &LIMITS);
    let flow = flow(&tasks, embedded(), vec![candidate.clone()]);
    let reserve = flow.estimates.charge(&candidate, &streamed()).tokens;
    let got = text(chat(&flow, streamed()).await.0.unwrap().body).await;
    let event = got.strip_prefix(&first_chunk("Hel")).unwrap();
    let event: serde_json::Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&event["error"]["type"], &event["error"]["code"]), (&"server_error".into(), &"upstream_error".into()));
    assert!(event["error"]["message"].as_str().unwrap().contains("groq"), "{event}");
    assert_eq!(recorded(&flow).await.status, 502);
    charged(&flow, &candidate, reserve).await;
}

#[tokio::test]
async fn an_idle_stream_ends_in_a_timeout() {
    let tasks = Tasks::new();
    let provider = provider(&tasks, vec![Play::SaysAndHangs(sse(&chunk("Hel", "")))]).await;
    let flow = flow(&tasks, embedded(), vec![at(&provider, "groq/gpt", &LIMITS)]);
    let got = text(chat(&flow, streamed()).await.0.unwrap().body).await;
    assert!(got.contains(r#""code":"upstream_timeout""#) && !got.contains("[DONE]"), "{got}");
}

#[tokio::test]
async fn a_429_before_the_first_content_moves_on_and_a_later_request_spares_that_provider() {
    let tasks = Tasks::new();
    let limited = says("429 Too Many Requests", "application/json", r#"{"error":{"message":"slow down"}}"#);
    let (first, second) =
        (provider(&tasks, vec![Play::Says(limited)]).await, provider(&tasks, vec![whole("Hi")]).await);
    let members = vec![at(&first, "groq/gpt", &LIMITS), at(&second, "lab/gpt", &LIMITS)];
    let flow = flow(&tasks, embedded(), members);
    for header in ["groq/gpt;429, lab/gpt;ok", "lab/gpt;ok"] {
        let (answer, attempt_log) = chat(&flow, question()).await;
        assert_eq!((&*answer.unwrap().provider, attempt_log.header().as_str()), ("lab", header));
    }
    assert_eq!((first.calls.load(Ordering::SeqCst), second.calls.load(Ordering::SeqCst)), (1, 2));
}

#[tokio::test]
async fn the_first_settlement_of_a_store_binds_the_admission_that_travels_with_it() {
    let tasks = Tasks::new();
    let limited = format!("HTTP/1.1 429 X\r\nretry-after: 9\r\n{}", &says("", "text/plain", "slow down")[11..]);
    let provider = provider(&tasks, vec![Play::Says(limited)]).await;
    let flow = flow(&tasks, embedded(), vec![at(&provider, "lab/m", &LIMITS)]);
    let (answer, attempt_log) = chat(&flow, question()).await;
    let Err(FlowError::Refused(refusal)) = answer else { panic!("{}", attempt_log.header()) };
    assert_eq!(provider.calls.load(Ordering::SeqCst), 1);
    assert!((8_000..=9_000).contains(&refusal.retry_ms), "{refusal:?}");
}

#[tokio::test]
async fn when_every_provider_fails_all_of_them_are_named() {
    let tasks = Tasks::new();
    let broken = Play::Says(says("500 Internal Server Error", "application/json", r#"{"error":{"message":"boom"}}"#));
    let (a, b) = (provider(&tasks, vec![broken.clone()]).await, provider(&tasks, vec![broken]).await);
    let flow = flow(&tasks, embedded(), vec![at(&a, "a/1", &LIMITS), at(&b, "b/1", &LIMITS)]);
    let Err(error @ FlowError::AllFailed { .. }) = chat(&flow, question()).await.0 else { panic!() };
    let words = error.to_string();
    assert!(words.contains("a/1") && words.contains("b/1") && words.contains("boom"), "{words}");
    assert_eq!(recorded(&flow).await.status, 502);
}

#[tokio::test]
async fn no_room_is_refused_with_the_time_it_opens_and_costs_nothing() {
    let tasks = Tasks::new();
    let provider = provider(&tasks, vec![whole("Hi")]).await;
    let flow = flow(&tasks, embedded(), vec![at(&provider, "groq/gpt", &[(Limit::Rpm, 1)])]);
    chat(&flow, question()).await.0.unwrap();
    let Err(FlowError::Refused(refusal)) = chat(&flow, question()).await.0 else { panic!() };
    assert!(refusal.exact && (50_000..=61_000).contains(&refusal.retry_ms), "{refusal:?}");
    assert_eq!(provider.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_disconnect_cancels_the_stream_upstream() {
    let tasks = Tasks::new();
    let provider = provider(&tasks, vec![Play::SaysAndHangs(sse(&chunk("Hel", "")))]).await;
    let candidate = at(&provider, "groq/gpt", &LIMITS);
    let flow = flow(&tasks, embedded(), vec![candidate.clone()]);
    let ChatBody::Stream(mut stream) = chat(&flow, streamed()).await.0.unwrap().body else { panic!() };
    stream.next().await.unwrap();
    let left = Instant::now();
    drop(stream);
    until(async || (provider.abandoned.load(Ordering::SeqCst) == 1).then_some(())).await;
    assert!(left.elapsed() < Duration::from_millis(100), "{:?}", left.elapsed());
    let line = recorded(&flow).await;
    assert_eq!((line.status, line.candidate.as_str()), (499, "groq/gpt"));
    assert_eq!(line.attempts_header(), "groq/gpt;left");
    charged(&flow, &candidate, flow.estimates.charge(&candidate, &streamed()).tokens).await;
}

#[tokio::test]
async fn a_disconnect_before_the_reply_frees_the_slot_and_is_recorded() {
    let tasks = Tasks::new();
    let hangs = Play::SaysAndHangs(String::new());
    let provider = provider(&tasks, vec![hangs, whole("Hi")]).await;
    let candidate = at(&provider, "groq/gpt", &[(Limit::Concurrency, 1)]);
    let flow = flow(&tasks, embedded(), vec![candidate]);
    let waiting = chat(&flow, question());
    assert!(tokio::time::timeout(Duration::from_millis(300), waiting).await.is_err(), "it was still waiting");
    until(async || (provider.abandoned.load(Ordering::SeqCst) == 1).then_some(())).await;
    let line = recorded(&flow).await;
    assert_eq!((line.status, line.attempts_header().as_str()), (499, "groq/gpt;left"));
    assert!(line.attempts[0].duration_ms >= 200, "{line:?}");
    let answer = until(async || chat(&flow, question()).await.0.ok()).await;
    assert_eq!(&*answer.model, "groq/gpt");
}

#[tokio::test]
async fn a_disconnect_during_an_admission_holds_no_slot() {
    let tasks = Tasks::new();
    let provider = provider(&tasks, vec![whole("Hi")]).await;
    let candidate = at(&provider, "groq/gpt", &[(Limit::Concurrency, 1), (Limit::Rpm, 2)]);
    let flow = flow(&tasks, Arc::new(Slow(EmbeddedEngine::in_memory())), vec![candidate]);
    until(async || chat(&flow, question()).await.0.ok()).await;
    // Its slot is free again once it is settled.
    tokio::time::sleep(SLOWNESS * 2).await;
    let leaving = chat(&flow, question());
    assert!(tokio::time::timeout(SLOWNESS / 2, leaving).await.is_err(), "it was still asking");
    assert_eq!(provider.calls.load(Ordering::SeqCst), 1);
    until(async || chat(&flow, question()).await.0.ok()).await;
}

#[tokio::test]
async fn without_the_ledger_only_candidates_without_limits_are_served() {
    let tasks = Tasks::new();
    let provider = provider(&tasks, vec![whole("Hi")]).await;
    let metered = at(&provider, "groq/gpt", &LIMITS);
    let flow_of = |members| flow(&tasks, Arc::new(Unreachable), members);
    let refused = chat(&flow_of(vec![metered.clone()]), question()).await.0;
    assert!(matches!(refused, Err(FlowError::Ledger(_))));
    let local = at(&provider, "ollama/llama", &[]);
    let (answer, attempt_log) = chat(&flow_of(vec![metered, local]), question()).await;
    assert_eq!((&*answer.unwrap().provider, attempt_log.header().as_str()), ("ollama", "ollama/llama;ok"));
}

#[tokio::test]
async fn an_unknown_name_is_a_404_without_a_call() {
    let tasks = Tasks::new();
    let provider = provider(&tasks, vec![whole("Hi")]).await;
    let flow = flow(&tasks, embedded(), vec![at(&provider, "groq/gpt", &LIMITS)]);
    let request = asking(r#"{"model":"gtp","messages":[{"role":"user","content":"hi"}]}"#);
    let error = chat(&flow, request).await.0.err().unwrap();
    assert!(matches!(error, FlowError::Plan(PlanError::NotFound(_))), "{error}");
    assert_eq!((recorded(&flow).await.status, provider.calls.load(Ordering::SeqCst)), (404, 0));
}
