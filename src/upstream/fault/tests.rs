//! Every recorded error response with the fault that it must become.

use super::*;
use crate::domain::{CooldownScope, Limit, Scope, Until};
use crate::upstream::test_support::{candidate, named, recorded};

/// A limit, in capitals where it counts the whole account.
fn name(limit: Limit, scope: Scope) -> String {
    match scope {
        Scope::Account => limit.as_str().to_uppercase(),
        Scope::Model => limit.to_string(),
    }
}

/// A fault in the notation of the table: `Kind label · health · usage · cooldown · hints`.
fn notation(fault: &Fault) -> String {
    let cooldown = fault.outcome.cooldown.as_ref().map_or("-".to_owned(), |cooldown| {
        let scope = match cooldown.scope {
            CooldownScope::Limit(limit, scope) => name(limit, scope),
            CooldownScope::AccountModel => "model".to_owned(),
            CooldownScope::Account => "account".to_owned(),
            CooldownScope::Key => "key".to_owned(),
        };
        match cooldown.until {
            Until::AfterMs(ms) => format!("{scope} {ms}"),
            Until::WindowOpens => format!("{scope} opens"),
        }
    });
    let health = match fault.outcome.health {
        Health::Good => "good",
        Health::ProviderFailed => "provider",
        Health::ModelFailed => "model",
        Health::Unknown => "-",
    };
    let usage = if fault.outcome.usage == Usage::REFUSED { "" } else { " ?" };
    let number = |n: Option<i64>| n.map_or("_".to_owned(), |n| n.to_string());
    let hints = fault.outcome.hints.iter();
    let hints: Vec<String> =
        hints.map(|h| format!("{}:{}/{}", name(h.limit, h.scope), number(h.remaining), number(h.max))).collect();
    format!("{:?} {}{usage} · {health} · {cooldown} · {}", fault.kind, fault.label, hints.join(" "))
        .trim_end_matches(" · ")
        .to_owned()
}

const GROQ: &str = "rpd:998/1000 tpm:8000/8000";
const CEREBRAS: &str = "rpm:4/5 rph:149/150 rpd:2399/2400 tpm:29470/30000 tph:999470/1000000 tpd:999470/1000000";

/// A recorded case, its fault, and a part of the message.
const TABLE: &[(&str, &str, &str)] = &[
    ("groq.429-tpm", "RateLimited 429_tpm · - · tpm 3405 · rpd:992/1000 tpm:5409/8000", "Used 2591"),
    ("groq.429-tpd", "RateLimited 429_tpd · - · tpd 432000 · rpd:400/1000 tpm:8000/8000 tpd:500/200000", "TPD"),
    ("groq.429-rpd", "RateLimited 429_rpd · - · rpd 86400 · rpd:0/1000 tpm:8000/8000", "RPD"),
    ("groq.429-rpm", "RateLimited 429_rpm · - · rpm 2000 · rpd:955/1000 tpm:6100/8000 rpm:0/30", "RPM"),
    ("groq.413-wall", "TooLarge 413 · - · - · {groq}", "Requested 11088"),
    ("groq.413-wall-itpm", "TooLarge 413 · - · - · {groq} itpm:_/7000", "ITPM"),
    ("groq.413-wall-tpd", "TooLarge 413 · - · - · rpd:998/1000 tpm:12000/8000 tpd:_/100000", "TPD"),
    ("groq.401-key", "BadKey 401 · - · key 600000", "Invalid API Key"),
    ("groq.400-param", "Rejected 400 · - · -", "'store' is unsupported"),
    ("groq.400-message-field", "Rejected 400 · - · -", "reasoning_content"),
    ("groq.400-max-tokens", "Rejected 400 · - · -", "max_tokens"),
    ("groq.400-context", "TooLarge context · - · -", "reduce the length"),
    ("groq.400-tool-failed", "Rejected 400 ? · - · -", "Failed to call a function"),
    ("groq.400-schema", "Rejected 400 · - · -", "minItems"),
    ("groq.404-model", "Gone 404 · - · model 21600000", "does not exist"),
    ("groq.400-decommissioned", "Gone gone · - · model 21600000", "decommissioned"),
    ("groq.503-overload", "Busy busy · model · -", "over capacity"),
    ("groq.403-cloudflare", "Broken 403 ? · provider · -", "error code: 1010"),
    ("gemini.429-rpm", "RateLimited 429_rpm · - · rpm 38000 · rpm:_/5", "Please retry in 38"),
    ("gemini.429-rpd", "RateLimited 429_rpd · - · rpd opens · rpd:_/20", "limit: 20"),
    ("gemini.429-rpd-long", "RateLimited 429_rpd · - · rpd 40085000 · rpd:_/20", "11h8m5s"),
    ("gemini.429-tpm", "RateLimited 429_tpm · - · tpm 12000 · tpm:_/250000", "input_token_count"),
    ("gemini.429-zero", "Gone gone · - · model 21600000", "limit: 0"),
    ("gemini.429-both", "RateLimited 429_rpd · - · rpd opens · rpm:_/5 rpd:_/20", "quota"),
    ("gemini.429-bare", "RateLimited 429 · - · model 60000", "exhausted"),
    ("gemini.400-key", "BadKey 401 · - · key 600000", "not valid"),
    ("gemini.400-key-expired", "BadKey 401 · - · key 600000", "expired"),
    ("gemini.400-param", "Rejected 400 · - · -", "frequency_penalty"),
    ("gemini.400-context", "TooLarge context · - · -", "1200000"),
    ("gemini.400-signature", "Rejected 400 · - · -", "thought_signature"),
    ("gemini.400-region", "Gone gone · - · model 21600000", "location"),
    ("gemini.403-leaked", "BadKey 403 · - · key 600000", "leaked"),
    ("gemini.404-model", "Gone 404 · - · model 21600000", "not found"),
    ("gemini.404-retired", "Gone 404 · - · model 21600000", "no longer available"),
    ("gemini.500", "Broken 500 ? · provider · -", "internal error"),
    ("gemini.503-overload", "Busy busy · model · -", "high demand"),
    (
        "cerebras.429-rpm",
        "RateLimited 429_rpm · - · rpm 12000 · rpm:0/5 rph:149/150 rpd:2399/2400 tpm:29470/30000 tph:999470/1000000 tpd:999470/1000000",
        "Requests per minute",
    ),
    (
        "cerebras.429-tpm",
        "RateLimited 429_tpm · - · tpm 11383 · rpm:4/5 rph:149/150 rpd:2399/2400 tpm:0/30000 tph:999470/1000000 tpd:999470/1000000",
        "Tokens per minute",
    ),
    (
        "cerebras.429-tpd",
        "RateLimited 429_tpd · - · tpd opens · rpm:4/5 rph:149/150 rpd:2399/2400 tpm:29470/30000 tph:999470/1000000 tpd:0/1000000",
        "Tokens per day",
    ),
    (
        "cerebras.429-rph",
        "RateLimited 429_rph · - · rph opens · rpm:4/5 rph:0/150 rpd:2399/2400 tpm:29470/30000 tph:999470/1000000 tpd:999470/1000000",
        "Requests per hour",
    ),
    (
        "cerebras.429-wrapped",
        "RateLimited 429_rpm · - · rpm 12000 · rpm:0/5 rph:149/150 rpd:2399/2400 tpm:29470/30000 tph:999470/1000000 tpd:999470/1000000",
        "Requests per minute",
    ),
    ("cerebras.429-capacity", "Busy busy · model · -", "high traffic"),
    ("cerebras.401-key", "BadKey 401 · - · key 600000", "Wrong API Key"),
    ("cerebras.402-payment", "Gone 402 · - · model 21600000", "Payment required"),
    ("cerebras.422-param", "Rejected 422 · - · -", "body.store"),
    ("cerebras.400-context", "TooLarge context · - · -", "23592"),
    ("cerebras.404-model", "Gone 404 · - · model 21600000", "does not exist"),
    ("cerebras.404-archived", "Gone 404 · - · model 21600000", "archived"),
    ("cerebras.503-overload", "Broken 503 ? · provider · -", "temporarily unavailable"),
    ("mistral.429-rpm", "RateLimited 429_rpm · - · rpm opens · rpm:0/50", "Rate limit exceeded"),
    ("mistral.429-tpm", "RateLimited 429_tpm · - · tpm opens · rpm:41/50 tpm:0/50000", "Rate limit exceeded"),
    ("mistral.429-zero", "Gone gone · - · model 21600000", "Rate limit exceeded"),
    ("mistral.429-old", "RateLimited 429_rpm · - · rpm opens", "Requests rate limit"),
    ("mistral.429-capacity", "Busy busy · model · - · rpm:49/50 tpm:49877/50000", "capacity exceeded"),
    ("mistral.503-capacity", "Busy busy · model · -", "capacity exceeded"),
    ("mistral.503-overload", "Broken 503 ? · provider · -", "Service unavailable"),
    ("mistral.401-key", "BadKey 401 · - · key 600000", "Unauthorized"),
    ("mistral.401-key-kong", "BadKey 401 · - · key 600000", "Unauthorized"),
    ("mistral.403-tier", "Gone 403 · - · model 21600000", "subscription tier"),
    ("mistral.422-param", "Rejected 422 · - · -", "body.max_completion_tokens: Extra inputs"),
    ("mistral.422-stream-options", "Rejected 422 · - · -", "body.stream_options.include_usage"),
    ("mistral.422-detail", "Rejected 422 · - · -", "body.seed"),
    ("mistral.400-model", "Gone gone · - · model 21600000", "Invalid model"),
    ("mistral.400-context", "TooLarge context · - · -", "300000 tokens"),
    ("mistral.400-order", "Rejected 400 · - · -", "Expected last role"),
    ("mistral.400-order-tool", "Rejected 400 · - · -", "Unexpected role"),
    ("mistral.400-tool-id", "Rejected 400 · - · -", "Tool call id"),
    ("ollama.404-model", "Gone 404 · - · model 21600000", "not found"),
    ("ollama.400-param", "Rejected 400 · - · -", "turbo"),
    ("ollama.400-image", "Rejected 400 · - · -", "base64"),
    ("ollama.400-tools", "Rejected 400 · - · -", "does not support tools"),
    ("ollama.503-overload", "Busy busy · model · -", "server busy"),
    ("ollama.500", "Broken 500 ? · provider · -", "terminated"),
    // At 13:20 UTC on a Sunday the session ends at 14:00 and the week at midnight.
    ("ollama-cloud.429-session", "RateLimited 429_session · - · account 2400000", "session usage limit"),
    ("ollama-cloud.429-week", "RateLimited 429_week · - · account 38400000", "weekly usage limit"),
    ("ollama-cloud.429-concurrency", "RateLimited 429_concurrency · - · CONCURRENCY 1000", "concurrent"),
    ("ollama-cloud.403-plan", "Gone 403 · - · model 21600000", "subscription"),
    ("ollama-cloud.401-key", "BadKey 401 · - · key 600000", "unauthorized"),
    ("ollama-cloud.410-gone", "Gone 410 · - · model 21600000", "retired"),
    ("openrouter.429-rpd", "RateLimited 429_rpd · - · RPD 38400000 · RPD:0/50", "free-models-per-day"),
    ("openrouter.429-rpm", "RateLimited 429_rpm · - · RPM 60000 · RPM:0/20", "free-models-per-min"),
    ("openrouter.429-upstream", "Busy busy · model · -", "Provider returned error"),
    ("openrouter.429-model", "RateLimited 429 · - · model 60000", "limited to 8 requests"),
    ("openrouter.401-key", "BadKey 401 · - · key 600000", "No auth credentials"),
    ("openrouter.402-credits", "Gone 402 · - · model 21600000", "Insufficient credits"),
    ("openrouter.403-moderation", "Rejected 403 · - · -", "flagged"),
    ("openrouter.400-model", "Gone gone · - · model 21600000", "not a valid model ID"),
    ("openrouter.404-endpoint", "Gone 404 · - · model 21600000", "No endpoints found"),
    ("openrouter.400-context", "TooLarge context · - · -", "131072"),
    ("openrouter.502-provider", "Broken 502 ? · model · -", "Provider returned error"),
    ("openrouter.503-overload", "Busy busy · model · -", "Provider returned error"),
    ("openrouter.200-error", "Broken 504 ? · model · -", "idle timeout"),
    ("cloudflare.429-daily", "RateLimited 429_day · - · account 38400000", "10,000 neurons"),
    ("cloudflare.429-capacity", "Busy busy · model · -", "Capacity"),
    ("cloudflare.400-model", "Gone gone · - · model 21600000", "No such model"),
    ("cloudflare.403-paid", "Gone 403 · - · model 21600000", "Workers Free plan"),
    ("cloudflare.401-key", "BadKey 401 · - · key 600000", "Authentication error"),
    ("zai.429-concurrency", "RateLimited 429_concurrency · - · concurrency 1000", "Rate limit reached"),
    ("zai.429-capacity", "Busy busy · model · -", "overloaded"),
    // 18:30 in Beijing is 10:30 UTC, which is past, so the default of an hour applies.
    ("zai.429-quota", "RateLimited 429_allowance · - · account 3600000", "reset at"),
    ("zai.429-payment", "Gone gone · - · model 21600000", "Insufficient balance"),
    ("zai.400-model", "Gone gone · - · model 21600000", "does not exist"),
    ("zai.400-context", "TooLarge context · - · -", "max length"),
    ("zai.401-key", "BadKey 401 · - · key 600000", "Authentication"),
    ("nvidia.429", "RateLimited 429 · - · model 60000 · rph:_/-2", "Too Many Requests"),
    ("nvidia.400-degraded", "Busy busy · model · -", "DEGRADED"),
    ("nvidia.400-parallel", "Rejected 400 · - · -", "single tool-calls"),
    ("nvidia.404-model", "Gone 404 · - · model 21600000", "Not found for account"),
    ("nvidia.403-key", "BadKey 403 · - · key 600000", "Authorization failed"),
    ("cohere.429-minute", "RateLimited 429_rpm · - · RPM 60000", "20 API calls / minute"),
    ("cohere.429-month", "RateLimited 429_rpmonth · - · RPMONTH opens", "1000 API calls / month"),
    ("cohere.401-key", "BadKey 401 · - · key 600000", "invalid api token"),
    // Until the first of December.
    ("huggingface.402-credits", "Gone 402 · - · account 729600000", "monthly included credits"),
    ("modelscope.429-balance", "Gone gone · - · model 21600000", "insufficient balance"),
    ("opencode.429-free", "RateLimited 429 · - · account 21600000", "Free usage exceeded"),
    ("sambanova.402-payment", "Gone 402 · - · model 21600000", "payment method"),
    ("github.410-retired", "Gone 410 · - · model 21600000", "retired"),
    ("github.429-day", "RateLimited 429 · - · model 5631000", "5631 seconds"),
    ("llm7.400-model", "Gone gone · - · model 21600000", "not available"),
    ("custom.502-html", "Broken 502 ? · provider · -", "web page: 502 Bad Gateway"),
    ("custom.429-http-date", "RateLimited 429 · - · model 30000", "rate limited"),
    ("custom.400-context-vllm", "TooLarge context · - · -", "32768"),
];

/// The model whose limits the case names.
fn candidate_of(case: &str, provider: &str) -> &'static Candidate {
    match case {
        "groq.413-wall-itpm" => named("groq/qwen/qwen3.8-27b"),
        "zai.429-concurrency" => named("zai/glm-4.7-flash"),
        _ => candidate(provider),
    }
}

#[test]
fn every_recorded_error_becomes_the_expected_fault() {
    let mut wrong = Vec::new();
    let recorded = recorded();
    for (case, wanted, words) in TABLE {
        let wanted = wanted.replace("{groq}", GROQ).replace("{cerebras}", CEREBRAS);
        let response = recorded.iter().find(|r| r.case == *case).unwrap_or_else(|| panic!("{case} is not recorded"));
        let candidate = candidate_of(case, &response.provider);
        let fault = from_response(candidate, response.status, &response.headers, &response.body);
        let found = notation(&fault);
        if found != wanted || !fault.message.contains(words) {
            wrong.push(format!("{case}\n  wanted {wanted}\n  found  {found}\n  {}", fault.message));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_recorded_error_is_in_the_table() {
    let left: Vec<String> = recorded()
        .into_iter()
        .filter(|r| r.status >= 400 && !TABLE.iter().any(|(case, ..)| *case == r.case))
        .map(|r| r.case)
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn labels_are_of_the_closed_vocabulary() {
    const WORDS: [&str; 12] = [
        "busy",
        "gone",
        "context",
        "timeout",
        "connect",
        "reset",
        "empty",
        "malformed",
        "stream_error",
        "429",
        "413",
        "410",
    ];
    // Limits that are not tracked.
    const SPANS: [&str; 4] = ["session", "week", "day", "allowance"];
    for (case, notation, _) in TABLE {
        let label = notation.split(' ').nth(1).unwrap();
        let known = WORDS.contains(&label)
            || label.parse::<u16>().is_ok_and(|status| (400..600).contains(&status))
            || label.strip_prefix("429_").is_some_and(|of| of.parse::<Limit>().is_ok() || SPANS.contains(&of));
        assert!(known, "{case}: {label}");
    }
}

#[test]
fn an_untracked_concurrency_limit_cools_the_account_down() {
    let body = br#"{"error":"too many concurrent requests"}"#;
    let fault = from_response(candidate("ollama"), 429, &HeaderMap::new(), body);
    assert_eq!(notation(&fault), "RateLimited 429_concurrency · - · account 1000");
}

#[test]
fn a_message_never_contains_a_key() {
    let body = br#"{"error":{"message":"Incorrect API key provided: test-key-0123 or sk-abcdefgh12345"}}"#;
    let fault = from_response(candidate("groq"), 401, &HeaderMap::new(), body);
    assert_eq!(fault.message, "Incorrect API key provided: [key] or [key]");
}

#[test]
fn a_failed_connection_is_not_sent() {
    let fault = observed(candidate("groq"), "connect", "refused");
    assert_eq!((fault.kind, fault.outcome.usage), (FaultKind::Broken, Usage::NOT_SENT));
    assert_eq!(observed(candidate("groq"), "reset", "gone").outcome.usage, Usage::UNKNOWN);
    let fault = timed_out(candidate("groq"), Duration::from_secs(20));
    assert_eq!((fault.kind, fault.label.as_str()), (FaultKind::TimedOut, "timeout"));
}

#[test]
fn a_prompt_that_is_too_long_is_one_whatever_the_status() {
    for status in [400, 422, 500, 503] {
        let body = br#"{"error":{"message":"the request exceeds the available context size"}}"#;
        let fault = from_response(candidate("custom"), status, &HeaderMap::new(), body);
        assert_eq!((fault.kind, fault.outcome.health), (FaultKind::TooLarge, Health::Unknown), "{status}");
    }
}

#[test]
fn a_prompt_that_is_too_long_is_known_by_the_words_of_every_server() {
    let kind = |provider: &str, status: u16, error: &serde_json::Value| {
        let body = serde_json::json!({ "error": error }).to_string();
        from_response(candidate(provider), status, &HeaderMap::new(), body.as_bytes()).kind
    };
    for words in [
        "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
        "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
        "Invalid request: Your request exceeded model token limit: 8192",
        "Input is too long for requested model.",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 512 `max_new_tokens`",
        "Range of input length should be [1, 30720]",
        "Too many tokens in the prompt",
    ] {
        let error = serde_json::json!({ "message": words });
        assert_eq!(kind("custom", 400, &error), FaultKind::TooLarge, "{words}");
        let hidden = serde_json::json!({ "message": "Provider returned error", "code": 400,
            "metadata": { "provider_name": "Chutes", "raw": format!("{{\"detail\":\"{words}\"}}") } });
        for status in [400, 502] {
            assert_eq!(kind("openrouter", status, &hidden), FaultKind::TooLarge, "{status} {words}");
        }
    }
    let limited = serde_json::json!({ "message": "Too many tokens per minute" });
    assert_eq!(kind("custom", 429, &limited), FaultKind::RateLimited);
    let broken = serde_json::json!({ "message": "Provider returned error", "metadata": { "provider_name": "Chutes", "raw": "boom" } });
    assert_eq!(kind("openrouter", 502, &broken), FaultKind::Broken);
}

#[test]
fn an_error_behind_a_byte_order_mark_is_read() {
    let body = b"\xEF\xBB\xBF{\"error\":{\"message\":\"no\",\"code\":\"model_not_found\"}}";
    let fault = from_response(candidate("custom"), 400, &HeaderMap::new(), body);
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Gone, "no"));
}

#[test]
fn a_wait_in_the_message_sets_the_cooldown() {
    for (message, ms) in [
        ("Please try again in 20s.", 20_000),
        ("Please retry after 90 seconds", 90_000),
        ("Try again in 1m30s", 90_000),
        ("please wait 2 minutes, then continue", 120_000),
        ("try again in 500 ms", 1_000),
        ("try again soon", 60_000),
        ("Quota resets in 90s", 90_000),
        ("Please try again after 1 minute 30 seconds.", 90_000),
        ("Your quota resets in 1 day, 2 hours.", 93_600_000),
    ] {
        let body = format!(r#"{{"error":{{"message":"Slow down. {message}"}}}}"#);
        let fault = from_response(candidate("custom"), 429, &HeaderMap::new(), body.as_bytes());
        assert_eq!(fault.outcome.cooldown.unwrap().until, Until::AfterMs(ms), "{message}");
    }
}

#[test]
fn a_404_of_an_own_server_names_the_address_and_is_short() {
    let fault = from_response(candidate("custom"), 404, &HeaderMap::new(), br#"{"detail":"Not Found"}"#);
    assert_eq!(fault.outcome.cooldown.unwrap().until, Until::AfterMs(30_000));
    assert!(fault.message.contains("Not Found (404 at http://127.0.0.1:9/v1/chat/completions"), "{}", fault.message);
}

#[test]
fn a_wait_in_any_header_or_member_sets_the_cooldown() {
    for (name, value, body) in [
        ("retry-after", "20 seconds", "{}"),
        ("retry-after", "1796000020", "{}"),
        ("x-ratelimit-reset", "20", "{}"),
        ("x-ratelimit-reset-requests", "20s", "{}"),
        ("x-other", "1", r#"{"error":"slow down","retryAfter":20}"#),
        ("x-other", "1", r#"{"error":{"message":"slow down","retry_after":20}}"#),
        ("x-other", "1", r#"[{"error":{"code":429,"details":[{"retryDelay":"20s"}]}}]"#),
    ] {
        let date = "Mon, 30 Nov 2026 00:53:20 GMT";
        let headers: HeaderMap =
            [(name, value), ("date", date)].iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        let fault = from_response(candidate("custom"), 429, &headers, body.as_bytes());
        assert_eq!(fault.outcome.cooldown.unwrap().until, Until::AfterMs(20_000), "{name}: {value}, {body}");
    }
}
