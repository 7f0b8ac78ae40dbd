//! Cerebras: six windows in every header, flat errors, usage beside `finish_reason`.

use std::fmt::Write as _;

use crate::simulator::{
    accounting::limit::{Counts, LimitName},
    accounting::meter::float,
    accounting::window::{HitReason, LimitHit, LimitStatus},
    completion::{Completion, Finish},
    dialects::request_checks::{self, RequestError},
    dialects::{Dialect, ErrorReply, Event, Headers, quoted, seconds_up},
    ids,
    provider::{Model, Provider},
    request::{SimulatedRequest, tokens_of},
    settings::Status,
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

pub(crate) struct Cerebras;

impl Dialect for Cerebras {
    fn prefix(&self) -> &'static str {
        "/v1"
    }

    fn check(&self, _: &Provider, model: &Model, request: &SimulatedRequest) -> Option<RequestError> {
        let known = |_: &str, field: &str| {
            matches!(field, "role" | "content" | "name" | "tool_calls" | "tool_call_id" | "reasoning" | "reply")
        };
        let wrong =
            |param: &'static str, message: &str| Some(RequestError::Value { param, message: message.to_owned() });
        request_checks::unknown_field(request, FIELDS)
            .or_else(|| request_checks::message_field(request, known))
            .or_else(|| if request.n > 1 { wrong("n", "n: Input should be 1") } else { None })
            .or_else(|| request_checks::stops(request, 4))
            .or_else(|| match request_checks::effort(request, &["none", "low", "medium", "high"]) {
                Some(effort) => wrong("reasoning_effort", &format!("Invalid reasoning_effort: {effort}")),
                None => None,
            })
            .or_else(|| {
                if request_checks::image_by_url(request) {
                    wrong("messages", "Image URLs are not supported. Provide images as base64 data URIs.")
                } else if request.images > 0 && !model.can.vision {
                    wrong("messages", &format!("Model {} does not support image input.", model.id))
                } else {
                    None
                }
            })
            .or_else(|| request_checks::context(request, model, request.max_tokens.unwrap_or(0).max(0)))
    }

    fn request_error(&self, provider: &Provider, request_error: &RequestError) -> ErrorReply {
        let error = |status, message: &str, kind, param, code| error(provider, status, message, kind, param, code);
        let format = |status, message: &str| {
            error(status, message, "invalid_request_error", "validation_error", "wrong_api_format")
        };
        match request_error {
            RequestError::Bot => ErrorReply {
                status: 403,
                headers: vec![("server", "cloudflare".into())],
                body: "error code: 1010\n".into(),
                content_type: "text/plain; charset=UTF-8",
            },
            RequestError::Key => error(401, "Wrong API Key", "invalid_request_error", "api_key", "wrong_api_key"),
            RequestError::Malformed(why) => format(400, why),
            RequestError::NoSuchModel(name) => error(
                404,
                &format!("Model {name} does not exist or you do not have access to it."),
                "not_found_error",
                "model",
                "model_not_found",
            ),
            RequestError::Retired(name) => {
                error(404, &format!("Model {name} has been archived."), "not_found_error", "model", "model_archived")
            }
            RequestError::NotOnPlan(_) => error(
                402,
                "Payment required to access this resource. Visit your billing tab.",
                "payment_required_error",
                "quota",
                "payment_required",
            ),
            RequestError::Unknown { path, .. } => {
                format(422, &format!("body.{}: Extra inputs are not permitted", path.join(".")))
            }
            RequestError::InMessage { at, field, role } => {
                format(422, &format!("body.messages.{at}.{role}.{field}: Extra inputs are not permitted"))
            }
            RequestError::Value { param, message } => {
                error(400, message, "invalid_request_error", param, "wrong_api_format")
            }
            RequestError::Order(message) | RequestError::ToolId(message) => format(422, message),
            RequestError::Signature => format(422, "body.messages: invalid tool call"),
            RequestError::MaxTokens { most } => {
                format(422, &format!("body.max_completion_tokens: Input should be at most {most}"))
            }
            RequestError::Context { tokens, most } => error(
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

    fn limit_error(&self, provider: &Provider, _: &Model, hit: &LimitHit, statuses: &[LimitStatus]) -> ErrorReply {
        let period = hit.limit.name.period();
        let reply = match hit.limit.name.counts() {
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
        let reply = reply.with(vec![("server", "cloudflare".into())]).with(rate_limit_headers(statuses));
        if provider.switches.retry_after && hit.reason == HitReason::Full {
            return reply.with(vec![("retry-after", seconds_up(hit.wait_us).to_string())]);
        }
        reply
    }

    fn headers(&self, statuses: &[LimitStatus], answer: &Completion) -> Headers {
        let mut headers = vec![
            ("inference-id", format!("chatcmpl-{}", ids::uuid(answer.seed, 0))),
            ("x-request-id", ids::hex(answer.seed, 8, 16)),
            ("server", "cloudflare".to_owned()),
        ];
        headers.extend(rate_limit_headers(statuses));
        headers
    }

    fn whole(&self, _: &Provider, answer: &Completion) -> String {
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

    fn events(&self, _: &Provider, answer: &Completion) -> Vec<Event> {
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
            events.push(Event::paced(&chunk(&delta), answer.output_tokens - answer.reasoning_tokens));
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

fn error(provider: &Provider, status: u16, message: &str, kind: &str, param: &str, code: &str) -> ErrorReply {
    let flat = format!(r#"{{"message":{},"type":"{kind}","param":"{param}","code":"{code}"}}"#, quoted(message));
    let body = if provider.switches.error_wrapped { format!(r#"{{"error":{flat}}}"#) } else { flat };
    ErrorReply::json(status, body)
}

/// Limit and remaining of six windows; a reset (bare seconds) of three.
fn rate_limit_headers(statuses: &[LimitStatus]) -> Headers {
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
        let Some(status_of) = statuses.iter().rev().find(|status_of| status_of.name == name) else { continue };
        headers.push((limit, status_of.max.to_string()));
        headers.push((remaining, status_of.remaining.to_string()));
        if !reset.is_empty() {
            let wait_us = if status_of.remaining == 0 { status_of.next_us } else { status_of.until_full_us };
            headers.push((reset, format!("{:?}", float(wait_us) / 1e6)));
        }
    }
    headers
}

fn usage(answer: &Completion) -> String {
    let seconds = answer.whole_ms() / 1_000.0;
    format!(
        r#""usage":{{"total_tokens":{},"completion_tokens":{},"completion_tokens_details":{{"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"prompt_tokens":{},"prompt_tokens_details":{{"cached_tokens":0}}}},"time_info":{{"queue_time":0.00021,"prompt_time":0.0041,"completion_time":{seconds:.4},"total_time":{:.4},"created":{}}}"#,
        answer.total_tokens(),
        answer.output_tokens,
        answer.prompt_tokens,
        seconds + 0.0043,
        answer.created,
    )
}

fn calls(answer: &Completion, indexed: bool) -> String {
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
