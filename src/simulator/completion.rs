//! Generates completions: deterministic text, tool calls or JSON derived from the request, independent of the dialect.

use serde_json::{Value, json};

use super::{
    moderation,
    provider::{Model, Provider},
    request::{SimulatedRequest, tokens_of},
    rng::Rng,
    schema,
};

/// A completion before a dialect formats it.
#[derive(Debug)]
pub(crate) struct Completion {
    /// Seed of its ids.
    pub seed: u64,
    /// Seconds since the epoch.
    pub created: i64,
    /// The model as named in the request, which may be an alias.
    pub model: String,
    pub stream: bool,
    pub include_usage: bool,
    pub n: i64,
    pub reasoning: Vec<String>,
    pub content: Vec<String>,
    pub calls: Vec<Call>,
    pub finish: Finish,
    pub prompt_tokens: i64,
    /// Including reasoning, over all `n` choices.
    pub output_tokens: i64,
    pub reasoning_tokens: i64,
    pub pace: Pace,
    /// The whole response, where it is no chat completion.
    pub body: Option<String>,
}

/// A tool call.
#[derive(Debug)]
pub(crate) struct Call {
    pub name: String,
    /// JSON text.
    pub arguments: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    Length,
    ToolCalls,
    Safety,
}

/// How fast the completion is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub first_ms: f64,
    pub chunk_ms: f64,
}

impl Completion {
    pub(crate) fn generate(
        request: &SimulatedRequest,
        provider: &Provider,
        model: &Model,
        now_us: i64,
        rng: &Rng,
    ) -> Self {
        let speed = &model.latency;
        let calls = calls(request, model);
        let size = request.directive.chunk_tokens.unwrap_or(speed.chunk_tokens).max(1);
        let wanted = request.directive.tokens.or_else(|| speed.tokens.map(|spread| rng.draw_whole(spread)));
        let mut text = if calls.is_empty() { content(request, provider, model, wanted) } else { String::new() };
        let mut finish = if calls.is_empty() { Finish::Stop } else { Finish::ToolCalls };
        let mut thought = thought(request, provider, model);
        let most = request.max_tokens.filter(|max| *max > 0).map_or(model.max_output, |max| max.min(model.max_output));
        if cut(&mut thought, most) | cut(&mut text, most - tokens_of(&thought)) {
            finish = Finish::Length;
        }
        if request.directive.safety {
            cut(&mut text, size);
            finish = Finish::Safety;
        }
        let called: i64 = calls.iter().map(|call| tokens_of(&call.name) + tokens_of(&call.arguments)).sum();
        let reasoning_tokens = tokens_of(&thought);
        let one = reasoning_tokens + tokens_of(&text) + called;
        Self {
            seed: rng.next(),
            created: now_us / 1_000_000,
            model: request.model.clone(),
            stream: request.stream,
            include_usage: request.include_usage,
            n: request.n,
            reasoning: pieces(&thought, size),
            content: pieces(&text, size),
            calls,
            finish,
            prompt_tokens: request.prompt_tokens + model.preamble_tokens,
            output_tokens: one * request.n,
            reasoning_tokens: reasoning_tokens * request.n,
            pace: Pace {
                first_ms: request.directive.first_ms.unwrap_or_else(|| rng.draw(speed.first_ms)),
                chunk_ms: request.directive.chunk_ms.unwrap_or_else(|| rng.draw(speed.chunk_ms)),
            },
            body: None,
        }
    }

    pub(crate) fn total_tokens(&self) -> i64 {
        self.prompt_tokens + self.output_tokens
    }

    /// Time until the whole completion exists, in ms.
    pub(crate) fn whole_ms(&self) -> f64 {
        let pieces = self.reasoning.len() + self.content.len();
        let gaps = u32::try_from(pieces.saturating_sub(1)).unwrap_or(u32::MAX);
        self.pace.first_ms + self.pace.chunk_ms * f64::from(gaps)
    }
}

/// Cuts a text to a number of tokens. Returns whether the text was longer.
fn cut(text: &mut String, tokens: i64) -> bool {
    let most = usize::try_from(tokens.max(0)).unwrap_or(usize::MAX).saturating_mul(4);
    match text.char_indices().nth(most) {
        Some((end, _)) => {
            text.truncate(end);
            true
        }
        None => false,
    }
}

fn pieces(text: &str, tokens: i64) -> Vec<String> {
    let size = usize::try_from(tokens).unwrap_or(1).saturating_mul(4);
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.char_indices().nth(size).map_or(rest.len(), |(end, _)| end);
        let (piece, after) = rest.split_at(end);
        pieces.push(piece.to_owned());
        rest = after;
    }
    pieces
}

/// The reasoning of models that reason, unless the request turns it off.
fn thought(request: &SimulatedRequest, provider: &Provider, model: &Model) -> String {
    let effort = request.text("reasoning_effort");
    let enabled = match provider.dialect {
        super::dialects::DialectName::Mistral => effort.is_some() || request.text("prompt_mode") == Some("reasoning"),
        _ => true,
    };
    let tokens = request.directive.reasoning.unwrap_or(model.latency.reasoning_tokens);
    if !model.can.reasoning || !enabled || effort == Some("none") || tokens <= 0 {
        return String::new();
    }
    filled(&format!("The user says: {}. Completion briefly.", shortened(&request.last_user)), tokens)
}

/// The text of a completion in the requested format.
fn content(request: &SimulatedRequest, provider: &Provider, model: &Model, wanted: Option<i64>) -> String {
    if model.can.guard
        && let Some(verdict) = moderation::verdict(request)
    {
        return verdict;
    }
    let format = request.body.pointer("/response_format/type").and_then(Value::as_str);
    let text = reply_text(request, provider, model);
    match format {
        Some("json_schema") => {
            let schema = request.body.pointer("/response_format/json_schema/schema").unwrap_or(&Value::Null);
            return schema::example(schema, &request.last_user).to_string();
        }
        Some("json_object") => return json!({ "answer": text }).to_string(),
        _ => {}
    }
    match wanted {
        Some(tokens) => filled(&text, tokens),
        None => text,
    }
}

fn reply_text(request: &SimulatedRequest, provider: &Provider, model: &Model) -> String {
    if !request.tool_results.is_empty() {
        return format!("The tool answered: {}", request.tool_results.join(" and "));
    }
    let images = match request.images {
        0 => String::new(),
        1 => " I see 1 image.".to_owned(),
        several => format!(" I see {several} images."),
    };
    let prompt = shortened(&request.last_user);
    format!("You said: {prompt}{images} (This is {} at the simulated {}.)", model.id, provider.name)
}

fn shortened(text: &str) -> String {
    text.chars().take(400).collect()
}

/// The text, followed by filler, cut to exactly this number of tokens.
fn filled(text: &str, tokens: i64) -> String {
    const FILLER: &str = " The quick brown fox jumps over the lazy dog, and the answer goes on.";
    let chars = usize::try_from(tokens.max(0)).unwrap_or(0).saturating_mul(4);
    text.chars().chain(FILLER.chars().cycle()).take(chars).collect()
}

/// Calls of the first tool, or of the named one, once or as often as the prompt sets.
fn calls(request: &SimulatedRequest, model: &Model) -> Vec<Call> {
    let choice = request.field("tool_choice");
    let refused = choice.and_then(Value::as_str) == Some("none");
    let number = request.directive.calls.unwrap_or(1);
    if !model.can.tools || refused || !request.tool_results.is_empty() || number == 0 {
        return Vec::new();
    }
    let named = choice.and_then(|choice| choice.pointer("/function/name")?.as_str());
    let name = |tool: &Value| tool.pointer("/function/name").and_then(Value::as_str).map(str::to_owned);
    let tool = request.tools().iter().find(|tool| named.is_none() || name(tool).as_deref() == named);
    let Some((tool, name)) = tool.and_then(|tool| Some((tool, name(tool)?))) else { return Vec::new() };
    let parameters = tool.pointer("/function/parameters").unwrap_or(&Value::Null);
    let call = |at: usize| {
        let arguments = schema::example_at(parameters, &request.last_user, at);
        Call {
            name: name.clone(),
            arguments: if arguments.is_object() { arguments.to_string() } else { "{}".to_owned() },
        }
    };
    (0..number).map(call).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::profile::Profile;

    fn completion(provider: &str, body: &Value) -> Completion {
        let provider = Provider::build(provider, &Profile::real().settings().unwrap().providers[provider]).unwrap();
        let request = SimulatedRequest::parse(body.to_string().as_bytes()).unwrap();
        let model = provider.model(&request.model).unwrap().clone();
        Completion::generate(&request, &provider, &model, 0, &Rng::new(1))
    }

    #[test]
    fn a_completion_echoes_the_prompt_in_the_requested_length() {
        let answer = completion(
            "mistral",
            &json!({"model":"ministral-3b-2512","messages":[{"role":"user","content":"hello there [[tokens=200 size=10]]"}]}),
        );
        let text = answer.content.concat();
        assert!(text.starts_with("You said: hello there"), "{text}");
        assert_eq!((tokens_of(&text), answer.output_tokens, answer.content.len()), (200, 200, 20));
    }

    #[test]
    fn thinking_can_eat_all_of_max_tokens() {
        let answer = completion(
            "groq",
            &json!({"model":"openai/gpt-oss-120b","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}),
        );
        assert_eq!((answer.finish, answer.content.len(), answer.output_tokens), (Finish::Length, 0, 5));
    }

    #[test]
    fn a_tool_is_called_once_and_its_result_is_quoted() {
        let tools = json!([{"type":"function","function":{"name":"get_weather","parameters":
            {"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}]);
        let question = json!({"role":"user","content":"weather?"});
        let first = completion("cerebras", &json!({"model":"gpt-oss-120b","tools":tools,"messages":[question]}));
        assert_eq!((first.finish, first.calls[0].arguments.as_str()), (Finish::ToolCalls, r#"{"city":"Paris"}"#));
        let second = completion(
            "cerebras",
            &json!({"model":"gpt-oss-120b","tools":tools,"messages":[question,{"role":"tool","content":"21 degrees"}]}),
        );
        assert!(second.calls.is_empty() && second.content.concat().contains("21 degrees"));
    }
}
