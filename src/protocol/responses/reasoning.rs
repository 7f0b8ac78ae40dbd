//! Reasoning items: the model's own text, or in the form of a summary where the request asks for one.

use std::sync::Arc;

use super::{
    object::quoted,
    seal::{SealedFor, Sealer},
};

/// How reasoning is written.
#[derive(Debug, Default)]
pub(super) struct ReasoningForm {
    /// `reasoning.summary` was requested: clients show that form only.
    pub is_summary: bool,
    /// Seals the reasoning, for requests that want to send it back.
    pub sealer: Option<Arc<Sealer>>,
}

impl ReasoningForm {
    pub(super) fn delta_event(&self) -> &'static str {
        if self.is_summary { "response.reasoning_summary_text.delta" } else { "response.reasoning_text.delta" }
    }

    pub(super) fn done_event(&self) -> &'static str {
        if self.is_summary { "response.reasoning_summary_text.done" } else { "response.reasoning_text.done" }
    }

    /// The names of the events for a part that begins and for one that ends.
    pub(super) fn part_events(&self) -> (&'static str, &'static str) {
        if self.is_summary {
            ("response.reasoning_summary_part.added", "response.reasoning_summary_part.done")
        } else {
            ("response.content_part.added", "response.content_part.done")
        }
    }

    pub(super) fn index_name(&self) -> &'static str {
        if self.is_summary { "summary_index" } else { "content_index" }
    }

    /// One part. `text` is JSON.
    pub(super) fn part(&self, text: &str) -> String {
        let kind = if self.is_summary { "summary_text" } else { "reasoning_text" };
        format!("{{\"type\":\"{kind}\",\"text\":{text}}}")
    }

    /// The item as it begins.
    pub(super) fn opened(&self, id: &str) -> String {
        self.item(id, "", "in_progress", "")
    }

    /// The complete item with its parts.
    pub(super) fn closed(&self, id: &str, parts: &str, status: &str) -> String {
        let sealed = self.sealer.as_ref().and_then(|sealer| sealer.seal(&text_of(parts), SealedFor::Reasoning));
        let sealed = sealed.map_or_else(String::new, |sealed| format!(",\"encrypted_content\":{}", quoted(&sealed)));
        self.item(id, parts, status, &sealed)
    }

    fn item(&self, id: &str, parts: &str, status: &str, sealed: &str) -> String {
        let (summary, content) = if self.is_summary { (parts, "") } else { ("", parts) };
        let content = if self.is_summary { String::new() } else { format!(",\"content\":[{content}]") };
        format!(
            "{{\"type\":\"reasoning\",\"id\":\"{id}\",\"status\":\"{status}\",\"summary\":[{summary}]{content}{sealed}}}"
        )
    }
}

/// The text of the parts of an item.
fn text_of(parts: &str) -> String {
    let parts: Vec<serde_json::Value> = serde_json::from_str(&format!("[{parts}]")).unwrap_or_default();
    parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n\n")
}
