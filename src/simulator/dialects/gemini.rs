//! Gemini's OpenAI-compatible API: no rate-limit headers, quotas in the details of errors, cumulative usage, tool calls
//! without `index`.

use serde_json::Value;

use super::{
    Dialect, ErrorReply, Headers, StreamEvent, finish_reason, joined,
    json::{Json, object},
    list,
    request_checks::{self, AllowedFields, RequestError},
};
use crate::simulator::{
    accounting::{
        limit::{Counts, LimitName},
        window::{HitReason, LimitHit, LimitStatus},
    },
    completion::{Completion, Finish},
    ids,
    provider::{Model, Provider},
    request::{SimulatedRequest, tokens_of},
    settings::Status,
};

const ALLOWED: &[AllowedFields] = &[
    (
        "",
        "model messages stream stream_options temperature top_p max_tokens max_completion_tokens stop n tools tool_choice \
         response_format reasoning_effort extra_body modalities audio",
    ),
    ("extra_body", "google"),
];
const SIGNATURE: &str = "EpwCCpkCAb4+9vsSimulated==";

pub(crate) struct Gemini;

impl Dialect for Gemini {
    fn prefix(&self) -> &'static str {
        "/v1beta/openai"
    }

    fn check(&self, _: &Provider, model: &Model, request: &SimulatedRequest) -> Option<RequestError> {
        request_checks::unknown_field(request, ALLOWED)
            .or_else(|| request_checks::null_in_message(request))
            .or_else(|| request_checks::stops(request, 5))
            .or_else(|| effort(request, model))
            .or_else(|| {
                let message =
                    format!("Unable to generate {} candidates. The supported range is from 1 to 8.", request.n);
                (request.n > 8).then_some(RequestError::Value { param: "n", message })
            })
            .or_else(|| request_checks::context(request, model, 0))
            .or_else(|| unsigned(request, model).then_some(RequestError::Signature))
    }

    fn request_error(&self, provider: &Provider, error: &RequestError) -> ErrorReply {
        let reply = |code, status, message: &str| error_reply(provider, code, status, message, Vec::new());
        let invalid = |message: &str| reply(400, "INVALID_ARGUMENT", message);
        match error {
            RequestError::Key | RequestError::Bot => {
                let message = "API key not valid. Please pass a valid API key.";
                let info = object! {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "API_KEY_INVALID",
                    "domain": "googleapis.com",
                    "metadata": object! { "service": "generativelanguage.googleapis.com" },
                };
                let localised = object! {
                    "@type": "type.googleapis.com/google.rpc.LocalizedMessage",
                    "locale": "en-US",
                    "message": message,
                };
                let details = vec![info, localised];
                error_reply(provider, 400, "INVALID_ARGUMENT", message, details)
            }
            RequestError::Malformed(why) => invalid(&format!("Invalid JSON payload received. {why}")),
            RequestError::NoSuchModel(name) => reply(
                404,
                "NOT_FOUND",
                &format!(
                    "models/{name} is not found for API version v1main, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods."
                ),
            ),
            RequestError::Retired(name) | RequestError::NotOnPlan(name) => reply(
                404,
                "NOT_FOUND",
                &format!(
                    "This model models/{name} is no longer available to new users. Please update your code to use a newer model for the latest features and improvements."
                ),
            ),
            RequestError::Unknown { path, .. } => {
                let message =
                    format!("Invalid JSON payload received. Unknown name \"{}\": Cannot find field.", path.join("."));
                let details = vec![object! {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": vec![object! { "description": &message }],
                }];
                error_reply(provider, 400, "INVALID_ARGUMENT", &message, details)
            }
            RequestError::InMessage { field, .. } => invalid(&format!("Unknown name \"{field}\": Cannot find field.")),
            RequestError::Value { message, .. } | RequestError::Order(message) | RequestError::ToolId(message) => {
                invalid(message)
            }
            RequestError::MaxTokens { most } => {
                invalid(&format!("The supported range of max_tokens is from 1 to {most}."))
            }
            RequestError::Context { tokens, most } => invalid(&format!(
                "The input token count ({tokens}) exceeds the maximum number of tokens allowed ({most})."
            )),
            RequestError::Signature => invalid(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance.",
            ),
        }
    }

    fn limit_error(&self, provider: &Provider, model: &Model, hit: &LimitHit, _: &[LimitStatus]) -> ErrorReply {
        const MINUTE_US: i64 = 60_000_000;
        let now_us = jiff::Timestamp::now().as_microsecond() + provider.clock_offset_us;
        let next_minute_us = MINUTE_US - now_us.rem_euclid(MINUTE_US);
        let hides_day = hit.limit.name.period() == "day" && !provider.switches.true_day_delay;
        let wait_us = if hides_day || hit.reason != HitReason::Full { next_minute_us } else { hit.wait_us };
        let (quota_metric, quota_id) = quota(hit.limit.name);
        let (max, bucket) = (hit.limit.max, &model.bucket);
        let message = format!(
            "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current usage, head to: https://ai.dev/rate-limit. \n* Quota exceeded for metric: {quota_metric}, limit: {max}, model: {bucket}\nPlease retry in {}.",
            plain_duration(wait_us)
        );
        let help = object! {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        };
        let violation = object! {
            "quotaMetric": quota_metric,
            "quotaId": quota_id,
            "quotaDimensions": object! { "location": "global", "model": bucket },
            "quotaValue" if_some: (hit.reason != HitReason::Zero).then(|| max.to_string()),
        };
        let retry_delay = format!("{}s", wait_us / 1_000_000);
        let details = vec![
            object! { "@type": "type.googleapis.com/google.rpc.Help", "links": vec![help] },
            object! { "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": vec![violation] },
            object! { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry_delay },
        ];
        error_reply(provider, 429, "RESOURCE_EXHAUSTED", &message, details)
    }

    fn headers(&self, _: &[LimitStatus], _: &Completion) -> Headers {
        server_headers()
    }

    fn whole(&self, provider: &Provider, completion: &Completion) -> String {
        let calls: Vec<Json> = (0..completion.calls.len()).map(|at| call(completion, at)).collect();
        let message = object! {
            "content" if_some: joined(&completion.content),
            "role": "assistant",
            "tool_calls" if_some: (!calls.is_empty()).then_some(calls),
        };
        let finish_reason = finish(provider, completion, false);
        let choices = (0..completion.n).map(|index| {
            object! { "finish_reason": finish_reason, "index": index, "message": message.clone() }
        });
        let visible = completion.output_tokens - completion.reasoning_tokens;
        body(completion, "chat.completion", Json::list(choices), Some(usage(completion, visible))).text()
    }

    fn events(&self, provider: &Provider, completion: &Completion) -> Vec<StreamEvent> {
        let mut tokens_so_far = 0;
        let mut chunk = |delta: Json, index: i64, finish_reason: Option<&str>, tokens, paced| {
            tokens_so_far += tokens;
            let usage = completion.include_usage.then(|| usage(completion, tokens_so_far));
            let choice = object! { "delta": delta, "index": index, "finish_reason" if_some: finish_reason };
            let body = body(completion, "chat.completion.chunk", vec![choice].into(), usage);
            StreamEvent { paced, ..StreamEvent::paced(&body, tokens) }
        };
        let end = Some(finish(provider, completion, true));
        let mut events = Vec::new();
        for (at, piece) in completion.content.iter().enumerate() {
            let end = end.filter(|_| at + 1 == completion.content.len());
            for index in 0..completion.n {
                let delta = object! { "content": piece, "role": "assistant" };
                events.push(chunk(delta, index, end, tokens_of(piece), index == 0));
            }
        }
        for (at, made) in completion.calls.iter().enumerate() {
            let delta = object! { "role": "assistant", "tool_calls": vec![call(completion, at)] };
            events.push(chunk(delta, 0, None, tokens_of(&made.name) + tokens_of(&made.arguments), true));
        }
        if completion.content.is_empty() {
            events.push(chunk(object! { "role": "assistant" }, 0, end, 0, false));
        }
        events.push(StreamEvent::done());
        events
    }

    fn models(&self, provider: &Provider, _: i64) -> String {
        let active = provider.models.iter().filter(|model| model.status == Status::Active);
        list(active.flat_map(|model| model.names()).map(|name| {
            object! {
                "id": format!("models/{name}"),
                "object": "model",
                "owned_by": "google",
                "display_name": name.split('-').map(capitalised).collect::<Vec<_>>().join(" "),
            }
        }))
    }
}

/// Indented, and in an array unless the switch is off.
fn error_reply(provider: &Provider, code: u16, status: &str, message: &str, details: Vec<Json>) -> ErrorReply {
    let error = object! {
        "code": code,
        "message": message,
        "status": status,
        "details" if_some: (!details.is_empty()).then_some(details),
    };
    let body = object! { "error": error };
    let body = if provider.switches.error_array { Json::List(vec![body]) } else { body };
    ErrorReply { body: body.indented(), ..ErrorReply::json(code, &body) }.with(server_headers())
}

fn server_headers() -> Headers {
    vec![
        ("server", "scaffolding on HTTPServer2".into()),
        ("x-content-type-options", "nosniff".into()),
        ("server-timing", "gfet4t7; dur=812".into()),
    ]
}

/// The metric and the quota id of a limit.
fn quota(name: LimitName) -> (&'static str, &'static str) {
    let requests = "generativelanguage.googleapis.com/generate_content_free_tier_requests";
    let tokens = "generativelanguage.googleapis.com/generate_content_free_tier_input_token_count";
    match (name.counts(), name.period()) {
        (Counts::Requests, "day") => (requests, "GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
        (Counts::Requests, _) => (requests, "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
        (_, "day") => (tokens, "GenerateContentInputTokensPerModelPerDay-FreeTier"),
        _ => (tokens, "GenerateContentInputTokensPerModelPerMinute-FreeTier"),
    }
}

/// `38.123456s`, `800ms`, `11h8m5s`.
fn plain_duration(us: i64) -> String {
    let seconds = us / 1_000_000;
    match seconds {
        0 => format!("{}ms", us / 1_000),
        1..60 => format!("{seconds}.{:06}s", us % 1_000_000),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m{}s", seconds / 3_600, seconds / 60 % 60, seconds % 60),
    }
}

/// A whole response, or a chunk of a stream.
fn body(completion: &Completion, object: &str, choices: Json, usage: Option<Json>) -> Json {
    object! {
        "choices": choices,
        "created": completion.created,
        "id": ids::letters(completion.seed, 0, 23),
        "model": completion.model.strip_prefix("models/").unwrap_or(&completion.model),
        "object": object,
        "usage" if_some: usage,
    }
}

/// Thinking is only in the total.
fn usage(completion: &Completion, completion_tokens: i64) -> Json {
    object! {
        "completion_tokens": completion_tokens,
        "prompt_tokens": completion.prompt_tokens,
        "total_tokens": completion.prompt_tokens + completion.reasoning_tokens + completion_tokens,
    }
}

fn finish(provider: &Provider, completion: &Completion, stream: bool) -> &'static str {
    match completion.finish {
        Finish::Safety if !provider.switches.safety_mapped => "SAFETY",
        Finish::ToolCalls if stream => "stop",
        other => finish_reason(other),
    }
}

/// Only the first call of a group is signed; none has an index.
fn call(completion: &Completion, at: usize) -> Json {
    let call = &completion.calls[at];
    let signature = object! { "google": object! { "thought_signature": SIGNATURE } };
    object! {
        "extra_content" if_some: (at == 0).then_some(signature),
        "function": object! { "arguments": &call.arguments, "name": &call.name },
        "id": format!("function-call-{}", ids::digits(completion.seed, at as u64 + 1, 19)),
        "type": "function",
    }
}

/// Models from 3 on want the signature of each turn's first call back, within the present question.
fn unsigned(request: &SimulatedRequest, model: &Model) -> bool {
    if !model.id.starts_with("gemini-3") {
        return false;
    }
    let messages: Vec<(&str, &Value)> = request_checks::messages_by_role(request).collect();
    let since = messages.iter().rposition(|(role, _)| *role == "user").unwrap_or(0);
    messages[since..].iter().filter(|(role, _)| *role == "assistant").any(|(_, message)| {
        let first = message.get("tool_calls").and_then(|calls| calls.get(0));
        let signature =
            first.map(|call| call.pointer("/extra_content/google/thought_signature").and_then(Value::as_str));
        signature.is_some_and(|signature| signature.is_none_or(str::is_empty))
    })
}

fn effort(request: &SimulatedRequest, model: &Model) -> Option<RequestError> {
    let third = model.id.starts_with("gemini-3") || model.id.starts_with("gemma");
    let known: &[&str] =
        if third { &["minimal", "low", "medium", "high"] } else { &["none", "minimal", "low", "medium", "high"] };
    let effort = request_checks::effort(request, known)?;
    Some(RequestError::Value { param: "reasoning_effort", message: format!("Invalid reasoning_effort: {effort}") })
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
