//! What can be wrong with a request, and the checks that several providers share.

use serde_json::Value;

use super::{ask::Ask, provider::Model};

/// Why a request is refused before any limit hears of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Complaint {
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
pub fn unknown_field(ask: &Ask, known: &[&str]) -> Option<Complaint> {
    let (name, value) = ask.body.as_object()?.iter().find(|(name, _)| !known.contains(&name.as_str()))?;
    Some(Complaint::Unknown { path: vec![name.clone()], value: value.clone() })
}

/// The first member of a message that `allowed` (told the role) does not take.
pub fn message_field(ask: &Ask, allowed: impl Fn(&str, &str) -> bool) -> Option<Complaint> {
    ask.messages().iter().enumerate().find_map(|(at, message)| {
        let role = message.get("role").and_then(Value::as_str).unwrap_or("");
        let (field, _) = message.as_object()?.iter().find(|(field, _)| !allowed(role, field))?;
        Some(Complaint::InMessage { at, role: role.to_owned(), field: field.clone() })
    })
}

/// More stop sequences than `most`.
pub fn stops(ask: &Ask, most: usize) -> Option<Complaint> {
    let stops = ask.field("stop").and_then(Value::as_array).map_or(0, Vec::len);
    (stops > most)
        .then(|| Complaint::Value { param: "stop", message: format!("'stop' : maximum number of items is {most}") })
}

/// The prompt is larger than the model's context.
pub fn context(ask: &Ask, model: &Model, with_answer: i64) -> Option<Complaint> {
    let tokens = ask.prompt_tokens + model.preamble_tokens + with_answer;
    (tokens > model.context).then_some(Complaint::Context { tokens, most: model.context })
}

/// A file name of an image where only embedded ones are taken.
pub fn image_by_url(ask: &Ask) -> bool {
    ask.image_urls().any(|url| !url.starts_with("data:"))
}

/// A reasoning effort that is not in `known`.
pub fn effort<'a>(ask: &'a Ask, known: &[&str]) -> Option<&'a str> {
    ask.text("reasoning_effort").filter(|effort| !known.contains(effort))
}
