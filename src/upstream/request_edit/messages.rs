//! Messages in the form that one provider takes: roles, contents, tool calls and their ids.

use std::cell::Cell;

use sha2::{Digest, Sha256};

use super::{body_patch::BodyPatch, fields::Walker};
use crate::{
    domain::{Candidate, provider::DialectName},
    json::{Json, JsonError, Kind, Text},
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
        let mut added = Vec::new();
        if is_silent && !outline.has_content {
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
                    if is_silent || self.no_null_content {
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
                    match joined(json)?.filter(|_| is_text) {
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
                ("tool_call_id", Kind::String) if self.short_ids => shorten(json.string()?, patch),
                ("tool_calls", Kind::Array) if outline.has_tool_calls => {
                    let mut first = true;
                    json.array(|_, json| match json.peek()? {
                        Kind::Object => self.call(walker, json, patch, std::mem::take(&mut first)),
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

    fn call(
        &self,
        walker: &Walker<'_>,
        json: &mut Json<'_>,
        patch: &mut BodyPatch,
        is_first: bool,
    ) -> Result<(), JsonError> {
        let needs_signature = Cell::new(self.signs_calls && is_first);
        let added = || if needs_signature.get() { FOREIGN_SIGNATURE } else { "" };
        walker.object("messages[].tool_calls[]", "", json, patch, &added, |name, json, patch| {
            match (name.raw, json.peek()?) {
                ("id", Kind::String) if self.short_ids => shorten(json.string()?, patch),
                ("function", Kind::Object) => {
                    walker.object("messages[].tool_calls[].function", "", json, patch, &|| "", arguments)?;
                }
                ("extra_content", _) => {
                    let at = json.at();
                    json.skip()?;
                    if needs_signature.replace(false) && !json.text()[at..json.at()].contains("thought_signature") {
                        patch.replace(at..json.at(), &FOREIGN_SIGNATURE[EXTRA_CONTENT.len()..]);
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
                json.skip()
            })?,
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
        Kind::String if value[1..value.len() - 1].trim().is_empty() => patch.replace(at..json.at(), "\"{}\""),
        Kind::Null => patch.replace(at..json.at(), "\"{}\""),
        _ => {}
    }
    Ok(true)
}

/// A part of a user's content. An image given as a bare string becomes OpenAI's object.
fn part(walker: &Walker<'_>, json: &mut Json<'_>, patch: &mut BodyPatch) -> Result<(), JsonError> {
    walker.object("messages[].content[]", "", json, patch, &|| "", |name, json, patch| {
        if name.raw != "image_url" || json.peek()? != Kind::String {
            return Ok(false);
        }
        let url = json.string()?;
        patch.replace(url.at..url.end(), format!("{{\"url\":\"{}\"}}", url.raw));
        Ok(true)
    })
}

/// The text parts and refusals of a content as one string, as written; `None` where it has other parts.
fn joined(json: &mut Json<'_>) -> Result<Option<String>, JsonError> {
    let (mut joined, mut only_text) = (String::new(), true);
    json.array(|_, json| {
        let mut found = None;
        match json.peek()? {
            Kind::String => found = Some(json.string()?.raw),
            Kind::Object => json.object(|name, json| match (name.raw, json.peek()?) {
                ("text" | "refusal", Kind::String) => {
                    found = Some(json.string()?.raw);
                    Ok::<_, JsonError>(())
                }
                _ => json.skip(),
            })?,
            _ => json.skip()?,
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
    Ok(only_text.then_some(joined))
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
