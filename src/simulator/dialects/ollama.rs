//! Ollama: no limits per time but slots and a queue, lenient parameters, usage only on request.

use serde_json::{Value, json};

use super::{
    Dialect, ErrorReply, Headers, StreamEvent, finish_reason, joined,
    json::{Json, NULL, object},
    list,
    request_checks::{self, RequestError},
    tool_calls,
};
use crate::simulator::{
    accounting::{
        limit::Counts,
        window::{LimitHit, LimitStatus},
    },
    completion::{Completion, Finish},
    ids,
    provider::{Model, Provider},
    request::{SimulatedRequest, tokens_of},
};

const EFFORTS: &[&str] = &["minimal", "low", "medium", "high", "xhigh", "ultra", "max", "none"];

pub(crate) struct Ollama;

impl Dialect for Ollama {
    fn prefix(&self) -> &'static str {
        "/v1"
    }

    fn ignore(&self, model: &Model, request: &mut SimulatedRequest) {
        request.n = 1;
        request.max_tokens = request.field("max_tokens").and_then(Value::as_i64);
        if let Some(fields) = request.body.as_object_mut() {
            fields.remove("tool_choice");
        }
        // A longer prompt is cut from the front, without an error.
        request.prompt_tokens = request.prompt_tokens.min(model.context);
    }

    fn check(&self, _: &Provider, model: &Model, request: &SimulatedRequest) -> Option<RequestError> {
        let wrong = |param: &'static str, message: String| Some(RequestError::Value { param, message });
        if let Some(effort) = request_checks::effort(request, EFFORTS) {
            let known = EFFORTS.iter().map(|effort| format!("\"{effort}\"")).collect::<Vec<_>>().join(", ");
            let known = known.replace(", \"none\"", ", or \"none\"");
            return wrong("reasoning_effort", format!("invalid reasoning value: \"{effort}\" (must be {known})"));
        }
        if request_checks::image_by_url(request) {
            let message = "image URLs are not currently supported, please use base64 encoded data instead";
            return wrong("messages", message.to_owned());
        }
        if !request.tools().is_empty() && !model.can.tools {
            return wrong("tools", format!("registry.ollama.ai/library/{} does not support tools", model.id));
        }
        request_checks::messages_by_role(request).find_map(|(_, message)| message_error(message))
    }

    fn request_error(&self, _: &Provider, error: &RequestError) -> ErrorReply {
        let invalid = |message: &str| error_reply(400, message, "invalid_request_error");
        match error {
            RequestError::NoSuchModel(name) | RequestError::Retired(name) | RequestError::NotOnPlan(name) => {
                error_reply(404, &format!("model '{name}' not found"), "not_found_error")
            }
            RequestError::Malformed(message)
            | RequestError::Value { message, .. }
            | RequestError::Order(message)
            | RequestError::ToolId(message) => invalid(message),
            RequestError::Key | RequestError::Bot => error_reply(401, "unauthorized", "api_error"),
            RequestError::Unknown { path, .. } => invalid(&format!("unknown field {}", path.join("."))),
            RequestError::InMessage { field, .. } => invalid(&format!("unknown field {field}")),
            RequestError::MaxTokens { .. } | RequestError::Context { .. } | RequestError::Signature => {
                invalid("invalid request")
            }
        }
    }

    fn limit_error(&self, _: &Provider, _: &Model, hit: &LimitHit, _: &[LimitStatus]) -> ErrorReply {
        match hit.limit.name.counts() {
            Counts::Calls => {
                error_reply(503, "server busy, please try again.  maximum pending requests exceeded", "api_error")
            }
            _ => error_reply(429, "too many requests", "api_error"),
        }
    }

    fn headers(&self, _: &[LimitStatus], _: &Completion) -> Headers {
        Headers::new()
    }

    fn whole(&self, _: &Provider, completion: &Completion) -> String {
        let message = object! {
            "role": "assistant",
            "content": completion.content.concat(),
            "reasoning" if_some: joined(&completion.reasoning),
            "tool_calls" if_some: calls(completion),
        };
        let choice = object! { "index": 0, "message": message, "finish_reason": finish(completion.finish) };
        body(completion, "chat.completion", vec![choice], true).text()
    }

    fn events(&self, _: &Provider, completion: &Completion) -> Vec<StreamEvent> {
        let chunk = |choices: Vec<Json>, with_usage| body(completion, "chat.completion.chunk", choices, with_usage);
        let delta = |delta: Json, finish_reason: Json| {
            chunk(vec![object! { "index": 0, "delta": delta, "finish_reason": finish_reason }], false)
        };
        let mut role = Some("assistant");
        let mut piece = |content: &str, reasoning: Option<&String>, tool_calls: Option<Json>, tokens| {
            let message = object! {
                "role" if_some: role.take(),
                "content": content,
                "reasoning" if_some: reasoning,
                "tool_calls" if_some: tool_calls,
            };
            StreamEvent::paced(&delta(message, NULL), tokens)
        };
        let mut events: Vec<StreamEvent> =
            completion.reasoning.iter().map(|text| piece("", Some(text), None, tokens_of(text))).collect();
        events.extend(completion.content.iter().map(|text| piece(text, None, None, tokens_of(text))));
        if let Some(calls) = calls(completion) {
            events.push(piece("", None, Some(calls), completion.output_tokens - completion.reasoning_tokens));
        }
        events.push(StreamEvent::immediate(&delta(object! {}, finish(completion.finish).into())));
        if completion.include_usage {
            events.push(StreamEvent::immediate(&chunk(Vec::new(), true)));
        }
        events.push(StreamEvent::done());
        events
    }

    fn models(&self, provider: &Provider, created: i64) -> String {
        list(provider.models.iter().map(|model| {
            object! { "id": &model.id, "object": "model", "created": created, "owned_by": "library" }
        }))
    }
}

/// The body of `GET /api/tags`.
pub(crate) fn tags(provider: &Provider) -> String {
    let models = provider.models.iter().map(|model| {
        json!({
            "name": model.id, "model": model.id, "modified_at": "2026-10-01T12:00:00Z", "size": 4_683_087_332_u64,
            "digest": ids::hex(0, model.id.len() as u64, 64),
            "details": {"format": "gguf", "family": "simulated", "parameter_size": "8B", "quantization_level": "Q4_K_M"},
        })
    });
    json!({ "models": models.collect::<Vec<_>>() }).to_string()
}

/// The body of `POST /api/show`: a model's abilities and its trained context.
pub(crate) fn show(model: &Model) -> String {
    let able = [
        ("completion", model.vectors.is_none()),
        ("embedding", model.vectors.is_some()),
        ("tools", model.can.tools),
        ("vision", model.can.vision),
        ("thinking", model.can.reasoning),
        ("insert", model.can.fim),
    ];
    let mut capabilities = Vec::new();
    capabilities.extend(able.into_iter().filter(|(_, able)| *able).map(|(name, _)| name));
    json!({
        "details": {"format": "gguf", "family": "simulated", "parameter_size": "8B", "quantization_level": "Q4_K_M"},
        "model_info": {"general.architecture": "simulated", "simulated.context_length": 131_072},
        "parameters": format!("num_ctx {}", model.context),
        "capabilities": capabilities,
    })
    .to_string()
}

/// Content without text is only taken beside tool calls, and arguments must hold a JSON object.
fn message_error(message: &Value) -> Option<RequestError> {
    let calls = message.get("tool_calls").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if message.get("content").is_some_and(Value::is_null) && calls.is_empty() {
        return Some(RequestError::Malformed("invalid message content type: <nil>".to_owned()));
    }
    let is_object = |call: &Value| {
        let arguments = call.pointer("/function/arguments").and_then(Value::as_str).unwrap_or_default();
        serde_json::from_str::<serde_json::Map<String, Value>>(arguments).is_ok()
    };
    let valid = calls.iter().all(is_object);
    (!valid).then(|| RequestError::Malformed("invalid tool call arguments".to_owned()))
}

fn error_reply(status: u16, message: &str, kind: &str) -> ErrorReply {
    let error = object! { "message": message, "type": kind, "param": NULL, "code": NULL };
    ErrorReply::json(status, &object! { "error": error })
}

/// A whole response, or a chunk of a stream.
fn body(completion: &Completion, object: &str, choices: Vec<Json>, with_usage: bool) -> Json {
    let usage = || {
        object! {
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.output_tokens,
            "total_tokens": completion.total_tokens(),
        }
    };
    object! {
        "id": format!("chatcmpl-{}", ids::digits(completion.seed, 0, 3)),
        "object": object,
        "created": completion.created,
        "model": &completion.model,
        "system_fingerprint": "fp_ollama",
        "choices": choices,
        "usage" if_some: with_usage.then(usage),
    }
}

fn calls(completion: &Completion) -> Option<Json> {
    tool_calls(completion, |function, at| {
        let id = format!("call_{}", ids::small(completion.seed, at + 1, 8));
        object! { "id": id, "index": at, "type": "function", "function": function }
    })
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Safety => "stop",
        other => finish_reason(other),
    }
}
