//! Writes the chunks of a chat completion as the events of a message, block by block.

use std::time::Duration;

use serde_json::json;

use super::{
    blocks::{Blocks, Kind},
    error,
    usage::Counts,
    whole,
    wire::{Thinking, event, message_id},
};
use crate::protocol::{
    chat::{Chunk, ChunkChoice},
    encoder::{Encoder, ReplyInfo},
    failure::Failure,
    tool_name::ChangedNames,
};

/// The state of one answer.
#[derive(Debug, Default)]
pub struct MessagesEncoder {
    thinking: Thinking,
    /// The stop sequences of the request.
    stops: Vec<String>,
    blocks: Blocks,
    has_begun: bool,
    model: String,
    end: End,
    counts: Counts,
}

/// Why the answer ended.
#[derive(Debug, Default)]
pub(super) struct End {
    reason: Option<&'static str>,
    sequence: Option<String>,
    /// The model has refused in words.
    has_refused: bool,
}

impl MessagesEncoder {
    pub(super) fn new(thinking: Thinking, stops: Vec<String>, names: ChangedNames) -> Self {
        Self { thinking, stops, blocks: Blocks::new(names), ..Self::default() }
    }

    /// The answer of no tokens to a request that allows none.
    pub fn empty(&mut self, reply: &ReplyInfo, stream: bool) -> Vec<u8> {
        self.end.reason = Some("max_tokens");
        if !stream {
            return self.whole(reply, Chunk::default());
        }
        let mut out = Vec::new();
        self.begin(reply, &mut out);
        self.finish(&mut out);
        out
    }

    fn choice(&mut self, mut choice: ChunkChoice, out: &mut Vec<u8>) {
        self.end.note(&choice, &self.stops);
        let delta = &mut choice.delta;
        if let Some(thought) = delta.take_reasoning().filter(|_| self.thinking != Thinking::Hidden) {
            self.counts.saw(&thought);
            let shown = if self.thinking == Thinking::Shown { thought } else { String::new() };
            self.blocks.say(Kind::Thinking, &shown, &self.model, out);
        }
        for text in [delta.content.take(), delta.refusal.take()].into_iter().flatten().filter(|text| !text.is_empty()) {
            self.counts.saw(&text);
            self.blocks.say(Kind::Text, &text, &self.model, out);
        }
        for call in std::mem::take(&mut delta.tool_calls) {
            self.counts.saw(&call.function.arguments);
            self.blocks.call(call, &self.model, out);
        }
    }
}

impl End {
    pub(super) fn note(&mut self, choice: &ChunkChoice, stops: &[String]) {
        self.has_refused |= choice.delta.refusal.as_ref().is_some_and(|text| !text.is_empty());
        if let Some(sequence) = choice.stop_sequence().filter(|named| stops.iter().any(|stop| stop == named)) {
            self.sequence = Some(sequence.to_owned());
        }
        if let Some(reason) = choice.finish_reason.as_deref() {
            self.reason = Some(match reason {
                "length" => "max_tokens",
                "tool_calls" | "function_call" => "tool_use",
                "content_filter" => "refusal",
                _ => "end_turn",
            });
        }
    }

    pub(super) fn reason(&self) -> &'static str {
        match self.reason {
            Some("end_turn") | None if self.has_refused => "refusal",
            Some("end_turn") if self.sequence.is_some() => "stop_sequence",
            other => other.unwrap_or("end_turn"),
        }
    }

    /// The sequence that ended the answer.
    pub(super) fn sequence(&self) -> Option<&str> {
        self.sequence.as_deref().filter(|_| self.reason() == "stop_sequence")
    }
}

impl Encoder for MessagesEncoder {
    fn begin(&mut self, reply: &ReplyInfo, out: &mut Vec<u8>) {
        self.has_begun = true;
        self.model = reply.model.to_string();
        self.counts.estimate(reply.prompt_tokens);
        let message = json!({
            "id": message_id(),
            "type": "message",
            "role": "assistant",
            "model": &*reply.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": self.counts.usage(),
        });
        event(out, "message_start", &json!({ "type": "message_start", "message": message }));
    }

    fn chunk(&mut self, chunk: Chunk, out: &mut Vec<u8>) {
        if let Some(usage) = chunk.usage {
            self.counts.counted(&usage);
        }
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.choice(choice, out);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.blocks.end(&self.model, out);
        let delta = json!({ "stop_reason": self.end.reason(), "stop_sequence": self.end.sequence() });
        let ended = json!({ "type": "message_delta", "delta": delta, "usage": self.counts.usage() });
        event(out, "message_delta", &ended);
        out.extend_from_slice(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        self.blocks.end(&self.model, out);
        event(out, "error", &error::envelope(failure, None));
    }

    fn keep_alive(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
    }

    fn whole(&mut self, reply: &ReplyInfo, completion: Chunk) -> Vec<u8> {
        self.counts.estimate(reply.prompt_tokens);
        if let Some(usage) = &completion.usage {
            self.counts.counted(usage);
        }
        let mut content = Vec::new();
        for choice in completion.choices.into_iter().filter(|choice| choice.index == 0) {
            self.end.note(&choice, &self.stops);
            content = whole::content(choice.delta, self.thinking, &reply.model, self.blocks.names(), &mut self.counts);
        }
        let message = json!({
            "id": message_id(),
            "type": "message",
            "role": "assistant",
            "model": &*reply.model,
            "content": content,
            "stop_reason": self.end.reason(),
            "stop_sequence": self.end.sequence(),
            "usage": self.counts.usage(),
        });
        message.to_string().into_bytes()
    }

    /// Clients of this protocol do not retry what fails inside a stream, and give up on a silent connection after minutes.
    fn hold(&self) -> Duration {
        Duration::from_secs(12)
    }
}
