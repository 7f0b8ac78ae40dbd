//! Ollama: no limits per time but slots and a queue, lenient parameters, usage only when asked for.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::simulator::{
    accounting::limit::Counts,
    accounting::window::{LimitHit, LimitStatus},
    completion::{Completion, Finish},
    dialects::request_checks::{self, RequestError},
    dialects::{Dialect, ErrorReply, Event, Headers, quoted},
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
        None
    }

    fn request_error(&self, _: &Provider, request_error: &RequestError) -> ErrorReply {
        let invalid = |message: &str| error(400, message, "invalid_request_error");
        match request_error {
            RequestError::NoSuchModel(name) | RequestError::Retired(name) | RequestError::NotOnPlan(name) => {
                error(404, &format!("model '{name}' not found"), "not_found_error")
            }
            RequestError::Malformed(message)
            | RequestError::Value { message, .. }
            | RequestError::Order(message)
            | RequestError::ToolId(message) => invalid(message),
            RequestError::Key | RequestError::Bot => error(401, "unauthorized", "api_error"),
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
                error(503, "server busy, please try again.  maximum pending requests exceeded", "api_error")
            }
            _ => error(429, "too many requests", "api_error"),
        }
    }

    fn headers(&self, _: &[LimitStatus], _: &Completion) -> Headers {
        Headers::new()
    }

    fn whole(&self, _: &Provider, answer: &Completion) -> String {
        let mut message = format!(r#"{{"role":"assistant","content":{}"#, quoted(&answer.content.concat()));
        if !answer.reasoning.is_empty() {
            let _ = write!(message, r#","reasoning":{}"#, quoted(&answer.reasoning.concat()));
        }
        if !answer.calls.is_empty() {
            let _ = write!(message, r#","tool_calls":[{}]"#, calls(answer));
        }
        format!(
            r#"{{"id":"chatcmpl-{}","object":"chat.completion","created":{},"model":{},"system_fingerprint":"fp_ollama","choices":[{{"index":0,"message":{message}}},"finish_reason":"{}"}}],{}}}"#,
            ids::digits(answer.seed, 0, 3),
            answer.created,
            quoted(&answer.model),
            finish(answer.finish),
            usage(answer),
        )
    }

    fn events(&self, _: &Provider, answer: &Completion) -> Vec<Event> {
        let head = format!(
            r#"{{"id":"chatcmpl-{}","object":"chat.completion.chunk","created":{},"model":{},"system_fingerprint":"fp_ollama","choices":["#,
            ids::digits(answer.seed, 0, 3),
            answer.created,
            quoted(&answer.model),
        );
        let chunk = |delta: &str, finish: &str| {
            format!(r#"{head}{{"index":0,"delta":{{{delta}}},"finish_reason":{finish}}}]}}"#)
        };
        let mut events = Vec::new();
        let mut role = r#""role":"assistant","#;
        for piece in &answer.reasoning {
            let delta = format!(r#"{role}"content":"","reasoning":{}"#, quoted(piece));
            events.push(Event::paced(&chunk(&delta, "null"), tokens_of(piece)));
            role = "";
        }
        for piece in &answer.content {
            let delta = format!(r#"{role}"content":{}"#, quoted(piece));
            events.push(Event::paced(&chunk(&delta, "null"), tokens_of(piece)));
            role = "";
        }
        if !answer.calls.is_empty() {
            let delta = format!(r#"{role}"content":"","tool_calls":[{}]"#, calls(answer));
            events.push(Event::paced(&chunk(&delta, "null"), answer.output_tokens - answer.reasoning_tokens));
        }
        events.push(Event::at_once(&chunk("", &format!(r#""{}""#, finish(answer.finish)))));
        if answer.include_usage {
            events.push(Event::at_once(&format!("{head}],{}}}", usage(answer))));
        }
        events.push(Event::done());
        events
    }

    fn models(&self, provider: &Provider, created: i64) -> String {
        let listed = provider.models.iter().map(|model| {
            format!(r#"{{"id":{},"object":"model","created":{created},"owned_by":"library"}}"#, quoted(&model.id))
        });
        format!(r#"{{"object":"list","data":[{}]}}"#, listed.collect::<Vec<_>>().join(","))
    }
}

/// `GET /api/tags`.
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

/// `POST /api/show`: what a model can do and the context it was trained for.
pub(crate) fn show(model: &Model) -> String {
    let mut capabilities = vec!["completion"];
    let able = [("tools", model.can.tools), ("vision", model.can.vision), ("thinking", model.can.reasoning)];
    capabilities.extend(able.into_iter().filter(|(_, able)| *able).map(|(name, _)| name));
    json!({
        "details": {"format": "gguf", "family": "simulated", "parameter_size": "8B", "quantization_level": "Q4_K_M"},
        "model_info": {"general.architecture": "simulated", "simulated.context_length": 131_072},
        "parameters": format!("num_ctx {}", model.context),
        "capabilities": capabilities,
    })
    .to_string()
}

fn error(status: u16, message: &str, kind: &str) -> ErrorReply {
    let body = format!(r#"{{"error":{{"message":{},"type":"{kind}","param":null,"code":null}}}}"#, quoted(message));
    ErrorReply::json(status, body)
}

fn usage(answer: &Completion) -> String {
    format!(
        r#""usage":{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{}}}"#,
        answer.prompt_tokens,
        answer.output_tokens,
        answer.total_tokens(),
    )
}

fn calls(answer: &Completion) -> String {
    let written = answer.calls.iter().zip(0_u64..).map(|(call, at)| {
        format!(
            r#"{{"id":"call_{}","index":{at},"type":"function","function":{{"name":{},"arguments":{}}}}}"#,
            ids::small(answer.seed, at + 1, 8),
            quoted(&call.name),
            quoted(&call.arguments),
        )
    });
    written.collect::<Vec<_>>().join(",")
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Safety => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}
