//! The names that decide what a request costs, where it goes and what it may do.

use super::KNOWN_PARAMETERS;
use crate::json::Names;

/// None of the known ones may stand in a body in another spelling.
pub(super) static NAMES: Names = Names { known: &[&KNOWN_PARAMETERS, OTHERS], free_form: FREE_FORM };

pub(in crate::protocol) static FREE_FORM: &[&str] = &[
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

/// Names at any depth, beside the known parameters, of our own and of providers.
pub(in crate::protocol) static OTHERS: &[&str] = &[
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
        assert_eq!(KNOWN_PARAMETERS.iter().find(|known| !NAMES.known.concat().contains(known)), None);
    }
}
