//! The names that decide what a request costs, where it goes and what it may do.

use crate::json::Names;

/// None of the known ones may stand in a body in another spelling.
pub(super) static NAMES: Names = Names { known: KNOWN, free_form: FREE_FORM };

static FREE_FORM: &[&str] = &[
    "parameters",
    "schema",
    "metadata",
    "logit_bias",
    "arguments",
    "input",
    "chat_template_kwargs",
    "extra_body",
    "options",
    "format",
];

/// Names at any depth, of our own and of providers.
static KNOWN: &[&str] = &[
    // Top level
    "model",
    "messages",
    "stream",
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "top_p",
    "tools",
    "tool_choice",
    "stream_options",
    "response_format",
    "stop",
    "n",
    "reasoning_effort",
    "parallel_tool_calls",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "user",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "functions",
    "function_call",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "store",
    "metadata",
    "service_tier",
    // Top level at some providers
    "models",
    "route",
    "provider",
    "plugins",
    "preset",
    "transforms",
    "fallbacks",
    "extra_body",
    "top_k",
    "min_p",
    "thinking",
    // Below
    "include_usage",
    "role",
    "content",
    "name",
    "tool_calls",
    "tool_call_id",
    "refusal",
    "reasoning",
    "reasoning_content",
    "type",
    "text",
    "image_url",
    "video_url",
    "input_audio",
    "file",
    "file_data",
    "file_id",
    "url",
    "detail",
    "data",
    "id",
    "function",
    "arguments",
    "parameters",
    "json_schema",
    "schema",
    "strict",
];

#[cfg(test)]
mod tests {
    use super::{super::KNOWN_PARAMETERS, NAMES};

    #[test]
    fn every_known_parameter_is_guarded() {
        assert_eq!(KNOWN_PARAMETERS.iter().find(|known| !NAMES.known.contains(known)), None);
    }
}
