//! Reads one JSON of a response (a chunk of a stream, or a whole body) in one pass: its facts, and the changes that make it
//! a response as OpenAI's clients expect it. What needs no change stays byte for byte. Pure.

use std::{borrow::Cow, ops::Range};

use serde_json::json;

use super::{
    choice_state::{ChoiceState, ChoiceStates},
    finish_reason,
    sse_event::{EventFacts, TokenUsage},
    tool_calls, usage,
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
const TOO_MANY_CHOICES: &str = "more than 128 choices";

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
    /// Choices that ended, with a delta of the arguments that their tool calls lack.
    pub blank_arguments: Vec<(u64, String)>,
    /// The changes; empty for nearly every chunk.
    pub patch: BodyPatch,
}

/// Reads `text`. An error means that it is no JSON object, or more than a response can be.
pub(crate) fn read(text: &str, shape: ResponseShape, states: &mut ChoiceStates) -> Result<ParsedResponse, JsonError> {
    let mut reader = ResponseReader { shape, states, parsed: ParsedResponse::default(), has_news: false };
    let mut json = Json::new(text);
    reader.top(&mut json)?;
    json.end()?;
    let ResponseReader { mut parsed, has_news, .. } = reader;
    parsed.is_usage_only = parsed.facts.usage.is_some() && !has_news && !parsed.error;
    Ok(parsed)
}

struct ResponseReader<'s> {
    shape: ResponseShape,
    states: &'s mut ChoiceStates,
    parsed: ParsedResponse,
    /// Some choice contains something that earlier chunks did not.
    has_news: bool,
}

/// A member of an object: its name, and the kind and the position of its value.
struct Member<'t> {
    name: Text<'t>,
    /// The name without escapes.
    key: Cow<'t, str>,
    kind: Kind,
    value: Range<usize>,
}

/// The members of the object at the cursor.
fn members<'t>(json: &mut Json<'t>) -> Result<Vec<Member<'t>>, JsonError> {
    let mut members = Vec::with_capacity(8);
    json.object(|name, json| {
        let kind = json.peek()?;
        let start = json.at();
        json.skip()?;
        members.push(Member { name, key: name.decode(), kind, value: start..json.at() });
        Ok::<_, JsonError>(())
    })?;
    Ok(members)
}

impl Member<'_> {
    fn range(&self) -> Range<usize> {
        self.name.at..self.value.end
    }
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
                ("error", kind) => {
                    json.skip()?;
                    keep = false;
                    self.parsed.error |= !is_void(kind, &text[value_at..json.at()]);
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
        let added = if self.parsed.error { String::new() } else { self.missing(&valid) };
        kept.close(&added, start, &mut self.parsed.patch);
        if self.parsed.facts.usage.is_none()
            && let Some((usage, range)) = groq_usage
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

    fn choice(&mut self, json: &mut Json<'_>, position: u64) -> Result<(), JsonError> {
        if json.peek()? != Kind::Object {
            return json.skip();
        }
        let start = json.at();
        let all = members(json)?;
        let text = json.text();
        let whole = self.shape == ResponseShape::Whole;
        let wanted = if whole { "message" } else { "delta" };
        let find = |name: &str| all.iter().position(|member| member.key == name && member.kind == Kind::Object);
        let body = find(wanted).or_else(|| find(if whole { "delta" } else { "message" }));
        let provider_index = all
            .iter()
            .find(|member| member.key == "index")
            .filter(|member| member.kind == Kind::Number)
            .and_then(|member| text[member.value.clone()].parse().ok());

        let news_before = self.has_news;
        self.has_news = false;
        // Items of a whole response are choices of their own, even where they share an index.
        let slot = if whole {
            self.states.begin(provider_index, position)
        } else {
            self.states.slot(provider_index, position)
        };
        let slot = slot.ok_or(JsonError { at: start, what: TOO_MANY_CHOICES })?;
        let choice = self.states.at(slot);
        let (index, was_finished, had_content) = (choice.index, choice.finish_reason.is_some(), choice.has_content);
        if let Some(body) = body.map(|at| &all[at]) {
            self.parsed.choices += 1;
            let chars_before = self.parsed.facts.chars;
            let mut delta = DeltaReader { whole, choice, facts: &mut self.parsed.facts, patch: &mut self.parsed.patch };
            delta.read(&mut Json::at_byte(text, body.value.start))?;
            self.states.relays(self.parsed.facts.chars - chars_before);
            if !self.states.keeps_within_bounds(slot) {
                return Err(JsonError { at: start, what: "the ids and names of its tool calls are too long" });
            }
        }
        let choice = self.states.at(slot);
        self.has_news |= choice.has_content && !had_content || !was_finished;
        self.has_news |= self.parsed.facts.content;

        let mut kept = ObjectMembers::default();
        let (mut seen, mut added) = (NameSet::default(), Vec::new());
        let mut ended = false;
        for (at, member) in all.iter().enumerate() {
            let name = &*member.key;
            let mut keep = seen.insert(name);
            match (name, member.kind) {
                ("message" | "delta", _) => {
                    keep = body == Some(at);
                    if keep && name != wanted {
                        self.parsed.patch.replace(member.name.at..member.name.end(), format!("\"{wanted}\""));
                    }
                }
                _ if !keep => {}
                ("index", _) if provider_index != Some(index) => {
                    self.parsed.patch.replace(member.value.clone(), index.to_string());
                }
                ("finish_reason", kind) => {
                    let written = (kind == Kind::String).then(|| &text[member.value.start + 1..member.value.end - 1]);
                    ended = self.finish(written, member, slot, was_finished);
                }
                _ => {}
            }
            if keep {
                kept.keep(member.range(), &mut self.parsed.patch);
            } else {
                kept.cut(member.range());
            }
        }
        if !seen.contains("index") {
            added.push(format!("\"index\":{index}"));
        }
        if body.is_none() {
            added.push(if whole {
                "\"message\":{\"role\":\"assistant\",\"content\":null}".to_owned()
            } else {
                "\"delta\":{}".to_owned()
            });
        }
        if whole && !ended && !seen.contains("finish_reason") {
            let reason = self.end_whole(slot);
            added.push(format!("\"finish_reason\":\"{reason}\""));
        }
        kept.close(&added.join(","), start, &mut self.parsed.patch);
        self.has_news |= news_before || ended;
        Ok(())
    }

    /// Normalises the finish reason of a choice. Returns whether the choice ends here.
    fn finish(&mut self, written: Option<&str>, member: &Member<'_>, slot: usize, was_finished: bool) -> bool {
        let choice = self.states.at(slot);
        // A server that ran out of resources before any content has not reached a length limit.
        let ran_out = written == Some("insufficient_system_resource") && !choice.has_content;
        let word = if ran_out { Some("stop") } else { written };
        let reason = word.and_then(|word| finish_reason::normalised(word, !choice.calls.is_empty()));
        if written == Some("error") {
            self.parsed.ended_with_error = true;
        }
        let Some(reason) = reason.filter(|_| !was_finished) else {
            if self.shape == ResponseShape::Whole {
                let reason = self.end_whole(slot);
                self.parsed.patch.replace(member.value.clone(), format!("\"{reason}\""));
                return true;
            }
            if member.kind != Kind::Null {
                self.parsed.patch.replace(member.value.clone(), "null");
            }
            return false;
        };
        if written != Some(reason) {
            self.parsed.patch.replace(member.value.clone(), format!("\"{reason}\""));
        }
        choice.finish_reason = Some(reason);
        let delta = choice.blank_arguments();
        let index = choice.index;
        if delta != "{}" && self.shape == ResponseShape::Chunk {
            self.parsed.blank_arguments.push((index, delta));
        }
        self.parsed.facts.finish_reason = Some(reason.to_owned());
        self.parsed.finish_reasons.push(reason.to_owned());
        true
    }

    /// Ends a choice of a whole response that has no finish reason.
    fn end_whole(&mut self, slot: usize) -> &'static str {
        let choice = self.states.at(slot);
        let reason = finish_reason::normalised("stop", !choice.calls.is_empty()).unwrap_or("stop");
        choice.finish_reason = Some(reason);
        self.parsed.finish_reasons.push(reason.to_owned());
        reason
    }
}

/// Reads a delta or a message.
struct DeltaReader<'r> {
    whole: bool,
    choice: &'r mut ChoiceState,
    facts: &'r mut EventFacts,
    patch: &'r mut BodyPatch,
}

impl DeltaReader<'_> {
    fn read(&mut self, json: &mut Json<'_>) -> Result<(), JsonError> {
        json.peek()?;
        let start = json.at();
        let text = json.text();
        let mut kept = ObjectMembers::default();
        let mut seen = NameSet::default();
        let (mut thought, mut null_thought) = (String::new(), None);
        json.object(|name, json| {
            let kind = json.peek()?;
            let value_at = json.at();
            let key = name.decode();
            let mut keep = seen.insert(key.clone());
            match (&*key, kind) {
                _ if !keep => json.skip()?,
                ("role", _) => {
                    json.skip()?;
                    keep = self.whole || !std::mem::replace(&mut self.choice.has_role, true);
                    if keep && &text[value_at..json.at()] != "\"assistant\"" {
                        self.patch.replace(value_at..json.at(), "\"assistant\"");
                    }
                }
                ("content" | "reasoning" | "reasoning_content" | "refusal", Kind::String) => {
                    let value = json.string()?;
                    self.says(value);
                }
                ("content", Kind::Array) => {
                    let mut said = String::new();
                    json.array(|_, json| self.content_item(json, &mut said, &mut thought))?;
                    self.patch.replace(value_at..json.at(), format!("\"{said}\""));
                }
                ("content" | "refusal", Kind::Bool | Kind::Number | Kind::Object | Kind::Array) => {
                    json.skip()?;
                    self.has_content();
                    self.patch.replace(value_at..json.at(), json!(&text[value_at..json.at()]).to_string());
                }
                ("tool_calls", Kind::Array) => {
                    let calls = tool_calls::normalise(json, self.choice, !self.whole)?;
                    self.counts(calls.chars);
                    if !self.choice.calls.is_empty() {
                        self.has_content();
                    }
                    if let Some(rewritten) = calls.rewritten {
                        self.patch.replace(value_at..json.at(), rewritten);
                    }
                }
                ("reasoning_content", Kind::Null) => {
                    json.skip()?;
                    null_thought = Some(value_at..json.at());
                }
                // Clients that write the message back read any `tool_calls` as a list.
                ("tool_calls", _) => {
                    json.skip()?;
                    keep = false;
                }
                ("function_call" | "audio", Kind::Object) => {
                    self.has_content();
                    json.skip()?;
                }
                ("reasoning_details" | "images", Kind::Array) => json.array(|_, json| {
                    self.has_content();
                    json.skip()
                })?,
                _ => json.skip()?,
            }
            if keep {
                kept.keep(name.at..json.at(), self.patch);
            } else {
                kept.cut(name.at..json.at());
            }
            Ok::<_, JsonError>(())
        })?;
        if let Some(null) = null_thought.filter(|_| !thought.is_empty()) {
            self.patch.replace(null, format!("\"{thought}\""));
        }
        kept.close(&self.added(&seen, &thought), start, self.patch);
        Ok(())
    }

    /// What a message must have and the provider has not sent, and the thinking of a content array.
    fn added(&self, seen: &NameSet<'_>, thought: &str) -> String {
        let mut added = Vec::new();
        if !seen.contains("role") && self.whole {
            added.push("\"role\":\"assistant\"".to_owned());
        }
        if self.whole && !seen.contains("content") {
            added.push("\"content\":null".to_owned());
        }
        if !thought.is_empty() && !seen.contains("reasoning_content") {
            added.push(format!("\"reasoning_content\":\"{thought}\""));
        }
        added.join(",")
    }

    fn has_content(&mut self) {
        self.facts.content = true;
        self.choice.has_content = true;
    }

    fn says(&mut self, text: Text<'_>) {
        if text.raw.is_empty() {
            return;
        }
        self.has_content();
        self.counts(if text.raw.is_ascii() { text.raw.len() } else { text.raw.chars().count() });
    }

    fn counts(&mut self, chars: usize) {
        self.facts.chars = self.facts.chars.saturating_add(u32::try_from(chars).unwrap_or(u32::MAX));
    }

    /// An item of a content array: `{"type":"text",…}` or `{"type":"thinking",…}` (Mistral). Raw strings are joined as written,
    /// since two JSON strings side by side make one.
    fn content_item(&mut self, json: &mut Json<'_>, said: &mut String, thought: &mut String) -> Result<(), JsonError> {
        match json.peek()? {
            Kind::String => {
                let text = json.string()?;
                self.says(text);
                said.push_str(text.raw);
                Ok(())
            }
            Kind::Object => json.object(|name, json| match (&*name.decode(), json.peek()?) {
                ("text", Kind::String) => {
                    let text = json.string()?;
                    self.says(text);
                    said.push_str(text.raw);
                    Ok(())
                }
                ("thinking", Kind::String | Kind::Object) => self.content_item(json, thought, &mut String::new()),
                ("thinking", Kind::Array) => json.array(|_, json| self.content_item(json, thought, &mut String::new())),
                _ => json.skip(),
            }),
            _ => json.skip(),
        }
    }
}

/// A value that some servers write where there is no error: `null`, `false`, `""`, `{}`, `[]`, `0`.
fn is_void(kind: Kind, value: &str) -> bool {
    let inner = || value[1..value.len() - 1].trim();
    match kind {
        Kind::Null => true,
        Kind::Bool => value == "false",
        Kind::Number => value == "0",
        Kind::String => matches!(inner(), "" | "null" | "none" | "false"),
        Kind::Array | Kind::Object => inner().is_empty(),
    }
}
