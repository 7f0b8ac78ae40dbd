//! Writes the answer of a chat completion as a response: events for a stream, the object otherwise.

use std::io::Write as _;

use super::{
    answer::Answer,
    compaction::Compaction,
    object::{Progress, ResponseObject, write_usage},
};
use crate::protocol::{
    Encoder, Failure, ReplyInfo,
    chat::{Chunk, ChunkUsage},
};

/// The longest wait for which a client is sent to sleep inside a stream: a minute, with the slack that a window of one minute
/// has.
const MAX_SLEEP_MS: i64 = 60_499;

/// How the caller wants to hear of ends and refusals.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manners {
    /// The caller is Codex, for which an incomplete response is an error.
    pub is_codex: bool,
    /// The caller sleeps for the time that a failed response names.
    pub sleeps_in_stream: bool,
}

/// A response that has ended, for its storage.
#[derive(Debug)]
pub struct FinishedResponse {
    pub id: String,
    /// The items that its request added to the conversation, as a JSON array.
    pub input: String,
    /// The JSON of the object.
    pub object: Vec<u8>,
}

pub(super) type OnEnd = Box<dyn FnOnce(FinishedResponse) + Send>;

pub(super) struct ResponseEncoder {
    pub object: ResponseObject,
    pub answer: Answer,
    pub manners: Manners,
    /// The answer is a summary to be sealed.
    pub compaction: Option<Compaction>,
    /// Whether the first events have been written.
    pub has_begun: bool,
    /// See [`FinishedResponse::input`].
    pub input: String,
    pub on_end: Option<OnEnd>,
}

/// How a complete answer ends.
struct End {
    status: &'static str,
    incomplete: Option<&'static str>,
}

impl ResponseEncoder {
    fn ensure_begun(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let begun = Progress { status: "in_progress", ..Progress::default() };
        self.snapshot("response.created", &begun, out);
        self.snapshot("response.in_progress", &begun, out);
    }

    fn snapshot(&mut self, event: &str, progress: &Progress<'_>, out: &mut Vec<u8>) {
        self.answer.events.begin(event, out);
        out.extend_from_slice(b",\"response\":");
        self.object.write(progress, out);
        self.answer.events.end(out);
    }

    fn read(&mut self, chunk: Chunk, out: &mut Vec<u8>) {
        match &mut self.compaction {
            Some(compaction) => compaction.read(chunk, &mut self.answer.usage),
            None => self.answer.chunk(chunk, out),
        }
    }

    /// Closes what is open.
    fn close(&mut self, out: &mut Vec<u8>) -> End {
        if let Some(compaction) = &self.compaction {
            self.answer.push_item("cmp", out, |id| compaction.item(id));
            return End { status: "completed", incomplete: None };
        }
        let incomplete = match self.answer.finish_reason.as_deref() {
            Some("length") => Some("max_output_tokens"),
            Some("content_filter") => Some("content_filter"),
            _ => None,
        };
        self.answer.close(if incomplete.is_some() { "incomplete" } else { "completed" }, out);
        match incomplete {
            Some("max_output_tokens") if self.manners.is_codex => End { status: "completed", incomplete: None },
            Some(_) => End { status: "incomplete", incomplete },
            None => End { status: "completed", incomplete: None },
        }
    }

    /// Writes the object of a complete answer, and passes it on for storage.
    fn complete_object(&mut self, end: &End, out: &mut Vec<u8>) {
        let start = out.len();
        let progress = Progress {
            status: end.status,
            incomplete: end.incomplete,
            output: self.answer.outputs(),
            usage: self.answer.usage.as_ref(),
            error: None,
        };
        self.object.write(&progress, out);
        if let Some(on_end) = self.on_end.take() {
            let input = std::mem::take(&mut self.input);
            on_end(FinishedResponse { id: self.object.id(), input, object: out[start..].to_vec() });
        }
    }

    /// `{"object": "response.compaction", …}`, the answer of `/compact`.
    fn compaction_object(&self, reply: &ReplyInfo, out: &mut Vec<u8>) {
        let usage = self.answer.usage.clone().unwrap_or_else(|| {
            let mut estimate = ChunkUsage::default();
            estimate.prompt_tokens = reply.prompt_tokens;
            estimate
        });
        // Writing to a vector cannot fail.
        let _ = write!(
            out,
            "{{\"id\":\"{}\",\"object\":\"response.compaction\",\"created_at\":{},\"output\":[{}],\"usage\":",
            self.object.id(),
            self.object.created_at,
            self.answer.outputs().join(",")
        );
        write_usage(Some(&usage), out);
        out.push(b'}');
    }
}

impl Encoder for ResponseEncoder {
    fn begin(&mut self, reply: &ReplyInfo, out: &mut Vec<u8>) {
        reply.model.as_ref().clone_into(&mut self.object.model);
        self.ensure_begun(out);
    }

    fn chunk(&mut self, chunk: Chunk, out: &mut Vec<u8>) {
        self.ensure_begun(out);
        self.read(chunk, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.ensure_begun(out);
        let end = self.close(out);
        let event = if end.status == "completed" { "response.completed" } else { "response.incomplete" };
        self.answer.events.begin(event, out);
        out.extend_from_slice(b",\"response\":");
        self.complete_object(&end, out);
        self.answer.events.end(out);
    }

    fn fail(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        self.ensure_begun(out);
        self.answer.cut();
        let (code, message) = error_of(failure);
        let outputs = self.answer.outputs().to_vec();
        let failed = Progress {
            status: "failed",
            error: Some((code, &message)),
            incomplete: None,
            output: &outputs,
            usage: None,
        };
        self.snapshot("response.failed", &failed, out);
    }

    /// A comment would not reset the timer of Codex, so this is an event. Clients skip types that they do not know, but the
    /// SDKs expect `response.created` before anything else.
    fn keep_alive(&mut self, out: &mut Vec<u8>) {
        self.ensure_begun(out);
        self.answer.events.begin("keepalive", out);
        self.answer.events.end(out);
    }

    fn whole(&mut self, reply: &ReplyInfo, completion: Chunk) -> Vec<u8> {
        let mut unsent = Vec::new();
        reply.model.as_ref().clone_into(&mut self.object.model);
        self.read(completion, &mut unsent);
        let end = self.close(&mut unsent);
        let mut body = Vec::new();
        match &self.compaction {
            Some(compaction) if compaction.is_endpoint => self.compaction_object(reply, &mut body),
            _ => self.complete_object(&end, &mut body),
        }
        body
    }

    fn kept_bytes(&self) -> usize {
        self.answer.kept_bytes + self.compaction.as_ref().map_or(0, |compaction| compaction.summary.len())
    }

    fn refuses_in_stream(&self, failure: &Failure) -> bool {
        self.manners.sleeps_in_stream
            && matches!(failure.status, 429 | 503)
            && failure.retry_ms.is_some_and(|ms| ms <= MAX_SLEEP_MS)
    }
}

/// Code and message of a failed response. Codex ends its turn on some codes, sleeps on `rate_limit_exceeded` for the time that
/// ends the message, and retries on every other.
fn error_of(failure: &Failure) -> (&'static str, String) {
    match (failure.retry_ms, failure.code.as_deref()) {
        (Some(ms), _) => ("rate_limit_exceeded", format!("{}\nPlease try again in {}s", failure.message, seconds(ms))),
        (None, Some("context_length_exceeded")) => ("context_length_exceeded", failure.message.clone()),
        _ => ("server_error", failure.message.clone()),
    }
}

/// Tenths of a second, rounded up: who wakes too early is refused again.
fn seconds(ms: i64) -> String {
    let tenths = ms.max(0).saturating_add(99) / 100;
    if tenths % 10 == 0 { (tenths / 10).to_string() } else { format!("{}.{}", tenths / 10, tenths % 10) }
}
