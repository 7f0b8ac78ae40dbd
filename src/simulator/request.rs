//! Parses a chat request and measures it by a fixed rule.
//!
//! **Tokens.** A message is ⌈characters of its text ÷ 4⌉ + 4, an image 765, tools and tool calls ⌈characters of their JSON ÷ 4⌉,
//! and each model may add a preamble. A completion is ⌈characters ÷ 4⌉. Usage, debits and limits follow this rule.
//!
//! **Directives.** The last user message may hold `[[tokens=200 ttft=300 chunk=20]]`: `tokens` (length of the completion), `reasoning`
//! (reasoning tokens), `ttft` and `chunk` (ms before the first and between two pieces), `size` (tokens in a piece), `calls`
//! (number of tool calls; 0 responds with text), `finish` (`safety` stops after the first piece).

use serde_json::Value;

/// Tokens of an image of any size.
const IMAGE_TOKENS: i64 = 765;

/// A request for a chat completion, or one of another kind.
#[derive(Debug, Default)]
pub(crate) struct SimulatedRequest {
    pub model: String,
    pub stream: bool,
    pub include_usage: bool,
    /// Without the preamble of the model.
    pub prompt_tokens: i64,
    pub max_tokens: Option<i64>,
    pub n: i64,
    pub images: usize,
    /// Text of the last user message, without its directive.
    pub last_user: String,
    /// Text of the tool results since then.
    pub tool_results: Vec<String>,
    pub directive: Directive,
    /// A completion has to fit before a suffix.
    pub has_suffix: bool,
    /// Seconds of a recording, as they are counted.
    pub sound: i64,
    pub body: Value,
}

/// What a prompt sets about its completion.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Directive {
    pub tokens: Option<i64>,
    pub reasoning: Option<i64>,
    pub first_ms: Option<f64>,
    pub chunk_ms: Option<f64>,
    pub chunk_tokens: Option<i64>,
    pub calls: Option<usize>,
    pub safety: bool,
}

impl SimulatedRequest {
    /// Parses a body. The error says what is missing.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let Some(fields) = body.as_object() else { return Err("the body is not an object".to_owned()) };
        let Some(messages) = fields.get("messages").and_then(Value::as_array) else {
            return Err("`messages` is missing".to_owned());
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let whole = |name: &str| fields.get(name).and_then(Value::as_i64);
        let mut request = Self {
            model: fields.get("model").and_then(text).ok_or("`model` is missing")?,
            stream: fields.get("stream").and_then(Value::as_bool).unwrap_or(false),
            include_usage: body.pointer("/stream_options/include_usage").and_then(Value::as_bool).unwrap_or(false),
            prompt_tokens: fields.get("tools").filter(|tools| !tools.is_null()).map_or(0, json_tokens),
            max_tokens: whole("max_completion_tokens").or_else(|| whole("max_tokens")),
            n: whole("n").unwrap_or(1).max(1),
            images: 0,
            last_user: String::new(),
            tool_results: Vec::new(),
            directive: Directive::default(),
            has_suffix: false,
            sound: 0,
            body: Value::Null,
        };
        for message in messages {
            request.read_message(message);
        }
        (request.last_user, request.directive) = Directive::take(&request.last_user);
        request.body = body;
        Ok(request)
    }

    fn read_message(&mut self, message: &Value) {
        let (text, images) = content(message.get("content"));
        let images_tokens = IMAGE_TOKENS * i64::try_from(images).unwrap_or(0);
        let calls = message.get("tool_calls").filter(|calls| !calls.is_null()).map_or(0, json_tokens);
        self.prompt_tokens += tokens_of(&text) + 4 + images_tokens + calls;
        self.images += images;
        match message.get("role").and_then(Value::as_str) {
            Some("user") => {
                self.last_user = text;
                self.tool_results.clear();
            }
            Some("tool") => self.tool_results.push(text),
            _ => {}
        }
    }

    /// The tools, or none.
    pub(crate) fn tools(&self) -> &[Value] {
        self.field("tools").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn messages(&self) -> &[Value] {
        self.field("messages").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        self.body.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.field(name).and_then(Value::as_str)
    }

    /// URLs of all image parts.
    pub(crate) fn image_urls(&self) -> impl Iterator<Item = &str> {
        let parts = self.messages().iter().filter_map(|message| message.get("content")?.as_array()).flatten();
        parts.filter_map(|part| {
            let image = part.get("image_url")?;
            image.as_str().or_else(|| image.get("url")?.as_str())
        })
    }
}

impl Directive {
    /// Splits a text into the text without its directive, and the directive.
    fn take(text: &str) -> (String, Self) {
        let mut directive = Self::default();
        let Some((before, rest)) = text.split_once("[[") else { return (text.to_owned(), directive) };
        let Some((inside, after)) = rest.split_once("]]") else { return (text.to_owned(), directive) };
        for word in inside.split([' ', ',']) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "tokens" => directive.tokens = value.parse().ok(),
                "reasoning" => directive.reasoning = value.parse().ok(),
                "ttft" => directive.first_ms = value.parse().ok(),
                "chunk" => directive.chunk_ms = value.parse().ok(),
                "size" => directive.chunk_tokens = value.parse().ok(),
                "calls" => directive.calls = value.parse().ok(),
                "finish" => directive.safety = value == "safety",
                _ => {}
            }
        }
        let text = format!("{}{}", before.trim_end(), after);
        (text.trim().to_owned(), directive)
    }
}

/// ⌈characters ÷ 4⌉.
pub(crate) fn tokens_of(text: &str) -> i64 {
    i64::try_from(text.chars().count().div_ceil(4)).unwrap_or(i64::MAX)
}

fn json_tokens(value: &Value) -> i64 {
    tokens_of(&value.to_string())
}

/// The text and the number of images of a content.
fn content(content: Option<&Value>) -> (String, usize) {
    match content {
        Some(Value::String(text)) => (text.clone(), 0),
        Some(Value::Array(parts)) => {
            let kind = |part: &Value, wanted: &str| part.get("type").and_then(Value::as_str) == Some(wanted);
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
            (texts.join("\n"), parts.iter().filter(|part| kind(part, "image_url")).count())
        }
        _ => (String::new(), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_measured_by_the_rule() {
        let body = br#"{"model":"m","messages":[{"role":"system","content":"abcde"},
            {"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"data:x"}}]}]}"#;
        let request = SimulatedRequest::parse(body).unwrap();
        assert_eq!(request.prompt_tokens, (2 + 4) + (1 + 4 + 765));
        assert_eq!((request.images, request.last_user.as_str()), (1, "hi"));
        assert_eq!(request.image_urls().collect::<Vec<_>>(), ["data:x"]);
    }

    #[test]
    fn a_directive_is_taken_out_of_the_text() {
        let (text, directive) = Directive::take("Say it [[tokens=200 ttft=300 chunk=20 calls=2]] twice");
        assert_eq!(text, "Say it twice");
        assert_eq!(
            (directive.tokens, directive.first_ms, directive.chunk_ms, directive.calls),
            (Some(200), Some(300.0), Some(20.0), Some(2))
        );
    }

    #[test]
    fn tool_results_belong_to_the_last_user_message() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":"a"},{"role":"tool","content":"old"},
            {"role":"user","content":"b"},{"role":"assistant","tool_calls":[]},{"role":"tool","content":"new"}]}"#;
        assert_eq!(SimulatedRequest::parse(body).unwrap().tool_results, ["new"]);
    }

    #[test]
    fn a_body_that_is_no_request_is_refused() {
        assert!(SimulatedRequest::parse(b"{").is_err());
        assert!(SimulatedRequest::parse(br#"{"model":"m"}"#).unwrap_err().contains("messages"));
    }
}
