//! Mistral: sliding minutes, tokens debited when the response ends, flat errors, content that may be an array, strict
//! rules for the order of messages.

use serde_json::Value;

use super::{
    Dialect, ErrorReply, Headers, LimitHeaders, StreamEvent, finish_reason,
    json::{Json, NULL, object},
    list, rate_limit_headers,
    request_checks::{self, AllowedFields, RequestError},
    tool_calls,
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
        "model messages temperature top_p max_tokens stream stream_options stop random_seed metadata response_format tools \
         tool_choice presence_penalty frequency_penalty n prediction parallel_tool_calls reasoning_effort prompt_mode \
         guardrails prompt_cache_key safe_prompt",
    ),
    ("messages[]:system", "role content"),
    ("messages[]:user", "role content"),
    ("messages[]:assistant", "role content tool_calls prefix"),
    ("messages[]:tool", "role content tool_call_id name"),
    ("messages[].tool_calls[]", "id type function index"),
    ("messages[].tool_calls[].function", "name arguments"),
    (
        "messages[].content[]",
        "type text image_url document_url document_name reference_ids input_audio thinking closed",
    ),
    ("messages[].content[].image_url", "url detail"),
    ("tools[]", "type function"),
    ("tools[].function", "name description parameters strict"),
    ("response_format", "type json_schema"),
    ("response_format.json_schema", "name description schema strict"),
];
const REQUEST_HEADERS: LimitHeaders =
    (LimitName::Rpm, ["x-ratelimit-limit-req-minute", "x-ratelimit-remaining-req-minute", ""]);
const TOKEN_HEADERS: LimitHeaders =
    (LimitName::Tpm, ["x-ratelimit-limit-tokens-minute", "x-ratelimit-remaining-tokens-minute", ""]);

pub(crate) struct Mistral;

impl Dialect for Mistral {
    fn prefix(&self) -> &'static str {
        "/v1"
    }

    fn check(&self, provider: &Provider, model: &Model, request: &SimulatedRequest) -> Option<RequestError> {
        refused_options(provider, request)
            .or_else(|| request_checks::unknown_field(request, ALLOWED))
            .or_else(|| {
                let above = request.max_tokens.is_some_and(|max| max >= model.context);
                above.then_some(RequestError::MaxTokens { most: model.context - 1 })
            })
            .or_else(|| {
                let message = format!("Image input is not enabled for {}", model.id);
                (request.images > 0 && !model.can.vision).then_some(RequestError::Value { param: "messages", message })
            })
            .or_else(|| order(request))
            .or_else(|| tool_ids(request))
            .or_else(|| request_checks::context(request, model, 0))
    }

    fn request_error(&self, provider: &Provider, error: &RequestError) -> ErrorReply {
        match error {
            RequestError::Key | RequestError::Bot if provider.switches.kong_unauthorized => ErrorReply::json(
                401,
                &object! { "message": "Unauthorized", "request_id": "c61f2f15feca71626a990e3740f99245" },
            ),
            RequestError::Key | RequestError::Bot => ErrorReply::json(401, &object! { "detail": "Unauthorized" }),
            RequestError::Malformed(why) => {
                let loc = vec!["body".into(), 0.into()];
                let violation = object! { "type": "json_invalid", "loc": loc, "msg": why, "input": object! {} };
                ErrorReply::json(422, &object! { "detail": vec![violation] })
            }
            RequestError::NoSuchModel(name) | RequestError::Retired(name) => {
                error_reply(400, &format!("Invalid model: {name}"), "invalid_model", "1500")
            }
            RequestError::NotOnPlan(_) => {
                error_reply(403, "This model is not available in your subscription tier", "tier_not_allowed", "1910")
            }
            RequestError::Unknown { path, value } => forbidden(path, value),
            RequestError::InMessage { at, role, field } => {
                forbidden(&["messages".to_owned(), at.to_string(), role.clone(), field.clone()], &Value::Null)
            }
            RequestError::MaxTokens { most } => invalid(object! {
                "type": "less_than_equal",
                "loc": vec!["body".into(), "max_tokens".into()],
                "msg": format!("Input should be less than or equal to {most}"),
                "input": *most,
            }),
            RequestError::Value { message, .. } => error_reply(400, message, "invalid_request_error", "3051"),
            RequestError::Context { tokens, most } => error_reply(
                400,
                &format!("Prompt contains {tokens} tokens, too large for model with {most} maximum context length"),
                "invalid_request_prompt",
                "3051",
            ),
            RequestError::Order(message) => error_reply(400, message, "invalid_request_message_order", "3230"),
            RequestError::ToolId(message) => error_reply(400, message, "invalid_function_call", "3280"),
            RequestError::Signature => error_reply(400, "Invalid tool call", "invalid_function_call", "3280"),
        }
    }

    fn limit_error(&self, _: &Provider, _: &Model, hit: &LimitHit, statuses: &[LimitStatus]) -> ErrorReply {
        let by_requests = hit.limit.name.counts() == Counts::Requests || hit.reason == HitReason::Zero;
        error_reply(429, "Rate limit exceeded", "rate_limited", "1300")
            .with(gateway_headers(hit.wait_us.unsigned_abs()))
            .with(limit_headers(statuses, !by_requests, 0))
    }

    fn headers(&self, statuses: &[LimitStatus], completion: &Completion) -> Headers {
        let mut headers = gateway_headers(completion.seed);
        headers.extend(limit_headers(statuses, true, completion.total_tokens()));
        headers
    }

    fn whole(&self, _: &Provider, completion: &Completion) -> String {
        let text = completion.content.concat();
        let content = if completion.reasoning.is_empty() {
            Json::from(text)
        } else {
            Json::List(vec![thinking(&completion.reasoning.concat()), object! { "type": "text", "text": text }])
        };
        let message = object! {
            "role": "assistant", "tool_calls": calls(completion).unwrap_or(NULL), "content": content,
        };
        let finish_reason = finish(completion.finish);
        object! {
            "id": ids::hex(completion.seed, 0, 32),
            "created": completion.created,
            "model": &completion.model,
            "usage": usage(completion),
            "object": "chat.completion",
            "choices": Json::list((0..completion.n).map(|index| object! {
                "index": index, "finish_reason": finish_reason, "message": message.clone(),
            })),
        }
        .text()
    }

    fn events(&self, _: &Provider, completion: &Completion) -> Vec<StreamEvent> {
        let chunk = |index: i64, delta: Json, finish_reason: Option<&str>, with_usage: bool| {
            let finish_reason = finish_reason.map_or(NULL, Json::from);
            object! {
                "id": ids::hex(completion.seed, 0, 32),
                "object": "chat.completion.chunk",
                "created": completion.created,
                "model": &completion.model,
                "choices": vec![object! { "index": index, "delta": delta, "finish_reason": finish_reason }],
                "usage" if_some: with_usage.then(|| usage(completion)),
            }
        };
        let end = Some(finish(completion.finish));
        let start = || object! { "role": "assistant", "content": "" };
        let mut events: Vec<StreamEvent> =
            (0..completion.n).map(|index| StreamEvent::immediate(&chunk(index, start(), None, false))).collect();
        events.extend(completion.reasoning.iter().map(|piece| {
            let delta = object! { "content": vec![thinking(piece)] };
            StreamEvent::paced(&chunk(0, delta, None, false), tokens_of(piece))
        }));
        for (at, piece) in completion.content.iter().enumerate() {
            let last = at + 1 == completion.content.len();
            for index in 0..completion.n {
                let with_usage = last && index + 1 == completion.n;
                let body = chunk(index, object! { "content": piece }, end.filter(|_| last), with_usage);
                events.push(StreamEvent { paced: index == 0, ..StreamEvent::paced(&body, tokens_of(piece)) });
            }
        }
        if let Some(calls) = calls(completion) {
            let tokens = completion.output_tokens - completion.reasoning_tokens;
            events.push(StreamEvent::paced(&chunk(0, object! { "tool_calls": calls }, end, true), tokens));
        } else if completion.content.is_empty() {
            events.push(StreamEvent::immediate(&chunk(0, object! { "content": "" }, end, true)));
        }
        events.push(StreamEvent::done());
        events
    }

    fn models(&self, provider: &Provider, created: i64) -> String {
        // Each alias is an entry of its own that lists the other names.
        let listed = provider.models.iter().filter(|model| model.status != Status::Retired);
        list(listed.flat_map(|model| model.names().map(move |name| model_entry(model, name, created))))
    }
}

fn model_entry(model: &Model, name: &str, created: i64) -> Json {
    object! {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "mistralai",
        "capabilities": object! {
            "completion_chat": true, "function_calling": model.can.tools, "completion_fim": false, "fine_tuning": false,
            "vision": model.can.vision, "ocr": false, "classification": false, "moderation": false, "audio": false,
        },
        "name": &model.id,
        "description": "",
        "max_context_length": model.context,
        "aliases": Json::list(model.names().filter(|other| *other != name)),
        "deprecation": NULL,
        "deprecation_replacement_model": NULL,
        "default_model_temperature": 0.3,
        "type": "base",
    }
}

fn error_reply(status: u16, message: &str, kind: &str, code: &str) -> ErrorReply {
    let body = object! {
        "object": "error", "message": message, "type": kind, "param": NULL, "code": code, "raw_status_code": status,
    };
    ErrorReply::json(status, &body)
}

fn invalid(violation: Json) -> ErrorReply {
    let body = object! {
        "object": "error",
        "message": object! { "detail": vec![violation] },
        "type": "invalid_request_error",
        "param": NULL,
        "code": NULL,
    };
    ErrorReply::json(422, &body)
}

fn forbidden(path: &[String], value: &Value) -> ErrorReply {
    let steps = path.iter().map(|step| step.parse::<u64>().map_or_else(|_| step.into(), Json::from));
    invalid(object! {
        "type": "extra_forbidden",
        "loc": Json::list(std::iter::once("body".into()).chain(steps)),
        "msg": "Extra inputs are not permitted",
        "input": value,
    })
}

fn gateway_headers(seed: u64) -> Headers {
    vec![
        ("mistral-correlation-id", ids::uuid(seed, 7)),
        ("x-envoy-upstream-service-time", "412".to_owned()),
        ("x-kong-request-id", ids::hex(seed, 6, 32)),
    ]
}

/// The pair for tokens and the cost are absent when the request counter refused. There is never a reset.
fn limit_headers(statuses: &[LimitStatus], with_tokens: bool, cost: i64) -> Headers {
    let names: &[LimitHeaders] = if with_tokens { &[REQUEST_HEADERS, TOKEN_HEADERS] } else { &[REQUEST_HEADERS] };
    let mut headers = rate_limit_headers(statuses, names, |_| String::new());
    if headers.iter().any(|(name, _)| *name == TOKEN_HEADERS.1[0]) {
        headers.push(("x-ratelimit-tokens-query-cost", cost.to_string()));
    }
    headers
}

fn usage(completion: &Completion) -> Json {
    object! {
        "prompt_tokens": completion.prompt_tokens,
        "total_tokens": completion.total_tokens(),
        "completion_tokens": completion.output_tokens,
        "num_cached_tokens": 0,
        "prompt_tokens_details": object! { "cached_tokens": 0 },
    }
}

fn thinking(text: &str) -> Json {
    object! { "type": "thinking", "thinking": vec![object! { "type": "text", "text": text }] }
}

fn calls(completion: &Completion) -> Option<Json> {
    tool_calls(completion, |function, at| {
        object! { "id": ids::letters(completion.seed, at + 1, 9), "function": function, "index": at }
    })
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Safety => "error",
        other => finish_reason(other),
    }
}

/// The error names the first member of `stream_options`, not the options themselves.
fn refused_options(provider: &Provider, request: &SimulatedRequest) -> Option<RequestError> {
    let options = request.body.get("stream_options").filter(|_| !provider.switches.stream_options)?;
    let mut path = vec!["stream_options".to_owned()];
    let inner = options.as_object().and_then(|options| options.iter().next());
    path.extend(inner.map(|(name, _)| name.clone()));
    Some(RequestError::Unknown { path, value: inner.map_or(options, |(_, value)| value).clone() })
}

/// How a dialogue may end, what may follow a tool's result, and what an assistant's message must contain.
fn order(request: &SimulatedRequest) -> Option<RequestError> {
    let roles: Vec<&str> = request_checks::messages_by_role(request).map(|(role, _)| role).collect();
    let messages = request.messages();
    let wrong = |message: &str| Some(RequestError::Order(message.to_owned()));
    let (last, role) = (messages.last()?, *roles.last()?);
    let prefixed = last.get("prefix").and_then(Value::as_bool).unwrap_or(false);
    if !(matches!(role, "user" | "tool") || role == "assistant" && prefixed) {
        return wrong(&format!(
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got {role}"
        ));
    }
    if roles.windows(2).any(|pair| pair == ["tool", "user"]) {
        return wrong("Unexpected role 'user' after role 'tool'");
    }
    for (at, message) in messages.iter().enumerate().filter(|(at, _)| roles[*at] == "assistant") {
        let calls = message.get("tool_calls").and_then(Value::as_array).map_or(0, Vec::len);
        let has_content = message.get("content").is_some_and(|content| !content.is_null() && content != "");
        if calls == 0 && !has_content {
            return wrong("Assistant message must have either content or tool_calls, but not none.");
        }
        let results = roles[at + 1..].iter().take_while(|role| **role == "tool").count();
        if calls != results {
            return wrong("Not the same number of function calls and responses");
        }
    }
    None
}

/// Ids of calls and results have nine letters or digits.
fn tool_ids(request: &SimulatedRequest) -> Option<RequestError> {
    let ids = request.messages().iter().flat_map(|message| {
        let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
        calls.filter_map(|call| call.get("id")?.as_str()).chain(message.get("tool_call_id").and_then(Value::as_str))
    });
    let is_refused = |id: &&str| id.len() != 9 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let id = ids.into_iter().find(is_refused)?;
    Some(RequestError::ToolId(format!("Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9.")))
}
