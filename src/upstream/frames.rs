//! A committed stream, pulled frame by frame.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue};
use serde::de::IgnoredAny;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Frame, Named, StreamFault,
    answer::{self, Choices, Shape},
    fault,
    frame::FrameFacts,
    sse::{Event, Splitter},
};
use crate::domain::{Candidate, Fault};

/// After `[DONE]` a connection can be used again once its very end was read; it is there at once or not worth a wait.
const LAST_BYTES: Duration = Duration::from_millis(20);

/// Pulling it is what makes the provider go on (back-pressure); dropping it cancels the call at once.
#[derive(Debug)]
pub struct Frames {
    candidate: Arc<Candidate>,
    /// `None`: everything is here already.
    response: Option<reqwest::Response>,
    splitter: Splitter,
    choices: Choices,
    ready: VecDeque<Frame>,
    silence: Duration,
    /// Some content came.
    content: bool,
    /// `[DONE]` came.
    done: bool,
    ended: bool,
}

impl Frames {
    /// Begins where `head` was read from `response` already.
    pub(super) fn begin(
        candidate: Arc<Candidate>,
        mut response: reqwest::Response,
        head: Bytes,
        silence: Duration,
    ) -> Self {
        let_go(response.headers_mut());
        let mut frames = Self::new(candidate, Some(response), silence);
        frames.splitter.push(head);
        frames
    }

    /// A whole answer to a request that asked for a stream.
    pub(super) fn of_whole(candidate: Arc<Candidate>, events: Vec<String>) -> Self {
        let mut frames = Self::new(candidate, None, Duration::ZERO);
        for event in events {
            frames.splitter.push(Bytes::from(event));
        }
        frames
    }

    fn new(candidate: Arc<Candidate>, response: Option<reqwest::Response>, silence: Duration) -> Self {
        Self {
            candidate,
            response,
            splitter: Splitter::default(),
            choices: Choices::default(),
            ready: VecDeque::new(),
            silence,
            content: false,
            done: false,
            ended: false,
        }
    }

    /// Waits for the first content and holds everything up to it.
    pub(super) async fn commit(&mut self, deadline: Instant, patience: Duration) -> Result<(), Fault> {
        loop {
            let pulled = timeout_at(deadline, self.pull());
            match pulled.await.map_err(|_| fault::timed_out(&self.candidate, patience))? {
                Some(Ok(frame)) if !frame.facts.done => {
                    let commits = frame.facts.commits();
                    self.ready.push_back(frame);
                    if commits {
                        return Ok(());
                    }
                }
                Some(Err(fault)) => return Err(*fault),
                Some(Ok(_)) | None => return Err(fault::empty(&self.candidate)),
            }
        }
    }

    /// The next frame. `None`: the stream ended after its `finish_reason`, or an error was told.
    /// Silence for longer than `silence_ms` and an end before `finish_reason` are errors.
    /// Cancel safe: a pull that was dropped loses nothing.
    pub async fn next(&mut self) -> Option<Result<Frame, StreamFault>> {
        if let Some(frame) = self.ready.pop_front() {
            return Some(Ok(frame));
        }
        match self.pull().await? {
            Ok(frame) => Some(Ok(frame)),
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

    async fn pull(&mut self) -> Option<Result<Frame, Box<Fault>>> {
        if self.ended {
            return None;
        }
        loop {
            match self.splitter.next_event() {
                Ok(Some(event)) => match self.digest(&event).transpose() {
                    Some(told) => return Some(told),
                    None => continue,
                },
                Ok(None) => {}
                Err(e) => return Some(Err(Box::new(fault::broken(&self.candidate, "malformed", &e.to_string())))),
            }
            match self.chunk().await {
                Ok(Some(chunk)) => self.splitter.push(chunk),
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
            Ok(Err(e)) => Err(fault::broken(&self.candidate, "reset", &format!("the stream broke: {}", cause(&e)))),
            Err(_) => {
                let message = format!("the stream was silent for {} ms", self.silence.as_millis());
                Err(fault::broken(&self.candidate, "timeout", &message))
            }
        }
    }

    /// What the provider calls this answer, as far as it has said so.
    pub fn named(&self) -> Named {
        self.choices.named()
    }

    fn is_complete(&self) -> bool {
        self.choices.are_finished()
    }

    /// What is left when no more bytes come.
    fn last(&mut self) -> Result<Option<Frame>, Box<Fault>> {
        if let Some(event) = self.splitter.finish()
            && let Some(frame) = self.digest(&event)?
        {
            return Ok(Some(frame));
        }
        self.end();
        if self.is_complete() || self.choices.are_none() { Ok(None) } else { Err(self.cut_short().into()) }
    }

    fn cut_short(&self) -> Fault {
        if self.content {
            fault::broken(&self.candidate, "reset", "the stream ended before its finish_reason")
        } else {
            fault::empty(&self.candidate)
        }
    }

    /// `Ok(None)`: nothing worth passing on.
    fn digest(&mut self, event: &Event) -> Result<Option<Frame>, Box<Fault>> {
        if self.done {
            return Ok(None);
        }
        let data = event.data.trim_ascii();
        if data == b"[DONE]" {
            if !self.is_complete() && !self.choices.are_none() {
                return Err(self.cut_short().into());
            }
            self.done = true;
            let facts = FrameFacts { done: true, ..FrameFacts::default() };
            return Ok(Some(Frame { bytes: whole(event), facts }));
        }
        let read =
            std::str::from_utf8(data).ok().map(|text| (text, answer::read(text, Shape::Chunk, &mut self.choices)));
        let Some((text, Ok(answer))) = read else {
            return Err(self.unreadable(event).into());
        };
        if answer.error || event.name == "error" {
            return Err(self.told(data).into());
        }
        if answer.facts.finish_reason.as_deref() == Some("error") {
            return Err(fault::broken(&self.candidate, "stream_error", "the answer ended with an error").into());
        }
        self.content |= answer.facts.content;
        let bytes = if answer.mended.is_empty() {
            whole(event)
        } else {
            let mended = answer.mended.apply(text);
            joined(&mended)
        };
        Ok(Some(Frame { bytes, facts: answer.facts }))
    }

    /// An error told inside the stream, judged as if it had come with its own status.
    fn told(&self, data: &[u8]) -> Fault {
        let none = HeaderMap::new();
        let headers = self.response.as_ref().map_or(&none, reqwest::Response::headers);
        fault::refused(&self.candidate, 200, headers, data)
    }

    fn unreadable(&self, event: &Event) -> Fault {
        // Gemini wraps its errors in an array.
        let array = event.data.starts_with(b"[") && serde_json::from_slice::<IgnoredAny>(&event.data).is_ok();
        if event.name == "error" || array {
            self.told(&event.data)
        } else if event.terminated {
            fault::broken(&self.candidate, "malformed", "an event of the stream is no JSON object")
        } else {
            fault::broken(&self.candidate, "reset", "the stream ended inside an event")
        }
    }
}

/// The event as it came; as callers need it where it lacked its `data:` or its blank line.
fn whole(event: &Event) -> Bytes {
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

/// The innermost cause of an HTTP error: reqwest's own words name only the URL.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
