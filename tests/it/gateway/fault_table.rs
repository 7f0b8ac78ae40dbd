//! The outcome table: every outcome of an attempt at each of the five providers, whole and streamed, with recorded
//! bodies. It checks the next candidate, the caller's response and the state that all replicas share.

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
const ADMIN_KEY: &str = "the-admin-key";

/// Provider, the model with the fault, and another model of the same account.
const PROVIDERS: [(&str, &str, &str); 5] = [
    ("groq", "openai/gpt-oss-120b", "openai/gpt-oss-20b"),
    ("gemini", "gemini-3.5-flash-lite", "gemini-3.1-flash-lite"),
    ("cerebras", "gpt-oss-120b", "gemma-4-31b"),
    ("mistral", "mistral-medium-2604", "mistral-medium-2508"),
    ("ollama", "gpt-oss:20b", "llama3.2:latest"),
];

/// Expected state after the fault, on all replicas.
#[derive(Debug, Clone)]
enum Expect {
    /// No effect: the same model is used again, after any number of faults.
    NoEffect,
    /// A cooldown within this range (ms) for the model and, with `other`, for the account's other model.
    Cooldown { ms: RangeInclusive<i64>, other: bool },
    /// Three faults in a row open the model's breaker but not the provider's.
    ModelFails,
    /// Three faults in a row open the provider's breaker.
    ProviderFails,
}

/// Expected response to the caller.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Caller {
    /// The provider's reply.
    Answer,
    /// The next candidate's reply.
    Next,
    /// The content so far and an error event.
    ErrorEvent,
}

struct Row {
    name: &'static str,
    caller: Caller,
    /// Provider, fixture or fault, label of the attempt, and expected state.
    cases: Vec<(&'static str, &'static str, &'static str, Expect)>,
}

fn cooldown(ms: RangeInclusive<i64>) -> Expect {
    Expect::Cooldown { ms, other: false }
}

fn account_cooldown(ms: RangeInclusive<i64>) -> Expect {
    Expect::Cooldown { ms, other: true }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    use Expect::{ModelFails, NoEffect, ProviderFails};
    let each = |fault: &'static str, label: &'static str, expected: &Expect| {
        PROVIDERS.iter().map(|(provider, ..)| (*provider, fault, label, expected.clone())).collect::<Vec<_>>()
    };
    let row = |name, caller, cases| Row { name, caller, cases };
    vec![
        row(
            "2xx with content",
            Caller::Answer,
            vec![
                ("groq", "groq.success", "ok", NoEffect),
                ("gemini", "gemini.success", "ok", NoEffect),
                ("cerebras", "cerebras.success", "ok", NoEffect),
                ("mistral", "mistral.success", "ok", NoEffect),
                ("ollama", "ollama.success", "ok", NoEffect),
                ("groq", "groq.stream", "ok", NoEffect),
                ("gemini", "gemini.stream", "ok", NoEffect),
                ("cerebras", "cerebras.stream", "ok", NoEffect),
                ("mistral", "mistral.stream", "ok", NoEffect),
                ("ollama", "ollama.stream", "ok", NoEffect),
            ],
        ),
        row(
            "429 per minute",
            Caller::Next,
            vec![
                ("groq", "groq.429-rpm", "429_rpm", cooldown(1..=2_300)),
                ("groq", "groq.429-tpm", "429_tpm", cooldown(1..=4_300)),
                ("gemini", "gemini.429-rpm", "429_rpm", cooldown(30_000..=61_000)),
                ("gemini", "gemini.429-tpm", "429_tpm", cooldown(1_000..=MINUTE)),
                ("cerebras", "cerebras.429-rpm", "429_rpm", cooldown(10_000..=12_500)),
                ("cerebras", "cerebras.429-tpm", "429_tpm", cooldown(1_000..=MINUTE)),
                ("mistral", "mistral.429-rpm", "429_rpm", cooldown(1_000..=61_000)),
                ("mistral", "mistral.429-tpm", "429_tpm", cooldown(1_000..=61_000)),
                ("ollama", "custom.429-http-date", "429", cooldown(25_000..=31_000)),
            ],
        ),
        row(
            "429 per hour, day or week",
            Caller::Next,
            vec![
                ("groq", "groq.429-rpd", "429_rpd", cooldown(80_000..=88_000)),
                ("groq", "groq.429-tpd", "429_tpd", cooldown(MINUTE..=10 * MINUTE)),
                ("gemini", "gemini.429-rpd", "429_rpd", cooldown(2 * MINUTE..=25 * HOUR)),
                ("gemini", "gemini.429-rpd-long", "429_rpd", cooldown(11 * HOUR..=25 * HOUR)),
                ("cerebras", "cerebras.429-rph", "429_rph", cooldown(1_000..=HOUR)),
                ("cerebras", "cerebras.429-tpd", "429_tpd", cooldown(1..=25 * HOUR)),
                ("ollama", "ollama-cloud.429-session", "429", account_cooldown(1..=5 * HOUR)),
                ("ollama", "ollama-cloud.429-week", "429", account_cooldown(1..=7 * 24 * HOUR)),
            ],
        ),
        row(
            "429 by concurrency",
            Caller::Next,
            vec![("ollama", "ollama-cloud.429-concurrency", "429_concurrency", account_cooldown(1..=10_000))],
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
                ("groq", "groq.401-key", "401", account_cooldown(9 * MINUTE..=10 * MINUTE)),
                ("gemini", "gemini.400-key", "401", account_cooldown(9 * MINUTE..=10 * MINUTE)),
                ("gemini", "gemini.400-key-expired", "401", account_cooldown(9 * MINUTE..=10 * MINUTE)),
                ("gemini", "gemini.403-leaked", "403", account_cooldown(9 * MINUTE..=10 * MINUTE)),
                ("cerebras", "cerebras.401-key", "401", account_cooldown(9 * MINUTE..=10 * MINUTE)),
                ("mistral", "mistral.401-key", "401", account_cooldown(9 * MINUTE..=10 * MINUTE)),
                ("mistral", "mistral.401-key-kong", "401", account_cooldown(9 * MINUTE..=10 * MINUTE)),
                ("ollama", "ollama-cloud.401-key", "401", account_cooldown(9 * MINUTE..=10 * MINUTE)),
            ],
        ),
        row(
            "gone, or not on this plan",
            Caller::Next,
            vec![
                ("groq", "groq.404-model", "404", cooldown(5 * HOUR..=6 * HOUR)),
                ("groq", "groq.400-decommissioned", "gone", cooldown(5 * HOUR..=6 * HOUR)),
                ("gemini", "gemini.404-retired", "404", cooldown(5 * HOUR..=6 * HOUR)),
                ("gemini", "gemini.429-zero", "gone", cooldown(5 * HOUR..=6 * HOUR)),
                ("cerebras", "cerebras.402-payment", "402", cooldown(5 * HOUR..=6 * HOUR)),
                ("cerebras", "cerebras.404-archived", "404", cooldown(5 * HOUR..=6 * HOUR)),
                ("mistral", "mistral.403-tier", "403", cooldown(5 * HOUR..=6 * HOUR)),
                ("mistral", "mistral.429-zero", "gone", cooldown(5 * HOUR..=6 * HOUR)),
                ("mistral", "mistral.400-model", "gone", cooldown(5 * HOUR..=6 * HOUR)),
                ("ollama", "ollama.404-model", "404", cooldown(5 * HOUR..=6 * HOUR)),
                ("ollama", "ollama-cloud.410-gone", "410", cooldown(5 * HOUR..=6 * HOUR)),
                ("ollama", "ollama-cloud.403-plan", "403", cooldown(5 * HOUR..=6 * HOUR)),
            ],
        ),
        row(
            "the request is refused",
            Caller::Next,
            vec![
                ("groq", "groq.400-param", "400", NoEffect),
                ("groq", "groq.400-tool-failed", "400", NoEffect),
                ("gemini", "gemini.400-param", "400", NoEffect),
                ("cerebras", "cerebras.422-param", "422", NoEffect),
                ("mistral", "mistral.422-param", "422", NoEffect),
                ("mistral", "mistral.422-detail", "422", NoEffect),
                ("ollama", "ollama.400-param", "400", NoEffect),
            ],
        ),
        row(
            "too long",
            Caller::Next,
            vec![
                ("groq", "groq.413-wall", "413", NoEffect),
                ("groq", "groq.400-context", "context", NoEffect),
                ("gemini", "gemini.400-context", "context", NoEffect),
                ("cerebras", "cerebras.400-context", "context", NoEffect),
                ("mistral", "mistral.400-context", "context", NoEffect),
                ("ollama", "custom.400-context-vllm", "context", NoEffect),
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

/// One gateway per case, so that limits learned in one do not affect the next.
struct Bench {
    app: TestApp,
    model: String,
    other: String,
    streamed: bool,
}

/// Result of one request.
struct RequestResult {
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
        let setup = TestApp::setup().simulated(simulator, id).file(&file).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
        let app = setup.env("LOG_LEVEL", "warn").start().await;
        Self { app, model: format!("{id}/{model}"), other: format!("{id}/{other}"), streamed }
    }

    async fn request(&self, model: &str) -> RequestResult {
        let nothing = || RequestResult {
            status: 0,
            attempts: String::new(),
            provider: String::new(),
            retry_ms: None,
            finished_well: false,
            error_event: false,
            text: "the response did not end within 10 s".to_owned(),
        };
        tokio::time::timeout(Duration::from_secs(10), self.answer(model)).await.unwrap_or_else(|_| nothing())
    }

    async fn answer(&self, model: &str) -> RequestResult {
        // Long enough to be cut in the middle with any provider's chunk size.
        let body: Value = json!({ "model": model, "max_tokens": 200,
            "messages": [{ "role": "user", "content": "hi [[tokens=120 reasoning=0]]" }] });
        if !self.streamed {
            let answer = self.app.chat_with(&body).await;
            return RequestResult {
                status: answer.status,
                attempts: answer.attempts().to_owned(),
                provider: answer.provider().to_owned(),
                retry_ms: matches!(answer.status, 429 | 503)
                    .then(|| i64::try_from(answer.retry_after().as_millis()).unwrap()),
                finished_well: answer.status == 200,
                error_event: false,
                text: answer.text(),
            };
        }
        let finished = self.app.stream_with(body).await.rest().await;
        let header = |name: &str| finished.header(name).unwrap_or_default().to_owned();
        RequestResult {
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

    /// Waits for the settlement of the last request, which happens after its response.
    async fn settled(&self) {
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
}

/// Sends one request into the fault, and checks the response and the attempt's label.
async fn check_fault(
    bench: &Bench,
    simulator: &Simulator,
    caller: Caller,
    fault: &str,
    label: &str,
) -> Result<(), String> {
    let provider = bench.model.split('/').next().unwrap();
    // A reused connection that is reset leads to a second attempt at the same candidate, which is reset, too.
    let times = if fault == "reset" { 2 } else { 1 };
    simulator.fault(provider, fault, times).await;
    let result = bench.request("test").await;
    simulator.no_faults().await;
    let mismatch = |what: &str| Err(format!("{what}: {} {} {}", result.status, result.attempts, result.text));
    if result.status != 200 {
        return mismatch("expected status 200");
    }
    let (first, rest) = result.attempts.split_once(", ").unwrap_or((&result.attempts, ""));
    let (candidate, outcome) = first.split_once(';').unwrap_or_default();
    if candidate != bench.model || !outcome.starts_with(label) {
        return mismatch(&format!("expected the first attempt to be {};{label}", bench.model));
    }
    let again = format!("{first}, ");
    let rest = if fault == "reset" { rest.strip_prefix(&again).unwrap_or(rest) } else { rest };
    let fine = match caller {
        Caller::Answer => rest.is_empty() && result.finished_well && result.provider == provider,
        Caller::Next => rest == "backup/m;ok" && result.finished_well && result.provider == "backup",
        Caller::ErrorEvent => rest.is_empty() && result.error_event && result.provider == provider,
    };
    bench.settled().await;
    if fine { Ok(()) } else { mismatch(&format!("expected {caller:?}")) }
}

async fn serves(bench: &Bench, model: &str) -> Result<(), String> {
    let result = bench.request(model).await;
    bench.settled().await;
    if result.status == 200 { Ok(()) } else { Err(format!("{model} should serve: {} {}", result.status, result.text)) }
}

/// Checks that a model is refused without an attempt, with a retry time in this range (ms).
async fn is_excluded(bench: &Bench, model: &str, label: &str, ms: RangeInclusive<i64>) -> Result<(), String> {
    let status = if label.starts_with("429") { 429 } else { 503 };
    let result = bench.request(model).await;
    match result.retry_ms {
        Some(retry) if result.status == status && ms.contains(&retry) && result.attempts.is_empty() => Ok(()),
        retry => Err(format!("{model} should be closed for {ms:?} ms: {} {retry:?} {}", result.status, result.text)),
    }
}

async fn case(
    simulator: &Simulator,
    backup: &FakeUpstream,
    streamed: bool,
    caller: Caller,
    (provider, fault, label, expected): &(&str, &str, &str, Expect),
) -> Result<(), String> {
    let bench = Bench::start(simulator, backup, streamed, provider).await;
    let (model, other) = (bench.model.clone(), bench.other.clone());
    check_fault(&bench, simulator, caller, fault, label).await?;
    let breaker = match expected {
        Expect::NoEffect => {
            for _ in 0..3 {
                check_fault(&bench, simulator, caller, fault, label).await?;
            }
            serves(&bench, &model).await?;
            serves(&bench, &other).await?;
            "closed"
        }
        Expect::Cooldown { ms, other: also } => {
            is_excluded(&bench, &model, label, ms.clone()).await?;
            if *also {
                is_excluded(&bench, &other, label, ms.clone()).await?;
            } else {
                serves(&bench, &other).await?;
            }
            "closed"
        }
        Expect::ModelFails | Expect::ProviderFails => {
            serves(&bench, &model).await?;
            for _ in 0..3 {
                check_fault(&bench, simulator, caller, fault, label).await?;
            }
            is_excluded(&bench, &model, label, 25_000..=30_000).await?;
            if matches!(expected, Expect::ModelFails) {
                serves(&bench, &other).await?;
                "closed"
            } else {
                is_excluded(&bench, &other, label, 25_000..=30_000).await?;
                "open"
            }
        }
    };
    bench.app.shows_breaker(provider, breaker).await;
    // A reset by the admin ends all exclusions.
    let path = format!("/v1/status/providers/{provider}/reset");
    let reset = Answer::of(bench.app.request("POST", &path).bearer_auth(ADMIN_KEY)).await;
    if reset.status != 200 {
        return Err(format!("reset: {}", reset.text()));
    }
    serves(&bench, &model).await
}

/// All rows of one provider in sequence, because injected faults apply to the whole provider.
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
async fn every_outcome_at_every_provider_has_the_expected_response_and_effect() {
    let tables = PROVIDERS.iter().flat_map(|(provider, ..)| [table_of(provider, false), table_of(provider, true)]);
    let (mut tried, mut wrong) = (0, Vec::new());
    for (some, of_them) in join_all(tables).await {
        tried += some;
        wrong.extend(of_them);
    }
    eprintln!("{tried} outcomes tried");
    assert!(wrong.is_empty(), "{} of {tried} outcomes are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
