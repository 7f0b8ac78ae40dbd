//! Token counts of one answer.

use serde::Serialize;

use crate::protocol::chat::ChunkUsage;

/// Characters per token, where a provider counts nothing.
const CHARS_PER_TOKEN: i64 = 4;

#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Ours, until the provider has counted.
    prompt: i64,
    /// Characters written.
    chars: i64,
    counted: Option<ChunkUsage>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "named by the protocol")]
pub(super) struct Usage {
    /// Without those that the provider had cached.
    pub input_tokens: i64,
    pub cache_creation_input_tokens: i64,
    pub cache_read_input_tokens: i64,
    pub output_tokens: i64,
}

impl Counts {
    pub(super) fn estimate(&mut self, prompt: i64) {
        self.prompt = prompt;
    }

    pub(super) fn saw(&mut self, text: &str) {
        self.chars += i64::try_from(text.chars().count()).unwrap_or(0);
    }

    pub(super) fn counted(&mut self, usage: &ChunkUsage) {
        self.counted = Some(usage.clone());
    }

    pub(super) fn usage(&self) -> Usage {
        match &self.counted {
            Some(usage) => Usage {
                input_tokens: usage.prompt_tokens - usage.cached_tokens(),
                cache_creation_input_tokens: 0,
                cache_read_input_tokens: usage.cached_tokens(),
                output_tokens: usage.output_tokens(),
            },
            None => Usage {
                input_tokens: self.prompt,
                cache_creation_input_tokens: 0,
                cache_read_input_tokens: 0,
                output_tokens: (self.chars + CHARS_PER_TOKEN - 1) / CHARS_PER_TOKEN,
            },
        }
    }
}
