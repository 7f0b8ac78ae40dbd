//! Groq: token buckets in headers and messages, a closed request schema, usage in `x_groq`.

use serde_json::Value;

use super::{
    Dialect, ErrorReply, Headers, LimitHeaders, StreamEvent, finish_reason, go_duration, joined,
    json::{Json, NULL, object},
    list, rate_limit_headers,
    request_checks::{self, AllowedFields, RequestError},
    seconds, seconds_up, tool_calls,
};
use crate::simulator::{
    accounting::{
        limit::{Counts, LimitName},
        window::{HitReason, LimitHit, LimitStatus},
    },
    completion::Completion,
    ids,
    provider::{Model, Provider},
    request::{SimulatedRequest, tokens_of},
    settings::Status,
};

const TOP_LEVEL: &str = "model messages stream stream_options max_tokens max_completion_tokens temperature top_p stop seed n \
    tools tool_choice parallel_tool_calls functions function_call response_format reasoning_effort reasoning_format \
    include_reasoning frequency_penalty presence_penalty service_tier user documents citation_options compound_custom \
    search_settings disable_tool_validation";
const ALLOWED: &[AllowedFields] = &[
    ("", TOP_LEVEL),
    ("messages[]:system", "role content"),
    ("messages[]:user", "role content"),
    ("messages[]:assistant", "role content tool_calls reasoning"),
    ("messages[]:tool", "role content tool_call_id name"),
    ("messages[].tool_calls[]", "id type function"),
    ("messages[].tool_calls[].function", "name arguments"),
    ("messages[].content[]", "type text image_url document"),
    ("messages[].content[].image_url", "url detail"),
    ("tools[]", "type function"),
    ("tools[].function", "name description parameters strict"),
    ("stream_options", "include_usage"),
    ("response_format", "type json_schema"),
    ("response_format.json_schema", "name description schema strict"),
];
/// RPM and TPD are in no header.
const LIMIT_HEADERS: &[LimitHeaders] = &[
    (LimitName::Rpd, ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"]),
    (LimitName::Tpm, ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"]),
];
const ORGANISATION: &str = "org_01simulatedsimulated000000";
const FINGERPRINT: &str = "fp_a28a1d1b0f";

pub(crate) struct Groq;

impl Dialect for Groq {
    fn prefix(&self) -> &'static str {
        "/openai/v1"
    }

    fn check(&self, _: &Provider, model: &Model, request: &SimulatedRequest) -> Option<RequestError> {
        let wrong =
            |param: &'static str, message: &str| Some(RequestError::Value { param, message: message.to_owned() });
        request_checks::unknown_field(request, ALLOWED)
            .or_else(|| unreasoned(request, model))
            .or_else(|| request_checks::stream_options_without_stream(request))
            .or_else(|| plain_text(request))
            .or_else(|| if request.n > 1 { wrong("n", "'n' : number must be at most 1") } else { None })
            .or_else(|| request_checks::stops(request, 4))
            .or_else(|| {
                let too_many = request.tools().len() > 128;
                if too_many { wrong("tools", "'tools' : maximum number of items is 128") } else { None }
            })
            .or_else(|| reasoning(request, model))
            .or_else(|| formats(request))
            .or_else(|| images(request, model))
            .or_else(|| {
                let above = request.max_tokens.is_some_and(|max| max > model.max_output);
                above.then_some(RequestError::MaxTokens { most: model.max_output })
            })
            .or_else(|| request_checks::context(request, model, 0))
    }

    fn request_error(&self, _: &Provider, error: &RequestError) -> ErrorReply {
        let reply =
            |status, message: &str, code, param| error_reply(status, message, "invalid_request_error", code, param);
        let invalid = |message: &str| reply(400, message, None, None);
        match error {
            RequestError::Bot => ErrorReply::bot_filter(),
            RequestError::Key => reply(401, "Invalid API Key", Some("invalid_api_key"), None),
            RequestError::NoSuchModel(name) | RequestError::NotOnPlan(name) => reply(
                404,
                &format!("The model `{name}` does not exist or you do not have access to it."),
                Some("model_not_found"),
                None,
            ),
            RequestError::Retired(name) => reply(
                400,
                &format!(
                    "The model `{name}` has been decommissioned and is no longer supported. Please refer to \
                     https://console.groq.com/docs/deprecations for a recommendation on which model to use instead."
                ),
                Some("model_decommissioned"),
                None,
            ),
            RequestError::Unknown { path, .. } => {
                let name = path.join(".");
                let close = TOP_LEVEL.split_whitespace().find(|known| strsim::levenshtein(known, &name) <= 2);
                let hint = close.map(|known| format!(", did you mean '{known}'?")).unwrap_or_default();
                invalid(&format!("property '{name}' is unsupported{hint}"))
            }
            RequestError::InMessage { at, role, field } => invalid(&format!(
                "'messages.{at}' : for 'role:{role}' the following must be satisfied[('messages.{at}' : property '{field}' is unsupported)]"
            )),
            RequestError::Malformed(message)
            | RequestError::Value { message, .. }
            | RequestError::Order(message)
            | RequestError::ToolId(message) => invalid(message),
            RequestError::Signature => invalid("failed to parse tool call"),
            RequestError::MaxTokens { most } => reply(
                400,
                &format!(
                    "`max_tokens` must be less than or equal to `{most}`, the maximum value for `max_tokens` is less than the `context_window` for this model"
                ),
                None,
                Some("max_tokens"),
            ),
            RequestError::Context { .. } => reply(
                400,
                "Please reduce the length of the messages or completion.",
                Some("context_length_exceeded"),
                Some("messages"),
            ),
        }
    }

    fn limit_error(&self, _: &Provider, model: &Model, hit: &LimitHit, statuses: &[LimitStatus]) -> ErrorReply {
        let name = hit.limit.name;
        let kind = if name.counts() == Counts::Requests { "requests" } else { "tokens" };
        let (id, max, used, requested) = (&model.id, hit.limit.max, hit.used, hit.requested);
        let upgrade = "Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing";
        let place = format!(
            "model `{id}` in organization `{ORGANISATION}` service tier `on_demand` on {} ({})",
            spelled(name),
            name.as_str().to_uppercase()
        );
        let (status, message, retry_after) = if hit.reason == HitReason::Full {
            let wait = go_duration(hit.wait_us);
            let message = format!(
                "Rate limit reached for {place}: Limit {max}, Used {used}, Requested {requested}. Please try again in {wait}. {upgrade}"
            );
            (429, message, seconds_up(hit.wait_us))
        } else {
            let message = format!(
                "Request too large for {place}: Limit {max}, Requested {requested}, please reduce your message size and try again. {upgrade}"
            );
            (413, message, 65)
        };
        error_reply(status, &message, kind, Some("rate_limit_exceeded"), None)
            .with(limit_headers(statuses))
            .with(vec![("retry-after", retry_after.to_string())])
    }

    fn headers(&self, statuses: &[LimitStatus], completion: &Completion) -> Headers {
        let mut headers = vec![("x-request-id", request_id(completion))];
        headers.extend(limit_headers(statuses));
        headers
    }

    fn whole(&self, _: &Provider, completion: &Completion) -> String {
        let message = object! {
            "role": "assistant",
            "content" if_some: completion.calls.is_empty().then(|| completion.content.concat()),
            "reasoning" if_some: joined(&completion.reasoning),
            "tool_calls" if_some: calls(completion, false),
        };
        let reasoning_tokens = completion.reasoning_tokens;
        let details = (reasoning_tokens > 0).then(|| object! { "reasoning_tokens": reasoning_tokens });
        let finish_reason = finish_reason(completion.finish);
        object! {
            "id": completion_id(completion),
            "object": "chat.completion",
            "created": completion.created,
            "model": &completion.model,
            "choices": vec![object! {
                "index": 0, "message": message, "logprobs": NULL, "finish_reason": finish_reason,
            }],
            "usage": usage(completion, details),
            "usage_breakdown": NULL,
            "system_fingerprint": FINGERPRINT,
            "x_groq": object! { "id": request_id(completion), "seed": completion.seed >> 33 },
            "service_tier": "on_demand",
        }
        .text()
    }

    fn events(&self, _: &Provider, completion: &Completion) -> Vec<StreamEvent> {
        let chunk = |choices: Vec<Json>, x_groq: Option<Json>, usage: Option<Json>| {
            object! {
                "id": completion_id(completion),
                "object": "chat.completion.chunk",
                "created": completion.created,
                "model": &completion.model,
                "system_fingerprint": FINGERPRINT,
                "choices": choices,
                "x_groq" if_some: x_groq,
                "usage" if_some: usage.clone(),
                "service_tier" if_some: usage.map(|_| "on_demand"),
            }
        };
        let choice = |delta: Json, finish_reason: Json| {
            vec![object! { "index": 0, "delta": delta, "logprobs": NULL, "finish_reason": finish_reason }]
        };
        let delta = |delta: Json| chunk(choice(delta, NULL), None, None);
        let id = request_id(completion);
        let content = if completion.calls.is_empty() { Json::from("") } else { NULL };
        let start = choice(object! { "role": "assistant", "content": content }, NULL);
        let mut events = vec![StreamEvent::immediate(&chunk(start, Some(object! { "id": &id }), None))];
        let channel = completion.model.contains("gpt-oss").then_some("analysis");
        events.extend(completion.reasoning.iter().map(|piece| {
            StreamEvent::paced(&delta(object! { "reasoning": piece, "channel" if_some: channel }), tokens_of(piece))
        }));
        events.extend(
            completion
                .content
                .iter()
                .map(|piece| StreamEvent::paced(&delta(object! { "content": piece }), tokens_of(piece))),
        );
        if let Some(calls) = calls(completion, true) {
            let tokens = completion.output_tokens - completion.reasoning_tokens;
            events.push(StreamEvent::paced(&delta(object! { "tool_calls": calls }), tokens));
        }
        let last = choice(object! {}, finish_reason(completion.finish).into());
        let x_groq = object! { "id": id, "usage": usage(completion, None) };
        events.push(StreamEvent::immediate(&chunk(last, Some(x_groq), None)));
        if completion.include_usage {
            events.push(StreamEvent::immediate(&chunk(Vec::new(), None, Some(usage(completion, None)))));
        }
        events.push(StreamEvent::done());
        events
    }

    fn models(&self, provider: &Provider, created: i64) -> String {
        list(provider.models.iter().filter(|model| model.status == Status::Active).map(|model| {
            object! {
                "id": &model.id,
                "object": "model",
                "created": created,
                "owned_by": model.id.split_once('/').map_or("Groq", |(owner, _)| owner),
                "active": true,
                "context_window": model.context,
                "public_apps": NULL,
                "max_completion_tokens": model.max_output,
            }
        }))
    }
}

fn error_reply(status: u16, message: &str, kind: &str, code: Option<&str>, param: Option<&str>) -> ErrorReply {
    let error = object! { "message": message, "type": kind, "code" if_some: code, "param" if_some: param };
    ErrorReply::json(status, &object! { "error": error })
        .with(vec![("x-request-id", "req_01kb0simulatedsimulated0".into())])
}

fn limit_headers(statuses: &[LimitStatus]) -> Headers {
    let mut headers = vec![("x-groq-region", "fra".to_owned())];
    headers.extend(rate_limit_headers(statuses, LIMIT_HEADERS, |status| go_duration(status.until_full_us)));
    headers.extend([("server", "cloudflare".to_owned()), ("via", "1.1 google".to_owned())]);
    headers
}

fn spelled(name: LimitName) -> String {
    let unit = match name.counts() {
        Counts::Requests => "requests",
        Counts::Input => "input tokens",
        Counts::Sound => "audio seconds",
        Counts::Tokens | Counts::Calls => "tokens",
    };
    format!("{unit} per {}", name.period())
}

fn completion_id(completion: &Completion) -> String {
    format!("chatcmpl-{}", ids::uuid(completion.seed, 0))
}

fn request_id(completion: &Completion) -> String {
    format!("req_01kb0{}", ids::small(completion.seed, 9, 21))
}

fn usage(completion: &Completion, details: Option<Json>) -> Json {
    object! {
        "queue_time": 0.0431,
        "prompt_tokens": completion.prompt_tokens,
        "prompt_time": 0.0036,
        "completion_tokens": completion.output_tokens,
        "completion_time": seconds(completion.whole_ms()),
        "total_tokens": completion.total_tokens(),
        "total_time": seconds(completion.whole_ms() + 3.6),
        "completion_tokens_details" if_some: details,
    }
}

fn calls(completion: &Completion, indexed: bool) -> Option<Json> {
    tool_calls(completion, |function, at| {
        object! {
            "id": format!("fc_{}", ids::uuid(completion.seed, at + 1)),
            "type": "function",
            "function": function,
            "index" if_some: indexed.then_some(at),
        }
    })
}

/// Only models that reason take the reasoning of an earlier turn back.
fn unreasoned(request: &SimulatedRequest, model: &Model) -> Option<RequestError> {
    let at = request.messages().iter().position(|message| message.get("reasoning").is_some())?;
    (!model.can.reasoning).then(|| RequestError::InMessage {
        at,
        role: "assistant".to_owned(),
        field: "reasoning".to_owned(),
    })
}

/// Only users may send content as an array of parts.
fn plain_text(request: &SimulatedRequest) -> Option<RequestError> {
    let (at, _) = request_checks::messages_by_role(request)
        .enumerate()
        .find(|(_, (role, message))| *role != "user" && message.get("content").is_some_and(Value::is_array))?;
    Some(RequestError::Value {
        param: "messages",
        message: format!("'messages.{at}.content' : value must be a string"),
    })
}

fn reasoning(request: &SimulatedRequest, model: &Model) -> Option<RequestError> {
    let wrong = |param: &'static str, message: String| Some(RequestError::Value { param, message });
    if let Some(effort) = request.text("reasoning_effort") {
        let known: &[&str] = match model.id.as_str() {
            id if id.contains("gpt-oss") => &["low", "medium", "high"],
            _ => &["none", "default", "low", "medium", "high"],
        };
        if !model.can.reasoning {
            return wrong("reasoning_effort", "reasoning_effort is not supported with this model".into());
        }
        if !known.contains(&effort) {
            return wrong("reasoning_effort", format!("`reasoning_effort` must be one of `{}`", known.join("`, `")));
        }
    }
    match (request.text("reasoning_format"), request.field("include_reasoning")) {
        (Some(_), Some(_)) => {
            wrong("reasoning_format", "cannot specify both reasoning_format and include_reasoning".into())
        }
        (Some("raw"), None) if !request.tools().is_empty() || request.field("response_format").is_some() => wrong(
            "reasoning_format",
            "reasoning_format must be one of `hidden`, `parsed` with tools or JSON mode".into(),
        ),
        _ => None,
    }
}

fn formats(request: &SimulatedRequest) -> Option<RequestError> {
    let wrong = |message: String| Some(RequestError::Value { param: "response_format", message });
    let format = request.field("response_format")?;
    if format["type"] == "json_object"
        && !request.messages().iter().any(|message| message.to_string().to_lowercase().contains("json"))
    {
        return wrong(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
                .into(),
        );
    }
    let schema = format.pointer("/json_schema/schema")?;
    let name = format.pointer("/json_schema/name").and_then(Value::as_str).unwrap_or("schema");
    let refused =
        ["minItems", "maxItems"].into_iter().find(|word| schema.to_string().contains(&format!("\"{word}\"")))?;
    wrong(format!("invalid schema for response format: response_format/json_schema/{name}: {refused} is not supported"))
}

fn images(request: &SimulatedRequest, model: &Model) -> Option<RequestError> {
    let message = match request.images {
        0 => return None,
        _ if !model.can.vision => "messages[0].content must be a string".to_owned(),
        1..=3 => return None,
        _ => "Too many images provided. This model supports up to 3 images".to_owned(),
    };
    Some(RequestError::Value { param: "messages", message })
}
