//! Reads one JSON of a response (a chunk of a stream, or a whole body) in one pass: its facts, and the changes that make it
//! a response as OpenAI's clients expect it. What needs no change stays byte for byte. Pure.

use std::{borrow::Cow, ops::Range};

use serde_json::{Value, json};

use super::{
    choice_state::ChoiceStates,
    sse_event::{EventFacts, TokenUsage},
    usage,
};
use crate::{
    json::{Json, JsonError, Kind, NameSet, Text},
    upstream::{
        bounds::MAX_CHOICES,
        request_edit::body_patch::{BodyPatch, ObjectMembers},
    },
};

/// OpenAI's values of `service_tier`. Typed clients refuse others.
const SERVICE_TIERS: [&str; 5] = ["auto", "default", "flex", "scale", "priority"];

/// The members that every response has.
const REQUIRED: [&str; 5] = ["id", "object", "created", "model", "choices"];
/// Words that some servers write where there is no error.
const NO_ERROR: [&str; 8] = ["", "null", "none", "false", "0", "ok", "success", "no error"];
pub(super) const TOO_MANY_CHOICES: &str = "more than 128 choices";

/// The form of the JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponseShape {
    /// One chunk of a stream.
    Chunk,
    /// The whole response to a request without `stream`.
    Whole,
}

/// The facts of one JSON.
#[derive(Debug, Default)]
pub(crate) struct ParsedResponse {
    pub facts: EventFacts,
    pub finish_reasons: Vec<String>,
    /// Number of choices with a message or a delta.
    pub choices: usize,
    /// `choices` is a list, possibly an empty one.
    pub has_choices: bool,
    /// A top-level `error` that is not empty.
    pub error: bool,
    /// The choice ended with the finish reason `error`.
    pub ended_with_error: bool,
    /// Position of the `usage` object.
    pub usage_at: Option<Range<usize>>,
    /// A top-level member other than the usage is taken out.
    pub has_other_cuts: bool,
    /// Nothing but usage: the client gets it in the usage chunk.
    pub is_usage_only: bool,
    /// Choices that end behind this chunk: their index, a delta of the arguments that their tool calls lack, and the reason.
    pub late_ends: Vec<(u64, String, &'static str)>,
    /// The changes; empty for nearly every chunk.
    pub patch: BodyPatch,
}

/// Reads `text`. An error means that it is no JSON object, or more than a response can be.
pub(crate) fn read(text: &str, shape: ResponseShape, states: &mut ChoiceStates) -> Result<ParsedResponse, JsonError> {
    let mut reader =
        ResponseReader { shape, states, parsed: ParsedResponse::default(), has_news: false, choice_usage: None };
    let mut json = Json::new(text);
    reader.top(&mut json)?;
    json.end()?;
    let ResponseReader { mut parsed, has_news, .. } = reader;
    parsed.is_usage_only = parsed.facts.usage.is_some() && !has_news && !parsed.error;
    Ok(parsed)
}

pub(super) struct ResponseReader<'s> {
    pub shape: ResponseShape,
    pub states: &'s mut ChoiceStates,
    pub parsed: ParsedResponse,
    /// Some choice contains something that earlier chunks did not.
    pub has_news: bool,
    /// The usage of a provider that puts it into the choice, and its position.
    pub choice_usage: Option<(TokenUsage, Range<usize>)>,
}

impl ResponseReader<'_> {
    fn object_name(&self) -> &'static str {
        if self.shape == ResponseShape::Chunk { "chat.completion.chunk" } else { "chat.completion" }
    }

    fn top(&mut self, json: &mut Json<'_>) -> Result<(), JsonError> {
        json.peek()?;
        let start = json.at();
        let text = json.text();
        let mut kept = ObjectMembers::default();
        let (mut seen, mut valid) = (NameSet::default(), Vec::with_capacity(5));
        let mut groq_usage = None;
        json.object(|name, json| {
            let kind = json.peek()?;
            let value_at = json.at();
            let key = name.decode();
            // The first of repeated members counts.
            let mut keep = seen.insert(key.clone());
            match (&*key, kind) {
                _ if !keep => json.skip()?,
                ("choices", Kind::Array) => {
                    self.parsed.has_choices = true;
                    let mut position = 0;
                    json.array(|_, json| {
                        position += 1;
                        if position > MAX_CHOICES as u64 {
                            return Err(JsonError { at: json.at(), what: TOO_MANY_CHOICES });
                        }
                        self.choice(json, position - 1)
                    })?;
                }
                ("id" | "model" | "object", Kind::String) => {
                    let value = json.string()?;
                    keep = self.accepts(&key, value);
                }
                ("created", Kind::Number) => match json.number()?.parse() {
                    Ok(created) => self.states.set_created(created),
                    Err(_) => keep = false,
                },
                ("service_tier", Kind::String) => keep = SERVICE_TIERS.contains(&json.string()?.raw),
                ("usage", Kind::Object) => {
                    self.parsed.facts.usage = usage::read(json, self.states.tokens_max())?;
                    let range = value_at..json.at();
                    keep = self.shape == ResponseShape::Whole && self.parsed.facts.usage.is_some();
                    if let Some(usage) = self.parsed.facts.usage.filter(|_| keep) {
                        let complete = usage::completed(&text[range.clone()], usage);
                        if complete != text[range.clone()] {
                            self.parsed.patch.replace(range.clone(), complete.into_owned());
                        }
                    }
                    self.parsed.usage_at = Some(range);
                }
                ("usage", Kind::Null) => json.skip()?,
                ("x_groq", Kind::Object) => {
                    groq_usage = self.groq_usage(json)?;
                    keep = groq_usage.is_none();
                }
                ("error", _) => {
                    json.skip()?;
                    keep = false;
                    self.parsed.error |= !is_void(&text[value_at..json.at()]);
                }
                ("choices" | "id" | "model" | "object" | "created" | "service_tier" | "usage", _) => {
                    json.skip()?;
                    keep = false;
                }
                _ => json.skip()?,
            }
            if keep {
                if REQUIRED.contains(&&*key) {
                    valid.push(key);
                }
                kept.keep(name.at..json.at(), &mut self.parsed.patch);
            } else {
                let is_usage = self.parsed.usage_at.as_ref().is_some_and(|range| range.start == value_at);
                self.parsed.has_other_cuts |= !is_usage;
                kept.cut(name.at..json.at());
            }
            Ok::<_, JsonError>(())
        })?;
        let mut added = if self.parsed.error { String::new() } else { self.missing(&valid) };
        let usage_in_choice = self.choice_usage.take().filter(|_| self.parsed.facts.usage.is_none());
        if let Some((usage, range)) = usage_in_choice.as_ref().filter(|_| self.shape == ResponseShape::Whole) {
            let comma = if added.is_empty() { "" } else { "," };
            added = format!("{added}{comma}\"usage\":{}", usage::completed(&text[range.clone()], *usage));
        }
        kept.close(&added, start, &mut self.parsed.patch);
        if self.parsed.facts.usage.is_none()
            && let Some((usage, range)) = usage_in_choice.or(groq_usage)
        {
            self.parsed.facts.usage = Some(usage);
            self.parsed.usage_at = Some(range);
        }
        Ok(())
    }

    /// Whether a name of the response stays as it is.
    fn accepts(&mut self, name: &str, value: Text<'_>) -> bool {
        match name {
            "object" => return value.raw == self.object_name(),
            _ if value.raw.trim().is_empty() => return false,
            // Clients know a stream by its first id. Some servers write another one into every chunk, or begin with none.
            "id" if self.shape == ResponseShape::Chunk => return self.states.accepts_id(&value.decode()),
            _ if !self.states.lacks_identity() => {}
            "id" => self.states.set_id(&value.decode()),
            _ => self.states.set_model(&value.decode()),
        }
        true
    }

    /// The required members that the provider has not sent.
    fn missing(&mut self, valid: &[Cow<'_, str>]) -> String {
        let mut added = Vec::new();
        for name in REQUIRED {
            if valid.iter().any(|known| known == name) {
                continue;
            }
            let value = match name {
                "id" => json!(self.states.id()),
                "object" => json!(self.object_name()),
                "created" => json!(self.states.created()),
                "model" => json!(self.states.model()),
                _ => json!([]),
            };
            added.push(format!("\"{name}\":{value}"));
        }
        added.join(",")
    }

    fn groq_usage(&self, json: &mut Json<'_>) -> Result<Option<(TokenUsage, Range<usize>)>, JsonError> {
        let mut found = None;
        json.object(|name, json| match (&*name.decode(), json.peek()?) {
            ("usage", Kind::Object) if self.shape == ResponseShape::Chunk => {
                let start = json.at();
                found = usage::read(json, self.states.tokens_max())?.map(|usage| (usage, start..json.at()));
                Ok(())
            }
            _ => json.skip(),
        })?;
        Ok(found)
    }
}

/// A value that some servers write where there is no error: `null`, `false`, `""`, `"None"`, `0`, and lists and objects of nothing
/// else.
fn is_void(value: &str) -> bool {
    fn says_nothing(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Bool(value) => !value,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => NO_ERROR.contains(&text.trim().to_ascii_lowercase().as_str()),
            Value::Array(items) => items.iter().all(says_nothing),
            Value::Object(members) => members.values().all(says_nothing),
        }
    }
    serde_json::from_str(value).is_ok_and(|value| says_nothing(&value))
}
