//! Request errors, and the checks that several providers share.

use serde_json::Value;

use crate::simulator::{provider::Model, request::SimulatedRequest};

/// Why a request is refused before any limit is checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RequestError {
    /// The key is missing or unknown.
    Key,
    /// A bot filter refuses the user agent.
    Bot,
    /// The body is not JSON, or not a chat request.
    Malformed(String),
    NoSuchModel(String),
    Retired(String),
    /// The model, or the account, needs a plan.
    NotOnPlan(String),
    /// A field that the provider does not know, with its path and value.
    Unknown {
        path: Vec<String>,
        value: Value,
    },
    /// A field that a message of this role must not have.
    InMessage {
        at: usize,
        role: String,
        field: String,
    },
    /// A value that the provider refuses, with the provider's message and the name of the field.
    Value {
        param: &'static str,
        message: String,
    },
    /// `max_tokens` exceeds the model's maximum output.
    MaxTokens {
        most: i64,
    },
    /// The prompt, or prompt and output, exceed the context.
    Context {
        tokens: i64,
        most: i64,
    },
    /// The provider refuses this order of messages.
    Order(String),
    /// The provider refuses ids of this form for tool calls.
    ToolId(String),
    /// A tool call came back without its signature.
    Signature,
}

/// The path of an object and the names of the fields it may have. A path `messages[]:ROLE` applies to messages of one role.
/// Objects without an entry may have any field.
pub(crate) type AllowedFields = (&'static str, &'static str);

/// The first field of the body that `allowed` does not list, at any depth.
pub(crate) fn unknown_field(request: &SimulatedRequest, allowed: &[AllowedFields]) -> Option<RequestError> {
    let (path, value) = unlisted(&request.body, "", &[], allowed)?;
    if let [messages, at, field] = path.as_slice()
        && messages == "messages"
        && let Ok(at) = at.parse::<usize>()
    {
        let role = request.messages().get(at).map_or("", message_role).to_owned();
        return Some(RequestError::InMessage { at, role, field: field.clone() });
    }
    Some(RequestError::Unknown { path, value })
}

fn unlisted(value: &Value, pattern: &str, path: &[String], allowed: &[AllowedFields]) -> Option<(Vec<String>, Value)> {
    let below = |step: &str| path.iter().cloned().chain([step.to_owned()]).collect::<Vec<_>>();
    match value {
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(at, item)| unlisted(item, &format!("{pattern}[]"), &below(&at.to_string()), allowed))
        }
        Value::Object(fields) => {
            let with_role = format!("{pattern}:{}", message_role(value));
            let listed = allowed.iter().find(|(path, _)| *path == pattern || *path == with_role);
            if let Some((_, names)) = listed
                && let Some((name, value)) =
                    fields.iter().find(|(name, _)| !names.split_whitespace().any(|n| n == *name))
            {
                return Some((below(name), value.clone()));
            }
            fields.iter().find_map(|(name, value)| {
                let pattern = if pattern.is_empty() { name.clone() } else { format!("{pattern}.{name}") };
                unlisted(value, &pattern, &below(name), allowed)
            })
        }
        _ => None,
    }
}

/// The first member of a message, or of something inside it, that is null. Only a message's content may be.
pub(crate) fn null_in_message(request: &SimulatedRequest) -> Option<RequestError> {
    fn null(value: &Value, path: &[String]) -> Option<Vec<String>> {
        let below = |step: &str| path.iter().cloned().chain([step.to_owned()]).collect::<Vec<_>>();
        match value {
            Value::Object(members) => members.iter().find_map(|(name, value)| {
                let may_be_null = name == "content" && path.len() == 2;
                if value.is_null() && !may_be_null { Some(below(name)) } else { null(value, &below(name)) }
            }),
            Value::Array(items) => items.iter().enumerate().find_map(|(at, item)| null(item, &below(&at.to_string()))),
            _ => None,
        }
    }
    let messages = request.messages().iter().enumerate();
    let path =
        messages.into_iter().find_map(|(at, message)| null(message, &["messages".to_owned(), at.to_string()]))?;
    Some(RequestError::Unknown { path, value: Value::Null })
}

fn message_role(message: &Value) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

/// The messages with their roles.
pub(crate) fn messages_by_role(request: &SimulatedRequest) -> impl Iterator<Item = (&str, &Value)> {
    request.messages().iter().map(|message| (message_role(message), message))
}

/// More stop sequences than `most`.
pub(crate) fn stops(request: &SimulatedRequest, most: usize) -> Option<RequestError> {
    let stops = request.field("stop").and_then(Value::as_array).map_or(0, Vec::len);
    (stops > most)
        .then(|| RequestError::Value { param: "stop", message: format!("'stop' : maximum number of items is {most}") })
}

/// `stream_options` in a request that does not stream.
pub(crate) fn stream_options_without_stream(request: &SimulatedRequest) -> Option<RequestError> {
    let message = "stream_options is only allowed when stream is enabled".to_owned();
    let refused = !request.stream && request.field("stream_options").is_some();
    refused.then_some(RequestError::Value { param: "stream_options", message })
}

/// The prompt, with `output` tokens behind it, is larger than the model's context.
pub(crate) fn context(request: &SimulatedRequest, model: &Model, output: i64) -> Option<RequestError> {
    let tokens = request.prompt_tokens + model.preamble_tokens + output;
    (tokens > model.context).then_some(RequestError::Context { tokens, most: model.context })
}

/// An image is given by an address where only embedded ones are taken.
pub(crate) fn image_by_url(request: &SimulatedRequest) -> bool {
    request.image_urls().any(|url| !url.starts_with("data:"))
}

/// A reasoning effort that is not in `known`.
pub(crate) fn effort<'a>(request: &'a SimulatedRequest, known: &[&str]) -> Option<&'a str> {
    request.text("reasoning_effort").filter(|effort| !known.contains(effort))
}
