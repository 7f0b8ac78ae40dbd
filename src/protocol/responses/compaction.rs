//! Compaction: a conversation is replaced by a summary that its client keeps sealed.

use std::sync::Arc;

use super::{
    object::quoted,
    seal::{SealedFor, Sealer},
};
use crate::protocol::chat::{Chunk, ChunkUsage};

/// The message that asks for the summary, as JSON.
pub(super) const SUMMARY_REQUEST: &str = r#""Your context is about to be replaced by a summary. Write it now, as a hand-over to yourself: call no tools and answer nothing else. State the task and every instruction that still holds, in the user's words where the wording matters; what has been done, with the names of files, commands, identifiers and results that will be needed again; decisions and their reasons; what is open, and the next step. Leave out greetings, and whatever no later step can need.""#;
/// Stands for a summary that the model left empty.
const NO_SUMMARY: &str = "(The model wrote no summary of the earlier conversation.)";

/// A compaction under way.
#[derive(Debug)]
pub(super) struct Compaction {
    pub sealer: Arc<Sealer>,
    /// The answer is that of `/compact`, not of a response whose input ends with `compaction_trigger`.
    pub is_endpoint: bool,
    pub summary: String,
}

impl Compaction {
    /// Adds what a chunk says. Reasoning does not belong to the summary.
    pub(super) fn read(&mut self, chunk: Chunk, usage: &mut Option<ChunkUsage>) {
        if chunk.usage.is_some() {
            *usage = chunk.usage;
        }
        for choice in chunk.choices {
            self.summary.push_str(choice.delta.content.as_deref().unwrap_or_default());
        }
    }

    /// The item that replaces the conversation.
    pub(super) fn item(&self, id: &str) -> String {
        let summary = if self.summary.trim().is_empty() { NO_SUMMARY } else { &self.summary };
        let sealed = self.sealer.seal(summary, SealedFor::Compaction).unwrap_or_default();
        format!("{{\"type\":\"compaction\",\"id\":\"{id}\",\"encrypted_content\":{}}}", quoted(&sealed))
    }
}
