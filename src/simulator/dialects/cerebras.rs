//! Cerebras: six limits in every header, flat errors, usage beside `finish_reason`.

use super::{
    Dialect, ErrorReply, Headers, LimitHeaders, StreamEvent, finish_reason, joined,
    json::{Json, object},
    list, rate_limit_headers,
    request_checks::{self, AllowedFields, RequestError},
    seconds, seconds_up, tool_calls,
};
use crate::simulator::{
    accounting::{
        limit::{Counts, LimitName},
        meter::float,
        window::{HitReason, LimitHit, LimitStatus},
    },
    completion::Completion,
    ids,
    provider::{Model, Provider},
    request::{SimulatedRequest, tokens_of},
    settings::Status,
};

const ALLOWED: &[AllowedFields] = &[
    (
        "",
        "model messages stream stream_options max_completion_tokens max_tokens min_tokens min_completion_tokens temperature \
         top_p n stop seed response_format tools tool_choice parallel_tool_calls frequency_penalty presence_penalty \
         logit_bias logprobs top_logprobs prediction reasoning_effort reasoning_format clear_thinking disable_reasoning \
         service_tier user",
    ),
    ("messages[]:system", "role content name"),
    ("messages[]:user", "role content name"),
    ("messages[]:assistant", "role content name tool_calls reasoning"),
    ("messages[]:tool", "role content name tool_call_id"),
    ("messages[].tool_calls[]", "id type function"),
    ("messages[].tool_calls[].function", "name arguments"),
    ("messages[].content[]", "type text image_url"),
    ("messages[].content[].image_url", "url detail"),
    ("tools[]", "type function"),
    ("tools[].function", "name description parameters strict"),
    ("stream_options", "include_usage"),
    ("response_format", "type json_schema"),
    ("response_format.json_schema", "name description schema strict"),
];
const LIMIT_HEADERS: &[LimitHeaders] = &[
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
        ["x-ratelimit-limit-tokens-minute", "x-ratelimit-remaining-tokens-minute", "x-ratelimit-reset-tokens-minute"],
    ),
    (LimitName::Tph, ["x-ratelimit-limit-tokens-hour", "x-ratelimit-remaining-tokens-hour", ""]),
    (LimitName::Tpd, ["x-ratelimit-limit-tokens-day", "x-ratelimit-remaining-tokens-day", ""]),
];
const FINGERPRINT: &str = "fp_70185065a4f9d4c2b1e7";

pub(crate) struct Cerebras;

impl Dialect for Cerebras {
    fn prefix(&self) -> &'static str {
        "/v1"
    }

    fn check(&self, _: &Provider, model: &Model, request: &SimulatedRequest) -> Option<RequestError> {
        let wrong =
            |param: &'static str, message: &str| Some(RequestError::Value { param, message: message.to_owned() });
        request_checks::unknown_field(request, ALLOWED)
            .or_else(|| if request.n > 1 { wrong("n", "n: Input should be 1") } else { None })
            .or_else(|| request_checks::stops(request, 4))
            .or_else(|| {
                let effort = request_checks::effort(request, &["none", "low", "medium", "high"])?;
                wrong("reasoning_effort", &format!("Invalid reasoning_effort: {effort}"))
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

    fn request_error(&self, provider: &Provider, error: &RequestError) -> ErrorReply {
        let reply =
            |status, message: &str, kind, param, code| error_reply(provider, status, message, [kind, param, code]);
        let format = |status, message: &str| {
            reply(status, message, "invalid_request_error", "validation_error", "wrong_api_format")
        };
        match error {
            RequestError::Bot => ErrorReply::bot_filter(),
            RequestError::Key => reply(401, "Wrong API Key", "invalid_request_error", "api_key", "wrong_api_key"),
            RequestError::Malformed(why) => format(400, why),
            RequestError::NoSuchModel(name) => reply(
                404,
                &format!("Model {name} does not exist or you do not have access to it."),
                "not_found_error",
                "model",
                "model_not_found",
            ),
            RequestError::Retired(name) => {
                reply(404, &format!("Model {name} has been archived."), "not_found_error", "model", "model_archived")
            }
            RequestError::NotOnPlan(_) => reply(
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
                reply(400, message, "invalid_request_error", param, "wrong_api_format")
            }
            RequestError::Order(message) | RequestError::ToolId(message) => format(422, message),
            RequestError::Signature => format(422, "body.messages: invalid tool call"),
            RequestError::MaxTokens { most } => {
                format(422, &format!("body.max_completion_tokens: Input should be at most {most}"))
            }
            RequestError::Context { tokens, most } => reply(
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
        let (message, kind, code) = match hit.limit.name.counts() {
            Counts::Requests => (
                format!("Requests per {period} limit exceeded - too many requests sent."),
                "too_many_requests_error",
                "request_quota_exceeded",
            ),
            _ => (
                format!("Tokens per {period} limit exceeded - too many tokens processed."),
                "too_many_tokens_error",
                "token_quota_exceeded",
            ),
        };
        let reply = error_reply(provider, 429, &message, [kind, "quota", code])
            .with(vec![("server", "cloudflare".into())])
            .with(limit_headers(statuses));
        if provider.switches.retry_after && hit.reason == HitReason::Full {
            return reply.with(vec![("retry-after", seconds_up(hit.wait_us).to_string())]);
        }
        reply
    }

    fn headers(&self, statuses: &[LimitStatus], completion: &Completion) -> Headers {
        let mut headers = vec![
            ("inference-id", completion_id(completion)),
            ("x-request-id", ids::hex(completion.seed, 8, 16)),
            ("server", "cloudflare".to_owned()),
        ];
        headers.extend(limit_headers(statuses));
        headers
    }

    fn whole(&self, _: &Provider, completion: &Completion) -> String {
        let message = object! {
            "content" if_some: joined(&completion.content),
            "reasoning" if_some: joined(&completion.reasoning),
            "role": "assistant",
            "tool_calls" if_some: calls(completion, false),
        };
        let finish_reason = finish_reason(completion.finish);
        let choice = object! { "finish_reason": finish_reason, "index": 0, "message": message };
        body(completion, "chat.completion", choice, true).text()
    }

    fn events(&self, _: &Provider, completion: &Completion) -> Vec<StreamEvent> {
        let chunk = |delta: Json, finish_reason: Option<&str>| {
            let choice = object! { "delta": delta, "finish_reason" if_some: finish_reason, "index": 0 };
            body(completion, "chat.completion.chunk", choice, finish_reason.is_some())
        };
        let mut events = vec![StreamEvent::immediate(&chunk(object! { "role": "assistant" }, None))];
        events.extend(
            completion
                .reasoning
                .iter()
                .map(|piece| StreamEvent::paced(&chunk(object! { "reasoning": piece }, None), tokens_of(piece))),
        );
        events.extend(
            completion
                .content
                .iter()
                .map(|piece| StreamEvent::paced(&chunk(object! { "content": piece }, None), tokens_of(piece))),
        );
        if let Some(calls) = calls(completion, true) {
            let tokens = completion.output_tokens - completion.reasoning_tokens;
            events.push(StreamEvent::paced(&chunk(object! { "tool_calls": calls }, None), tokens));
        }
        events.push(StreamEvent::immediate(&chunk(object! {}, Some(finish_reason(completion.finish)))));
        events.push(StreamEvent::done());
        events
    }

    fn models(&self, provider: &Provider, _: i64) -> String {
        // Models that need a plan are listed, too.
        list(provider.models.iter().filter(|model| model.status != Status::Retired).map(|model| {
            object! { "id": &model.id, "object": "model", "created": 0, "owned_by": "Cerebras" }
        }))
    }
}

fn error_reply(provider: &Provider, status: u16, message: &str, [kind, param, code]: [&str; 3]) -> ErrorReply {
    let error = object! { "message": message, "type": kind, "param": param, "code": code };
    let wrapped = provider.switches.error_wrapped;
    ErrorReply::json(
        status,
        &if wrapped {
            object! { "error": error }
        } else {
            error
        },
    )
}

/// The resets are bare seconds.
fn limit_headers(statuses: &[LimitStatus]) -> Headers {
    rate_limit_headers(statuses, LIMIT_HEADERS, |status| {
        let wait_us = if status.remaining == 0 { status.next_us } else { status.until_full_us };
        format!("{:?}", float(wait_us) / 1e6)
    })
}

fn completion_id(completion: &Completion) -> String {
    format!("chatcmpl-{}", ids::uuid(completion.seed, 0))
}

/// A whole response, or a chunk of a stream.
fn body(completion: &Completion, object: &str, choice: Json, with_usage: bool) -> Json {
    object! {
        "id": completion_id(completion),
        "choices": vec![choice],
        "created": completion.created,
        "model": &completion.model,
        "system_fingerprint": FINGERPRINT,
        "object": object,
        "usage" if_some: with_usage.then(|| usage(completion)),
        "time_info" if_some: with_usage.then(|| object! {
            "queue_time": 0.00021,
            "prompt_time": 0.0041,
            "completion_time": seconds(completion.whole_ms()),
            "total_time": seconds(completion.whole_ms() + 4.3),
            "created": completion.created,
        }),
    }
}

fn usage(completion: &Completion) -> Json {
    object! {
        "total_tokens": completion.total_tokens(),
        "completion_tokens": completion.output_tokens,
        "completion_tokens_details": object! { "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0 },
        "prompt_tokens": completion.prompt_tokens,
        "prompt_tokens_details": object! { "cached_tokens": 0 },
    }
}

fn calls(completion: &Completion, indexed: bool) -> Option<Json> {
    tool_calls(completion, |function, at| {
        object! {
            "function": function,
            "type": "function",
            "id": ids::hex(completion.seed, at + 1, 9),
            "index" if_some: indexed.then_some(at),
        }
    })
}
