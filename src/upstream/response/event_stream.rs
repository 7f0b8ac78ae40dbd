//! A committed stream, pulled event by event.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue};
use serde::de::IgnoredAny;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    response_reader::{self, ChoiceStates, ResponseIdentity, ResponseShape},
    sse_decoder::{RawEvent, SseDecoder},
    sse_event::{EventFacts, SseEvent, StreamFault},
};
use crate::{
    domain::{Candidate, Fault},
    upstream::{client::root_cause, fault},
};

/// After `[DONE]` a connection can be used again once its very end was read; it is there at once or not worth a wait.
const LAST_BYTES: Duration = Duration::from_millis(20);

/// Pulling it is what makes the provider go on (back-pressure); dropping it cancels the call at once.
#[derive(Debug)]
pub struct EventStream {
    candidate: Arc<Candidate>,
    /// `None`: everything is here already.
    response: Option<reqwest::Response>,
    decoder: SseDecoder,
    choices: ChoiceStates,
    ready: VecDeque<SseEvent>,
    silence: Duration,
    /// Some content came.
    content: bool,
    /// `[DONE]` came.
    done: bool,
    ended: bool,
}

impl EventStream {
    /// Begins where `head` was read from `response` already.
    pub(in crate::upstream) fn begin(
        candidate: Arc<Candidate>,
        mut response: reqwest::Response,
        head: Bytes,
        silence: Duration,
    ) -> Self {
        let_go(response.headers_mut());
        let mut stream = Self::new(candidate, Some(response), silence);
        stream.decoder.push(head);
        stream
    }

    /// A whole answer to a request that asked for a stream.
    pub(in crate::upstream) fn of_whole(candidate: Arc<Candidate>, events: Vec<String>) -> Self {
        let mut stream = Self::new(candidate, None, Duration::ZERO);
        for event in events {
            stream.decoder.push(Bytes::from(event));
        }
        stream
    }

    fn new(candidate: Arc<Candidate>, response: Option<reqwest::Response>, silence: Duration) -> Self {
        Self {
            candidate,
            response,
            decoder: SseDecoder::default(),
            choices: ChoiceStates::default(),
            ready: VecDeque::new(),
            silence,
            content: false,
            done: false,
            ended: false,
        }
    }

    /// Waits for the first content and holds everything up to it.
    pub(in crate::upstream) async fn commit(&mut self, deadline: Instant, patience: Duration) -> Result<(), Fault> {
        loop {
            let pulled = timeout_at(deadline, self.pull());
            match pulled.await.map_err(|_| fault::timed_out(&self.candidate, patience))? {
                Some(Ok(event)) if !event.facts.done => {
                    let commits = event.facts.commits();
                    self.ready.push_back(event);
                    if commits {
                        return Ok(());
                    }
                }
                Some(Err(fault)) => return Err(*fault),
                Some(Ok(_)) | None => return Err(fault::empty_response(&self.candidate)),
            }
        }
    }

    /// The next event. `None`: the stream ended after its `finish_reason`, or an error was told.
    /// Silence for longer than `silence_ms` and an end before `finish_reason` are errors.
    /// Cancel safe: a pull that was dropped loses nothing.
    pub async fn next(&mut self) -> Option<Result<SseEvent, StreamFault>> {
        if let Some(event) = self.ready.pop_front() {
            return Some(Ok(event));
        }
        match self.pull().await? {
            Ok(event) => Some(Ok(event)),
            Err(fault) => {
                self.end();
                Some(Err(StreamFault::from(*fault)))
            }
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.response = None;
    }

    async fn pull(&mut self) -> Option<Result<SseEvent, Box<Fault>>> {
        if self.ended {
            return None;
        }
        loop {
            match self.decoder.next_event() {
                Ok(Some(event)) => match self.digest(&event).transpose() {
                    Some(told) => return Some(told),
                    None => continue,
                },
                Ok(None) => {}
                Err(e) => return Some(Err(Box::new(fault::observed(&self.candidate, "malformed", &e.to_string())))),
            }
            match self.chunk().await {
                Ok(Some(chunk)) => self.decoder.push(chunk),
                Ok(None) => return self.last().transpose(),
                // Its last word was said: what broke behind it is nobody's loss.
                Err(_) if self.is_complete() => {
                    self.end();
                    return None;
                }
                Err(fault) => return Some(Err(Box::new(fault))),
            }
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(response) = &mut self.response else { return Ok(None) };
        if self.done {
            return Ok(timeout(LAST_BYTES, response.chunk()).await.ok().and_then(Result::ok).flatten());
        }
        match timeout(self.silence, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(e)) => {
                Err(fault::observed(&self.candidate, "reset", &format!("the stream broke: {}", root_cause(&e))))
            }
            Err(_) => {
                let message = format!("the stream was silent for {} ms", self.silence.as_millis());
                Err(fault::observed(&self.candidate, "timeout", &message))
            }
        }
    }

    /// What the provider calls this answer, as far as it has said so.
    pub fn named(&self) -> ResponseIdentity {
        self.choices.named()
    }

    fn is_complete(&self) -> bool {
        self.choices.are_finished()
    }

    /// What is left when no more bytes come.
    fn last(&mut self) -> Result<Option<SseEvent>, Box<Fault>> {
        if let Some(event) = self.decoder.finish()
            && let Some(event) = self.digest(&event)?
        {
            return Ok(Some(event));
        }
        self.end();
        if self.is_complete() || self.choices.are_none() { Ok(None) } else { Err(self.cut_short().into()) }
    }

    fn cut_short(&self) -> Fault {
        if self.content {
            fault::observed(&self.candidate, "reset", "the stream ended before its finish_reason")
        } else {
            fault::empty_response(&self.candidate)
        }
    }

    /// `Ok(None)`: nothing worth passing on.
    fn digest(&mut self, event: &RawEvent) -> Result<Option<SseEvent>, Box<Fault>> {
        if self.done {
            return Ok(None);
        }
        let data = event.data.trim_ascii();
        if data == b"[DONE]" {
            if !self.is_complete() && !self.choices.are_none() {
                return Err(self.cut_short().into());
            }
            self.done = true;
            let facts = EventFacts { done: true, ..EventFacts::default() };
            return Ok(Some(SseEvent { bytes: whole(event), facts }));
        }
        let read = std::str::from_utf8(data)
            .ok()
            .map(|text| (text, response_reader::read(text, ResponseShape::Chunk, &mut self.choices)));
        let Some((text, Ok(answer))) = read else {
            return Err(self.unreadable(event).into());
        };
        if answer.error || event.name == "error" {
            return Err(self.told(data).into());
        }
        if answer.facts.finish_reason.as_deref() == Some("error") {
            return Err(fault::observed(&self.candidate, "stream_error", "the answer ended with an error").into());
        }
        self.content |= answer.facts.content;
        let bytes = if answer.mended.is_empty() {
            whole(event)
        } else {
            let mended = answer.mended.apply(text);
            joined(&mended)
        };
        Ok(Some(SseEvent { bytes, facts: answer.facts }))
    }

    /// An error told inside the stream, judged as if it had come with its own status.
    fn told(&self, data: &[u8]) -> Fault {
        let none = HeaderMap::new();
        let headers = self.response.as_ref().map_or(&none, reqwest::Response::headers);
        fault::from_response(&self.candidate, 200, headers, data)
    }

    fn unreadable(&self, event: &RawEvent) -> Fault {
        // Gemini wraps its errors in an array.
        let array = event.data.starts_with(b"[") && serde_json::from_slice::<IgnoredAny>(&event.data).is_ok();
        if event.name == "error" || array {
            self.told(&event.data)
        } else if event.terminated {
            fault::observed(&self.candidate, "malformed", "an event of the stream is no JSON object")
        } else {
            fault::observed(&self.candidate, "reset", "the stream ended inside an event")
        }
    }
}

/// The event as it came; as callers need it where it lacked its `data:` or its blank line.
fn whole(event: &RawEvent) -> Bytes {
    if event.bare {
        return joined(&event.data);
    }
    if event.terminated {
        return event.raw.clone();
    }
    [event.raw.trim_ascii_end(), b"\n\n"].concat().into()
}

fn joined(data: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(data.len() + 8);
    bytes.extend_from_slice(b"data: ");
    // Outside strings a line end means nothing, inside they are escaped.
    bytes.extend(data.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }));
    bytes.extend_from_slice(b"\n\n");
    bytes.into()
}

/// Header values are pieces of the buffer they were read into: as long as one lives, so do its 8 KB.
fn let_go(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = copy;
        }
    }
}
