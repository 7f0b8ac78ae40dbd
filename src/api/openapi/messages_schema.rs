//! Schemas of the Messages API. The gateway reads requests value by value and writes answers event by event, so no type of it has
//! these fields: they are described here.

use serde::Serialize;
use utoipa::ToSchema;

/// The parameters that matter here. Others are ignored.
#[derive(Serialize, ToSchema)]
pub(super) struct MessagesRequest {
    /// A meta-model, `provider/model`, a model served by several providers, or an alias such as `claude-sonnet-5`
    #[schema(min_length = 1)]
    model: String,
    /// 0 is answered at once, without a call. Not required to count tokens
    #[schema(minimum = 0, maximum = 2_147_483_647)]
    max_tokens: Option<i64>,
    #[schema(min_items = 1)]
    messages: Vec<MessagesInput>,
    system: Option<MessagesContent>,
    /// Server-sent events instead of one response
    stream: Option<bool>,
    stop_sequences: Option<Vec<String>>,
    #[schema(minimum = 0, maximum = 1)]
    temperature: Option<f64>,
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    /// Sent where the provider has it
    #[schema(minimum = 0)]
    top_k: Option<i64>,
    /// Tools of a type other than `custom` are left out and named in `x-tollfree-dropped`
    tools: Option<Vec<MessagesTool>>,
    tool_choice: Option<MessagesToolChoice>,
    /// `enabled` with `budget_tokens`, `adaptive` or `disabled`
    #[schema(value_type = Option<Object>)]
    thinking: (),
    /// `effort`, and `format` for structured output
    #[schema(value_type = Option<Object>)]
    output_config: (),
    /// `user_id`
    #[schema(value_type = Option<Object>)]
    metadata: (),
}

#[derive(Serialize, ToSchema)]
struct MessagesInput {
    /// `user`, `assistant` or `system`
    role: String,
    content: MessagesContent,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum MessagesContent {
    Text(String),
    Blocks(Vec<MessagesBlock>),
}

/// A block of the type `text`, `image`, `document`, `search_result`, `tool_use`, `tool_result`, `thinking` or `redacted_thinking`
#[derive(Serialize, ToSchema)]
struct MessagesBlock {
    r#type: String,
    text: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct MessagesTool {
    r#type: Option<String>,
    name: Option<String>,
    description: Option<String>,
    /// A JSON Schema
    #[schema(value_type = Option<Object>)]
    input_schema: (),
}

#[derive(Serialize, ToSchema)]
struct MessagesToolChoice {
    /// `auto`, `any`, `tool` or `none`
    r#type: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Message {
    id: String,
    /// `message`
    r#type: String,
    role: String,
    /// `provider/model` that has answered
    model: String,
    content: Vec<MessageBlock>,
    /// `end_turn`, `max_tokens`, `stop_sequence`, `tool_use` or `refusal`
    stop_reason: String,
    stop_sequence: Option<String>,
    usage: MessageUsage,
}

/// A block of the type `text`, `thinking` or `tool_use`
#[derive(Serialize, ToSchema)]
struct MessageBlock {
    r#type: String,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    id: Option<String>,
    name: Option<String>,
    #[schema(value_type = Option<Object>)]
    input: (),
}

#[derive(Serialize, ToSchema)]
struct MessageUsage {
    /// Without those that the provider had cached
    input_tokens: i64,
    cache_creation_input_tokens: i64,
    cache_read_input_tokens: i64,
    output_tokens: i64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MessagesError {
    /// `error`
    r#type: String,
    error: MessagesErrorBody,
    request_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct MessagesErrorBody {
    /// `invalid_request_error`, `authentication_error`, `permission_error`, `not_found_error`, `request_too_large`,
    /// `rate_limit_error`, `api_error`, `timeout_error` or `overloaded_error`
    r#type: String,
    message: String,
}
