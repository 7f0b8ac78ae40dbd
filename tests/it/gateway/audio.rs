//! Recordings: every form of a transcript, failover from the file, seconds of sound as a budget, uploads that end early, and
//! the memory that a large file takes.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, mpsc},
    task::JoinSet,
};

use crate::support::{
    app::TestApp,
    eventually,
    fake_upstream::{FakeUpstream, Step, stream_head, whole},
    http::{Answer, Stream},
    listen,
    recording::{FORM, form, wav, wav_with},
    simulator::Simulator,
};

const PATH: &str = "/v1/audio/transcriptions";
const WHISPER: &str = "whisper-large-v3-turbo";

async fn post(app: &TestApp, path: &str, fields: &[(&str, &str)], file: &[u8]) -> Answer {
    app.post_raw(path, FORM, form(fields, file)).await
}

async fn groq(profile: Value, file: &str) -> (Simulator, TestApp) {
    let simulator = Simulator::with(profile).await;
    let app = TestApp::setup().simulated(&simulator, "groq").file(file).start().await;
    (simulator, app)
}

/// Servers with one whisper model each, and the meta-model `spoken` of them all in their order.
async fn servers<const N: usize>() -> (TestApp, [FakeUpstream; N]) {
    let (mut setup, mut servers, mut members) = (TestApp::setup(), Vec::new(), Vec::new());
    for name in ["a", "b", "c"].into_iter().take(N) {
        let server = FakeUpstream::start().await;
        let url = server.base_url();
        setup = setup.file(&format!("[providers.{name}]\nbase_url = \"{url}\"\n[providers.{name}.models.whisper-1]\n"));
        servers.push(server);
        members.push(format!("{name}/whisper-1"));
    }
    let app = setup.file(&format!("[models.spoken]\nmembers = {members:?}\nstrategy = \"listed\"\n")).start().await;
    (app, servers.try_into().unwrap_or_else(|_| panic!("there are names for three servers")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcript_comes_in_every_form() {
    let (_simulator, app) = groq(json!({ "base": "unlimited" }), "").await;
    let wav = wav(12);
    let get = async |fields: &[(&str, &str)]| {
        let answer = post(&app, PATH, &[&[("model", WHISPER)], fields].concat(), &wav).await;
        assert_eq!(answer.status, 200, "{fields:?}: {}", answer.text());
        answer
    };
    let plain = get(&[]).await;
    assert_eq!((plain.provider(), &plain.json()["usage"]["seconds"]), ("groq", &json!(12.0)));
    let text = plain.json()["text"].as_str().unwrap().to_owned();
    let verbose = get(&[("response_format", "verbose_json"), ("language", "en")]).await.json();
    assert_eq!((&verbose["text"], verbose["segments"].as_array().unwrap().len()), (&json!(text), 3));
    assert_eq!(get(&[("response_format", "text")]).await.text().trim(), text.trim());
    let srt = get(&[("response_format", "srt")]).await.text();
    assert!(srt.starts_with("1\n00:00:00,000 --> 00:00:05,000\n") && srt.contains("\n3\n"), "{srt}");
    let vtt = get(&[("response_format", "vtt")]).await;
    assert_eq!(vtt.header("content-type"), Some("text/vtt; charset=utf-8"));
    assert!(vtt.text().starts_with("WEBVTT\n\n00:00:00.000 --> "), "{}", vtt.text());
    let stream = get(&[("stream", "true")]).await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.text().matches("transcript.text.delta").count(), 3);
    assert!(stream.text().contains("transcript.text.done"), "{}", stream.text());

    let translated = post(&app, "/v1/audio/translations", &[("model", "whisper-large-v3")], &wav).await;
    assert_eq!(translated.status, 200, "{}", translated.text());
    for (path, fields, param) in [
        ("/v1/audio/translations", &[("model", WHISPER)][..], "model"),
        (PATH, &[], "model"),
        (PATH, &[("model", "groq/openai/gpt-oss-20b")], "model"),
        (PATH, &[("model", WHISPER), ("response_format", "pdf")], "response_format"),
    ] {
        let wrong = post(&app, path, fields, &wav).await;
        assert_eq!((wrong.status, &wrong.json()["error"]["param"]), (400, &json!(param)), "{}", wrong.text());
    }
    let json = app.request("POST", PATH).json(&json!({ "model": WHISPER })).send().await.unwrap();
    assert_eq!(json.status(), 400);
    let chat = app.chat(WHISPER).await;
    assert!(chat.status == 400 && chat.text().contains("POST /v1/audio/transcriptions"), "{}", chat.text());
}

#[tokio::test]
async fn the_form_passes_as_it_came_and_goes_to_the_next_provider_after_a_failure() {
    let (app, [a, b]) = servers().await;
    a.always(whole(500, "{}"));
    b.always(whole(200, r#"{"text":"hi","duration":3.0,"segments":[]}"#));
    let fields = [("prompt", "Names: Ann"), ("model", "spoken"), ("temperature", "0.2"), ("response_format", "json")];
    let answer = post(&app, PATH, &fields, &wav(3)).await;
    assert_eq!((answer.status, &answer.json()["text"]), (200, &json!("hi")), "{}", answer.text());
    let mut expected = fields;
    (expected[1].1, expected[3].1) = ("whisper-1", "verbose_json");
    let sent = [&a.seen()[0], &b.seen()[0]].map(|seen| (seen.headers["content-type"].clone(), seen.body.clone()));
    assert!(sent.iter().all(|(kind, body)| kind == FORM && *body == form(&expected, &wav(3))));
    assert_eq!(answer.attempts(), "a/whisper-1;500, b/whisper-1;ok");
}

#[tokio::test]
async fn a_transcript_without_a_word_is_tried_once_more() {
    let (app, [a, b, c]) = servers().await;
    a.always(whole(200, r#"{"text":" ","duration":3.0}"#));
    b.always(whole(200, r#"{"text":"","duration":3.0}"#));
    c.always(whole(200, r#"{"text":"words","duration":3.0}"#));
    let answer = post(&app, PATH, &[("model", "spoken")], &wav(3)).await;
    assert_eq!((answer.status, &answer.json()["text"]), (200, &json!("")), "{}", answer.text());
    assert_eq!((a.seen().len(), b.seen().len(), c.seen().len()), (1, 1, 0), "once, and no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn seconds_of_sound_are_reserved_before_the_call_and_at_least_ten() {
    let limits = "rpm = \"none\", rpd = \"none\"";
    let file = format!("[providers.groq.models.{WHISPER}]\nlimits = {{ {limits}, ash = 100, asd = 1000 }}\n");
    let (simulator, app) = groq(json!({ "base": "unlimited" }), &file).await;
    let get = async |seconds: u32| post(&app, PATH, &[("model", WHISPER)], &wav(seconds)).await;
    assert_eq!(get(75).await.status, 200);
    assert_eq!(get(2).await.status, 200, "ten seconds");
    assert_eq!(get(15).await.status, 200);
    app.settled().await;
    let refused = get(5).await;
    let (status, _, code) = refused.error();
    let message = refused.message();
    assert_eq!((status, &*code), (429, "budget_exhausted"), "{message}");
    assert!(message.contains("100 seconds of sound per hour"), "{message}");
    let long = get(101).await;
    let message = long.message();
    assert!(long.status == 400 && message.contains("a recording of 101 seconds"), "{message}");
    let tally = simulator.audit().await["providers"]["groq"]["accounts"]["main"][WHISPER]["tally"].clone();
    assert_eq!(tally["admitted"], 3, "{tally}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_sound_runs_out() {
    let limits = "rpm = \"none\", rpd = \"none\", ash = \"none\", asd = 60";
    let file = format!("[providers.groq.models.{WHISPER}]\nlimits = {{ {limits} }}\n");
    let (simulator, app) = groq(json!({ "base": "unlimited" }), &file).await;
    let get = async |seconds: u32| post(&app, PATH, &[("model", WHISPER)], &wav(seconds)).await;
    assert_eq!(get(50).await.status, 200);
    let refused = get(11).await;
    let (status, _, code) = refused.error();
    assert_eq!((status, &*code), (429, "budget_exhausted"), "{}", refused.text());
    assert!(refused.message().contains("60 seconds of sound per day"), "{}", refused.message());
    assert_eq!(get(10).await.status, 200, "the rest of the day");
    let tally = simulator.audit().await["providers"]["groq"]["accounts"]["main"][WHISPER]["tally"].clone();
    assert_eq!(tally["admitted"], 2, "{tally}");
}

#[tokio::test]
async fn a_whole_transcript_is_charged_by_the_providers_seconds() {
    let lab = FakeUpstream::start().await;
    let url = lab.base_url();
    let model = "[providers.a.models.whisper-1]\nlimits = { ash = 100 }\n";
    let app = TestApp::setup().file(&format!("[providers.a]\nbase_url = \"{url}\"\n{model}")).start().await;
    let get = async |stated: u32, counted: f64| {
        lab.always(whole(200, &json!({ "text": "hi", "duration": counted }).to_string()));
        post(&app, PATH, &[("model", "a/whisper-1")], &wav(stated)).await.status
    };
    assert_eq!(get(60, 19.5).await, 200);
    eventually(Duration::from_secs(5), "20 seconds are counted of the 60", async || {
        (get(80, 50.0).await == 200).then_some(())
    })
    .await;
    // 20 and 50 are used.
    eventually(Duration::from_secs(5), "50 seconds are counted of the 80", async || {
        (get(10, 29.5).await == 200).then_some(())
    })
    .await;
    eventually(Duration::from_secs(5), "30 seconds are counted of the 10", async || {
        (get(1, 1.0).await == 429).then_some(())
    })
    .await;
}

/// A provider that answers a small form, and reads of a large one only the start until it may go on. Reports when one has
/// begun, and how many bytes came in the end.
async fn slow_reader(may_go_on: Arc<Notify>) -> (u16, JoinSet<()>, mpsc::UnboundedReceiver<usize>) {
    let (report, reports) = mpsc::unbounded_channel();
    let (port, tasks) = listen(0, move |mut stream: TcpStream| {
        let (report, may_go_on) = (report.clone(), may_go_on.clone());
        async move {
            let (mut piece, mut all) = (vec![0; 4096], Vec::new());
            while !all.ends_with(b"--the-boundary--\r\n") && all.len() < 16 << 10 {
                match stream.read(&mut piece).await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => all.extend(&piece[..n]),
                }
            }
            if all.ends_with(b"--the-boundary--\r\n") {
                if let Some(Step::Bytes(bytes)) = whole(200, r#"{"text":"hi"}"#).pop() {
                    stream.write_all(&bytes).await.ok();
                }
                return;
            }
            report.send(all.len()).ok();
            may_go_on.notified().await;
            let mut bytes = all.len();
            while let Ok(n @ 1..) = stream.read(&mut piece).await {
                bytes += n;
            }
            report.send(bytes).ok();
        }
    })
    .await;
    (port, tasks, reports)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_while_its_file_is_sent_ends_the_call_and_its_lease() {
    let may_go_on = Arc::new(Notify::new());
    let (port, _tasks, mut reports) = slow_reader(may_go_on.clone()).await;
    let model = "[providers.a.models.whisper-1]\nlimits = { concurrency = 1 }\n";
    let file = format!("[providers.a]\nbase_url = \"http://127.0.0.1:{port}/v1\"\n{model}");
    let app = TestApp::setup().file(&file).start().await;
    let body = form(&[("model", "a/whisper-1")], &wav_with(25, 1 << 20));
    let length = body.len();
    let call = app.request("POST", PATH).header("content-type", FORM).body(body);
    let mut caller = JoinSet::new();
    caller.spawn(async move { call.send().await.map(|response| response.status()) });
    reports.recv().await.expect("the file is on its way");
    let small = async || post(&app, PATH, &[("model", "a/whisper-1")], &wav(3)).await.status;
    assert_eq!(small().await, 429, "the only place is taken");
    caller.abort_all();
    eventually(Duration::from_secs(5), "the place is free", async || (small().await == 200).then_some(())).await;
    may_go_on.notify_one();
    let sent = reports.recv().await.unwrap();
    assert!(sent < length, "{sent} of {length} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_ends_early_is_never_admitted() {
    let file = format!("[providers.groq.models.{WHISPER}]\nlimits = {{ rpm = 1 }}\n");
    let (simulator, app) = groq(json!({ "base": "unlimited" }), &file).await;
    let body = form(&[("model", WHISPER)], &wav(20));
    let mut socket = TcpStream::connect(("127.0.0.1", app.port())).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&body[..body.len() / 2]).await.unwrap();
    socket.shutdown().await.unwrap();
    // The connection ends, whether or not with an answer.
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest).await;
    assert_eq!(post(&app, PATH, &[("model", WHISPER)], &wav(20)).await.status, 200, "the only request of the minute");
    let tally = simulator.audit().await["providers"]["groq"]["accounts"]["main"][WHISPER]["tally"].clone();
    assert_eq!(tally["admitted"], 1, "{tally}");
    let too_large = TestApp::setup().env("TOLLFREE__HTTP__UPLOAD_BYTES", 4096).start().await;
    assert_eq!(post(&too_large, PATH, &[("model", WHISPER)], &wav(100)).await.status, 413);
}

/// Resident memory of a process, in bytes: `VmRSS` now, `VmHWM` at its peak.
fn memory(pid: u32, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(which)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_takes_little_memory() {
    const CALLS: u64 = 6;
    let lab = FakeUpstream::start().await;
    lab.always(vec![Step::Hold]);
    let file = format!("[providers.a]\nbase_url = \"{}\"\n[providers.a.models.whisper-1]\n", lab.base_url());
    let app = TestApp::setup().file(&file).start().await;
    // Pools and threads that the first request makes belong to no request.
    lab.then(whole(200, r#"{"text":"hi"}"#));
    assert_eq!(post(&app, PATH, &[("model", "a/whisper-1")], &wav_with(25, 1 << 20)).await.status, 200);
    // The peak starts again from here.
    std::fs::write(format!("/proc/{}/clear_refs", app.pid()), "5").unwrap();
    let before = memory(app.pid(), "VmRSS:");
    let body = form(&[("model", "a/whisper-1")], &wav_with(25, 1 << 20));
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let call = app.request("POST", PATH).header("content-type", FORM).body(body.clone());
        calls.spawn(async move { call.send().await.map(|response| response.status()) });
    }
    eventually(Duration::from_mins(1), "all files have arrived at the provider", async || {
        (lab.seen().len() as u64 > CALLS).then_some(())
    })
    .await;
    for which in ["VmRSS:", "VmHWM:"] {
        let each = memory(app.pid(), which).saturating_sub(before) / CALLS;
        eprintln!("{which} {} KiB for each request", each >> 10);
        assert!(each <= 2 << 20, "{which} {} KiB for each request", each >> 10);
    }
    assert!(lab.seen().iter().all(|seen| seen.body.len() > 25 << 20));
}

#[tokio::test]
async fn a_transcript_comes_as_the_provider_writes_it() {
    let (lab, gate) = (FakeUpstream::start().await, Arc::new(Notify::new()));
    let file = format!(
        "[providers.a]\nbase_url = \"{}\"\n[providers.a.models.whisper-1]\nstreams_transcripts = true\nlimits = {{ ash = 100 }}\n",
        lab.base_url()
    );
    let app = TestApp::setup().file(&file).env("TOLLFREE_ADMIN_KEY", "the-admin-key").start().await;
    let event = |data: Value| Step::Bytes(format!("data: {data}\n\n").into_bytes());
    lab.then(vec![
        stream_head(),
        event(json!({ "type": "transcript.text.delta", "delta": "first " })),
        Step::Gate(gate.clone()),
        event(json!({ "type": "transcript.text.delta", "delta": "second" })),
        event(json!({ "type": "transcript.text.done", "text": "first second", "usage": { "type": "duration", "seconds": 90 } })),
    ]);
    let body = form(&[("model", "a/whisper-1"), ("stream", "true")], &wav(3));
    let mut stream = Stream::of(app.request("POST", PATH).header("content-type", FORM).body(body)).await;
    assert_eq!((stream.status, stream.header("content-type")), (200, Some("text/event-stream; charset=utf-8")));
    let read = |event: String| serde_json::from_str::<Value>(event.strip_prefix("data: ").unwrap()).unwrap();
    let first = read(stream.next().await.unwrap().unwrap());
    assert_eq!(first, json!({ "type": "transcript.text.delta", "delta": "first " }), "before the provider goes on");
    gate.notify_one();
    let rest = stream.rest().await;
    let rest: Vec<Value> = rest.events.into_iter().map(read).collect();
    assert_eq!((&rest[0]["delta"], &rest[1]["text"]), (&json!("second"), &json!("first second")), "{rest:?}");
    assert_eq!(lab.seen()[0].body, form(&[("model", "whisper-1"), ("stream", "true")], &wav(3)));
    // The provider has counted 90 seconds in place of 3.
    app.settled().await;
    lab.always(whole(200, r#"{"text":"hi","duration":20}"#));
    assert_eq!(post(&app, PATH, &[("model", "a/whisper-1")], &wav(20)).await.status, 429);
    eventually(Duration::from_secs(5), "the journal has the provider's seconds and the stream", async || {
        let read = app.request("GET", "/admin/v1/requests").bearer_auth("the-admin-key");
        let requests = Answer::of(read).await.json();
        let is_right = |record: &Value| record["audio_seconds"] == 90 && record["stream"] == true;
        requests["data"].as_array().unwrap().iter().any(is_right).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistrals_transcript_comes_in_pieces() {
    let simulator = Simulator::with(json!({ "base": "unlimited" })).await;
    let app = TestApp::setup().simulated(&simulator, "mistral").start().await;
    let stream = post(&app, PATH, &[("model", "voxtral-mini-latest"), ("stream", "true")], &wav(12)).await;
    assert_eq!((stream.status, stream.provider()), (200, "mistral"), "{}", stream.text());
    assert_eq!(stream.text().matches("transcript.text.delta").count(), 3, "{}", stream.text());
    assert!(stream.text().contains("\"input_tokens\":4"), "{}", stream.text());
    let silent = [("model", "voxtral-mini-latest"), ("stream", "true"), ("prompt", "silence")];
    let silent = post(&app, PATH, &silent, &wav(12)).await;
    assert!(silent.status == 200 && silent.text().contains("transcript.text.done"), "{}", silent.text());
    let whole = post(&app, PATH, &[("model", "voxtral-mini-latest")], &wav(12)).await;
    assert_eq!(whole.status, 200, "{}", whole.text());
}
