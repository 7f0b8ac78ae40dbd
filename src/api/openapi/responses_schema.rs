//! Schemas of the Responses protocol. Requests are read and objects written without types of this form, so the fields are
//! described here.

use serde::Serialize;
use utoipa::ToSchema;

/// The parameters the gateway reads. `null` means the same as absent.
#[derive(Serialize, ToSchema)]
pub(super) struct ResponsesRequest {
    /// As for chat completions. Absent: `free-smart`
    model: Option<String>,
    /// The question, or the conversation as items
    input: Option<ResponsesInput>,
    /// Becomes the first message of the conversation
    instructions: Option<String>,
    /// Server-sent events instead of one response
    stream: Option<bool>,
    /// `function`, `custom` and `namespace`. Tools that run on OpenAI's servers are left out, as `x-tollfree-dropped` reports
    tools: Option<Vec<ResponsesTool>>,
    /// `auto`, `none`, `required`, one tool by name, or `allowed_tools`
    tool_choice: Option<ResponsesToolChoice>,
    parallel_tool_calls: Option<bool>,
    /// `format`: `text`, `json_object` or `json_schema`
    #[schema(value_type = Option<Object>)]
    text: (),
    /// `effort`, and `summary` for reasoning in the form of a summary
    #[schema(value_type = Option<Object>)]
    reasoning: (),
    #[schema(minimum = 1, maximum = 2_147_483_647)]
    max_output_tokens: Option<i64>,
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    /// `reasoning.encrypted_content` returns reasoning sealed, to be sent back with the next request
    include: Option<Vec<String>>,
    /// Needs an operator who stores responses
    previous_response_id: Option<String>,
    /// Whether to store the response, where the operator does
    store: Option<bool>,
    /// `flex`: may wait longer and uses only what other requests leave. `priority`: needs a key with permission
    service_tier: Option<String>,
    /// Names the session: it stays at its candidate while that has room, because a provider caches prompts
    prompt_cache_key: Option<String>,
    /// Returned with the response
    #[schema(value_type = Option<Object>)]
    metadata: (),
    /// `true` is refused
    background: Option<bool>,
    /// `auto` or `disabled`
    truncation: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum ResponsesInput {
    Text(String),
    Items(Vec<ResponsesItem>),
}

/// An item of a conversation: `message`, `function_call`, `function_call_output`, `custom_tool_call`,
/// `custom_tool_call_output`, `reasoning`, `compaction`, …
#[derive(Serialize, ToSchema)]
struct ResponsesItem {
    r#type: Option<String>,
    id: Option<String>,
    role: Option<String>,
    status: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct ResponsesTool {
    r#type: String,
    name: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum ResponsesToolChoice {
    Mode(String),
    #[schema(value_type = Object)]
    Tool(()),
}

/// A request for a compaction.
#[derive(Serialize, ToSchema)]
pub(super) struct ResponsesCompactRequest {
    model: String,
    input: Option<ResponsesInput>,
    instructions: Option<String>,
    previous_response_id: Option<String>,
}

/// The response object. Every field is always present.
#[derive(Serialize, ToSchema)]
pub(super) struct ResponsesObject {
    id: String,
    object: String,
    created_at: i64,
    #[schema(required)]
    completed_at: Option<i64>,
    /// `in_progress`, `completed`, `incomplete` or `failed`
    status: String,
    #[schema(required)]
    error: Option<ResponsesError>,
    #[schema(required)]
    incomplete_details: Option<ResponsesIncomplete>,
    /// `provider/model` that answered
    model: String,
    output: Vec<ResponsesItem>,
    #[schema(required)]
    usage: Option<ResponsesUsage>,
    /// Whether the response is stored
    store: bool,
}

#[derive(Serialize, ToSchema)]
struct ResponsesError {
    /// `rate_limit_exceeded`, `context_length_exceeded` or `server_error`
    code: String,
    message: String,
}

#[derive(Serialize, ToSchema)]
struct ResponsesIncomplete {
    /// `max_output_tokens` or `content_filter`
    reason: String,
}

#[derive(Serialize, ToSchema)]
struct ResponsesUsage {
    input_tokens: i64,
    input_tokens_details: ResponsesInputDetails,
    output_tokens: i64,
    output_tokens_details: ResponsesOutputDetails,
    total_tokens: i64,
}

#[derive(Serialize, ToSchema)]
struct ResponsesInputDetails {
    /// Served from the provider's cache
    cached_tokens: i64,
}

#[derive(Serialize, ToSchema)]
struct ResponsesOutputDetails {
    reasoning_tokens: i64,
}

/// A compacted conversation.
#[derive(Serialize, ToSchema)]
pub(super) struct ResponsesCompaction {
    id: String,
    /// `response.compaction`
    object: String,
    created_at: i64,
    /// One item, whose `encrypted_content` only this gateway opens
    output: Vec<ResponsesItem>,
    usage: ResponsesUsage,
}
