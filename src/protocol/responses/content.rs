//! Content of messages and of tool outputs: parts of a Responses request as parts of a chat completion.

use super::node::{Members, Node};
use crate::{json::Kind, protocol::BadRequest};

const PARTS: &str =
    "`input_text`, `input_image`, `input_file`, `input_audio`, `input_video`, `output_text` or `refusal`";

/// The content of one message or tool output.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The texts, as written between their quotes.
    pub texts: Vec<String>,
    /// Texts of a refusal.
    pub refusals: Vec<String>,
    /// Parts of the chat completion in order, texts included.
    parts: Vec<String>,
    /// Parts that are no text.
    pub media: Vec<String>,
}

impl Content {
    /// A string, or a list of parts.
    pub(super) fn read(node: Node<'_>) -> Result<Self, BadRequest> {
        let mut content = Self::default();
        match node.kind() {
            Kind::String => content.push_text(node.string()?.raw),
            Kind::Array => {
                for part in node.items()? {
                    content.part(part)?;
                }
            }
            _ => return Err(node.wrong("a string or an array of content parts")),
        }
        Ok(content)
    }

    /// A text as it is written between its quotes.
    pub(super) fn text(raw: &str) -> Self {
        let mut content = Self::default();
        content.push_text(raw);
        content
    }

    fn part(&mut self, part: Node<'_>) -> Result<(), BadRequest> {
        let members = part.members()?;
        let kind = members.need("type")?;
        match kind.string()?.raw {
            "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text" => {
                self.push_text(members.need("text")?.string()?.raw);
            }
            "refusal" => self.refusals.push(members.need("refusal")?.string()?.raw.to_owned()),
            "input_image" => self.push_media(image(&members)?),
            "input_file" => self.push_media(file(&members)?),
            "input_audio" => {
                let audio = members.need("input_audio")?;
                audio.members()?;
                self.push_media(format!("{{\"type\":\"input_audio\",\"input_audio\":{}}}", audio.raw()));
            }
            "input_video" => {
                let url = members.need("video_url")?;
                url.string()?;
                self.push_media(format!("{{\"type\":\"video_url\",\"video_url\":{{\"url\":{}}}}}", url.raw()));
            }
            _ => return Err(kind.wrong(PARTS)),
        }
        Ok(())
    }

    fn push_text(&mut self, raw: &str) {
        self.texts.push(raw.to_owned());
        self.parts.push(format!("{{\"type\":\"text\",\"text\":\"{raw}\"}}"));
    }

    fn push_media(&mut self, part: String) {
        self.media.push(part.clone());
        self.parts.push(part);
    }

    /// The texts as one JSON string. Several are separated by blank lines.
    pub(super) fn joined_text(&self) -> String {
        format!("\"{}\"", self.texts.join("\\n\\n"))
    }

    /// The JSON of a message's `content`: a string where there is only one text.
    pub(super) fn json(&self) -> String {
        if self.media.is_empty() && self.texts.len() <= 1 {
            return self.joined_text();
        }
        format!("[{}]", self.parts.join(","))
    }
}

fn image(members: &Members<'_>) -> Result<String, BadRequest> {
    if members.get("image_url").is_none()
        && let Some(id) = members.get("file_id")
    {
        return Err(stored_elsewhere(id, "an `image_url`"));
    }
    let url = members.need("image_url")?;
    url.string()?;
    let detail = members.text("detail")?.filter(|detail| matches!(detail.raw, "low" | "high"));
    let detail = detail.map_or_else(String::new, |detail| format!(",\"detail\":\"{}\"", detail.raw));
    Ok(format!("{{\"type\":\"image_url\",\"image_url\":{{\"url\":{}{detail}}}}}", url.raw()))
}

fn file(members: &Members<'_>) -> Result<String, BadRequest> {
    if members.get("file_data").is_none()
        && let Some(source) = members.get("file_id").or_else(|| members.get("file_url"))
    {
        return Err(stored_elsewhere(source, "`file_data`"));
    }
    let data = members.need("file_data")?;
    data.string()?;
    let name = members.get("filename").map(|name| name.string().map(|_| name.raw())).transpose()?;
    let name = name.map_or_else(String::new, |name| format!("\"filename\":{name},"));
    Ok(format!("{{\"type\":\"file\",\"file\":{{{name}\"file_data\":{}}}}}", data.raw()))
}

fn stored_elsewhere(source: Node<'_>, instead: &str) -> BadRequest {
    source.invalid(format!("The gateway stores and fetches no files: send {instead} instead."))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(content: &Value) -> Result<Value, BadRequest> {
        let text = content.to_string();
        let content = Content::read(Node::root(&text)?)?;
        Ok(serde_json::from_str(&content.json()).unwrap())
    }

    #[test]
    fn one_text_is_a_string_and_more_are_parts() {
        assert_eq!(read(&json!("a\n\"b\"")).unwrap(), "a\n\"b\"");
        assert_eq!(read(&json!([{"type": "input_text", "text": "a"}])).unwrap(), "a");
        let image = json!({"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "high"});
        let both = read(&json!([{"type": "input_text", "text": "a"}, image])).unwrap();
        let url = json!({"url": "data:image/png;base64,AA", "detail": "high"});
        assert_eq!(both, json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": url}]));
        let file = json!([{"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}]);
        assert_eq!(read(&file).unwrap()[0]["file"]["filename"], "a.pdf");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_path() {
        for (content, param) in [
            (json!(5), ""),
            (json!([{"type": "input_text"}]), "[0].text"),
            (json!([{"type": "smell", "x": 1}]), "[0].type"),
            (json!([{"text": "x"}]), "[0].type"),
            (json!([{"type": "input_image", "file_id": "file-1"}]), "[0].file_id"),
            (json!([{"type": "input_file", "file_url": "https://x/y.pdf"}]), "[0].file_url"),
            (json!([{"type": "input_image", "image_url": {"url": "x"}}]), "[0].image_url"),
        ] {
            let bad = read(&content).unwrap_err();
            assert_eq!((bad.code, bad.param.as_deref()), ("invalid_value", Some(param)), "{}", bad.message);
        }
    }
}
