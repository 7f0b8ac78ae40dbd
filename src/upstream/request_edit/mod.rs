//! Rewrites a request's body into the form that one provider takes. Only what must differ is changed. Everything else (unknown
//! fields, number formats, order, white space) stays byte for byte.

pub(crate) mod body_patch;
#[cfg(test)]
mod compatibility_tests;
mod fields;
mod messages;
mod schema;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, cell::Cell, ops::Range};

use body_patch::{BodyPatch, ObjectMembers};
use bytes::Bytes;
use fields::Walker;
use messages::MessageEditor;

use crate::{
    domain::{Candidate, Capabilities, ChatRequest, Tier, provider::DialectName},
    json::{Json, JsonError, Kind},
};

/// Words for the reasoning effort, from the least to the most.
const EFFORTS: [&str; 8] = ["none", "minimal", "low", "medium", "high", "xhigh", "ultra", "max"];

/// The words that every model knows which knows any. Ollama and OpenRouter know all of them, whatever the model.
const COMMON_EFFORTS: [&str; 3] = ["low", "medium", "high"];

/// What differs between attempts at one provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EditContext {
    /// The maximum output to send when the client sets none. The plan has charged it.
    pub max_tokens: Option<i64>,
    /// The client's maximum output is lowered to this.
    pub max_tokens_cap: Option<i64>,
    /// Takes out schema keywords that this model has refused.
    pub sanitise_schema: bool,
}

/// A lower output maximum would be of little use: the request goes as it is.
const MIN_OUTPUT_CAP: i64 = 256;

impl EditContext {
    pub fn new(candidate: &Candidate, request: &ChatRequest, sanitise_schema: bool) -> Self {
        Self {
            max_tokens: candidate.default_max_tokens(),
            max_tokens_cap: output_cap(candidate, request),
            sanitise_schema,
        }
    }
}

/// The output that fits a context that is only assumed: servers with a context of this size refuse a larger maximum, which
/// agents usually send. `None`: the caller's maximum fits, or the context is known and the plan has checked it.
fn output_cap(candidate: &Candidate, request: &ChatRequest) -> Option<i64> {
    let model = &candidate.model;
    #[expect(clippy::cast_possible_truncation, reason = "saturates; a prompt has far less than 2^53 tokens")]
    let prompt = (request.size.raw_tokens() * 1.15).ceil() as i64;
    let fits = model.context - prompt;
    let is_over = request.max_tokens.is_some_and(|tokens| tokens > fits);
    (model.context_assumed && fits >= MIN_OUTPUT_CAP && is_over).then_some(fits)
}

/// The body for this candidate.
pub fn edit_request(request: &ChatRequest, candidate: &Candidate, context: EditContext) -> Bytes {
    // The parser of the request has checked the text and its grammar. A body built otherwise is sent unchanged.
    let Ok(text) = std::str::from_utf8(&request.body) else { return request.body.clone() };
    let Ok(patch) = (Edit { text, request, candidate, context }).run() else { return request.body.clone() };
    let body = if patch.is_empty() { request.body.clone() } else { patch.apply(text) };
    if context.sanitise_schema {
        return schema::sanitised(body, &candidate.provider.wire.schema_sanitise);
    }
    body
}

/// A top-level field.
struct Field<'a> {
    name: Cow<'a, str>,
    name_at: Range<usize>,
    value: Range<usize>,
    kind: Kind,
}

struct Edit<'a> {
    text: &'a str,
    request: &'a ChatRequest,
    candidate: &'a Candidate,
    context: EditContext,
}

/// What happens to a top-level field.
enum FieldAction {
    Keep,
    Cut,
    Rename(String),
}

impl<'a> Edit<'a> {
    fn run(self) -> Result<BodyPatch, JsonError> {
        let mut json = Json::new(self.text);
        json.peek()?;
        let start = json.at();
        let mut fields = Vec::with_capacity(12);
        json.object(|name, json| {
            let kind = json.peek()?;
            let value_at = json.at();
            json.skip()?;
            let value = value_at..json.at();
            fields.push(Field { name: name.decode(), name_at: name.at..name.end(), value, kind });
            Ok::<_, JsonError>(())
        })?;

        let walker = Walker { candidate: self.candidate };
        let mut patch = BodyPatch::default();
        let mut kept = ObjectMembers::default();
        for field in &fields {
            let whole = field.name_at.start..field.value.end;
            match self.action(field, &fields) {
                FieldAction::Cut => {
                    kept.cut(whole);
                    continue;
                }
                FieldAction::Rename(to) => patch.replace(field.name_at.clone(), quoted(&to)),
                FieldAction::Keep => {}
            }
            kept.keep(whole, &mut patch);
            self.value(field, &walker, &mut patch)?;
        }
        kept.close(&self.added(&fields), start, &mut patch);
        Ok(patch)
    }

    fn action(&self, field: &Field<'a>, all: &[Field<'a>]) -> FieldAction {
        let wire = &self.candidate.provider.wire;
        let name = field.name.as_ref();
        let has = |wanted: &str| all.iter().any(|f| f.name == wanted && f.kind != Kind::Null);
        let target = |from: &str| wire.rename.iter().find(|(f, _)| f == from).map(|(_, to)| to);
        if self.is_void(name, field, all)
            || self.is_foreign(target(name).map_or(name, String::as_str))
            || wire.drop.iter().any(|rule| fields::drops(rule, name, &self.text[field.value.clone()]))
        {
            return FieldAction::Cut;
        }
        // Of the two names of one maximum the newer wins where the provider knows only one.
        if name == "max_tokens"
            && has("max_completion_tokens")
            && (target(name).is_some() || target("max_completion_tokens").is_some())
        {
            return FieldAction::Cut;
        }
        match target(name) {
            // Null is an absent parameter. Renamed it would repeat a field that has a value.
            Some(_) if field.kind == Kind::Null => FieldAction::Cut,
            Some(to) if to != "max_tokens" && all.iter().any(|f| f.name == to.as_str()) => FieldAction::Cut,
            Some(to) => FieldAction::Rename(to.clone()),
            None => FieldAction::Keep,
        }
    }

    /// A field that has no effect in this request, or none at this candidate, but that some provider refuses.
    fn is_void(&self, name: &str, field: &Field<'a>, all: &[Field<'a>]) -> bool {
        let is_blank = |value: &str| value.bytes().filter(|b| !b.is_ascii_whitespace()).eq(*b"[]");
        let value = &self.text[field.value.clone()];
        let has_tools =
            all.iter().any(|f| f.name == "tools" && f.kind == Kind::Array && !is_blank(&self.text[f.value.clone()]));
        match name {
            // The gateway's own classes of the wait queue.
            "service_tier" => self.request.tier != Tier::Standard,
            // Null says the same as an absent parameter, and some providers refuse it.
            _ if field.kind == Kind::Null && !self.request.others.iter().any(|other| other == name) => true,
            "stream_options" => !self.request.stream,
            "tools" | "tool_choice" | "parallel_tool_calls" => !has_tools,
            "stop" => is_blank(value) || value == "\"\"",
            "logit_bias" => value.bytes().filter(|b| !b.is_ascii_whitespace()).eq(*b"{}"),
            "reasoning_effort" => self.effort(field).is_none(),
            _ => false,
        }
    }

    /// A field that a provider with a closed schema does not take.
    fn is_foreign(&self, name: &str) -> bool {
        self.candidate.provider.wire.allowed("", "").is_some_and(|names| !names.iter().any(|allowed| allowed == name))
    }

    /// The reasoning effort for this model: the requested one, or the nearest that the model knows, rather less than more.
    fn effort(&self, field: &Field<'a>) -> Option<&str> {
        let model = &self.candidate.model;
        let requested = self.text[field.value.clone()].trim_matches('"');
        if field.kind != Kind::String {
            return Some(requested);
        }
        let wire = &self.candidate.provider.wire;
        let is_listed = !model.reasoning_efforts.is_empty();
        if !is_listed && !wire.allowed_fields.is_empty() && !model.capabilities.has(Capabilities::REASONING) {
            return None;
        }
        let knows_all = matches!(wire.dialect, DialectName::Ollama | DialectName::Openrouter);
        let unlisted: &[&str] = if knows_all { &EFFORTS } else { &COMMON_EFFORTS };
        let knows = |effort: &&str| {
            if is_listed {
                model.reasoning_efforts.iter().any(|known| known == *effort)
            } else {
                unlisted.contains(effort)
            }
        };
        // The servers of models without a list differ in what they take for none, and whether they take it.
        if !is_listed && requested == EFFORTS[0] && !knows_all {
            return None;
        }
        if knows(&requested) {
            return Some(requested);
        }
        let rank = EFFORTS.iter().position(|effort| *effort == requested)?;
        // The nearest that the model knows, the lower of two. Only the least effort may become none.
        let by_distance = |other: usize| (other.abs_diff(rank), other);
        let usable = (0..EFFORTS.len()).filter(|other| knows(&EFFORTS[*other]) && (*other > 0 || rank <= 1));
        usable.min_by_key(|other| by_distance(*other)).map(|other| EFFORTS[other])
    }

    /// Edits inside a field that is kept.
    fn value(&self, field: &Field<'a>, walker: &Walker<'_>, patch: &mut BodyPatch) -> Result<(), JsonError> {
        match (field.name.as_ref(), field.kind) {
            ("model", _) => patch.replace(field.value.clone(), quoted(&self.candidate.model.id)),
            ("reasoning_effort", Kind::String) => {
                if let Some(effort) =
                    self.effort(field).filter(|effort| *effort != self.text[field.value.clone()].trim_matches('"'))
                {
                    patch.replace(field.value.clone(), quoted(effort));
                }
            }
            ("max_tokens" | "max_completion_tokens", Kind::Number) => {
                let is_over =
                    |cap: &i64| self.text[field.value.clone()].parse::<i64>().is_ok_and(|written| written > *cap);
                if let Some(cap) = self.context.max_tokens_cap.filter(is_over) {
                    patch.replace(field.value.clone(), cap.to_string());
                }
            }
            ("stream_options", Kind::Object) if self.asks_usage() => return self.include_usage(field, patch),
            ("tools", Kind::Array) => tools(walker, &mut Json::at_byte(self.text, field.value.start), patch)?,
            ("messages", Kind::Array) => {
                let count = usize::try_from(self.request.size.messages).unwrap_or(usize::MAX);
                let mut editor = MessageEditor::new(self.candidate, count);
                Json::at_byte(self.text, field.value.start).array(|_, json| match json.peek()? {
                    Kind::Object => editor.message(walker, json, patch),
                    _ => json.skip(),
                })?;
            }
            (name, _) => walker.field(name, &mut Json::at_byte(self.text, field.value.start), patch)?,
        }
        Ok(())
    }

    /// Usage is requested on every stream, except where the provider refuses the option or sends usage anyway.
    fn asks_usage(&self) -> bool {
        let wire = &self.candidate.provider.wire;
        self.request.stream && !wire.usage_unasked && !wire.drop.iter().any(|d| d == "stream_options")
    }

    fn adds_maximum(&self) -> bool {
        self.request.max_tokens.is_none() && self.context.max_tokens.is_some()
    }

    /// `"name":value` pairs that the provider needs and the client did not send.
    fn added(&self, fields: &[Field<'a>]) -> String {
        let mut added = Vec::new();
        if self.asks_usage() && !fields.iter().any(|f| f.name == "stream_options" && f.kind != Kind::Null) {
            added.push("\"stream_options\":{\"include_usage\":true}".to_owned());
        }
        if let Some(most) = self.context.max_tokens.filter(|_| self.adds_maximum()) {
            let renamed = self.candidate.provider.wire.rename.iter().find(|(from, _)| from == "max_tokens");
            let name = renamed.map_or("max_tokens", |(_, to)| to);
            added.push(format!("{}:{most}", quoted(name)));
        }
        added.join(",")
    }

    /// Sets `include_usage` in the client's `stream_options`. A provider with a closed schema gets nothing else in it.
    fn include_usage(&self, field: &Field<'a>, patch: &mut BodyPatch) -> Result<(), JsonError> {
        if let Some(names) = self.candidate.provider.wire.allowed("stream_options", "")
            && names.iter().all(|name| name == "include_usage")
        {
            if self.text[field.value.clone()] != *"{\"include_usage\":true}" {
                patch.replace(field.value.clone(), "{\"include_usage\":true}");
            }
            return Ok(());
        }
        let (mut written, mut is_empty) = (None, true);
        Json::at_byte(self.text, field.value.start).object(|name, json| {
            is_empty = false;
            json.peek()?;
            let at = json.at();
            json.skip()?;
            if name.raw == "include_usage" {
                written = Some(at..json.at());
            }
            Ok::<_, JsonError>(())
        })?;
        match written {
            Some(value) if &self.text[value.clone()] == "true" => {}
            Some(value) => patch.replace(value, "true"),
            None => {
                let comma = if is_empty { "" } else { "," };
                patch.insert(field.value.start + 1, format!("\"include_usage\":true{comma}"));
            }
        }
        Ok(())
    }
}

/// Declared tools, without the fields of a function that say nothing: an SDK writes those that the caller has not set as null. A
/// function without parameters gets an empty schema, which Mistral, llama.cpp and vLLM demand. Gemini has refused one.
fn tools(walker: &Walker<'_>, json: &mut Json<'_>, patch: &mut BodyPatch) -> Result<(), JsonError> {
    let nothing = || "";
    json.array(|_, json| {
        if json.peek()? != Kind::Object {
            return json.skip();
        }
        walker.object("tools[]", "", json, patch, &nothing, |name, json, patch| {
            if name.raw != "function" || json.peek()? != Kind::Object {
                return Ok(false);
            }
            let lacks_schema = Cell::new(walker.candidate.provider.wire.dialect != DialectName::Gemini);
            let added = || if lacks_schema.get() { EMPTY_SCHEMA } else { "" };
            walker.object("tools[].function", "", json, patch, &added, |name, json, patch| {
                let is_null = json.peek()? == Kind::Null;
                if is_null {
                    json.skip()?;
                    patch.remove();
                } else if name.raw == "parameters" {
                    lacks_schema.set(false);
                }
                Ok(is_null)
            })?;
            Ok(true)
        })
    })
}

const EMPTY_SCHEMA: &str = "\"parameters\":{\"type\":\"object\",\"properties\":{}}";

/// A text as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
