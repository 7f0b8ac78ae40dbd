//! Reads one JSON of an answer (a stream's chunk or a whole body) in one pass: what it holds, and what must be
//! mended in it for callers that know OpenAI's dialect only. Pure.

use super::sse_event::{EventFacts, TokenUsage};
use crate::{
    json::{Json, JsonError, Kind, Text},
    upstream::request_edit::body_patch::{BodyPatch, ObjectMembers},
};

/// The provider's names of a response, as far as it has sent them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseIdentity {
    pub id: Option<String>,
    pub model: Option<String>,
}

/// What a stream's earlier chunks told of its choices.
#[derive(Debug, Default)]
pub(crate) struct ChoiceStates {
    seen: Vec<ChoiceState>,
    /// Told by the first chunk, and by every other again.
    named: Option<Box<ResponseIdentity>>,
}

#[derive(Debug)]
struct ChoiceState {
    index: u64,
    /// Tool calls begun so far: the index of the next one.
    calls: u64,
    finished: bool,
}

impl ChoiceStates {
    /// Every choice that began has ended, and one did begin.
    pub(crate) fn are_finished(&self) -> bool {
        !self.seen.is_empty() && self.seen.iter().all(|c| c.finished)
    }

    /// No choice began: nothing was answered.
    pub(crate) fn are_none(&self) -> bool {
        self.seen.is_empty()
    }

    /// What the provider calls the answer, as far as it has said so.
    pub(crate) fn named(&self) -> ResponseIdentity {
        self.named.as_deref().cloned().unwrap_or_default()
    }

    fn lacks(&self, part: fn(&ResponseIdentity) -> &Option<String>) -> bool {
        self.named.as_deref().is_none_or(|named| part(named).is_none())
    }

    fn of(&mut self, index: u64) -> &mut ChoiceState {
        let at = self.seen.iter().position(|c| c.index == index).unwrap_or_else(|| {
            self.seen.push(ChoiceState { index, calls: 0, finished: false });
            self.seen.len() - 1
        });
        &mut self.seen[at]
    }
}

/// How the JSON is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponseShape {
    /// One chunk of a stream.
    Chunk,
    /// The whole answer to a request without `stream`.
    Whole,
    /// A whole answer where a stream was asked for: is made one chunk, its usage taken out.
    WholeAsChunk,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct ParsedResponse {
    pub facts: EventFacts,
    pub finish_reasons: Vec<String>,
    /// Number of choices with a message or a delta.
    pub choices: usize,
    /// A top-level `error` that is not null.
    pub error: bool,
    /// Where the `usage` object stands.
    pub usage_at: Option<std::ops::Range<usize>>,
    /// What must be mended; empty for nearly every chunk.
    pub mended: BodyPatch,
}

/// Reads `text`; an error means that it is no JSON object.
pub(crate) fn read(text: &str, shape: ResponseShape, choices: &mut ChoiceStates) -> Result<ParsedResponse, JsonError> {
    let mut reader = ResponseReader { shape, choices, answer: ParsedResponse::default(), has_delta: false };
    let mut json = Json::new(text);
    reader.top(&mut json)?;
    json.end()?;
    let ResponseReader { mut answer, has_delta, .. } = reader;
    answer.facts.usage_only = answer.facts.usage.is_some() && !has_delta && !answer.error;
    Ok(answer)
}

struct ResponseReader<'c> {
    shape: ResponseShape,
    choices: &'c mut ChoiceStates,
    answer: ParsedResponse,
    /// Some choice says something that earlier chunks did not.
    has_delta: bool,
}

/// One tool call of a delta.
struct Call {
    at: usize,
    has_id: bool,
    has_type: bool,
    index: Option<u64>,
    empty: bool,
}

impl ResponseReader<'_> {
    fn top(&mut self, json: &mut Json<'_>) -> Result<(), JsonError> {
        json.peek()?;
        let start = json.at();
        let mut members = ObjectMembers::default();
        let mut groq_usage = None;
        json.object(|name, json| {
            let kind = json.peek()?;
            let value_at = json.at();
            let mut cut = false;
            match (name.raw, kind) {
                ("choices", Kind::Array) => json.array(|_, json| self.choice(json))?,
                ("id", Kind::String) if self.choices.lacks(|named| &named.id) => {
                    self.choices.named.get_or_insert_default().id = Some(json.string()?.decode().into_owned());
                }
                ("model", Kind::String) if self.choices.lacks(|named| &named.model) => {
                    self.choices.named.get_or_insert_default().model = Some(json.string()?.decode().into_owned());
                }
                ("usage", Kind::Object) => {
                    self.answer.facts.usage = usage(json)?;
                    self.answer.usage_at = Some(value_at..json.at());
                    cut = self.shape == ResponseShape::WholeAsChunk;
                }
                ("x_groq", Kind::Object) => json.object(|name, json| match (name.raw, json.peek()?) {
                    ("usage", Kind::Object) => {
                        groq_usage = usage(json)?;
                        Ok(())
                    }
                    _ => json.skip(),
                })?,
                ("error", kind) => {
                    self.answer.error = kind != Kind::Null;
                    json.skip()?;
                }
                ("object", Kind::String) if self.shape == ResponseShape::WholeAsChunk => {
                    json.skip()?;
                    self.answer.mended.replace(value_at..json.at(), "\"chat.completion.chunk\"");
                }
                _ => json.skip()?,
            }
            if cut {
                members.cut(name.at..json.at());
            } else {
                members.keep(name.at..json.at(), &mut self.answer.mended);
            }
            Ok::<_, JsonError>(())
        })?;
        members.close("", start, &mut self.answer.mended);
        self.answer.facts.usage = self.answer.facts.usage.or(groq_usage);
        Ok(())
    }

    fn choice(&mut self, json: &mut Json<'_>) -> Result<(), JsonError> {
        if json.peek()? != Kind::Object {
            return json.skip();
        }
        let (mut index, mut finish, mut calls) = (0, None, Vec::new());
        let content_before = std::mem::take(&mut self.answer.facts.content);
        json.object(|name, json| match (name.raw, json.peek()?) {
            ("index", Kind::Number) => {
                index = json.number()?.parse().unwrap_or(0);
                Ok(())
            }
            ("finish_reason", Kind::String) => {
                finish = Some(json.string()?.decode().into_owned());
                Ok(())
            }
            ("delta" | "message", Kind::Object) => {
                self.answer.choices += 1;
                if self.shape == ResponseShape::WholeAsChunk && name.raw == "message" {
                    self.answer.mended.replace(name.at..name.end(), "\"delta\"");
                }
                self.delta(json, &mut calls)
            }
            _ => json.skip(),
        })?;
        let choice = self.choices.of(index);
        // A chunk that repeats an ended choice with nothing in it is there for its usage (OpenRouter).
        self.has_delta |= !choice.finished || self.answer.facts.content || finish.is_some();
        choice.finished |= finish.is_some();
        mend_calls(choice, &calls, self.shape != ResponseShape::Whole, &mut self.answer.mended);
        if let Some(reason) = finish {
            self.answer.facts.finish_reason = Some(reason.clone());
            self.answer.finish_reasons.push(reason);
        }
        self.answer.facts.content |= content_before;
        Ok(())
    }

    fn delta(&mut self, json: &mut Json<'_>, calls: &mut Vec<Call>) -> Result<(), JsonError> {
        json.object(|name, json| match (name.raw, json.peek()?) {
            ("content" | "reasoning" | "reasoning_content" | "refusal", Kind::String) => {
                let text = json.string()?;
                self.says(text);
                Ok(())
            }
            ("content", Kind::Array) => self.content_array(json),
            ("tool_calls", Kind::Array) => json.array(|_, json| {
                self.answer.facts.content = true;
                calls.push(self.call(json)?);
                Ok(())
            }),
            ("function_call" | "audio", Kind::Object) => {
                self.answer.facts.content = true;
                json.skip()
            }
            ("reasoning_details", Kind::Array) => json.array(|_, json| {
                self.answer.facts.content = true;
                json.skip()
            }),
            _ => json.skip(),
        })
    }

    fn says(&mut self, text: Text<'_>) {
        if text.raw.is_empty() {
            return;
        }
        self.answer.facts.content = true;
        let chars = if text.raw.is_ascii() { text.raw.len() } else { text.raw.chars().count() };
        self.answer.facts.chars = self.answer.facts.chars.saturating_add(u32::try_from(chars).unwrap_or(u32::MAX));
    }

    fn call(&mut self, json: &mut Json<'_>) -> Result<Call, JsonError> {
        let kind = json.peek()?;
        let mut call = Call { at: json.at(), has_id: false, has_type: false, index: Some(0), empty: true };
        if kind != Kind::Object {
            json.skip()?;
            return Ok(call);
        }
        call.index = None;
        json.object(|name, json| {
            call.empty = false;
            match (name.raw, json.peek()?) {
                ("index", Kind::Number) => {
                    call.index = json.number()?.parse().ok();
                    Ok(())
                }
                ("id", Kind::String) => {
                    call.has_id = !json.string()?.raw.is_empty();
                    Ok(())
                }
                ("type", Kind::String) => {
                    call.has_type = true;
                    json.skip()
                }
                ("function", Kind::Object) => json.object(|name, json| match (name.raw, json.peek()?) {
                    ("arguments", Kind::String) => {
                        let arguments = json.string()?;
                        self.says(arguments);
                        Ok(())
                    }
                    _ => json.skip(),
                }),
                _ => json.skip(),
            }
        })?;
        Ok(call)
    }

    /// `[{"type":"thinking",…},{"type":"text",…}]` → a string, and the thinking as `reasoning_content` (Mistral).
    fn content_array(&mut self, json: &mut Json<'_>) -> Result<(), JsonError> {
        let start = json.at();
        let (mut said, mut thought) = (String::new(), String::new());
        json.array(|_, json| self.content_item(json, &mut said, &mut thought))?;
        let thought = if thought.is_empty() { String::new() } else { format!(",\"reasoning_content\":\"{thought}\"") };
        self.answer.mended.replace(start..json.at(), format!("\"{said}\"{thought}"));
        Ok(())
    }

    /// Pieces are joined as written: two JSON strings side by side make one.
    fn content_item(&mut self, json: &mut Json<'_>, said: &mut String, thought: &mut String) -> Result<(), JsonError> {
        match json.peek()? {
            Kind::String => {
                let text = json.string()?;
                self.says(text);
                said.push_str(text.raw);
                Ok(())
            }
            Kind::Object => json.object(|name, json| match (name.raw, json.peek()?) {
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

/// Gives every begun tool call its `type` (Mistral leaves it out), and in a stream every one without an `index` the next
/// one of its choice; a piece without an id goes on with the last.
fn mend_calls(choice: &mut ChoiceState, calls: &[Call], streamed: bool, mended: &mut BodyPatch) {
    for call in calls {
        let mut missing = Vec::new();
        if streamed {
            let index = call.index.unwrap_or_else(|| {
                let index = if call.has_id { choice.calls } else { choice.calls.saturating_sub(1) };
                missing.push(format!("\"index\":{index}"));
                index
            });
            choice.calls = choice.calls.max(index + 1);
        }
        if call.has_id && !call.has_type {
            missing.push("\"type\":\"function\"".to_owned());
        }
        if !missing.is_empty() {
            let comma = if call.empty { "" } else { "," };
            mended.insert(call.at + 1, format!("{}{comma}", missing.join(",")));
        }
    }
}

/// `{"prompt_tokens":…,"completion_tokens":…,"total_tokens":…}`; `None` when it names neither side.
fn usage(json: &mut Json<'_>) -> Result<Option<TokenUsage>, JsonError> {
    let (mut input, mut output, mut total) = (None, None, None);
    json.object(|name, json| {
        let slot = match name.raw {
            "prompt_tokens" => &mut input,
            "completion_tokens" => &mut output,
            "total_tokens" => &mut total,
            _ => return json.skip(),
        };
        if json.peek()? == Kind::Number {
            *slot = json.number()?.parse::<i64>().ok().filter(|n| *n >= 0);
            return Ok(());
        }
        json.skip()
    })?;
    let (Some(input), output) = (input.or(Some(0).filter(|_| output.is_some())), output.unwrap_or(0)) else {
        return Ok(None);
    };
    // Thinking stands only in the total at Gemini.
    let total = total.unwrap_or(0).max(input.saturating_add(output));
    Ok(Some(TokenUsage { input, output: total - input, total }))
}

/// A whole answer as the events of a stream: one chunk, its usage in a chunk of its own, the end.
pub(crate) fn as_events(text: &str) -> Result<Vec<String>, JsonError> {
    let answer = read(text, ResponseShape::WholeAsChunk, &mut ChoiceStates::default())?;
    let chunk = answer.mended.apply(text);
    // A line end inside would end the event's line; outside strings they mean nothing, inside they are escaped.
    let chunk = String::from_utf8_lossy(&chunk).replace(['\n', '\r'], " ");
    let mut events = vec![format!("data: {chunk}\n\n")];
    if let Some(at) = answer.usage_at {
        let usage = text[at].replace(['\n', '\r'], " ");
        events.push(format!("data: {{\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{usage}}}\n\n"));
    }
    events.push("data: [DONE]\n\n".to_owned());
    Ok(events)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn mended(text: &str, shape: ResponseShape, choices: &mut ChoiceStates) -> (ParsedResponse, Value) {
        let mut answer = read(text, shape, choices).unwrap();
        let bytes = std::mem::take(&mut answer.mended).apply(text);
        (answer, serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn a_plain_chunk_needs_no_mending() {
        let text = r#"{"id":"x","choices":[{"index":0,"delta":{"content":"hé\n"},"finish_reason":null}],"usage":null}"#;
        let answer = read(text, ResponseShape::Chunk, &mut ChoiceStates::default()).unwrap();
        assert!(answer.mended.is_empty());
        assert_eq!(answer.facts, EventFacts { content: true, chars: 4, ..EventFacts::default() });
    }

    #[test]
    fn a_role_alone_or_an_empty_string_is_no_content() {
        for delta in [r#"{"role":"assistant"}"#, r#"{"content":""}"#, r#"{"tool_calls":[]}"#, r#"{"content":null}"#] {
            let text = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
            assert!(!read(&text, ResponseShape::Chunk, &mut ChoiceStates::default()).unwrap().facts.content, "{delta}");
        }
        for delta in [r#"{"reasoning":"a"}"#, r#"{"refusal":"no"}"#, r#"{"tool_calls":[{"id":"1"}]}"#] {
            let text = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
            assert!(read(&text, ResponseShape::Chunk, &mut ChoiceStates::default()).unwrap().facts.content, "{delta}");
        }
    }

    #[test]
    fn parallel_calls_without_index_are_numbered_over_the_chunks() {
        let mut choices = ChoiceStates::default();
        let chunk = |call: &str| format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{call}]}},"index":0}}]}}"#);
        let index = |text: String, choices: &mut ChoiceStates| {
            mended(&text, ResponseShape::Chunk, choices).1["choices"][0]["delta"]["tool_calls"].take()
        };
        assert_eq!(index(chunk(r#"{"id":"a"}"#), &mut choices), json!([{"index": 0, "type": "function", "id": "a"}]));
        assert_eq!(
            index(chunk(r#"{"id":"b","type":"function","x":1.0e-3},{"id":"c","type":"custom"}"#), &mut choices),
            json!([{"index": 1, "type": "function", "id": "b", "x": 0.001}, {"index": 2, "type": "custom", "id": "c"}])
        );
        assert_eq!(
            index(chunk(r#"{"function":{"arguments":"z"}}"#), &mut choices),
            json!([{"index": 2, "function": {"arguments": "z"}}]),
            "a piece that goes on needs no type"
        );
        assert_eq!(index(chunk(r#"{"id":"d","index":7}"#), &mut choices)[0]["index"], 7);
    }

    #[test]
    fn a_whole_answers_calls_get_the_type_they_lack() {
        let text = r#"{"choices":[{"index":0,"message":{"tool_calls":[{"id":"a","function":{"name":"f"}}]}}]}"#;
        let value = mended(text, ResponseShape::Whole, &mut ChoiceStates::default()).1;
        let calls = json!([{"type": "function", "id": "a", "function": {"name": "f"}}]);
        assert_eq!(value["choices"][0]["message"]["tool_calls"], calls);
    }

    #[test]
    fn a_content_array_becomes_a_string_and_its_thinking() {
        let text = r#"{"choices":[{"index":0,"message":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm \"x\""}]},{"type":"text","text":"Hello"},{"type":"text","text":"!"}]},"finish_reason":"stop"}]}"#;
        let (answer, value) = mended(text, ResponseShape::Whole, &mut ChoiceStates::default());
        assert_eq!(value["choices"][0]["message"], json!({"content": "Hello!", "reasoning_content": "hm \"x\""}));
        assert_eq!((answer.facts.chars, answer.finish_reasons), (14, vec!["stop".to_owned()]));
    }

    #[test]
    fn usage_is_read_where_each_provider_puts_it() {
        for (text, wanted) in [
            (r#"{"usage":{"prompt_tokens":3,"completion_tokens":9,"total_tokens":41}}"#, Some((3, 38, 41))),
            (r#"{"x_groq":{"usage":{"prompt_tokens":1,"completion_tokens":2}}}"#, Some((1, 2, 3))),
            (r#"{"usage":{"prompt_tokens":4,"total_tokens":4}}"#, Some((4, 0, 4))),
            (r#"{"usage":{"cost":1}}"#, None),
            (r#"{"usage":null}"#, None),
        ] {
            let usage = read(text, ResponseShape::Chunk, &mut ChoiceStates::default()).unwrap().facts.usage;
            assert_eq!(usage.map(|u| (u.input, u.output, u.total)), wanted, "{text}");
        }
    }

    #[test]
    fn a_whole_answer_becomes_a_stream() {
        let text = "{\"id\":\"x\",\"object\":\"chat.completion\",\n\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi\",\"tool_calls\":[{\"id\":\"1\"}]},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}";
        let events = as_events(text).unwrap();
        let value = |event: &String| serde_json::from_str::<Value>(event.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(
            value(&events[0]),
            json!({"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, "finish_reason": "stop",
                "delta": {"role": "assistant", "content": "Hi", "tool_calls": [{"index": 0, "type": "function", "id": "1"}]}}]})
        );
        assert_eq!(value(&events[1])["usage"]["total_tokens"], 2);
        assert_eq!(events[2], "data: [DONE]\n\n");
    }
}
