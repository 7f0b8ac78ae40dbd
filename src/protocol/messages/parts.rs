//! Text, pictures and documents of one message, as content parts of a chat completion.

use super::mistake::{Mistake, expect, optional, wrong};
use crate::{
    json::Kind,
    protocol::{
        json_view::{Members, View},
        tool_name,
    },
};

/// Between two texts of one message.
pub(super) const BREAK: &str = "\\n\\n";

/// Blocks that only Anthropic's own servers can make or read.
const SERVER_BLOCKS: [&str; 11] = [
    "server_tool_use",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "mcp_tool_use",
    "mcp_tool_result",
    "container_upload",
    "fallback",
];

/// The parts of one message, in order.
#[derive(Default)]
pub(super) struct Parts(Vec<Part>);

enum Part {
    /// With JSON's escapes, without quotes.
    Text(String),
    /// The JSON of a part.
    Media(String),
}

impl Parts {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has_media(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Media(_)))
    }

    /// Adds a text, which keeps its escapes.
    pub(super) fn text(&mut self, escaped: &str) {
        if !escaped.is_empty() {
            self.0.push(Part::Text(escaped.to_owned()));
        }
    }

    pub(super) fn media(&mut self, media: Vec<String>) {
        self.0.extend(media.into_iter().map(Part::Media));
    }

    /// Adds a block of the type `kind`. Blocks of Anthropic's servers are left out and named in `dropped`.
    pub(super) fn block(
        &mut self,
        kind: View<'_>,
        members: &Members<'_>,
        dropped: &mut Vec<String>,
    ) -> Result<(), Mistake> {
        match kind.escaped().unwrap_or_default() {
            "text" => self.text(expect(members, "text", Kind::String)?.escaped().unwrap_or_default()),
            "image" => self.image(members)?,
            "document" => self.document(members)?,
            "search_result" => self.search_result(members)?,
            // What a search for tools has found. All tools are with the model already.
            "tool_reference" => {
                let name = expect(members, "tool_name", Kind::String)?.string().unwrap_or_default();
                self.text(&format!("Found: {}", tool_name::chat_name(&name)));
            }
            // The summary that took the place of earlier messages.
            "compaction" => {
                let summary = optional(members, "content", Kind::String)?.and_then(View::escaped);
                self.text(summary.unwrap_or_default());
            }
            other if SERVER_BLOCKS.contains(&other) => dropped.push(other.to_owned()),
            _ => return Err(wrong("type", "a known type of block", kind)),
        }
        Ok(())
    }

    fn image(&mut self, members: &Members<'_>) -> Result<(), Mistake> {
        let source = Source::read(members)?;
        let url = match source.kind {
            "base64" => {
                let media_type = source.string("media_type")?;
                format!("data:{media_type};base64,{}", source.string("data")?)
            }
            "url" => source.string("url")?.to_owned(),
            _ => return Err(source.unsupported("an image needs a source of the type `base64` or `url`.")),
        };
        self.0.push(Part::Media(format!("{{\"type\":\"image_url\",\"image_url\":{{\"url\":\"{url}\"}}}}")));
        Ok(())
    }

    fn document(&mut self, members: &Members<'_>) -> Result<(), Mistake> {
        let source = Source::read(members)?;
        let title = optional(members, "title", Kind::String)?.and_then(View::escaped).unwrap_or_default();
        match source.kind {
            "text" => self.titled(title, source.string("data")?),
            "content" => {
                let within = |mistake: Mistake| mistake.below("source.content");
                match source.members.get("content") {
                    Some(text) if text.kind == Kind::String => self.titled(title, text.escaped().unwrap_or_default()),
                    Some(list) if list.kind == Kind::Array => {
                        self.titled(title, "");
                        for (n, block) in list.items().into_iter().enumerate() {
                            let inner = block.members();
                            let at = |mistake: Mistake| within(mistake.below(format_args!("[{n}]")));
                            let kind = expect(&inner, "type", Kind::String).map_err(at)?;
                            self.block(kind, &inner, &mut Vec::new()).map_err(at)?;
                        }
                    }
                    Some(other) => return Err(within(wrong("", "a string or an array of blocks", other))),
                    None => return Err(Mistake::missing("source.content")),
                }
            }
            "base64" => {
                let media_type = source.string("media_type")?;
                let name = if title.is_empty() { "document.pdf" } else { title };
                let data = source.string("data")?;
                self.0.push(Part::Media(format!(
                    "{{\"type\":\"file\",\"file\":{{\"filename\":\"{name}\",\"file_data\":\"data:{media_type};base64,{data}\"}}}}"
                )));
            }
            _ => return Err(source.unsupported("a document needs a source of the type `text`, `content` or `base64`.")),
        }
        Ok(())
    }

    fn search_result(&mut self, members: &Members<'_>) -> Result<(), Mistake> {
        let title = optional(members, "title", Kind::String)?.and_then(View::escaped).unwrap_or_default();
        let source = optional(members, "source", Kind::String)?.and_then(View::escaped).unwrap_or_default();
        let mut text = Self::default();
        for (n, block) in expect(members, "content", Kind::Array)?.items().into_iter().enumerate() {
            let at = |mistake: Mistake| mistake.below(format_args!("content[{n}]"));
            text.text(expect(&block.members(), "text", Kind::String).map_err(at)?.escaped().unwrap_or_default());
        }
        self.titled(&format!("{title} {source}"), &text.take_text());
        Ok(())
    }

    fn titled(&mut self, title: &str, text: &str) {
        let title = title.trim();
        if title.is_empty() {
            self.text(text);
        } else {
            self.text(&format!("{title}:{BREAK}{text}"));
        }
    }

    /// All texts, in one.
    pub(super) fn take_text(&mut self) -> String {
        let texts: Vec<&str> = self.0.iter().filter_map(Part::as_text).collect();
        let joined = texts.join(BREAK);
        self.0.retain(|part| part.as_text().is_none());
        joined
    }

    /// Everything that is not text.
    pub(super) fn take_media(self) -> Option<Vec<String>> {
        let media: Vec<String> = self
            .0
            .into_iter()
            .filter_map(|part| match part {
                Part::Media(json) => Some(json),
                Part::Text(_) => None,
            })
            .collect();
        (!media.is_empty()).then_some(media)
    }

    /// The content of a message: a string where there is only text, which every provider takes.
    pub(super) fn json(&mut self) -> String {
        if !self.has_media() {
            return format!("\"{}\"", self.take_text());
        }
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|part| match part {
                Part::Text(text) => format!("{{\"type\":\"text\",\"text\":\"{text}\"}}"),
                Part::Media(json) => json.clone(),
            })
            .collect();
        format!("[{}]", parts.join(","))
    }
}

impl Part {
    fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Media(_) => None,
        }
    }
}

/// Where an image or a document comes from.
struct Source<'a> {
    members: Members<'a>,
    kind: &'a str,
}

impl<'a> Source<'a> {
    fn read(members: &Members<'a>) -> Result<Self, Mistake> {
        let members = expect(members, "source", Kind::Object)?.members();
        let kind = expect(&members, "type", Kind::String).map_err(|mistake| mistake.below("source"))?;
        Ok(Self { kind: kind.escaped().unwrap_or_default(), members })
    }

    fn string(&self, name: &str) -> Result<&'a str, Mistake> {
        let found = expect(&self.members, name, Kind::String).map_err(|mistake| mistake.below("source"))?;
        Ok(found.escaped().unwrap_or_default())
    }

    fn unsupported(&self, why: &str) -> Mistake {
        Mistake::unsupported("source.type", format!("`{}` is not supported: {why}", self.kind))
    }
}

/// Appends a text with JSON's escapes.
pub(super) fn push_escaped(out: &mut String, text: &str) {
    let quoted = serde_json::Value::from(text).to_string();
    out.push_str(&quoted[1..quoted.len() - 1]);
}
