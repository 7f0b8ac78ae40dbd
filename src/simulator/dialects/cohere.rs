//! Cohere's compatible API with a trial key: flat errors with an id, whose text names the limit; ranking stands beside it.

use super::{
    Dialect, ErrorReply, Headers, StreamEvent, finish_reason,
    json::{Json, NULL, object},
    list,
    request_checks::{self, RequestError},
    tool_calls,
};
use crate::simulator::{
    accounting::window::{LimitHit, LimitStatus},
    completion::Completion,
    ids,
    provider::{Model, Provider},
    request::{SimulatedRequest, tokens_of},
};

pub(crate) struct Cohere;

impl Dialect for Cohere {
    fn prefix(&self) -> &'static str {
        "/compatibility/v1"
    }

    fn check(&self, _: &Provider, model: &Model, request: &SimulatedRequest) -> Option<RequestError> {
        let images = (request.images > 0 && !model.can.vision).then(|| RequestError::Value {
            param: "messages",
            message: format!("model '{}' does not support image input", model.id),
        });
        images.or_else(|| request_checks::context(request, model, 0))
    }

    fn request_error(&self, _: &Provider, error: &RequestError) -> ErrorReply {
        match error {
            RequestError::Key | RequestError::Bot => reply(401, "invalid api token"),
            RequestError::NoSuchModel(name) | RequestError::Retired(name) | RequestError::NotOnPlan(name) => reply(
                404,
                &format!(
                    "model '{name}' not found, make sure the correct model ID was used and that you have access to the model."
                ),
            ),
            RequestError::Malformed(message)
            | RequestError::Value { message, .. }
            | RequestError::Order(message)
            | RequestError::ToolId(message) => reply(400, message),
            RequestError::Unknown { path, .. } => reply(400, &format!("unknown field: parameter '{}'", path.join("."))),
            RequestError::InMessage { field, .. } => reply(400, &format!("unknown field: parameter '{field}'")),
            RequestError::Context { tokens, most } => {
                reply(400, &format!("too many tokens: total number of tokens ({tokens}) exceeds the limit of {most}"))
            }
            RequestError::MaxTokens { .. } | RequestError::Signature => reply(400, "invalid request"),
        }
    }

    fn limit_error(&self, _: &Provider, _: &Model, hit: &LimitHit, _: &[LimitStatus]) -> ErrorReply {
        let (most, period) = (hit.limit.max, hit.limit.name.period());
        reply(
            429,
            &format!(
                "You are using a Trial key, which is limited to {most} API calls / {period}. You can continue to use the Trial key \
                 for free or upgrade to a Production key with higher rate limits at 'https://dashboard.cohere.com/api-keys'."
            ),
        )
    }

    fn headers(&self, _: &[LimitStatus], _: &Completion) -> Headers {
        Headers::new()
    }

    fn whole(&self, _: &Provider, completion: &Completion) -> String {
        let message = object! {
            "role": "assistant", "content": completion.content.concat(), "tool_calls" if_some: calls(completion),
        };
        let choice = object! { "index": 0, "finish_reason": finish_reason(completion.finish), "message": message };
        body(completion, "chat.completion", vec![choice], true).text()
    }

    fn events(&self, _: &Provider, completion: &Completion) -> Vec<StreamEvent> {
        let chunk = |delta: Json, finish_reason: Json, with_usage| {
            let choice = object! { "index": 0, "finish_reason": finish_reason, "delta": delta };
            body(completion, "chat.completion.chunk", vec![choice], with_usage)
        };
        let mut events =
            vec![StreamEvent::immediate(&chunk(object! { "role": "assistant", "content": "" }, NULL, false))];
        let pieces = completion.content.iter();
        events.extend(
            pieces.map(|text| StreamEvent::paced(&chunk(object! { "content": text }, NULL, false), tokens_of(text))),
        );
        if let Some(calls) = calls(completion) {
            let delta = object! { "tool_calls": calls };
            events.push(StreamEvent::paced(&chunk(delta, NULL, false), completion.output_tokens));
        }
        events.push(StreamEvent::immediate(&chunk(object! {}, finish_reason(completion.finish).into(), true)));
        events.push(StreamEvent::done());
        events
    }

    fn models(&self, provider: &Provider, created: i64) -> String {
        list(provider.models.iter().map(|model| {
            object! { "id": &model.id, "object": "model", "created": created, "owned_by": "cohere" }
        }))
    }
}

fn reply(status: u16, message: &str) -> ErrorReply {
    ErrorReply::json(status, &object! { "id": "00000000-0000-0000-0000-000000000000", "message": message })
}

fn body(completion: &Completion, kind: &str, choices: Vec<Json>, with_usage: bool) -> Json {
    let usage = || {
        object! {
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.output_tokens,
            "total_tokens": completion.total_tokens(),
        }
    };
    object! {
        "id": ids::hex(completion.seed, 0, 32),
        "object": kind,
        "created": completion.created,
        "model": &completion.model,
        "choices": choices,
        "usage" if_some: with_usage.then(usage),
    }
}

fn calls(completion: &Completion) -> Option<Json> {
    tool_calls(completion, |function, at| {
        let id = format!("call_{}", ids::small(completion.seed, at + 1, 12));
        object! { "index": at, "id": id, "type": "function", "function": function }
    })
}
