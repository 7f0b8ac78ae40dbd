//! The outcome table: every way an attempt can end, at each of the five providers, whole and streamed, from the bodies
//! they really send: the next candidate, the response to the caller, and the state that all replicas share.

use std::{ops::RangeInclusive, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    fake_upstream::{DONE, FakeUpstream, content, stop, stream},
    http::Answer,
    simulator::Simulator,
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const BOSS: &str = "boss";

/// Provider, the model that meets the fault, another one of the same account.
const PROVIDERS: [(&str, &str, &str); 5] = [
    ("groq", "openai/gpt-oss-120b", "openai/gpt-oss-20b"),
    ("gemini", "gemini-3.5-flash-lite", "gemini-3.1-flash-lite"),
    ("cerebras", "gpt-oss-120b", "gemma-4-31b"),
    ("mistral", "mistral-medium-2604", "mistral-medium-2508"),
    ("ollama", "gpt-oss:20b", "llama3.2:latest"),
];

/// What all replicas know afterwards.
#[derive(Debug, Clone)]
enum Then {
    /// No effect: the same model is tried again.
    Nothing,
    /// Closed for so long (ms): this model only, or the account's other one too.
    Shut { ms: RangeInclusive<i64>, other: bool },
    /// After three in a row the model is left alone, the provider is not.
    ModelFails,
    /// After three in a row the provider is left alone.
    ProviderFails,
}

/// What the caller gets.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Caller {
    /// The provider's answer.
    Answer,
    /// The next candidate's answer.
    Next,
    /// What came so far, then an error event.
    ErrorEvent,
}

struct Row {
    name: &'static str,
    caller: Caller,
    /// Provider, fixture or fault, how the attempt is labelled, what is known then.
    cases: Vec<(&'static str, &'static str, &'static str, Then)>,
}

fn shut(ms: RangeInclusive<i64>) -> Then {
    Then::Shut { ms, other: false }
}

fn shut_all(ms: RangeInclusive<i64>) -> Then {
    Then::Shut { ms, other: true }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    use Then::{ModelFails, Nothing, ProviderFails};
    let each = |fault: &'static str, label: &'static str, then: &Then| {
        PROVIDERS.iter().map(|(provider, ..)| (*provider, fault, label, then.clone())).collect::<Vec<_>>()
    };
    let row = |name, caller, cases| Row { name, caller, cases };
    vec![
        row(
            "2xx with content",
            Caller::Answer,
            vec![
                ("groq", "groq.success", "ok", Nothing),
                ("gemini", "gemini.success", "ok", Nothing),
                ("cerebras", "cerebras.success", "ok", Nothing),
                ("mistral", "mistral.success", "ok", Nothing),
                ("ollama", "ollama.success", "ok", Nothing),
                ("groq", "groq.stream", "ok", Nothing),
                ("gemini", "gemini.stream", "ok", Nothing),
                ("cerebras", "cerebras.stream", "ok", Nothing),
                ("mistral", "mistral.stream", "ok", Nothing),
                ("ollama", "ollama.stream", "ok", Nothing),
            ],
        ),
        row(
            "429 per minute",
            Caller::Next,
            vec![
                ("groq", "groq.429-rpm", "429_rpm", shut(1..=2_300)),
                ("groq", "groq.429-tpm", "429_tpm", shut(1..=4_300)),
                ("gemini", "gemini.429-rpm", "429_rpm", shut(30_000..=61_000)),
                ("gemini", "gemini.429-tpm", "429_tpm", shut(1_000..=MINUTE)),
                ("cerebras", "cerebras.429-rpm", "429_rpm", shut(10_000..=12_500)),
                ("cerebras", "cerebras.429-tpm", "429_tpm", shut(1_000..=MINUTE)),
                ("mistral", "mistral.429-rpm", "429_rpm", shut(1_000..=61_000)),
                ("mistral", "mistral.429-tpm", "429_tpm", shut(1_000..=61_000)),
                ("ollama", "custom.429-http-date", "429", shut(25_000..=31_000)),
            ],
        ),
        row(
            "429 per hour, day or week",
            Caller::Next,
            vec![
                ("groq", "groq.429-rpd", "429_rpd", shut(80_000..=88_000)),
                ("groq", "groq.429-tpd", "429_tpd", shut(MINUTE..=10 * MINUTE)),
                ("gemini", "gemini.429-rpd", "429_rpd", shut(2 * MINUTE..=25 * HOUR)),
                ("gemini", "gemini.429-rpd-long", "429_rpd", shut(11 * HOUR..=25 * HOUR)),
                ("cerebras", "cerebras.429-rph", "429_rph", shut(1_000..=HOUR)),
                ("cerebras", "cerebras.429-tpd", "429_tpd", shut(1..=25 * HOUR)),
                ("ollama", "ollama-cloud.429-session", "429", shut_all(1..=5 * HOUR)),
                ("ollama", "ollama-cloud.429-week", "429", shut_all(1..=7 * 24 * HOUR)),
            ],
        ),
        row(
            "429 by concurrency",
            Caller::Next,
            vec![("ollama", "ollama-cloud.429-concurrency", "429_concurrency", shut_all(1..=10_000))],
        ),
        row(
            "model busy",
            Caller::Next,
            vec![
                ("groq", "groq.503-overload", "busy", ModelFails),
                ("gemini", "gemini.503-overload", "busy", ModelFails),
                ("cerebras", "cerebras.429-capacity", "busy", ModelFails),
                ("mistral", "mistral.429-capacity", "busy", ModelFails),
                ("mistral", "mistral.503-capacity", "busy", ModelFails),
                ("ollama", "ollama.503-overload", "busy", ModelFails),
            ],
        ),
        row(
            "bad key",
            Caller::Next,
            vec![
                ("groq", "groq.401-key", "401", shut_all(9 * MINUTE..=10 * MINUTE)),
                ("gemini", "gemini.400-key", "401", shut_all(9 * MINUTE..=10 * MINUTE)),
                ("gemini", "gemini.400-key-expired", "401", shut_all(9 * MINUTE..=10 * MINUTE)),
                ("gemini", "gemini.403-leaked", "403", shut_all(9 * MINUTE..=10 * MINUTE)),
                ("cerebras", "cerebras.401-key", "401", shut_all(9 * MINUTE..=10 * MINUTE)),
                ("mistral", "mistral.401-key", "401", shut_all(9 * MINUTE..=10 * MINUTE)),
                ("mistral", "mistral.401-key-kong", "401", shut_all(9 * MINUTE..=10 * MINUTE)),
                ("ollama", "ollama-cloud.401-key", "401", shut_all(9 * MINUTE..=10 * MINUTE)),
            ],
        ),
        row(
            "gone, or not on this plan",
            Caller::Next,
            vec![
                ("groq", "groq.404-model", "404", shut(5 * HOUR..=6 * HOUR)),
                ("groq", "groq.400-decommissioned", "gone", shut(5 * HOUR..=6 * HOUR)),
                ("gemini", "gemini.404-retired", "404", shut(5 * HOUR..=6 * HOUR)),
                ("gemini", "gemini.429-zero", "gone", shut(5 * HOUR..=6 * HOUR)),
                ("cerebras", "cerebras.402-payment", "402", shut(5 * HOUR..=6 * HOUR)),
                ("cerebras", "cerebras.404-archived", "404", shut(5 * HOUR..=6 * HOUR)),
                ("mistral", "mistral.403-tier", "403", shut(5 * HOUR..=6 * HOUR)),
                ("mistral", "mistral.429-zero", "gone", shut(5 * HOUR..=6 * HOUR)),
                ("mistral", "mistral.400-model", "gone", shut(5 * HOUR..=6 * HOUR)),
                ("ollama", "ollama.404-model", "404", shut(5 * HOUR..=6 * HOUR)),
                ("ollama", "ollama-cloud.410-gone", "410", shut(5 * HOUR..=6 * HOUR)),
                ("ollama", "ollama-cloud.403-plan", "403", shut(5 * HOUR..=6 * HOUR)),
            ],
        ),
        row(
            "the request is refused",
            Caller::Next,
            vec![
                ("groq", "groq.400-param", "400", Nothing),
                ("groq", "groq.400-tool-failed", "400", Nothing),
                ("gemini", "gemini.400-param", "400", Nothing),
                ("cerebras", "cerebras.422-param", "422", Nothing),
                ("mistral", "mistral.422-param", "422", Nothing),
                ("mistral", "mistral.422-detail", "422", Nothing),
                ("ollama", "ollama.400-param", "400", Nothing),
            ],
        ),
        row(
            "too long",
            Caller::Next,
            vec![
                ("groq", "groq.413-wall", "413", Nothing),
                ("groq", "groq.400-context", "context", Nothing),
                ("gemini", "gemini.400-context", "context", Nothing),
                ("cerebras", "cerebras.400-context", "context", Nothing),
                ("mistral", "mistral.400-context", "context", Nothing),
                ("ollama", "custom.400-context-vllm", "context", Nothing),
            ],
        ),
        row(
            "a plain 5xx",
            Caller::Next,
            vec![
                ("gemini", "gemini.500", "500", ProviderFails),
                ("cerebras", "cerebras.503-overload", "503", ProviderFails),
                ("mistral", "mistral.503-overload", "503", ProviderFails),
                ("ollama", "ollama.500", "500", ProviderFails),
            ],
        ),
        row("a page for people", Caller::Next, each("html", "502", &ProviderFails)),
        row(
            "a bot filter",
            Caller::Next,
            vec![
                ("groq", "groq.403-cloudflare", "403", ProviderFails),
                ("cerebras", "groq.403-cloudflare", "403", ProviderFails),
            ],
        ),
        row("a reset", Caller::Next, each("reset", "", &ProviderFails)),
        row("no answer in time", Caller::Next, each("hang", "timeout", &ProviderFails)),
        row("200 with nothing", Caller::Next, each("empty", "empty", &ProviderFails)),
        row("200 with half a body", Caller::Next, each("truncated", "", &ProviderFails)),
        row("a connection lost in mid-stream", Caller::ErrorEvent, each("cut_after_chunks", "ok", &ProviderFails)),
        row("silence in mid-stream", Caller::ErrorEvent, each("stall_mid_stream", "ok", &ProviderFails)),
        row(
            "an error in mid-stream",
            Caller::ErrorEvent,
            vec![
                ("groq", "groq.stream-error", "ok", ProviderFails),
                ("cerebras", "cerebras.stream-error", "ok", ProviderFails),
                ("ollama", "ollama.stream-error", "ok", ProviderFails),
            ],
        ),
    ]
}

/// One gateway, fresh for each case: what it learns from a header must not reach the next one.
struct Bench {
    app: TestApp,
    model: String,
    other: String,
    streamed: bool,
}

/// What one request came to.
struct Came {
    status: u16,
    attempts: String,
    provider: String,
    retry_ms: Option<i64>,
    finished_well: bool,
    error_event: bool,
    text: String,
}

impl Bench {
    async fn start(simulator: &Simulator, backup: &FakeUpstream, streamed: bool, provider: &str) -> Self {
        let (id, model, other) = *PROVIDERS.iter().find(|(id, ..)| *id == provider).unwrap();
        let roomy =
            "limits = { rpm = 5000, rph = 50000, rpd = 500000, tpm = 50000000, tph = 500000000, tpd = 500000000 }";
        let limits = if id == "ollama" { "" } else { roomy };
        let file = format!(
            "[models.test]\nmembers = [\"{id}/{model}\", \"backup/m\"]\nstrategy = \"listed\"\n\
             [timeouts]\nsilence_ms = 600\n\
             [providers.backup]\nbase_url = \"{}\"\n[providers.backup.models.m]\ncontext = 4000000\n\
             [providers.{id}]\nfirst_content_ms = 600\n\
             [providers.{id}.models.\"{model}\"]\n{limits}\n[providers.{id}.models.\"{other}\"]\n{limits}\n",
            backup.base_url()
        );
        let setup = TestApp::setup().simulated(simulator, id).file(&file).env("TOLLFREE_ADMIN_KEY", BOSS);
        let app = setup.env("LOG_LEVEL", "warn").start().await;
        Self { app, model: format!("{id}/{model}"), other: format!("{id}/{other}"), streamed }
    }

    async fn ask(&self, model: &str) -> Came {
        let nothing = || Came {
            status: 0,
            attempts: String::new(),
            provider: String::new(),
            retry_ms: None,
            finished_well: false,
            error_event: false,
            text: "no end of the answer within 10 s".to_owned(),
        };
        tokio::time::timeout(Duration::from_secs(10), self.answer(model)).await.unwrap_or_else(|_| nothing())
    }

    async fn answer(&self, model: &str) -> Came {
        // Long enough to be cut in the middle, whatever the size of a provider's pieces.
        let body: Value = json!({ "model": model, "max_tokens": 200,
            "messages": [{ "role": "user", "content": "hi [[tokens=120 reasoning=0]]" }] });
        if !self.streamed {
            let answer = self.app.chat_with(&body).await;
            return Came {
                status: answer.status,
                attempts: answer.attempts().to_owned(),
                provider: answer.provider().to_owned(),
                retry_ms: (answer.status == 429).then(|| i64::try_from(answer.retry_after().as_millis()).unwrap()),
                finished_well: answer.status == 200,
                error_event: false,
                text: answer.text(),
            };
        }
        let finished = self.app.stream_with(body).await.rest().await;
        let header = |name: &str| finished.header(name).unwrap_or_default().to_owned();
        Came {
            status: finished.status,
            attempts: header("x-tollfree-attempts"),
            provider: header("x-tollfree-provider"),
            retry_ms: header("retry-after-ms").parse().ok(),
            finished_well: finished.is_done() && finished.error().is_none() && !finished.broken,
            error_event: finished.status == 200
                && finished.error().is_some()
                && !finished.is_done()
                && !finished.broken,
            text: format!("{:?}", finished.events),
        }
    }

    /// Until the settle of the last request is in the store: it is off the caller's path.
    async fn settled(&self) {
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
}

/// Meets the fault once, and checks caller and label.
async fn meet(bench: &Bench, simulator: &Simulator, caller: Caller, fault: &str, label: &str) -> Result<(), String> {
    let provider = bench.model.split('/').next().unwrap();
    // A connection that is reset on reuse is replaced once, so that only two resets are a fault.
    let times = if fault == "reset" { 2 } else { 1 };
    simulator.fault(provider, fault, times).await;
    let came = bench.ask("test").await;
    let tell = |what: &str| Err(format!("{what}: {} {} {}", came.status, came.attempts, came.text));
    if came.status != 200 {
        return tell("not answered");
    }
    let (first, rest) = came.attempts.split_once(", ").unwrap_or((&came.attempts, ""));
    let (who, how) = first.split_once(';').unwrap_or_default();
    if who != bench.model || !how.starts_with(label) {
        return tell(&format!("expected the first attempt to be {};{label}", bench.model));
    }
    let fine = match caller {
        Caller::Answer => rest.is_empty() && came.finished_well && came.provider == provider,
        Caller::Next => rest == "backup/m;ok" && came.finished_well && came.provider == "backup",
        Caller::ErrorEvent => rest.is_empty() && came.error_event && came.provider == provider,
    };
    bench.settled().await;
    if fine { Ok(()) } else { tell(&format!("expected {caller:?}")) }
}

async fn serves(bench: &Bench, model: &str) -> Result<(), String> {
    let came = bench.ask(model).await;
    bench.settled().await;
    if came.status == 200 { Ok(()) } else { Err(format!("{model} should serve: {} {}", came.status, came.text)) }
}

/// Refused without a call, and open again after this time.
async fn is_left_alone(bench: &Bench, model: &str, ms: RangeInclusive<i64>) -> Result<(), String> {
    let came = bench.ask(model).await;
    match came.retry_ms {
        Some(retry) if came.status == 429 && ms.contains(&retry) && came.attempts.is_empty() => Ok(()),
        retry => Err(format!("{model} should be closed for {ms:?} ms: {} {retry:?} {}", came.status, came.text)),
    }
}

async fn case(
    simulator: &Simulator,
    backup: &FakeUpstream,
    streamed: bool,
    caller: Caller,
    (provider, fault, label, then): &(&str, &str, &str, Then),
) -> Result<(), String> {
    let bench = Bench::start(simulator, backup, streamed, provider).await;
    let (model, other) = (bench.model.clone(), bench.other.clone());
    meet(&bench, simulator, caller, fault, label).await?;
    let breaker = match then {
        Then::Nothing => {
            for _ in 0..3 {
                meet(&bench, simulator, caller, fault, label).await?;
            }
            serves(&bench, &model).await?;
            serves(&bench, &other).await?;
            "closed"
        }
        Then::Shut { ms, other: also } => {
            is_left_alone(&bench, &model, ms.clone()).await?;
            if *also {
                is_left_alone(&bench, &other, ms.clone()).await?;
            } else {
                serves(&bench, &other).await?;
            }
            "closed"
        }
        Then::ModelFails | Then::ProviderFails => {
            serves(&bench, &model).await?;
            for _ in 0..3 {
                meet(&bench, simulator, caller, fault, label).await?;
            }
            is_left_alone(&bench, &model, 25_000..=30_000).await?;
            if matches!(then, Then::ModelFails) {
                serves(&bench, &other).await?;
                "closed"
            } else {
                is_left_alone(&bench, &other, 25_000..=30_000).await?;
                "open"
            }
        }
    };
    bench.app.shows_breaker(provider, breaker).await;
    // The admin's reset opens everything again.
    let path = format!("/v1/status/providers/{provider}/reset");
    let reset = Answer::of(bench.app.request("POST", &path).bearer_auth(BOSS)).await;
    if reset.status != 200 {
        return Err(format!("reset: {}", reset.text()));
    }
    serves(&bench, &model).await
}

/// All rows of one provider, one after the other: faults are ordered by provider.
async fn table_of(provider: &str, streamed: bool) -> (usize, Vec<String>) {
    let simulator = Simulator::with(json!({ "base": "unlimited" })).await;
    let backup = FakeUpstream::start().await;
    if streamed {
        backup.always(stream([content("hello"), stop(), DONE.into()]));
    }
    let (mut tried, mut wrong) = (0, Vec::new());
    for row in rows() {
        for given in row.cases.iter().filter(|given| given.0 == provider) {
            let fault = given.1;
            let whole_only = fault.ends_with(".success");
            let stream_only = fault.contains(".stream") || row.caller == Caller::ErrorEvent;
            if if streamed { whole_only } else { stream_only } {
                continue;
            }
            tried += 1;
            simulator.no_faults().await;
            if let Err(why) = case(&simulator, &backup, streamed, row.caller, given).await {
                let form = if streamed { "stream" } else { "whole" };
                wrong.push(format!("{} · {provider} · {fault} · {form}: {why}", row.name));
            }
        }
    }
    (tried, wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_at_every_provider_moves_on_tells_and_remembers_as_it_must() {
    let tables = PROVIDERS.iter().flat_map(|(provider, ..)| [table_of(provider, false), table_of(provider, true)]);
    let (mut tried, mut wrong) = (0, Vec::new());
    for (some, of_them) in join_all(tables).await {
        tried += some;
        wrong.extend(of_them);
    }
    eprintln!("{tried} outcomes tried");
    assert!(wrong.is_empty(), "{} of {tried} outcomes are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
