//! Messages in the form that one provider takes: roles, contents, tool calls and their ids.

use std::{borrow::Cow, cell::Cell};

use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use super::{body_patch::BodyPatch, fields::Walker};
use crate::{
    domain::{Candidate, provider::DialectName},
    json::{Json, JsonError, Kind, Text},
    upstream::response::arguments::as_object,
};

/// Length of tool call ids where the provider prescribes it.
const SHORT_ID_CHARS: usize = 9;
/// Gemini 3 takes this signature for calls that another model made. Source: Google's documentation of thought signatures.
const FOREIGN_SIGNATURE: &str =
    "\"extra_content\":{\"google\":{\"thought_signature\":\"skip_thought_signature_validator\"}}";
const EXTRA_CONTENT: &str = "\"extra_content\":";

/// What a message may need to be changed into.
pub(super) struct MessageEditor<'c> {
    /// `developer` becomes `system`, which every provider knows.
    plain_roles: bool,
    short_ids: bool,
    /// Null beside tool calls becomes an empty string.
    no_null_content: bool,
    /// The content of a message that says nothing. Mistral refuses an empty one; a message that is left out would put a
    /// user's message behind a tool's result, which it refuses too.
    silence: &'static str,
    /// Tool calls without a thought signature get the documented placeholder.
    signs_calls: bool,
    /// Roles whose content must be a string.
    text_roles: &'c [String],
    /// A user's message must not follow a tool's: the assistant says something in between.
    separates_users: bool,
    follows_tool: bool,
    /// The last message may be the assistant's, whose words the model continues, only if it says so.
    marks_prefix: bool,
    /// Messages that come after the present one.
    left: usize,
    /// The calls of the latest answer, where some have no id of their own.
    renamed: Vec<RenamedCall>,
}

/// A call whose id is not its own. Calls and results keep their order, so that the next result with the written id belongs to it.
struct RenamedCall {
    written: String,
    sent: String,
    has_result: bool,
}

/// What the assistant says between a tool's result and the user's next words.
const SEPARATOR: &str = "{\"role\":\"assistant\",\"content\":\"Understood.\"},";

/// What the editor needs to know of a message before it edits the fields.
#[derive(Default)]
struct Outline<'t> {
    role: &'t str,
    /// A list of tool calls with an item.
    has_tool_calls: bool,
    has_function_call: bool,
    has_content: bool,
    has_prefix: bool,
    has_result_id: bool,
    calls: Vec<CallOutline<'t>>,
}

/// What the editor needs to know of a tool call.
#[derive(Default)]
struct CallOutline<'t> {
    id: Option<Text<'t>>,
    has_type: bool,
    has_arguments: bool,
    has_function: bool,
}

impl<'t> CallOutline<'t> {
    fn id(&self) -> Cow<'t, str> {
        self.id.map_or(Cow::Borrowed(""), |id| id.decode())
    }
}

impl<'c> MessageEditor<'c> {
    /// `messages`: how many there are.
    pub(crate) fn new(candidate: &'c Candidate, messages: usize) -> Self {
        let wire = &candidate.provider.wire;
        Self {
            plain_roles: wire.dialect != DialectName::Openrouter,
            short_ids: wire.short_tool_ids,
            no_null_content: wire.dialect == DialectName::Mistral,
            silence: if wire.dialect == DialectName::Mistral { " " } else { "" },
            signs_calls: wire.dialect == DialectName::Gemini && candidate.model.id.starts_with("gemini-3"),
            text_roles: &wire.text_content_roles,
            separates_users: wire.dialect == DialectName::Mistral,
            follows_tool: false,
            marks_prefix: wire.dialect == DialectName::Mistral,
            left: messages,
            renamed: Vec::new(),
        }
    }

    pub(crate) fn message(
        &mut self,
        walker: &Walker<'_>,
        json: &mut Json<'_>,
        patch: &mut BodyPatch,
    ) -> Result<(), JsonError> {
        json.peek()?;
        let start = json.at();
        let outline = outline(&mut Json::at_byte(json.text(), start))?;
        let role = if outline.role == "developer" { "system" } else { outline.role };
        if std::mem::replace(&mut self.follows_tool, role == "tool") && role == "user" && self.separates_users {
            patch.insert(start, SEPARATOR);
        }
        let is_silent = role == "assistant" && !outline.has_tool_calls && !outline.has_function_call;
        let silence = if is_silent { self.silence } else { "" };
        self.left = self.left.saturating_sub(1);
        let is_prefix = self.marks_prefix && self.left == 0 && is_silent && !outline.has_prefix;
        if outline.has_tool_calls {
            self.rename(&outline.calls);
        }
        let result_id = if role == "tool" { self.result_id(&mut Json::at_byte(json.text(), start))? } else { None };
        let mut added = Vec::new();
        if let Some(id) = result_id.as_ref().filter(|_| !outline.has_result_id) {
            added.push(format!("\"tool_call_id\":\"{id}\""));
        }
        if (is_silent || role == "tool") && !outline.has_content {
            added.push(format!("\"content\":\"{silence}\""));
        }
        if is_prefix {
            added.push("\"prefix\":true".to_owned());
        }
        let added = added.join(",");
        walker.object("messages[]", role, json, patch, &|| &added, |name, json, patch| {
            let kind = json.peek()?;
            match (name.raw, kind) {
                ("role", Kind::String) => {
                    let role = json.string()?;
                    if self.plain_roles && role.raw == "developer" {
                        patch.replace(role.at..role.end(), "\"system\"");
                    }
                }
                ("content", Kind::Null) => {
                    let at = json.at();
                    json.literal()?;
                    if is_silent || self.no_null_content || role == "tool" {
                        patch.replace(at..json.at(), format!("\"{silence}\""));
                    }
                }
                ("content", Kind::String) => {
                    let said = json.string()?;
                    if said.raw.is_empty() && !silence.is_empty() {
                        patch.replace(said.at..said.end(), format!("\"{silence}\""));
                    }
                }
                ("content", Kind::Array) => {
                    let start = json.at();
                    let is_text = self.text_roles.iter().any(|text_role| text_role == role);
                    // No provider takes an empty list as a content.
                    let Joined { said, has_thoughts } = joined(json)?;
                    match said.filter(|said| is_text || has_thoughts || role != "user" && said.is_empty()) {
                        Some(said) => {
                            let said = if said.is_empty() { silence } else { &said };
                            patch.replace(start..json.at(), format!("\"{said}\""));
                        }
                        None => Json::at_byte(json.text(), start).array(|_, json| match json.peek()? {
                            Kind::Object => part(walker, json, patch),
                            _ => json.skip(),
                        })?,
                    }
                }
                ("tool_call_id", _) if result_id.is_some() => {
                    let at = json.at();
                    json.skip()?;
                    patch.replace(at..json.at(), format!("\"{}\"", result_id.as_deref().unwrap_or_default()));
                }
                ("tool_call_id", Kind::String) if self.short_ids => shorten(json.string()?, patch),
                ("tool_calls", Kind::Array) if outline.has_tool_calls => {
                    let mut calls = outline.calls.iter().enumerate();
                    json.array(|_, json| match (json.peek()?, calls.next()) {
                        (Kind::Object, Some(call)) => self.call(walker, json, patch, call),
                        _ => json.skip(),
                    })?;
                }
                // An SDK writes back the void fields of a response.
                ("tool_calls", _) => {
                    json.skip()?;
                    patch.remove();
                }
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    /// Gives every call of an answer an id of its own, where some have none, or one that another call has.
    fn rename(&mut self, calls: &[CallOutline<'_>]) {
        self.renamed.clear();
        let is_own = |(at, call): (usize, &CallOutline<'_>)| {
            let id = call.id();
            !id.trim().is_empty() && !calls[..at].iter().any(|other| other.id() == id)
        };
        if calls.iter().enumerate().all(is_own) {
            return;
        }
        for (at, call) in calls.iter().enumerate() {
            let written = call.id().into_owned();
            // The same in every request, as long as the end of the conversation is.
            let sent = if is_own((at, call)) { written.clone() } else { format!("call{}n{at}", self.left) };
            let sent = if self.short_ids { short_id(&sent) } else { sent };
            self.renamed.push(RenamedCall { written, sent, has_result: false });
        }
    }

    /// The id of a result whose call got another one.
    fn result_id(&mut self, json: &mut Json<'_>) -> Result<Option<String>, JsonError> {
        if self.renamed.is_empty() {
            return Ok(None);
        }
        let mut written = Cow::Borrowed("");
        json.object(|name, json| {
            if name.raw == "tool_call_id" && json.peek()? == Kind::String {
                written = json.string()?.decode();
                return Ok(());
            }
            json.skip()
        })?;
        let call = self.renamed.iter_mut().find(|call| !call.has_result && call.written == *written);
        Ok(call.map(|call| {
            call.has_result = true;
            serde_json::Value::from(&*call.sent).to_string().trim_matches('"').to_owned()
        }))
    }

    fn call(
        &self,
        walker: &Walker<'_>,
        json: &mut Json<'_>,
        patch: &mut BodyPatch,
        (at, outline): (usize, &CallOutline<'_>),
    ) -> Result<(), JsonError> {
        let needs_signature = Cell::new(self.signs_calls && at == 0);
        let id = self.renamed.get(at).map(|call| serde_json::Value::from(&*call.sent).to_string());
        let mut missing = Vec::new();
        if let Some(id) = id.as_ref().filter(|_| outline.id.is_none()) {
            missing.push(format!("\"id\":{id}"));
        }
        if outline.has_function && !outline.has_type {
            missing.push("\"type\":\"function\"".to_owned());
        }
        let unsigned = missing.join(",");
        missing.push(FOREIGN_SIGNATURE.to_owned());
        let signed = missing.join(",");
        let added = || if needs_signature.get() { signed.as_str() } else { unsigned.as_str() };
        walker.object("messages[].tool_calls[]", "", json, patch, &added, |name, json, patch| {
            match (name.raw, json.peek()?) {
                // One is added.
                ("id", kind) if kind != Kind::String && id.is_some() => {
                    json.skip()?;
                    patch.remove();
                }
                ("id", Kind::String) if id.is_some() => {
                    let written = json.string()?;
                    patch.replace(written.at..written.end(), id.clone().unwrap_or_default());
                }
                ("id", Kind::String) if self.short_ids => shorten(json.string()?, patch),
                ("type", kind) if kind != Kind::String && outline.has_function => {
                    json.skip()?;
                    patch.remove();
                }
                ("function", Kind::Object) => {
                    let added = || if outline.has_arguments { "" } else { "\"arguments\":\"{}\"" };
                    walker.object("messages[].tool_calls[].function", "", json, patch, &added, arguments)?;
                }
                ("extra_content", kind) => {
                    let at = json.at();
                    json.skip()?;
                    if needs_signature.replace(false) && !json.text()[at..json.at()].contains("thought_signature") {
                        patch.replace(at..json.at(), &FOREIGN_SIGNATURE[EXTRA_CONTENT.len()..]);
                    } else if kind == Kind::Null {
                        patch.remove();
                    }
                }
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
}

fn outline<'t>(json: &mut Json<'t>) -> Result<Outline<'t>, JsonError> {
    let mut outline = Outline::default();
    json.object(|name, json| {
        match (name.raw, json.peek()?) {
            ("role", Kind::String) => outline.role = json.string()?.raw,
            ("content", _) => {
                outline.has_content = true;
                json.skip()?;
            }
            ("prefix", _) => {
                outline.has_prefix = true;
                json.skip()?;
            }
            ("tool_calls", Kind::Array) => json.array(|_, json| {
                outline.has_tool_calls = true;
                outline.calls.push(call_outline(json)?);
                Ok(())
            })?,
            ("tool_call_id", _) => {
                outline.has_result_id = true;
                json.skip()?;
            }
            ("function_call", Kind::Object) => {
                outline.has_function_call = true;
                json.skip()?;
            }
            _ => json.skip()?,
        }
        Ok::<_, JsonError>(())
    })?;
    Ok(outline)
}

fn call_outline<'t>(json: &mut Json<'t>) -> Result<CallOutline<'t>, JsonError> {
    let mut outline = CallOutline::default();
    if json.peek()? != Kind::Object {
        json.skip()?;
        return Ok(outline);
    }
    json.object(|name, json| {
        match (name.raw, json.peek()?) {
            ("id", Kind::String) => outline.id = Some(json.string()?),
            ("type", Kind::String) => {
                outline.has_type = true;
                json.skip()?;
            }
            ("function", Kind::Object) => {
                outline.has_function = true;
                json.object(|name, json| {
                    outline.has_arguments |= name.raw == "arguments";
                    json.skip()
                })?;
            }
            _ => json.skip()?,
        }
        Ok::<_, JsonError>(())
    })?;
    Ok(outline)
}

/// Arguments are a string that holds a JSON object.
fn arguments<'t>(name: Text<'t>, json: &mut Json<'t>, patch: &mut BodyPatch) -> Result<bool, JsonError> {
    if name.raw != "arguments" {
        return Ok(false);
    }
    let kind = json.peek()?;
    let at = json.at();
    json.skip()?;
    let value = &json.text()[at..json.at()];
    match kind {
        Kind::String => {
            let written: Cow<'_, str> = Json::at_byte(json.text(), at).string()?.decode();
            if !is_object(&written) {
                let mended = as_object(&written).unwrap_or_else(|| wrapped(&written));
                patch.replace(at..json.at(), serde_json::Value::from(mended).to_string());
            }
        }
        Kind::Object => patch.replace(at..json.at(), serde_json::Value::from(value).to_string()),
        _ => {
            let mended = as_object(value).unwrap_or_else(|| wrapped(value));
            patch.replace(at..json.at(), serde_json::Value::from(mended).to_string());
        }
    }
    Ok(true)
}

fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Arguments that a model has written wrong, as an object in which they stay visible.
fn wrapped(written: &str) -> String {
    serde_json::json!({ "arguments": written }).to_string()
}

/// A part of a user's content. An image given as a bare string becomes OpenAI's object.
fn part(walker: &Walker<'_>, json: &mut Json<'_>, patch: &mut BodyPatch) -> Result<(), JsonError> {
    let nothing = || "";
    walker.object("messages[].content[]", "", json, patch, &nothing, |name, json, patch| {
        match (name.raw, json.peek()?) {
            ("image_url", Kind::String) => {
                let url = json.string()?;
                patch.replace(url.at..url.end(), format!("{{\"url\":\"{}\"}}", url.raw));
            }
            ("image_url", Kind::Object) => {
                walker.object("messages[].content[].image_url", "", json, patch, &nothing, |_, _, _| Ok(false))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })
}

/// The text of a content.
struct Joined {
    /// `None`: it has other parts than text.
    said: Option<String>,
    /// It has parts of a model's thinking (Mistral, Anthropic), which are left out.
    has_thoughts: bool,
}

/// The text parts and refusals of a content as one string, as written.
fn joined(json: &mut Json<'_>) -> Result<Joined, JsonError> {
    let (mut joined, mut only_text, mut has_thoughts) = (String::new(), true, false);
    json.array(|_, json| {
        let (mut found, mut is_thought) = (None, false);
        match json.peek()? {
            Kind::String => found = Some(json.string()?.raw),
            Kind::Object => json.object(|name, json| match (name.raw, json.peek()?) {
                ("text" | "refusal", Kind::String) => {
                    found = Some(json.string()?.raw);
                    Ok::<_, JsonError>(())
                }
                ("type", Kind::String) => {
                    is_thought = matches!(json.string()?.raw, "thinking" | "redacted_thinking");
                    Ok(())
                }
                _ => json.skip(),
            })?,
            _ => json.skip()?,
        }
        has_thoughts |= is_thought;
        if is_thought {
            return Ok(());
        }
        let Some(text) = found else {
            only_text = false;
            return Ok(());
        };
        let ends_apart = |text: &str| text.ends_with([' ', '\t']) || text.ends_with("\\n") || text.ends_with("\\t");
        let begins_apart = |text: &str| text.starts_with([' ', '\t']) || text.starts_with("\\n");
        if !joined.is_empty() && !text.is_empty() && !ends_apart(&joined) && !begins_apart(text) {
            joined.push_str("\\n");
        }
        joined.push_str(text);
        Ok::<_, JsonError>(())
    })?;
    Ok(Joined { said: only_text.then_some(joined), has_thoughts })
}

fn shorten(id: Text<'_>, patch: &mut BodyPatch) {
    let decoded = id.decode();
    if decoded.len() != SHORT_ID_CHARS || !decoded.bytes().all(|b| b.is_ascii_alphanumeric()) {
        patch.replace(id.at..id.end(), format!("\"{}\"", short_id(&decoded)));
    }
}

/// Nine of `[0-9A-Za-z]`, the same for an id in every request, so that a call and its result keep one id.
fn short_id(id: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digest = Sha256::digest(id.as_bytes());
    let mut number = digest.iter().take(8).fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    (0..SHORT_ID_CHARS)
        .map(|_| {
            let digit = DIGITS[usize::try_from(number % 62).unwrap_or(0)];
            number /= 62;
            char::from(digit)
        })
        .collect()
}
