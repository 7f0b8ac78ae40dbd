//! The content blocks of a streamed message. One is open at a time, and their indexes count from 0.

use std::io::Write as _;

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{
    tool_id,
    wire::{event, input, signature},
};
use crate::protocol::{chat::CallDelta, tool_name::ChangedNames};

/// Blocks in the order in which they began. Those behind the open one wait: the fragments of parallel calls may be mixed.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    all: Vec<Block>,
    /// Position of the first block that is not written whole.
    current: usize,
    is_open: bool,
    /// The index of the open block for the client, or of the next one.
    index: usize,
    names: ChangedNames,
}

#[derive(Debug)]
struct Block {
    kind: Kind,
    /// Text, thoughts or arguments.
    text: String,
    /// Bytes of the text that the client has.
    sent: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Thinking,
    Call { provider_index: usize, id: String, name: String },
}

impl Blocks {
    pub(super) fn new(names: ChangedNames) -> Self {
        Self { names, ..Self::default() }
    }

    /// The names of tools that providers know by other ones.
    pub(super) fn names(&self) -> &ChangedNames {
        &self.names
    }

    /// Adds text or thoughts, which may be empty.
    pub(super) fn say(&mut self, kind: Kind, text: &str, model: &str, out: &mut Vec<u8>) {
        match self.all.last_mut().filter(|last| last.kind == kind) {
            Some(last) => last.text.push_str(text),
            None => self.all.push(Block { kind, text: text.to_owned(), sent: 0 }),
        }
        self.write(model, out);
    }

    /// Adds a fragment of a tool call.
    pub(super) fn call(&mut self, fragment: CallDelta, model: &str, out: &mut Vec<u8>) {
        let is_same = |block: &Block| {
            let index = match block.kind {
                Kind::Call { provider_index, .. } => Some(provider_index),
                _ => None,
            };
            index.is_some() && index == fragment.index
        };
        let at = self.all.iter().position(is_same).unwrap_or_else(|| {
            let provider_index = fragment.index.unwrap_or(self.all.len());
            let kind = Kind::Call { provider_index, id: String::new(), name: String::new() };
            self.all.push(Block { kind, text: String::new(), sent: 0 });
            self.all.len() - 1
        });
        let block = &mut self.all[at];
        let carried = fragment.id.as_deref().map(|id| tool_id::carry(id, fragment.thought_signature()));
        if let Kind::Call { id, name, .. } = &mut block.kind {
            if let Some(carried) = carried {
                *id = carried;
            }
            if let Some(written) = fragment.function.name {
                name.push_str(&written);
            }
        }
        if at >= self.current {
            block.text.push_str(&fragment.function.arguments);
            // Arguments that are no object come in one piece.
            if block.sent == 0 && !matches!(block.text.trim_start().chars().next(), None | Some('{')) {
                block.text = input(&block.text).to_string();
            }
        }
        self.write(model, out);
    }

    /// Ends every block.
    pub(super) fn end(&mut self, model: &str, out: &mut Vec<u8>) {
        while self.current < self.all.len() {
            self.write_current(out);
            self.close(model, out);
        }
    }

    fn write(&mut self, model: &str, out: &mut Vec<u8>) {
        while self.current < self.all.len() {
            self.write_current(out);
            let is_last = self.current + 1 == self.all.len();
            if is_last || !self.all[self.current].may_end() {
                return;
            }
            self.close(model, out);
        }
    }

    /// Writes what the client does not have yet of the current block.
    fn write_current(&mut self, out: &mut Vec<u8>) {
        let index = self.index;
        let block = &mut self.all[self.current];
        if !self.is_open {
            let Some(content) = block.start(&self.names) else { return };
            self.is_open = true;
            let begun = json!({ "type": "content_block_start", "index": index, "content_block": content });
            event(out, "content_block_start", &begun);
        }
        let text = &block.text[block.sent..];
        if text.is_empty() {
            return;
        }
        let (kind, field) = match block.kind {
            Kind::Text => ("text_delta", "text"),
            Kind::Thinking => ("thinking_delta", "thinking"),
            Kind::Call { .. } => ("input_json_delta", "partial_json"),
        };
        write_delta(index, kind, field, text, out);
        block.sent = block.text.len();
    }

    fn close(&mut self, model: &str, out: &mut Vec<u8>) {
        let block = &mut self.all[self.current];
        self.current += 1;
        // The text of a closed block is not needed again.
        block.text = String::new();
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        if block.kind == Kind::Thinking {
            write_delta(self.index, "signature_delta", "signature", &signature(model), out);
        }
        event(out, "content_block_stop", &json!({ "type": "content_block_stop", "index": self.index }));
        self.index += 1;
    }
}

impl Block {
    /// The block as it begins; `None` while the name of a call is not known.
    fn start(&self, names: &ChangedNames) -> Option<Value> {
        match &self.kind {
            Kind::Text => Some(json!({ "type": "text", "text": "" })),
            Kind::Thinking => Some(json!({ "type": "thinking", "thinking": "", "signature": "" })),
            Kind::Call { name, .. } if name.is_empty() => None,
            Kind::Call { id, name, .. } => {
                Some(json!({ "type": "tool_use", "id": id, "name": names.original(name), "input": {} }))
            }
        }
    }

    /// Whether the next block may begin: a call goes on until its arguments are whole.
    fn may_end(&self) -> bool {
        let is_call = matches!(self.kind, Kind::Call { .. });
        !is_call || serde_json::from_str::<IgnoredAny>(&self.text).is_ok()
    }
}

/// The event of nearly every chunk, so that it is written without a tree of values.
fn write_delta(index: usize, kind: &str, field: &str, text: &str, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{index},\"delta\":{{\"type\":\"{kind}\",\"{field}\":"
    );
    let _ = serde_json::to_writer(&mut *out, text);
    out.extend_from_slice(b"}}\n\n");
}
