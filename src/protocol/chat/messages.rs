//! Messages: roles, contents, tool calls, and the amount of text.

use super::{
    reader::{Mistake, Reader, missing, short, skip_null, string_or_null, wrong},
    remote_url,
};
use crate::{
    domain::{Capabilities, PromptSize},
    json::{Json, Kind, Text},
};

const ROLES: &str = "`system`, `developer`, `user`, `assistant`, `tool` or `function`";
const PARTS: &str = "`text`, `image_url`, `input_audio`, `file`, `video_url` or `refusal`";

/// Content of one message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Absent,
    Null,
    Given,
}

/// One content part, as far as its size and needs matter.
#[derive(Default)]
struct Part<'a> {
    kind: Option<Text<'a>>,
    has_payload: bool,
    remote: bool,
}

impl Reader {
    pub(super) fn messages(&mut self, json: &mut Json<'_>) -> Result<(), Mistake> {
        match json.peek()? {
            Kind::Array => {}
            Kind::Null => return Err(missing("messages")),
            other => return Err(wrong("messages", "an array of messages", other.named())),
        }
        json.array(|i, json| self.message(i, json))?;
        if self.found.size.messages == 0 {
            return Err(wrong("messages", "at least one message", "an empty array"));
        }
        self.has_messages = true;
        Ok(())
    }

    fn message(&mut self, i: usize, json: &mut Json<'_>) -> Result<(), Mistake> {
        let kind = json.peek()?;
        if kind != Kind::Object {
            return Err(wrong(format!("messages[{i}]"), "an object", kind.named()));
        }
        self.found.size.messages += 1;
        let (mut role, mut content) = (None, Content::Absent);
        json.object(|name, json| {
            match name.raw {
                "role" => role = string_or_null(json, || format!("messages[{i}].role"))?,
                "content" => content = self.content(i, json)?,
                "tool_calls" if !skip_null(json)? => self.tool_calls(i, json)?,
                "tool_call_id" => drop(string_or_null(json, || format!("messages[{i}].tool_call_id"))?),
                // Parts of an earlier reply that the caller sends back also count.
                "name" | "refusal" | "reasoning" | "reasoning_content" if json.peek()? == Kind::String => {
                    count(&mut self.found.size, json.string()?);
                }
                "name" if json.peek()? != Kind::Null => {
                    return Err(wrong(format!("messages[{i}].name"), "a string", json.peek()?.named()));
                }
                "tool_calls" => {}
                "function_call" if json.peek()? == Kind::Object => {
                    self.require("messages[].function_call", true);
                    json.skip()?;
                }
                _ => json.skip()?,
            }
            Ok(())
        })?;
        let role = role.ok_or_else(|| missing(&format!("messages[{i}].role")))?;
        match (role.raw, content) {
            // A tool may return nothing.
            ("assistant" | "tool", _)
            | ("system" | "developer" | "user" | "function", Content::Given)
            | ("function", Content::Null) => Ok(()),
            ("system" | "developer" | "user" | "function", Content::Absent) => {
                Err(missing(&format!("messages[{i}].content")))
            }
            ("system" | "developer" | "user", Content::Null) => {
                Err(wrong(format!("messages[{i}].content"), "a string or an array of content parts", "null"))
            }
            (other, _) => Err(wrong(format!("messages[{i}].role"), ROLES, format_args!("`{}`", short(other)))),
        }
    }

    fn content(&mut self, i: usize, json: &mut Json<'_>) -> Result<Content, Mistake> {
        match json.peek()? {
            Kind::String => count(&mut self.found.size, json.string()?),
            Kind::Array => json.array(|j, json| self.part(i, j, json))?,
            Kind::Null => {
                json.literal()?;
                return Ok(Content::Null);
            }
            other => {
                let expected = "a string or an array of content parts";
                return Err(wrong(format!("messages[{i}].content"), expected, other.named()));
            }
        }
        Ok(Content::Given)
    }

    fn part(&mut self, i: usize, j: usize, json: &mut Json<'_>) -> Result<(), Mistake> {
        let path = || format!("messages[{i}].content[{j}]");
        let kind = json.peek()?;
        if kind != Kind::Object {
            return Err(wrong(path(), "an object", kind.named()));
        }
        let mut part = Part::default();
        json.object(|name, json| {
            match name.raw {
                "type" => part.kind = string_or_null(json, || path() + ".type")?,
                "text" | "refusal" => {
                    if let Some(text) = string_or_null(json, || format!("{}.{}", path(), name.raw))? {
                        part.has_payload = true;
                        count(&mut self.found.size, text);
                    }
                }
                "image_url" | "video_url" if !skip_null(json)? => {
                    part.has_payload = true;
                    let url = url(json, || format!("{}.{}", path(), name.raw))?;
                    part.remote = !url.raw.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
                    self.found.private_urls |= part.remote && remote_url::is_private(&url.decode());
                }
                "input_audio" | "file" if !skip_null(json)? => {
                    let kind = json.peek()?;
                    if kind != Kind::Object {
                        return Err(wrong(format!("{}.{}", path(), name.raw), "an object", kind.named()));
                    }
                    part.has_payload = true;
                    self.addresses(json)?;
                }
                // An SDK writes the fields of other types of parts as null.
                "image_url" | "video_url" | "input_audio" | "file" => {}
                _ => json.skip()?,
            }
            Ok(())
        })?;
        self.add_part(&part, path)
    }

    /// A file or a sound may be named by its address instead of its content.
    fn addresses(&mut self, json: &mut Json<'_>) -> Result<(), Mistake> {
        json.object(|name, json| {
            if name.raw == "filename" || json.peek()? != Kind::String {
                json.skip()?;
                return Ok(());
            }
            let text = json.string()?;
            let is_data = text.raw.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
            if !is_data {
                let text = text.decode();
                // Base64 may begin like a path.
                self.found.private_urls |= text.contains(':') && remote_url::is_private(&text);
            }
            Ok(())
        })
    }

    fn add_part(&mut self, part: &Part<'_>, path: impl Fn() -> String) -> Result<(), Mistake> {
        let kind = part.kind.ok_or_else(|| missing(&(path() + ".type")))?;
        let need = match kind.raw {
            // Of an earlier answer. No provider gets them.
            "thinking" | "redacted_thinking" => return Ok(()),
            "text" | "refusal" => None,
            "image_url" => Some(Capabilities::VISION),
            "input_audio" => Some(Capabilities::AUDIO_IN),
            "file" => Some(Capabilities::PDF_IN),
            "video_url" => Some(Capabilities::VIDEO_IN),
            other => return Err(wrong(path() + ".type", PARTS, format_args!("`{}`", short(other)))),
        };
        if !part.has_payload {
            return Err(missing(&format!("{}.{}", path(), kind.raw)));
        }
        if let Some(need) = need {
            self.found.needs = self.found.needs.with(need);
            if need == Capabilities::VISION {
                self.found.images += 1;
                self.found.remote_images |= part.remote;
            } else {
                // Audio, files and video cost tokens, too; each is estimated like an image.
                self.found.size.images += 1;
            }
        }
        Ok(())
    }

    fn tool_calls(&mut self, i: usize, json: &mut Json<'_>) -> Result<(), Mistake> {
        let path = || format!("messages[{i}].tool_calls");
        let kind = json.peek()?;
        if kind != Kind::Array {
            return Err(wrong(path(), "an array", kind.named()));
        }
        json.array(|j, json| {
            let kind = json.peek()?;
            if kind != Kind::Object {
                return Err(wrong(format!("{}[{j}]", path()), "an object", kind.named()));
            }
            self.found.calls += 1;
            json.object(|name, json| match name.raw {
                "id" | "type" => string_or_null(json, || format!("{}[{j}].{}", path(), name.raw)).map(drop),
                "function" => self.function_call(|| format!("{}[{j}].function", path()), json),
                _ => Ok(json.skip()?),
            })
        })
    }

    fn function_call(&mut self, path: impl Fn() -> String, json: &mut Json<'_>) -> Result<(), Mistake> {
        let kind = json.peek()?;
        if kind != Kind::Object {
            return Err(wrong(path(), "an object", kind.named()));
        }
        json.object(|name, json| match name.raw {
            "name" | "arguments" => match json.peek()? {
                Kind::String => {
                    count(&mut self.found.size, json.string()?);
                    Ok(())
                }
                // Some clients send what a model wrote as JSON, or as nothing. Providers get a string.
                _ if name.raw == "arguments" => {
                    let at = json.at();
                    json.skip()?;
                    count_plain(&mut self.found.size, &json.text()[at..json.at()]);
                    Ok(())
                }
                other => Err(wrong(format!("{}.{}", path(), name.raw), "a string", other.named())),
            },
            _ => Ok(json.skip()?),
        })
    }
}

/// `{"url": "…"}`, or the plain string that some callers send.
fn url<'a>(json: &mut Json<'a>, path: impl Fn() -> String) -> Result<Text<'a>, Mistake> {
    match json.peek()? {
        Kind::String => Ok(json.string()?),
        Kind::Object => {
            let mut found = None;
            json.object(|name, json| {
                if name.raw == "url" {
                    found = string_or_null(json, || path() + ".url")?;
                    return Ok(());
                }
                Ok::<_, Mistake>(json.skip()?)
            })?;
            found.ok_or_else(|| missing(&(path() + ".url")))
        }
        other => Err(wrong(path(), "an object with `url`", other.named())),
    }
}

/// Counts a text's characters. An escape counts as the character that it encodes.
fn count(size: &mut PromptSize, text: Text<'_>) {
    if text.escaped {
        measure(size, text.raw);
    } else {
        count_plain(size, text.raw);
    }
}

/// Counts the characters of a JSON string without its quotes.
pub(in crate::protocol) fn measure(size: &mut PromptSize, escaped: &str) {
    let mut rest = escaped;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        count_plain(size, &rest[..at]);
        let escape = &rest[at..];
        let length = if escape.as_bytes().get(1) == Some(&b'u') {
            let code = escape.get(2..6).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0);
            // Of a surrogate pair only the first half counts.
            if !(0xDC00..0xE000).contains(&code) {
                count_char(size, code);
            }
            6
        } else {
            // A line feed, a tab, a quote, …
            size.ascii_chars += 1;
            size.symbols += u64::from(matches!(escape.as_bytes().get(1), Some(b'"' | b'\\' | b'/')));
            2
        };
        rest = escape.get(length..).unwrap_or("");
    }
    count_plain(size, rest);
}

fn count_plain(size: &mut PromptSize, text: &str) {
    if text.is_ascii() {
        size.ascii_chars += text.len() as u64;
        size.digits += text.bytes().filter(u8::is_ascii_digit).count() as u64;
        size.symbols += text.bytes().filter(u8::is_ascii_punctuation).count() as u64;
        return;
    }
    for c in text.chars() {
        count_char(size, c as u32);
    }
}

fn count_char(size: &mut PromptSize, code: u32) {
    match code {
        0..0x80 => {
            let c = char::from_u32(code).unwrap_or_default();
            size.ascii_chars += 1;
            size.digits += u64::from(c.is_ascii_digit());
            size.symbols += u64::from(c.is_ascii_punctuation());
        }
        // Radicals, kana, Hangul, ideographs, full-width forms.
        0x1100..=0x11FF
        | 0x2E80..=0x9FFF
        | 0xAC00..=0xD7AF
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE4F
        | 0xFF00..=0xFFEF
        | 0x2_0000..=0x3_FFFF => size.cjk_chars += 1,
        _ => size.other_chars += 1,
    }
}
