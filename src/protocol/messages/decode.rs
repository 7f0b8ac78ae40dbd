//! Reads a request of the Messages API and writes it as a chat completion.

use bytes::Bytes;

use super::{
    content::Conversation,
    encode::MessagesEncoder,
    error::THREAD,
    mistake::{Mistake, expect, wrong},
    options,
    tools::Tools,
};
use crate::{
    domain::{ChatRequest, Tier},
    json::Kind,
    protocol::{
        chat::{self, BadRequest},
        encoder::Decoded,
        json_view::{self, Members},
        skip_byte_order_mark,
    },
};

/// A request, read.
pub struct MessagesRequest {
    pub request: ChatRequest,
    pub encoder: MessagesEncoder,
    /// Parts that no provider serves and that were left out.
    pub dropped: Vec<String>,
    /// `max_tokens` is 0: the answer is empty, and no provider is called.
    pub is_empty: bool,
}

impl MessagesRequest {
    /// Puts the request into the queue's class `tier`.
    #[must_use]
    pub fn in_tier(mut self, tier: Tier) -> Self {
        self.request.tier = tier;
        self
    }
}

impl From<MessagesRequest> for Decoded {
    fn from(read: MessagesRequest) -> Self {
        Self { request: read.request, encoder: Some(Box::new(read.encoder)), dropped: read.dropped }
    }
}

/// Whether `max_tokens` must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Answer,
    Count,
}

/// Parses a request for a message; the error is the first mistake in it.
pub fn decode(body: Bytes) -> Result<MessagesRequest, BadRequest> {
    read(body, Purpose::Answer)
}

/// Parses a request to count its tokens, which may lack `max_tokens`.
pub fn decode_count(body: Bytes) -> Result<MessagesRequest, BadRequest> {
    read(body, Purpose::Count)
}

fn read(body: Bytes, purpose: Purpose) -> Result<MessagesRequest, BadRequest> {
    let body = skip_byte_order_mark(body);
    let top = json_view::object(&body, &json_view::EACH_NAME_ONCE)?.members();
    refuse_thread(&top)?;
    let mut draft = Draft::default();
    draft.fill(&top, purpose)?;
    let Draft { mut json, encoder, dropped, is_empty, .. } = draft;
    json.push('}');
    let mut request = chat::decode(json.into())?;
    request.include_usage = true;
    Ok(MessagesRequest { request, encoder, dropped, is_empty })
}

/// Refuses a request that holds a part of a conversation and leaves the rest to the server's memory (`thread`, of Anthropic's
/// tool runners): no message is kept here. Their clients then send the whole conversation.
fn refuse_thread(top: &Members<'_>) -> Result<(), BadRequest> {
    let Some(thread) = top.get(THREAD).filter(|thread| thread.kind == Kind::Object) else { return Ok(()) };
    if thread.members().get("type").is_none_or(|kind| kind.raw != "\"continue\"") {
        return Ok(());
    }
    Err(BadRequest::invalid(THREAD, "thread: The conversation is not kept here: send all of its messages."))
}

/// The chat completion while it is written.
#[derive(Default)]
struct Draft {
    json: String,
    encoder: MessagesEncoder,
    dropped: Vec<String>,
    is_empty: bool,
}

impl Draft {
    fn fill(&mut self, top: &Members<'_>, purpose: Purpose) -> Result<(), Mistake> {
        let model = expect(top, "model", Kind::String)?;
        if model.raw == "\"\"" {
            return Err(wrong("model", "a model's name", "an empty string"));
        }
        self.json = format!("{{\"model\":{}", model.raw);
        self.max_tokens(top, purpose)?;

        let conversation = Conversation::read(top, purpose == Purpose::Answer)?;
        self.member("messages", &conversation.json);
        self.dropped.extend(conversation.dropped);

        let tools = Tools::read(top)?;
        for (name, value) in tools.members {
            self.member(name, &value);
        }
        self.dropped.extend(tools.dropped);

        let stream = top.get("stream").map(|view| view.bool().ok_or_else(|| wrong("stream", "a boolean", view)));
        if stream.transpose()?.unwrap_or_default() {
            self.member("stream", "true");
        }
        let options = options::read(top)?;
        for (name, value) in options.members {
            self.member(name, &value);
        }
        if top.get("mcp_servers").is_some_and(|servers| !servers.items().is_empty()) {
            self.dropped.push("mcp_servers".to_owned());
        }
        self.dropped.sort_unstable();
        self.dropped.dedup();
        self.encoder = MessagesEncoder::new(options.thinking, options.stops, tools.changed);
        Ok(())
    }

    fn max_tokens(&mut self, top: &Members<'_>, purpose: Purpose) -> Result<(), Mistake> {
        let expected = "a positive integer, or 0 for an empty answer";
        match top.get("max_tokens") {
            None if purpose == Purpose::Count => {}
            None => return Err(Mistake::missing("max_tokens")),
            Some(view) => match view.integer() {
                Some(0) => self.is_empty = true,
                Some(most) if (1..=i64::from(i32::MAX)).contains(&most) => self.member("max_tokens", view.raw),
                _ => return Err(wrong("max_tokens", expected, view)),
            },
        }
        Ok(())
    }

    fn member(&mut self, name: &str, value: &str) {
        for part in [",\"", name, "\":", value] {
            self.json.push_str(part);
        }
    }
}
