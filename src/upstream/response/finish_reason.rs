//! OpenAI's five finish reasons, and what the words of other servers mean among them.

/// The finish reason of a choice, or `None` where the value does not mark an end: `""`, `"null"`.
pub(crate) fn normalised(written: &str, has_calls: bool) -> Option<&'static str> {
    let word = written.trim().to_ascii_lowercase();
    // `content_filter: HARM_CATEGORY_…`
    let word = if word.starts_with("content_filter") { "content_filter" } else { word.as_str() };
    let reason = match word {
        "" | "null" | "none" | "false" | "finish_reason_unspecified" => return None,
        "length"
        | "max_tokens"
        | "model_length"
        | "length_limit"
        | "max_output_tokens"
        | "max_length"
        | "model_context_window_exceeded"
        | "insufficient_system_resource" => "length",
        "content_filter"
        | "safety"
        | "recitation"
        | "prohibited_content"
        | "blocklist"
        | "spii"
        | "sensitive"
        | "refusal"
        | "guardrail_intervened"
        | "image_safety"
        | "image_prohibited_content"
        | "image_recitation" => "content_filter",
        "function_call" => "function_call",
        _ => "stop",
    };
    // A server may report `stop` beside tool calls, or `tool_calls` without any.
    Some(if has_calls && matches!(reason, "stop" | "function_call") { "tool_calls" } else { reason })
}

/// Words of a choice that has failed: what it has is no answer.
pub(crate) fn is_failure(written: &str) -> bool {
    matches!(written.trim().to_ascii_lowercase().as_str(), "error" | "network_error")
}

/// Words of a provider that gave up rather than ended: without content, such a choice is no answer.
pub(crate) fn gave_up(written: &str) -> bool {
    matches!(written.trim().to_ascii_lowercase().as_str(), "insufficient_system_resource" | "recitation")
}

/// Whether a choice that ends for this reason is a response even without content.
pub(crate) fn explains_silence(reason: &str) -> bool {
    matches!(reason, "length" | "content_filter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_servers_become_openais_five() {
        for (written, calls, reason) in [
            ("stop", false, Some("stop")),
            ("stop", true, Some("tool_calls")),
            ("tool_calls", false, Some("stop")),
            ("tool_use", true, Some("tool_calls")),
            ("MAX_TOKENS", false, Some("length")),
            ("length", true, Some("length")),
            ("SAFETY", true, Some("content_filter")),
            ("eos_token", false, Some("stop")),
            ("MALFORMED_FUNCTION_CALL", false, Some("stop")),
            ("content_filter: HARM_CATEGORY_HARASSMENT", false, Some("content_filter")),
            ("IMAGE_PROHIBITED_CONTENT", false, Some("content_filter")),
            ("IMAGE_RECITATION", true, Some("content_filter")),
            ("model_context_window_exceeded", false, Some("length")),
            ("function_call", false, Some("function_call")),
            ("function_call", true, Some("tool_calls")),
            ("", false, None),
            (" null ", true, None),
        ] {
            assert_eq!(normalised(written, calls), reason, "{written}");
        }
    }
}
