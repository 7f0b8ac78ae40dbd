//! Conversions between a whole response and a stream, for servers that send the other form than was requested.

use crate::json::{Json, JsonError, Kind};

/// A whole response as the events of a stream: one chunk and `[DONE]`. The stream's own reader moves its usage.
pub(crate) fn as_events(body: &str) -> Vec<u8> {
    // Line ends are escaped inside strings and have no meaning outside.
    let chunk = body.replace(['\n', '\r'], " ");
    format!("data: {chunk}\n\ndata: [DONE]\n\n").into_bytes()
}

/// Assembles a whole response from the normalised chunks of a stream. Values stay as they were written: strings and lists are
/// joined, and nothing is decoded, so that it costs about the bytes of the stream.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    response: Members,
    choices: Vec<Choice>,
}

#[derive(Debug)]
struct Choice {
    index: u64,
    members: Members,
    message: Members,
    calls: Vec<Call>,
}

/// One tool call: its members, and those of its function.
#[derive(Debug, Default)]
struct Call {
    members: Members,
    function: Members,
}

/// The members of an object, in order of appearance.
#[derive(Debug, Default)]
struct Members(Vec<(String, Value)>);

/// A value that later chunks may continue.
#[derive(Debug)]
enum Value {
    /// The inside of a string literal. Two of them side by side make one.
    Text(String),
    /// The items of a list, joined by commas. Objects of one kind and index that follow each other are one item.
    List {
        done: String,
        last: Option<Members>,
    },
    Object(Members),
    /// Any other JSON.
    Other(String),
}

/// Objects inside objects are merged down to this depth; deeper ones replace their predecessors.
const MERGE_DEPTH: usize = 3;
/// Members of one object that are kept apart. Later ones of other names are left out.
const MAX_MEMBERS: usize = 64;

impl Assembler {
    /// Adds the bytes of one event, `data: {…}`.
    pub(crate) fn push(&mut self, event: &[u8]) {
        let data = event.strip_prefix(b"data: ").unwrap_or(event);
        let Ok(text) = std::str::from_utf8(data) else { return };
        // Events are normalised, and `[DONE]` is no object.
        let _ = self.chunk(&mut Json::new(text));
    }

    fn chunk(&mut self, json: &mut Json<'_>) -> Result<(), JsonError> {
        json.object(|name, json| match (name.raw, json.peek()?) {
            ("choices", Kind::Array) => json.array(|_, json| self.choice(json)),
            ("object" | "choices", _) | (_, Kind::Null) => json.skip(),
            // Of names, times and usage the latest counts.
            (name, _) => {
                let value = raw(json)?;
                self.response.replace(name, value);
                Ok(())
            }
        })
    }

    fn choice(&mut self, json: &mut Json<'_>) -> Result<(), JsonError> {
        if json.peek()? != Kind::Object {
            return json.skip();
        }
        let (text, start) = (json.text(), json.at());
        let mut index = 0;
        json.object(|name, json| match (name.raw, json.peek()?) {
            ("index", Kind::Number) => {
                index = json.number()?.parse().unwrap_or(0);
                Ok::<_, JsonError>(())
            }
            _ => json.skip(),
        })?;
        let at = self.choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            self.choices.push(Choice::new(index));
            self.choices.len() - 1
        });
        let choice = &mut self.choices[at];
        Json::at_byte(text, start).object(|name, json| match (name.raw, json.peek()?) {
            ("delta", Kind::Object) => choice.delta(json),
            ("index" | "delta", _) | (_, Kind::Null) => json.skip(),
            ("finish_reason", _) => {
                let reason = raw(json)?;
                choice.members.replace("finish_reason", reason);
                Ok(())
            }
            (name, _) => choice.members.merge(name, json, MERGE_DEPTH),
        })
    }

    /// The whole response. Its choices are sorted by their index.
    pub(crate) fn finish(mut self) -> String {
        self.choices.sort_by_key(|choice| choice.index);
        self.response.replace("object", "\"chat.completion\"".to_owned());
        let mut out = String::new();
        out.push('{');
        self.response.write(&mut out);
        out.push_str(",\"choices\":[");
        for (at, choice) in self.choices.into_iter().enumerate() {
            out.push_str(if at == 0 { "" } else { "," });
            choice.write(&mut out);
        }
        out.push_str("]}");
        out
    }
}

impl Choice {
    fn new(index: u64) -> Self {
        let mut message = Members::default();
        message.replace("role", "\"assistant\"".to_owned());
        message.0.push(("content".to_owned(), Value::Other("null".to_owned())));
        let mut members = Members::default();
        members.replace("finish_reason", "\"stop\"".to_owned());
        Self { index, members, message, calls: Vec::new() }
    }

    fn delta(&mut self, json: &mut Json<'_>) -> Result<(), JsonError> {
        json.object(|name, json| match (name.raw, json.peek()?) {
            ("role", _) | (_, Kind::Null) => json.skip(),
            ("tool_calls", Kind::Array) => json.array(|_, json| self.call(json)),
            (name, _) => self.message.merge(name, json, MERGE_DEPTH),
        })
    }

    fn call(&mut self, json: &mut Json<'_>) -> Result<(), JsonError> {
        if json.peek()? != Kind::Object {
            return json.skip();
        }
        let (text, start) = (json.text(), json.at());
        let mut index = 0;
        json.object(|name, json| match (name.raw, json.peek()?) {
            ("index", Kind::Number) => {
                index = json.number()?.parse().unwrap_or(0);
                Ok::<_, JsonError>(())
            }
            _ => json.skip(),
        })?;
        if index >= self.calls.len() {
            self.calls.push(Call::default());
            index = self.calls.len() - 1;
        }
        let call = &mut self.calls[index];
        Json::at_byte(text, start).object(|name, json| match (name.raw, json.peek()?) {
            ("index", _) | (_, Kind::Null) => json.skip(),
            ("function", Kind::Object) => json.object(|name, json| match (name.raw, json.peek()?) {
                (_, Kind::Null) => json.skip(),
                (name, _) => call.function.merge(name, json, MERGE_DEPTH),
            }),
            // Only a custom tool's input is sent in pieces.
            ("custom", Kind::Object) => call.members.merge("custom", json, MERGE_DEPTH),
            (name, _) => {
                let value = raw(json)?;
                call.members.replace(name, value);
                Ok(())
            }
        })
    }

    fn write(mut self, out: &mut String) {
        out.push_str("{\"index\":");
        out.push_str(&self.index.to_string());
        out.push_str(",\"message\":{");
        if !self.calls.is_empty() {
            let calls: Vec<String> = self.calls.into_iter().map(Call::into_json).collect();
            self.message.replace("tool_calls", format!("[{}]", calls.join(",")));
        }
        self.message.write(out);
        out.push_str("},");
        self.members.write(out);
        out.push('}');
    }
}

impl Call {
    fn into_json(mut self) -> String {
        if !self.function.0.is_empty() {
            self.members.0.push(("function".to_owned(), Value::Object(self.function)));
        }
        let mut out = "{".to_owned();
        self.members.write(&mut out);
        out + "}"
    }
}

impl Members {
    fn slot(&mut self, name: &str) -> Option<&mut Value> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(&mut self.0[at].1)
    }

    fn replace(&mut self, name: &str, json: String) {
        match self.slot(name) {
            Some(value) => *value = Value::Other(json),
            None => self.add(name, Value::Other(json)),
        }
    }

    fn add(&mut self, name: &str, value: Value) {
        if self.0.len() < MAX_MEMBERS {
            self.0.push((name.to_owned(), value));
        }
    }

    /// Continues the member with the value at the cursor, which is not `null`.
    fn merge(&mut self, name: &str, json: &mut Json<'_>, depth: usize) -> Result<(), JsonError> {
        let kind = json.peek()?;
        if self.slot(name).is_none() {
            let value = match kind {
                Kind::String => Value::Text(String::new()),
                Kind::Array => Value::List { done: String::new(), last: None },
                Kind::Object if depth > 0 => Value::Object(Self::default()),
                _ => Value::Other(String::new()),
            };
            self.add(name, value);
        }
        match (self.slot(name), kind) {
            (Some(Value::Text(text)), Kind::String) => {
                let more = json.string()?.raw;
                if is_joined(name) {
                    text.push_str(more);
                } else {
                    more.clone_into(text);
                }
            }
            (Some(Value::List { done, last }), Kind::Array) => json.array(|_, json| item(done, last, json, depth))?,
            (Some(Value::Object(members)), Kind::Object) => members.read(json, depth - 1)?,
            // A value of another kind than before, such as the first text behind `null`.
            (Some(slot), Kind::String) => *slot = Value::Text(json.string()?.raw.to_owned()),
            (Some(slot), _) => *slot = Value::Other(raw(json)?),
            (None, _) => json.skip()?,
        }
        Ok(())
    }

    /// Merges the object at the cursor.
    fn read(&mut self, json: &mut Json<'_>, depth: usize) -> Result<(), JsonError> {
        json.object(|name, json| match json.peek()? {
            Kind::Null => json.skip(),
            _ => self.merge(name.raw, json, depth),
        })
    }

    /// The type and the index of an item, by which the items of one list differ.
    fn kind(&self) -> Option<(String, String)> {
        let of = |wanted: &str| {
            let (_, value) = self.0.iter().find(|(name, _)| name == wanted)?;
            match value {
                Value::Text(text) | Value::Other(text) => Some(text.clone()),
                _ => None,
            }
        };
        Some((of("type")?, of("index")?))
    }

    fn write(self, out: &mut String) {
        for (at, (name, value)) in self.0.into_iter().enumerate() {
            out.push_str(if at == 0 { "\"" } else { ",\"" });
            out.push_str(&name);
            out.push_str("\":");
            value.write(out);
        }
    }
}

impl Value {
    fn write(self, out: &mut String) {
        match self {
            Self::Text(text) => {
                out.push('"');
                out.push_str(&text);
                out.push('"');
            }
            Self::List { mut done, last } => {
                flush(&mut done, last);
                out.push('[');
                out.push_str(&done);
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                members.write(out);
                out.push('}');
            }
            Self::Other(json) => out.push_str(&json),
        }
    }
}

/// Adds an item to a list. Pieces of one reasoning detail have one type and one index, and follow each other.
fn item(done: &mut String, last: &mut Option<Members>, json: &mut Json<'_>, depth: usize) -> Result<(), JsonError> {
    if json.peek()? != Kind::Object || depth == 0 {
        flush(done, last.take());
        append(done, &raw(json)?);
        return Ok(());
    }
    let (text, start) = (json.text(), json.at());
    let mut head = Members::default();
    json.object(|name, json| match (name.raw, json.peek()?) {
        ("type" | "index", Kind::String | Kind::Number) => {
            let value = raw(json)?;
            head.replace(name.raw, value.trim_matches('"').to_owned());
            Ok::<_, JsonError>(())
        }
        _ => json.skip(),
    })?;
    let kind = head.kind();
    let mut again = Json::at_byte(text, start);
    if kind.is_none() {
        flush(done, last.take());
        append(done, &raw(&mut again)?);
        return Ok(());
    }
    let continues = last.as_ref().is_some_and(|last| last.kind() == kind);
    if !continues {
        flush(done, last.take());
    }
    last.get_or_insert_default().read(&mut again, depth - 1)
}

fn flush(done: &mut String, last: Option<Members>) {
    if let Some(last) = last {
        let mut json = "{".to_owned();
        last.write(&mut json);
        json.push('}');
        append(done, &json);
    }
}

fn append(done: &mut String, item: &str) {
    if !done.is_empty() {
        done.push(',');
    }
    done.push_str(item);
}

/// Names whose values are sent whole in every piece. All other texts are sent in pieces that continue each other.
fn is_joined(name: &str) -> bool {
    !matches!(
        name,
        "id" | "type" | "index" | "name" | "format" | "role" | "signature" | "stop_reason" | "native_finish_reason"
    )
}

/// The value at the cursor as it is written.
fn raw(json: &mut Json<'_>) -> Result<String, JsonError> {
    json.peek()?;
    let start = json.at();
    json.skip()?;
    Ok(json.text()[start..json.at()].to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Assembler;

    fn assembled(deltas: &[&str]) -> Value {
        let mut assembler = Assembler::default();
        for choice in deltas {
            assembler.push(format!("data: {{\"id\":\"c\",\"choices\":[{choice}],\"usage\":null}}\n\n").as_bytes());
        }
        serde_json::from_str(&assembler.finish()).unwrap()
    }

    #[test]
    fn all_that_chunks_carry_is_assembled_in_the_order_of_the_choices() {
        let value = assembled(&[
            r#"{"index":1,"delta":{"role":"assistant","content":"b","annotations":[{"type":"url_citation"}]}}"#,
            r#"{"index":0,"delta":{"content":"a"},"logprobs":{"content":[{"token":"a"}],"refusal":null}}"#,
            r#"{"index":0,"delta":{"content":"\ud83d"},"logprobs":{"content":[{"token":"c"},{"token":"d"}]},"content_filter":{"x":1}}"#,
            r#"{"index":0,"delta":{"content":"\ude00","reasoning_details":[{"type":"reasoning.text","text":"th","index":0,"format":"f"}]}}"#,
            r#"{"index":0,"delta":{"reasoning_details":[{"type":"reasoning.text","text":"ink","index":0,"signature":"s"},{"type":"reasoning.encrypted","data":"x","index":1}]}}"#,
            r#"{"index":0,"delta":{"audio":{"id":"q","data":"AB","expires_at":5}}}"#,
            r#"{"index":0,"delta":{"audio":{"id":"q","data":"CD"},"tool_calls":[{"index":0,"id":"t","type":"custom","custom":{"name":"n","input":"x"}}]}}"#,
            r#"{"index":0,"delta":{"tool_calls":[{"index":0,"custom":{"input":"y"}}]},"finish_reason":"tool_calls"}"#,
            r#"{"index":1,"delta":{},"finish_reason":"length"}"#,
        ]);
        let first = &value["choices"][0];
        assert_eq!(
            first["message"],
            json!({
                "role": "assistant",
                "content": "a😀",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "think", "index": 0, "format": "f", "signature": "s"},
                    {"type": "reasoning.encrypted", "data": "x", "index": 1},
                ],
                "audio": {"id": "q", "data": "ABCD", "expires_at": 5},
                "tool_calls": [{"id": "t", "type": "custom", "custom": {"name": "n", "input": "xy"}}],
            })
        );
        assert_eq!(first["logprobs"], json!({"content": [{"token": "a"}, {"token": "c"}, {"token": "d"}]}));
        assert_eq!((&first["content_filter"], &first["finish_reason"]), (&json!({"x": 1}), &json!("tool_calls")));
        let second = &value["choices"][1];
        assert_eq!(
            (&second["index"], &second["message"]["annotations"]),
            (&json!(1), &json!([{"type": "url_citation"}]))
        );
        assert_eq!(second["finish_reason"], "length");
    }

    #[test]
    fn very_many_chunks_are_assembled_in_linear_time() {
        let begun = tokio::time::Instant::now();
        let mut assembler = Assembler::default();
        for _ in 0..100_000 {
            assembler.push(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"0123456789\"},\"logprobs\":{\"content\":[1]}}]}\n\n");
        }
        let value: Value = serde_json::from_str(&assembler.finish()).unwrap();
        assert_eq!(value["choices"][0]["message"]["content"].as_str().map(str::len), Some(1_000_000));
        // Copying the text with every chunk would take minutes.
        assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    }
}
