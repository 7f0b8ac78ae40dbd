//! The response object. Every member is always present, null where it is empty.

use std::io::Write as _;

use jiff::Timestamp;

use crate::protocol::chat::ChunkUsage;

/// One response: its identity, and what it repeats of its request.
#[derive(Debug)]
pub(super) struct ResponseObject {
    /// The part of every id of this response that makes it unique.
    pub key: String,
    pub created_at: i64,
    /// The requested model until one answers.
    pub model: String,
    /// The members that repeat the request, as JSON: `"instructions":null,…`.
    pub echo: String,
}

/// What changes while a response is written.
#[derive(Debug, Default)]
pub(super) struct Progress<'a> {
    pub status: &'static str,
    pub error: Option<(&'a str, &'a str)>,
    /// Why the response is incomplete.
    pub incomplete: Option<&'a str>,
    /// The JSON of each item.
    pub output: &'a [String],
    pub usage: Option<&'a ChunkUsage>,
}

impl ResponseObject {
    /// A new object for a request that has just arrived.
    pub(super) fn new(model: String, echo: String) -> Self {
        let key = uuid::Uuid::now_v7().simple().to_string();
        Self { key, created_at: Timestamp::now().as_second(), model, echo }
    }

    pub(super) fn id(&self) -> String {
        format!("resp_{}", self.key)
    }

    pub(super) fn write(&self, progress: &Progress<'_>, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = write!(
            out,
            "{{\"id\":\"resp_{}\",\"object\":\"response\",\"created_at\":{},\"status\":\"{}\",\"completed_at\":",
            self.key, self.created_at, progress.status
        );
        if progress.status == "completed" {
            let _ = write!(out, "{}", Timestamp::now().as_second().max(self.created_at));
        } else {
            out.extend_from_slice(b"null");
        }
        out.extend_from_slice(b",\"error\":");
        match progress.error {
            Some((code, message)) => {
                out.extend_from_slice(b"{\"code\":");
                write_string(code, out);
                out.extend_from_slice(b",\"message\":");
                write_string(message, out);
                out.push(b'}');
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"incomplete_details\":");
        match progress.incomplete {
            Some(reason) => {
                let _ = write!(out, "{{\"reason\":\"{reason}\"}}");
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"model\":");
        write_string(&self.model, out);
        out.push(b',');
        out.extend_from_slice(self.echo.as_bytes());
        out.extend_from_slice(b",\"output\":[");
        out.extend_from_slice(progress.output.join(",").as_bytes());
        out.extend_from_slice(b"],\"usage\":");
        write_usage(progress.usage, out);
        out.push(b'}');
    }
}

/// The usage as the provider counted it; null where it has not.
pub(super) fn write_usage(usage: Option<&ChunkUsage>, out: &mut Vec<u8>) {
    let Some(usage) = usage else {
        out.extend_from_slice(b"null");
        return;
    };
    let (input, output) = (usage.prompt_tokens.max(0), usage.output_tokens().max(0));
    let _ = write!(
        out,
        "{{\"input_tokens\":{input},\"input_tokens_details\":{{\"cached_tokens\":{},\"cache_write_tokens\":0}},\
         \"output_tokens\":{output},\"output_tokens_details\":{{\"reasoning_tokens\":{}}},\"total_tokens\":{}}}",
        usage.cached_tokens(),
        usage.reasoning_tokens(),
        input.saturating_add(output)
    );
}

/// A JSON string.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// A JSON string in a new text.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
