//! A stream of normalised events, pulled one by one.

use std::{borrow::Cow, collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue};
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    choice_state::{ChoiceStates, Expected, ResponseIdentity},
    response_reader::{self, ParsedResponse, ResponseShape},
    sse_decoder::{RawEvent, SseDecoder},
    sse_event::{EventFacts, SseEvent, StreamFault},
    text_completion,
    transcript_events::TranscriptReader,
    usage, whole_response,
};
use crate::{
    domain::{Candidate, Fault, Health},
    memory::Reservation,
    upstream::{
        bounds::{EVENT_OVERHEAD_BYTES, MAX_JOINED_LINES, MAX_STREAM_BYTES, MAX_UNCOMMITTED_BYTES},
        error_response, fault,
        response_body::{BodyError, ResponseBody},
    },
};

/// After `[DONE]` a connection is reusable once the end of the body was read. The end comes at once or is not worth a wait.
const BODY_END_TIMEOUT: Duration = Duration::from_millis(20);

/// Pulling an event lets the provider continue (back-pressure). Dropping the stream cancels the call.
#[derive(Debug)]
pub(crate) struct EventStream {
    candidate: Arc<Candidate>,
    /// `None` where everything was read already.
    response: Option<ResponseBody>,
    decoder: SseDecoder,
    states: ChoiceStates,
    /// Events up to the first content, and events of ours.
    ready: VecDeque<SseEvent>,
    /// The latest usage, which the client gets in the last chunk before `[DONE]`.
    usage: Option<SseEvent>,
    stream_idle: Duration,
    /// Choices have a text in the place of a message.
    has_texts: bool,
    /// Of a transcript that comes in pieces.
    transcript: Option<TranscriptReader>,
    /// Some event was not JSON.
    has_garbage: bool,
    /// Events are relayed from here on, and not held any more.
    committed: bool,
    /// Memory for what is held: events before the first content, the unfinished event, and the one that was pulled last, which
    /// is being sent until the next one is pulled.
    memory: Reservation,
    /// Bytes of the events before the first content, or of an event that is several, while any of them is held.
    opening_bytes: usize,
    /// There is no memory for what is held, which is not the provider's failure.
    is_starved: bool,
    done: bool,
    ended: bool,
}

/// What a stream contains up to the point where the response can be relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) enum Commit {
    Content,
    /// The stream ended in good order, but without content.
    Empty,
}

impl EventStream {
    /// Continues a response of which `prefix` was read already.
    pub(in crate::upstream) fn from_response(
        candidate: Arc<Candidate>,
        mut response: ResponseBody,
        prefix: Bytes,
        stream_idle: Duration,
        expected: Expected,
        memory: Reservation,
    ) -> Self {
        detach_headers(response.headers_mut());
        let mut stream = Self::new(candidate, Some(response), stream_idle, expected, memory);
        stream.decoder.push(prefix);
        stream
    }

    /// Streams a whole response.
    pub(in crate::upstream) fn from_whole(
        candidate: Arc<Candidate>,
        body: &str,
        expected: Expected,
        memory: Reservation,
    ) -> Self {
        let mut stream = Self::new(candidate, None, Duration::ZERO, expected, memory);
        stream.decoder.push(whole_response::as_events(body).into());
        stream
    }

    fn new(
        candidate: Arc<Candidate>,
        response: Option<ResponseBody>,
        stream_idle: Duration,
        expected: Expected,
        memory: Reservation,
    ) -> Self {
        let states = ChoiceStates::new(&candidate.model.id, expected);
        Self {
            candidate,
            response,
            decoder: SseDecoder::default(),
            states,
            ready: VecDeque::new(),
            usage: None,
            stream_idle,
            has_texts: expected.has_texts,
            transcript: expected.has_transcripts.then(TranscriptReader::default),
            has_garbage: false,
            committed: false,
            memory,
            opening_bytes: 0,
            is_starved: false,
            done: false,
            ended: false,
        }
    }

    /// Reads up to the first content and keeps everything before it, up to a bound of bytes.
    pub(in crate::upstream) async fn commit(&mut self, deadline: Instant, timeout: Duration) -> Result<Commit, Fault> {
        let mut held = VecDeque::new();
        let commit = loop {
            let next = timeout_at(deadline, self.pull());
            match next.await.map_err(|_| fault::timed_out(&self.candidate, timeout))? {
                Some(Ok(event)) => {
                    self.opening_bytes += event.bytes.len() + EVENT_OVERHEAD_BYTES;
                    held.push_back(event);
                    if self.states.are_usable() {
                        break Commit::Content;
                    }
                    if self.opening_bytes > MAX_UNCOMMITTED_BYTES {
                        return Err(self.uncommitted());
                    }
                }
                Some(Err(fault)) => return Err(*fault),
                None if self.states.is_empty() && self.has_garbage => {
                    return Err(fault::observed(
                        &self.candidate,
                        "malformed",
                        "no event of the stream is a JSON object",
                    ));
                }
                None if self.states.is_empty() => return Err(fault::empty_response(&self.candidate)),
                None => break Commit::Empty,
            }
        };
        held.append(&mut self.ready);
        self.opening_bytes = held.iter().map(|event| event.bytes.len() + EVENT_OVERHEAD_BYTES).sum();
        self.ready = held;
        self.committed = true;
        Ok(commit)
    }

    fn uncommitted(&self) -> Fault {
        fault::observed(&self.candidate, "malformed", "more than 1 MiB came before the first content")
    }

    /// The next event, or `None` after the end or after an error. A pause longer than the idle time and an end before the
    /// finish reason are errors. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<SseEvent, StreamFault>> {
        let next = match self.ready.pop_front() {
            Some(event) => Ok(event),
            None => self.pull().await?,
        };
        if self.ready.is_empty() {
            self.opening_bytes = 0;
        }
        match next.and_then(|event| self.reserve(event.bytes.len()).map(|()| event)) {
            Ok(event) => Some(Ok(event)),
            Err(fault) => {
                self.end();
                let mut fault = StreamFault::from(*fault);
                if self.is_starved {
                    fault.health = Health::Unknown;
                }
                Some(Err(fault))
            }
        }
    }

    /// Whether the stream ended because there is no memory for what it holds.
    pub(in crate::upstream) fn is_starved(&self) -> bool {
        self.is_starved
    }

    /// Memory for what is held, beside an event that is being sent.
    fn reserve(&mut self, sent: usize) -> Result<(), Box<Fault>> {
        self.memory.resize(self.opening_bytes + self.decoder.held() + sent).map_err(|_| {
            self.is_starved = true;
            Box::new(fault::no_memory(&self.candidate))
        })
    }

    /// The provider's names of the response, as far as it has sent them.
    pub(crate) fn identity(&self) -> ResponseIdentity {
        self.states.identity().clone()
    }

    /// Seconds of sound that the provider has counted, once it has said so.
    pub(crate) fn audio_seconds(&self) -> Option<f64> {
        self.transcript.as_ref().and_then(TranscriptReader::seconds)
    }

    fn end(&mut self) {
        self.ended = true;
        self.response = None;
    }

    async fn pull(&mut self) -> Option<Result<SseEvent, Box<Fault>>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            // Comments and events that are skipped count, too.
            if !self.committed && self.decoder.consumed() > MAX_UNCOMMITTED_BYTES as u64 {
                return Some(Err(Box::new(self.uncommitted())));
            }
            match self.decoder.next_event() {
                Ok(Some(event)) => {
                    if let Err(fault) = self.parse(&event) {
                        return Some(Err(fault));
                    }
                    continue;
                }
                Ok(None) => {
                    if let Err(fault) = self.reserve(0) {
                        return Some(Err(fault));
                    }
                }
                Err(e) => return Some(Err(Box::new(fault::observed(&self.candidate, "malformed", &e.to_string())))),
            }
            if self.decoder.consumed() > MAX_STREAM_BYTES {
                let message = "the stream is larger than 64 MiB";
                return Some(Err(Box::new(fault::observed(&self.candidate, "malformed", message))));
            }
            let ended = match self.chunk().await {
                Ok(Some(chunk)) => {
                    self.decoder.push(chunk);
                    continue;
                }
                Ok(None) => self.flush(),
                // A connection that breaks behind the last finish reason costs nothing.
                Err(_) if self.states.are_finished() => {
                    self.ready.extend(self.usage.take());
                    self.end();
                    Ok(())
                }
                Err(fault) => Err(Box::new(fault)),
            };
            if let Err(fault) = ended {
                return Some(Err(fault));
            }
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(response) = &mut self.response else { return Ok(None) };
        if self.done {
            return Ok(timeout(BODY_END_TIMEOUT, response.chunk()).await.ok().and_then(Result::ok).flatten());
        }
        match timeout(self.stream_idle, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(BodyError::Encoding(message))) => Err(fault::observed(&self.candidate, "malformed", &message)),
            Ok(Err(e)) => Err(fault::observed(&self.candidate, "reset", &format!("the stream broke: {e}"))),
            Err(_) => {
                let message = format!("the stream was silent for {} ms", self.stream_idle.as_millis());
                Err(fault::observed(&self.candidate, "timeout", &message))
            }
        }
    }

    /// The end of the body.
    fn flush(&mut self) -> Result<(), Box<Fault>> {
        let was_finished = self.states.are_finished();
        if let Some(event) = self.decoder.finish()
            && let Err(fault) = self.parse(&event)
            // Half an event behind the last finish reason costs nothing.
            && !(was_finished && fault.label == "reset")
        {
            return Err(fault);
        }
        self.end();
        if self.done || self.states.is_empty() {
            return Ok(());
        }
        if !self.states.are_finished() {
            let fault = if self.has_garbage && !self.states.are_usable() {
                fault::observed(&self.candidate, "malformed", "an event of the stream is no JSON object")
            } else if self.states.are_usable() {
                fault::observed(&self.candidate, "reset", "the stream ended before its finish_reason")
            } else {
                fault::empty_response(&self.candidate)
            };
            return Err(fault.into());
        }
        self.ready.extend(self.usage.take());
        Ok(())
    }

    /// Queues what an event of the provider becomes for the client.
    fn parse(&mut self, event: &RawEvent) -> Result<(), Box<Fault>> {
        let data = payload(&event.data);
        if self.done || (data.is_empty() || data == b"{}") && event.name != "error" {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.finish();
            return Ok(());
        }
        if data.contains(&b'\n')
            && let Some(chunks) = joined_chunks(data)
        {
            if self.committed {
                self.opening_bytes += data.len() + chunks.len() * EVENT_OVERHEAD_BYTES;
            }
            return chunks.into_iter().try_for_each(|chunk| {
                let data = event.data.slice_ref(chunk);
                let event = RawEvent { raw: data.clone(), data, name: event.name.clone(), terminated: true };
                self.parse(&event)
            });
        }
        // Broken UTF-8 costs its character and not the event.
        let mut text = String::from_utf8_lossy(data);
        if self.has_texts {
            text = text_completion::as_chat(text, ResponseShape::Chunk);
        }
        if let Some(transcript) = &mut self.transcript {
            text = transcript.as_chat(text);
        }
        let parsed = match response_reader::read(&text, ResponseShape::Chunk, &mut self.states) {
            Ok(parsed) => parsed,
            Err(error) => return self.not_an_object(event, data, error.what),
        };
        let is_flat_error =
            || !parsed.has_choices && parsed.facts.usage.is_none() && error_response::is_flat_error(data);
        if parsed.error || event.name == "error" || is_flat_error() {
            return Err(self.error_event(data).into());
        }
        if parsed.ended_with_error {
            let message = "the response ended with an error";
            return Err(fault::observed(&self.candidate, "stream_error", message).into());
        }
        self.queue(event, &text, parsed, matches!(text, Cow::Owned(_)));
        Ok(())
    }

    fn queue(&mut self, event: &RawEvent, text: &str, mut parsed: ParsedResponse, is_repaired: bool) {
        let late_ends = std::mem::take(&mut parsed.late_ends);
        self.queue_chunk(event, text, parsed, is_repaired);
        for (index, delta, reason) in late_ends {
            let chunk = self.states.chunk(index, &delta, Some(reason));
            let facts = EventFacts { finish_reason: Some(reason.to_owned()), ..EventFacts::default() };
            self.ready.push_back(SseEvent { bytes: framed(chunk.as_bytes()), facts });
        }
    }

    fn queue_chunk(&mut self, event: &RawEvent, text: &str, parsed: ParsedResponse, is_repaired: bool) {
        if !parsed.has_choices && parsed.facts.usage.is_none() {
            return;
        }
        let facts = EventFacts { usage_only: parsed.is_usage_only, ..parsed.facts };
        if let (Some(usage), Some(range)) = (facts.usage, parsed.usage_at) {
            let json = usage::completed(&text[range.clone()], usage);
            // A chunk from which only the usage was taken, and which had nothing else, is the usage chunk already.
            let is_only_cut = parsed.patch.len() == 1 && !parsed.has_other_cuts;
            let is_complete = parsed.has_choices && parsed.choices == 0 && is_only_cut && json == text[range];
            let bytes = if is_complete { relayed(event) } else { framed(self.states.usage_chunk(&json).as_bytes()) };
            let facts = EventFacts { usage: Some(usage), usage_only: true, ..EventFacts::default() };
            self.usage = Some(SseEvent { bytes, facts });
        }
        if facts.usage_only {
            return;
        }
        let is_unchanged = parsed.patch.is_empty() && !is_repaired;
        let bytes = if is_unchanged { relayed(event) } else { framed(&parsed.patch.apply(text)) };
        self.ready.push_back(SseEvent { bytes, facts });
    }

    /// `[DONE]` ends every choice that has not ended, if some choice has content.
    fn finish(&mut self) {
        self.done = true;
        for chunk in self.states.finish() {
            let facts = EventFacts { finish_reason: Some("stop".to_owned()), ..EventFacts::default() };
            self.ready.push_back(SseEvent { bytes: framed(chunk.as_bytes()), facts });
        }
        self.ready.extend(self.usage.take());
        if self.states.is_empty() {
            self.end();
            return;
        }
        let facts = EventFacts { done: true, ..EventFacts::default() };
        self.ready.push_back(SseEvent { bytes: Bytes::from_static(b"data: [DONE]\n\n"), facts });
    }

    /// The fault of an error inside the stream, classified as if it had come with its own status.
    fn error_event(&self, data: &[u8]) -> Fault {
        let none = HeaderMap::new();
        let headers = self.response.as_ref().map_or(&none, ResponseBody::headers);
        fault::from_response(&self.candidate, 200, headers, data)
    }

    /// Skips an event that is no JSON, such as a keep-alive. Damaged JSON and errors end the stream: what is missing cannot be
    /// known.
    fn not_an_object(&mut self, event: &RawEvent, data: &[u8], why: &str) -> Result<(), Box<Fault>> {
        if event.name == "error" || is_error_list(data) {
            return Err(self.error_event(data).into());
        }
        if !event.terminated {
            return Err(fault::observed(&self.candidate, "reset", "the stream ended inside an event").into());
        }
        if data.starts_with(b"{") {
            let message = format!("an event of the stream is damaged: {why}");
            return Err(fault::observed(&self.candidate, "malformed", &message).into());
        }
        let is_keep_alive = data.starts_with(b":") || data == b"null";
        self.has_garbage |= !is_keep_alive;
        Ok(())
    }
}

/// Gemini wraps its errors in an array. Other arrays say nothing.
fn is_error_list(data: &[u8]) -> bool {
    let has_error = |item: &Value| item.get("error").is_some();
    data.starts_with(b"[") && serde_json::from_slice::<Vec<Value>>(data).is_ok_and(|list| list.iter().any(has_error))
}

/// The lines of an event that are chunks of their own: some servers leave out the blank lines between events.
fn joined_chunks(data: &[u8]) -> Option<Vec<&[u8]>> {
    let lines: Vec<&[u8]> =
        data.split(|byte| *byte == b'\n').take(MAX_JOINED_LINES + 1).map(<[u8]>::trim_ascii).collect();
    let is_chunk = |line: &&[u8]| {
        line.is_empty()
            || *line == b"[DONE]"
            || line.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(line).is_ok()
    };
    let is_bounded = (2..=MAX_JOINED_LINES).contains(&lines.len());
    (is_bounded && lines.iter().all(is_chunk)).then_some(lines)
}

/// The data of an event without what some servers put before it: blanks and a second `data:`.
fn payload(data: &[u8]) -> &[u8] {
    let mut data = data.trim_ascii();
    while let Some(rest) = data.strip_prefix(b"data:") {
        data = rest.trim_ascii();
    }
    data
}

/// The unchanged event if it is exactly `data: {…}` and a blank line; otherwise it is framed again.
fn relayed(event: &RawEvent) -> Bytes {
    let data = payload(&event.data);
    let raw = &event.raw;
    if raw.len() == data.len() + 8 && raw.starts_with(b"data: {") && raw.ends_with(b"}\n\n") {
        return raw.clone();
    }
    framed(data)
}

fn framed(data: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(data.len() + 8);
    bytes.extend_from_slice(b"data: ");
    // Line ends are escaped inside strings and have no meaning outside.
    bytes.extend(data.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }));
    bytes.extend_from_slice(b"\n\n");
    bytes.into()
}

/// Copies the header values, which are slices of the 8 KB buffer they were read into and would keep it alive.
fn detach_headers(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = copy;
        }
    }
}
