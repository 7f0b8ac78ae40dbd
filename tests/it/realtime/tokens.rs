//! Token windows, whose actual charge is known only after the reply.

use serde_json::{Value, json};

use super::fleet::{Crowd, Fleet, JITTER_MS, trial_time};

/// One trial per way of charging tokens.
struct Trial {
    provider: &'static str,
    model: &'static str,
    window: &'static str,
    per_minute: i64,
}

/// Requests with prompts of 20 to 3000 characters in several languages and replies of 5 to 250 tokens.
fn varied(model: String) -> impl Fn(u64) -> Value + Send + Sync + 'static {
    const TEXTS: [&str; 4] = [
        "The quick brown fox jumps over the lazy dog and goes on. ",
        "fn main() { let x: Vec<u32> = (0..10).map(|n| n * 2).collect(); } ",
        "{\"id\": 17, \"tags\": [\"a\", \"b\"], \"nested\": {\"deep\": null}} ",
        "Các mô hình ngôn ngữ lớn trả lời câu hỏi của người dùng. ",
    ];
    move |turn| {
        let mut random = fastrand::Rng::with_seed(turn).fork();
        let mut draw = |least: u64, most: u64| random.u64(least..=most);
        let text = TEXTS[usize::try_from(draw(0, 3)).unwrap()];
        // Short prompts are more common than long ones.
        let longest = draw(21, 3000);
        let length = usize::try_from(draw(20, longest)).unwrap();
        let prompt: String = text.chars().cycle().take(length).collect();
        let most = draw(6, 250);
        let tokens = draw(5, most);
        json!({
            "model": model,
            "max_tokens": 300,
            "messages": [
                { "role": "system", "content": "You are brief." },
                { "role": "user", "content": format!("{prompt} [[tokens={tokens} ttft={}]]", draw(20, 600)) },
            ],
        })
    }
}

async fn hold(trial: Trial) {
    let Trial { provider, model, window, per_minute } = trial;
    let limits = json!({ "rpm": "none", "rpd": "none", "tpm": per_minute, "tpd": "none" });
    let profile = json!({ "providers": { provider: {
        "jitter_ms": JITTER_MS,
        "latency": { "first_ms": 100, "chunk_ms": 2, "reasoning_tokens": 0 },
        "models": { model: { "limits": limits, "window": window } },
    } } });
    let none = "rpm = \"none\", rpd = \"none\", tpd = \"none\"";
    let file = format!(
        "[providers.{provider}.models.\"{model}\"]\nlimits = {{ {none}, tpm = {per_minute} }}\nwindow = \"{window}\"\n"
    );
    let fleet = Fleet::start(4, profile, |setup, simulator| setup.simulated(simulator, provider).file(&file)).await;
    let crowd = Crowd::new(60, varied(format!("{provider}/{model}")));
    fleet.until_over(&crowd, trial_time()).await;
    let seen = fleet.window(provider, "main", model, "tpm").await;
    assert!(seen.over <= 0.02 * seen.limit, "more than 2 % over: {seen:?}");
    let refused = seen.refused / (seen.admitted + seen.refused);
    assert!(refused <= 0.01, "{:.1} % were refused by the provider: {seen:?}", refused * 100.0);
    let minutes = trial_time().as_secs_f64() / 60.0;
    let given = if window == "bucket" { 1.0 + minutes } else { minutes.ceil() };
    if provider == "groq" {
        seen.tokens_were_used(0.90, given * seen.limit);
    } else {
        seen.was_used(0.90, given * seen.limit);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_reserved_before_the_call_are_held_and_used() {
    hold(Trial { provider: "groq", model: "openai/gpt-oss-20b", window: "bucket", per_minute: 60_000 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_debited_after_the_reply_are_held_and_used() {
    hold(Trial { provider: "mistral", model: "mistral-medium-2604", window: "sliding", per_minute: 60_000 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_the_prompt_alone_are_held_and_used() {
    hold(Trial { provider: "gemini", model: "gemini-3.5-flash-lite", window: "sliding", per_minute: 40_000 }).await;
}
