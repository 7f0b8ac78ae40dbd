//! Cerebras: six windows in every header, flat errors, usage beside `finish_reason`.

use std::fmt::Write as _;

use super::{
    answer::{Answer, Finish},
    ask::{Ask, tokens_of},
    checks::{self, Complaint},
    counters::float,
    dialect::{Dialect, Event, Headers, Refusal, quoted, seconds_up},
    ids,
    limit::{Counts, LimitName},
    provider::{Model, Provider},
    settings::Status,
    window::{Hit, View, Why},
};

const FIELDS: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_completion_tokens",
    "max_tokens",
    "min_tokens",
    "min_completion_tokens",
    "temperature",
    "top_p",
    "n",
    "stop",
    "seed",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "prediction",
    "prompt_cache_key",
    "reasoning_effort",
    "reasoning_format",
    "clear_thinking",
    "disable_reasoning",
    "service_tier",
    "user",
];
const FINGERPRINT: &str = "fp_70185065a4f9d4c2b1e7";

pub struct Cerebras;

impl Dialect for Cerebras {
    fn prefix(&self) -> &'static str {
        "/v1"
    }

    fn check(&self, _: &Provider, model: &Model, ask: &Ask) -> Option<Complaint> {
        let known = |_: &str, field: &str| {
            matches!(field, "role" | "content" | "name" | "tool_calls" | "tool_call_id" | "reasoning" | "refusal")
        };
        let wrong = |param: &'static str, message: &str| Some(Complaint::Value { param, message: message.to_owned() });
        checks::unknown_field(ask, FIELDS)
            .or_else(|| checks::message_field(ask, known))
            .or_else(|| if ask.n > 1 { wrong("n", "n: Input should be 1") } else { None })
            .or_else(|| checks::stops(ask, 4))
            .or_else(|| match checks::effort(ask, &["none", "low", "medium", "high"]) {
                Some(effort) => wrong("reasoning_effort", &format!("Invalid reasoning_effort: {effort}")),
                None => None,
            })
            .or_else(|| {
                if checks::image_by_url(ask) {
                    wrong("messages", "Image URLs are not supported. Provide images as base64 data URIs.")
                } else if ask.images > 0 && !model.can.vision {
                    wrong("messages", &format!("Model {} does not support image input.", model.id))
                } else {
                    None
                }
            })
            .or_else(|| checks::context(ask, model, ask.max_tokens.unwrap_or(0).max(0)))
    }

    fn complain(&self, provider: &Provider, complaint: &Complaint) -> Refusal {
        let error = |status, message: &str, kind, param, code| error(provider, status, message, kind, param, code);
        let format = |status, message: &str| {
            error(status, message, "invalid_request_error", "validation_error", "wrong_api_format")
        };
        match complaint {
            Complaint::Bot => Refusal {
                status: 403,
                headers: vec![("server", "cloudflare".into())],
                body: "error code: 1010\n".into(),
                content_type: "text/plain; charset=UTF-8",
            },
            Complaint::Key => error(401, "Wrong API Key", "invalid_request_error", "api_key", "wrong_api_key"),
            Complaint::Malformed(why) => format(400, why),
            Complaint::NoSuchModel(name) => error(
                404,
                &format!("Model {name} does not exist or you do not have access to it."),
                "not_found_error",
                "model",
                "model_not_found",
            ),
            Complaint::Retired(name) => {
                error(404, &format!("Model {name} has been archived."), "not_found_error", "model", "model_archived")
            }
            Complaint::NotOnPlan(_) => error(
                402,
                "Payment required to access this resource. Visit your billing tab.",
                "payment_required_error",
                "quota",
                "payment_required",
            ),
            Complaint::Unknown { path, .. } => {
                format(422, &format!("body.{}: Extra inputs are not permitted", path.join(".")))
            }
            Complaint::InMessage { at, field, role } => {
                format(422, &format!("body.messages.{at}.{role}.{field}: Extra inputs are not permitted"))
            }
            Complaint::Value { param, message } => {
                error(400, message, "invalid_request_error", param, "wrong_api_format")
            }
            Complaint::Order(message) | Complaint::ToolId(message) => format(422, message),
            Complaint::Signature => format(422, "body.messages: invalid tool call"),
            Complaint::MaxTokens { most } => {
                format(422, &format!("body.max_completion_tokens: Input should be at most {most}"))
            }
            Complaint::Context { tokens, most } => error(
                400,
                &format!(
                    "Please reduce the length of the messages or completion. Current length is {tokens} while limit is {most}"
                ),
                "invalid_request_error",
                "messages",
                "context_length_exceeded",
            ),
        }
    }

    fn refuse(&self, provider: &Provider, _: &Model, hit: &Hit, views: &[View]) -> Refusal {
        let period = hit.limit.name.period();
        let refusal = match hit.limit.name.counts() {
            Counts::Requests => error(
                provider,
                429,
                &format!("Requests per {period} limit exceeded - too many requests sent."),
                "too_many_requests_error",
                "quota",
                "request_quota_exceeded",
            ),
            _ => error(
                provider,
                429,
                &format!("Tokens per {period} limit exceeded - too many tokens processed."),
                "too_many_tokens_error",
                "quota",
                "token_quota_exceeded",
            ),
        };
        let refusal = refusal.with(vec![("server", "cloudflare".into())]).with(standing(views));
        if provider.switches.retry_after && hit.why == Why::Full {
            return refusal.with(vec![("retry-after", seconds_up(hit.wait_us).to_string())]);
        }
        refusal
    }

    fn headers(&self, views: &[View], answer: &Answer) -> Headers {
        let mut headers = vec![
            ("inference-id", format!("chatcmpl-{}", ids::uuid(answer.seed, 0))),
            ("x-request-id", ids::hex(answer.seed, 8, 16)),
            ("server", "cloudflare".to_owned()),
        ];
        headers.extend(standing(views));
        headers
    }

    fn whole(&self, _: &Provider, answer: &Answer) -> String {
        let mut message = String::new();
        if !answer.content.is_empty() {
            let _ = write!(message, r#""content":{},"#, quoted(&answer.content.concat()));
        }
        if !answer.reasoning.is_empty() {
            let _ = write!(message, r#""reasoning":{},"#, quoted(&answer.reasoning.concat()));
        }
        message.push_str(r#""role":"assistant""#);
        if !answer.calls.is_empty() {
            let _ = write!(message, r#","tool_calls":[{}]"#, calls(answer, false));
        }
        format!(
            r#"{{"id":"chatcmpl-{}","choices":[{{"finish_reason":"{}","index":0,"message":{{{message}}}}}],"created":{},"model":{},"system_fingerprint":"{FINGERPRINT}","object":"chat.completion",{}}}"#,
            ids::uuid(answer.seed, 0),
            finish(answer.finish),
            answer.created,
            quoted(&answer.model),
            usage(answer),
        )
    }

    fn events(&self, _: &Provider, answer: &Answer) -> Vec<Event> {
        let head = format!(r#"{{"id":"chatcmpl-{}","choices":["#, ids::uuid(answer.seed, 0));
        let tail = format!(
            r#"],"created":{},"model":{},"system_fingerprint":"{FINGERPRINT}","object":"chat.completion.chunk""#,
            answer.created,
            quoted(&answer.model),
        );
        let chunk = |delta: &str| format!(r#"{head}{{"delta":{delta},"index":0}}{tail}}}"#);
        let mut events = vec![Event::at_once(&chunk(r#"{"role":"assistant"}"#))];
        for (member, pieces) in [("reasoning", &answer.reasoning), ("content", &answer.content)] {
            events.extend(
                pieces.iter().map(|piece| {
                    Event::paced(&chunk(&format!(r#"{{"{member}":{}}}"#, quoted(piece))), tokens_of(piece))
                }),
            );
        }
        if !answer.calls.is_empty() {
            let delta = format!(r#"{{"tool_calls":[{}]}}"#, calls(answer, true));
            events.push(Event::paced(&chunk(&delta), answer.completion_tokens - answer.reasoning_tokens));
        }
        events.push(Event::at_once(&format!(
            r#"{head}{{"delta":{{}},"finish_reason":"{}","index":0}}{tail},{}}}"#,
            finish(answer.finish),
            usage(answer),
        )));
        events.push(Event::done());
        events
    }

    fn models(&self, provider: &Provider, _: i64) -> String {
        // What needs a plan is listed all the same.
        let listed = provider.models.iter().filter(|model| model.status != Status::Retired).map(|model| {
            format!(r#"{{"id":{},"object":"model","created":0,"owned_by":"Cerebras"}}"#, quoted(&model.id))
        });
        format!(r#"{{"object":"list","data":[{}]}}"#, listed.collect::<Vec<_>>().join(","))
    }
}

fn error(provider: &Provider, status: u16, message: &str, kind: &str, param: &str, code: &str) -> Refusal {
    let flat = format!(r#"{{"message":{},"type":"{kind}","param":"{param}","code":"{code}"}}"#, quoted(message));
    let body = if provider.switches.error_wrapped { format!(r#"{{"error":{flat}}}"#) } else { flat };
    Refusal::json(status, body)
}

/// Limit and remaining of six windows; a reset (bare seconds) of three.
fn standing(views: &[View]) -> Headers {
    let names: [(LimitName, [&'static str; 3]); 6] = [
        (
            LimitName::Rpm,
            [
                "x-ratelimit-limit-requests-minute",
                "x-ratelimit-remaining-requests-minute",
                "x-ratelimit-reset-requests-minute",
            ],
        ),
        (LimitName::Rph, ["x-ratelimit-limit-requests-hour", "x-ratelimit-remaining-requests-hour", ""]),
        (
            LimitName::Rpd,
            ["x-ratelimit-limit-requests-day", "x-ratelimit-remaining-requests-day", "x-ratelimit-reset-requests-day"],
        ),
        (
            LimitName::Tpm,
            [
                "x-ratelimit-limit-tokens-minute",
                "x-ratelimit-remaining-tokens-minute",
                "x-ratelimit-reset-tokens-minute",
            ],
        ),
        (LimitName::Tph, ["x-ratelimit-limit-tokens-hour", "x-ratelimit-remaining-tokens-hour", ""]),
        (LimitName::Tpd, ["x-ratelimit-limit-tokens-day", "x-ratelimit-remaining-tokens-day", ""]),
    ];
    let mut headers = Headers::new();
    for (name, [limit, remaining, reset]) in names {
        let Some(view) = views.iter().rev().find(|view| view.name == name) else { continue };
        headers.push((limit, view.max.to_string()));
        headers.push((remaining, view.remaining.to_string()));
        if !reset.is_empty() {
            let wait_us = if view.remaining == 0 { view.next_us } else { view.until_full_us };
            headers.push((reset, format!("{:?}", float(wait_us) / 1e6)));
        }
    }
    headers
}

fn usage(answer: &Answer) -> String {
    let seconds = answer.whole_ms() / 1_000.0;
    format!(
        r#""usage":{{"total_tokens":{},"completion_tokens":{},"completion_tokens_details":{{"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"prompt_tokens":{},"prompt_tokens_details":{{"cached_tokens":0}}}},"time_info":{{"queue_time":0.00021,"prompt_time":0.0041,"completion_time":{seconds:.4},"total_time":{:.4},"created":{}}}"#,
        answer.total_tokens(),
        answer.completion_tokens,
        answer.prompt_tokens,
        seconds + 0.0043,
        answer.created,
    )
}

fn calls(answer: &Answer, indexed: bool) -> String {
    let written = answer.calls.iter().zip(0_u64..).map(|(call, at)| {
        let index = if indexed { format!(r#","index":{at}"#) } else { String::new() };
        format!(
            r#"{{"function":{{"name":{},"arguments":{}}},"type":"function","id":"{}"{index}}}"#,
            quoted(&call.name),
            quoted(&call.arguments),
            ids::hex(answer.seed, at + 1, 9),
        )
    });
    written.collect::<Vec<_>>().join(",")
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::Safety => "content_filter",
    }
}
