//! What can be wrong with a request, and the checks that several providers share.

use serde_json::Value;

use crate::simulator::{provider::Model, request::SimulatedRequest};

/// Why a request is refused before any limit is checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RequestError {
    /// No key, or one that is not known.
    Key,
    /// A bot filter took the client for a library.
    Bot,
    /// Not JSON, or not the shape of a request.
    Malformed(String),
    NoSuchModel(String),
    Retired(String),
    /// The model, or the account, needs a plan.
    NotOnPlan(String),
    /// A member that the provider does not know; its path and value.
    Unknown {
        path: Vec<String>,
        value: Value,
    },
    /// A member that a message of that role must not have.
    InMessage {
        at: usize,
        role: String,
        field: String,
    },
    /// A value out of range, in the provider's words, and the member's name.
    Value {
        param: &'static str,
        message: String,
    },
    /// `max_tokens` above what the model puts out.
    MaxTokens {
        most: i64,
    },
    /// Prompt (and answer) larger than the context.
    Context {
        tokens: i64,
        most: i64,
    },
    /// Messages in an order the provider does not take.
    Order(String),
    /// A tool call's id of a form the provider does not take.
    ToolId(String),
    /// A tool call came back without its signature.
    Signature,
}

/// The first member of the body that is not in `known`.
pub(crate) fn unknown_field(request: &SimulatedRequest, known: &[&str]) -> Option<RequestError> {
    let (name, value) = request.body.as_object()?.iter().find(|(name, _)| !known.contains(&name.as_str()))?;
    Some(RequestError::Unknown { path: vec![name.clone()], value: value.clone() })
}

/// The first member of a message that `allowed` (told the role) does not take.
pub(crate) fn message_field(request: &SimulatedRequest, allowed: impl Fn(&str, &str) -> bool) -> Option<RequestError> {
    request.messages().iter().enumerate().find_map(|(at, message)| {
        let role = message.get("role").and_then(Value::as_str).unwrap_or("");
        let (field, _) = message.as_object()?.iter().find(|(field, _)| !allowed(role, field))?;
        Some(RequestError::InMessage { at, role: role.to_owned(), field: field.clone() })
    })
}

/// More stop sequences than `most`.
pub(crate) fn stops(request: &SimulatedRequest, most: usize) -> Option<RequestError> {
    let stops = request.field("stop").and_then(Value::as_array).map_or(0, Vec::len);
    (stops > most)
        .then(|| RequestError::Value { param: "stop", message: format!("'stop' : maximum number of items is {most}") })
}

/// The prompt is larger than the model's context.
pub(crate) fn context(request: &SimulatedRequest, model: &Model, with_answer: i64) -> Option<RequestError> {
    let tokens = request.prompt_tokens + model.preamble_tokens + with_answer;
    (tokens > model.context).then_some(RequestError::Context { tokens, most: model.context })
}

/// A file name of an image where only embedded ones are taken.
pub(crate) fn image_by_url(request: &SimulatedRequest) -> bool {
    request.image_urls().any(|url| !url.starts_with("data:"))
}

/// A reasoning effort that is not in `known`.
pub(crate) fn effort<'a>(request: &'a SimulatedRequest, known: &[&str]) -> Option<&'a str> {
    request.text("reasoning_effort").filter(|effort| !known.contains(effort))
}
