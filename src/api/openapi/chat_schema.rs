//! Schemas of the chat protocol. Requests are scanned and edited in place and responses are relayed, so no type of the
//! gateway has these fields: they are described here.

use serde::Serialize;
use utoipa::ToSchema;

/// The parameters the gateway reads. Other parameters are passed to the provider unchanged. `null` means the same as absent,
/// except for `model` and `messages`.
#[derive(Serialize, ToSchema)]
pub(super) struct ChatRequest {
    /// A meta-model (`free`, `free-fast`, `free-smart` or one from the configuration), `provider/model`, or a model served by
    /// several providers
    #[schema(min_length = 1)]
    model: String,
    #[schema(min_items = 1)]
    messages: Vec<ChatMessage>,
    /// Server-sent events instead of one response
    stream: Option<bool>,
    stream_options: Option<ChatStreamOptions>,
    /// Takes precedence over `max_tokens`. Some providers charge it in full until the response has ended
    #[schema(minimum = 1, maximum = 2_147_483_647)]
    max_completion_tokens: Option<i64>,
    #[schema(minimum = 1, maximum = 2_147_483_647)]
    max_tokens: Option<i64>,
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    #[schema(minimum = -2, maximum = 2)]
    presence_penalty: Option<f64>,
    #[schema(minimum = -2, maximum = 2)]
    frequency_penalty: Option<f64>,
    /// More than one excludes candidates that cannot return several choices, and is charged accordingly
    #[schema(minimum = 1, maximum = 128)]
    n: Option<i64>,
    stop: Option<ChatStop>,
    seed: Option<i64>,
    /// `none`, `low`, `medium`, `high`, or another value the model supports
    reasoning_effort: Option<String>,
    /// Excludes models that cannot call tools
    tools: Option<Vec<ChatTool>>,
    /// `auto`, `none`, `required`, or one tool by name
    tool_choice: Option<ChatChoiceOfTool>,
    parallel_tool_calls: Option<bool>,
    /// Predecessor of `tools`
    #[schema(deprecated)]
    functions: Option<Vec<ChatFunction>>,
    /// Predecessor of `tool_choice`
    #[schema(deprecated)]
    function_call: Option<ChatChoiceOfTool>,
    /// Excludes models that do not support the format
    response_format: Option<ChatResponseFormat>,
    logprobs: Option<bool>,
    #[schema(minimum = 0, maximum = 20)]
    top_logprobs: Option<i64>,
    #[schema(value_type = Option<Object>)]
    logit_bias: (),
    modalities: Option<Vec<String>>,
    #[schema(value_type = Option<Object>)]
    audio: (),
    #[schema(value_type = Option<Object>)]
    prediction: (),
    #[schema(value_type = Option<Object>)]
    web_search_options: (),
    /// `flex`: may wait longer and uses only what other requests leave. `priority`: needs a key with permission
    service_tier: Option<String>,
    user: Option<String>,
    /// Names the session: it stays at its candidate while that has room, because a provider caches prompts
    prompt_cache_key: Option<String>,
    store: Option<bool>,
    #[schema(value_type = Option<Object>)]
    metadata: (),
}

#[derive(Serialize, ToSchema)]
struct ChatStreamOptions {
    /// Adds a last chunk with the token usage
    include_usage: Option<bool>,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum ChatStop {
    One(String),
    Several(Vec<String>),
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum ChatChoiceOfTool {
    Mode(String),
    #[schema(value_type = Object)]
    Tool(()),
}

#[derive(Serialize, ToSchema)]
struct ChatResponseFormat {
    #[schema(inline)]
    r#type: ChatFormat,
    #[schema(value_type = Option<Object>)]
    json_schema: (),
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ChatFormat {
    Text,
    JsonObject,
    JsonSchema,
}

#[derive(Serialize, ToSchema)]
struct ChatMessage {
    #[schema(inline)]
    role: ChatRole,
    /// May be null or absent for `assistant`, and null for `function`
    content: Option<ChatContent>,
    name: Option<String>,
    tool_calls: Option<Vec<ChatToolCall>>,
    /// The call that a `tool` message answers
    tool_call_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ChatRole {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum ChatContent {
    Text(String),
    Parts(Vec<ChatPart>),
}

#[derive(Serialize, ToSchema)]
struct ChatPart {
    #[schema(inline)]
    r#type: ChatPartType,
    text: Option<String>,
    /// `data:` or `https:`; some models support `data:` only
    image_url: Option<ChatUrl>,
    video_url: Option<ChatUrl>,
    #[schema(value_type = Option<Object>)]
    input_audio: (),
    #[schema(value_type = Option<Object>)]
    file: (),
    refusal: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ChatPartType {
    Text,
    ImageUrl,
    InputAudio,
    File,
    VideoUrl,
    Refusal,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum ChatUrl {
    Text(String),
    Object { url: String },
}

#[derive(Serialize, ToSchema)]
struct ChatTool {
    /// `function`, or a built-in tool of the provider
    r#type: String,
    function: Option<ChatFunction>,
}

#[derive(Serialize, ToSchema)]
struct ChatFunction {
    #[schema(min_length = 1)]
    name: String,
    description: Option<String>,
    /// A JSON Schema
    #[schema(value_type = Option<Object>)]
    parameters: (),
}

#[derive(Serialize, ToSchema)]
struct ChatToolCall {
    /// In a stream: the call that this is a part of
    index: Option<i64>,
    id: Option<String>,
    r#type: Option<String>,
    function: Option<ChatFunctionCall>,
}

#[derive(Serialize, ToSchema)]
struct ChatFunctionCall {
    name: Option<String>,
    /// JSON as text
    arguments: Option<String>,
}

/// The provider's response as it wrote it. It may have further fields.
#[derive(Serialize, ToSchema)]
pub(super) struct ChatCompletion {
    id: Option<String>,
    object: Option<String>,
    created: Option<i64>,
    /// The provider's name for the model
    model: Option<String>,
    #[schema(min_items = 1)]
    choices: Vec<ChatChoice>,
    usage: Option<ChatUsage>,
}

#[derive(Serialize, ToSchema)]
struct ChatChoice {
    index: Option<i64>,
    message: ChatReplyMessage,
    /// `stop`, `length`, `tool_calls`, `content_filter`
    finish_reason: Option<String>,
}

/// The whole message, or the new part of it in a stream.
#[derive(Serialize, ToSchema)]
struct ChatReplyMessage {
    role: Option<String>,
    content: Option<String>,
    reasoning: Option<String>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<ChatToolCall>>,
}

/// One `data:` line of a stream.
#[derive(Serialize, ToSchema)]
pub(super) struct ChatChunk {
    id: Option<String>,
    object: Option<String>,
    created: Option<i64>,
    model: Option<String>,
    /// Empty in the last chunk, which has the usage
    choices: Vec<ChatChunkChoice>,
    usage: Option<ChatUsage>,
}

#[derive(Serialize, ToSchema)]
struct ChatChunkChoice {
    index: Option<i64>,
    delta: Option<ChatReplyMessage>,
    finish_reason: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct ChatUsage {
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
    total_tokens: Option<i64>,
}
