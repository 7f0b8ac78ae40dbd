//! A typed view of normalised answers, for the protocols that write them in another form.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::protocol::failure::Failure;

/// One chunk of a stream, or a whole completion, whose messages are read as one large delta each.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Chunk {
    #[serde(deserialize_with = "or_default")]
    pub id: String,
    /// As the provider names it.
    #[serde(deserialize_with = "or_default")]
    pub model: String,
    #[serde(deserialize_with = "or_default")]
    pub choices: Vec<ChunkChoice>,
    pub usage: Option<ChunkUsage>,
    error: Option<ChunkError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ChunkChoice {
    pub index: u32,
    #[serde(alias = "message", deserialize_with = "or_default")]
    pub delta: Delta,
    pub finish_reason: Option<String>,
    /// The stop sequence that some servers name beside the finish reason.
    stop_reason: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Delta {
    pub content: Option<String>,
    pub refusal: Option<String>,
    reasoning: Option<String>,
    reasoning_content: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub tool_calls: Vec<CallDelta>,
}

/// One tool call, or a fragment of one: the first has the id and the name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct CallDelta {
    /// Absent in whole completions, where the position counts.
    pub index: Option<usize>,
    pub id: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub function: FunctionDelta,
    extra_content: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct FunctionDelta {
    pub name: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub arguments: String,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct ChunkUsage {
    #[serde(deserialize_with = "or_default")]
    pub prompt_tokens: i64,
    #[serde(deserialize_with = "or_default")]
    completion_tokens: i64,
    #[serde(deserialize_with = "or_default")]
    total_tokens: i64,
    #[serde(deserialize_with = "or_default")]
    prompt_tokens_details: Details,
    #[serde(deserialize_with = "or_default")]
    completion_tokens_details: Details,
    #[serde(deserialize_with = "count")]
    prompt_cache_hit_tokens: Option<i64>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct Details {
    #[serde(deserialize_with = "count")]
    cached_tokens: Option<i64>,
    #[serde(deserialize_with = "count")]
    reasoning_tokens: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ChunkError {
    #[serde(deserialize_with = "or_default")]
    message: String,
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: String,
    code: Option<Value>,
    param: Option<String>,
}

/// One event of a relayed stream.
#[derive(Debug)]
pub enum StreamEvent {
    Chunk(Box<Chunk>),
    /// The answer is complete.
    Done,
    /// The answer was cut.
    Failed(Failure),
    /// A line that readers of server-sent events skip.
    Comment,
}

impl StreamEvent {
    /// Reads one event as the relay sends it: `data: …` and a blank line.
    pub fn read(event: &[u8]) -> Self {
        let Some(data) = event.strip_prefix(b"data: ").map(<[u8]>::trim_ascii_end) else { return Self::Comment };
        if data == b"[DONE]" {
            return Self::Done;
        }
        match Chunk::read(data) {
            Ok(chunk) => Self::Chunk(Box::new(chunk)),
            Err(failure) => Self::Failed(failure),
        }
    }
}

impl Chunk {
    /// Reads the JSON of a chunk or of a whole completion. An error inside is the result's error.
    pub fn read(json: &[u8]) -> Result<Self, Failure> {
        let mut chunk: Self = serde_json::from_slice(json)
            .map_err(|e| Failure::upstream(format!("The provider's answer cannot be read: {e}.")))?;
        match chunk.error.take() {
            Some(error) => Err(error.into()),
            None => Ok(chunk),
        }
    }
}

impl From<ChunkError> for Failure {
    fn from(error: ChunkError) -> Self {
        let code = error.code.as_ref().and_then(Value::as_str).map(str::to_owned);
        let status = if code.as_deref() == Some("upstream_timeout") { 504 } else { 502 };
        Self { status, kind: error.kind, code, param: error.param, message: error.message, retry_ms: None }
    }
}

impl ChunkChoice {
    /// The stop sequence that ended the answer, where the provider names it.
    pub fn stop_sequence(&self) -> Option<&str> {
        self.stop_reason.as_ref().and_then(Value::as_str)
    }
}

impl Delta {
    /// The model's thinking. Some servers send it under two names.
    pub fn take_reasoning(&mut self) -> Option<String> {
        let (first, second) = (self.reasoning_content.take(), self.reasoning.take());
        first.filter(|text| !text.is_empty()).or(second).filter(|text| !text.is_empty())
    }
}

impl CallDelta {
    /// What Gemini wants back with the call.
    pub fn thought_signature(&self) -> Option<&str> {
        self.extra_content.as_ref()?.pointer("/google/thought_signature")?.as_str()
    }
}

impl ChunkUsage {
    /// Tokens of the prompt that the provider had cached; never more than the prompt.
    pub fn cached_tokens(&self) -> i64 {
        let cached = self.prompt_tokens_details.cached_tokens.or(self.prompt_cache_hit_tokens).unwrap_or(0);
        cached.clamp(0, self.prompt_tokens.max(0))
    }

    /// Tokens of the output, thinking included, which Gemini counts only in the total.
    pub fn output_tokens(&self) -> i64 {
        self.completion_tokens.max(self.total_tokens.saturating_sub(self.prompt_tokens)).max(0)
    }

    /// Tokens of the output that the model spent on thinking.
    pub fn reasoning_tokens(&self) -> i64 {
        self.completion_tokens_details.reasoning_tokens.unwrap_or(0).max(0)
    }
}

/// A count of tokens. Other values than numbers say nothing.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_i64())
}

/// Null counts as an absent member.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_and_whole_completions_are_read_alike() {
        let call = r#"{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}"#;
        for name in ["delta", "message"] {
            let json = format!(
                r#"{{"id":"x","choices":[{{"index":0,"{name}":{{"role":"assistant","content":null,"reasoning":"hm","tool_calls":[{call}]}},
                "finish_reason":"tool_calls"}}],"usage":{{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{{"cached_tokens":20}}}}}}"#
            );
            let mut chunk = Chunk::read(json.as_bytes()).unwrap();
            let usage = chunk.usage.take().unwrap();
            assert_eq!((usage.prompt_tokens, usage.cached_tokens(), usage.reasoning_tokens()), (9, 9, 0));
            let choice = &mut chunk.choices[0];
            assert_eq!(choice.delta.take_reasoning().as_deref(), Some("hm"));
            assert_eq!(choice.delta.tool_calls[0].function.name.as_deref(), Some("f"));
            assert_eq!(choice.finish_reason.as_deref(), Some("tool_calls"));
        }
    }

    #[test]
    fn an_error_event_ends_the_stream_as_a_failure() {
        let event =
            br#"data: {"error":{"message":"groq: cut","type":"server_error","param":null,"code":"upstream_timeout"}}"#;
        let StreamEvent::Failed(failure) = StreamEvent::read(event) else { panic!("no failure") };
        assert_eq!((failure.status, failure.message.as_str()), (504, "groq: cut"));
        assert!(matches!(StreamEvent::read(b"data: [DONE]\n\n"), StreamEvent::Done));
        assert!(matches!(StreamEvent::read(b": keep-alive\n\n"), StreamEvent::Comment));
        assert!(matches!(StreamEvent::read(b"data: {]\n\n"), StreamEvent::Failed(_)));
    }
}
