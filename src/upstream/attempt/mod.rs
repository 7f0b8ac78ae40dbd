//! One call to one candidate: sends the request and reads up to the first content, or classifies the failure.

mod kinds;

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use kinds::Computed;
use parking_lot::Mutex;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use serde::de::IgnoredAny;
use tokio::time::{Instant, timeout_at};

use super::{
    bounds::{BYTE_ORDER_MARK, MAX_ERROR_BYTES, MAX_RESPONSE_BYTES, MAX_UNCOMMITTED_BYTES},
    client::{Upstream, authorization, is_closed_early, is_own_failure, root_cause},
    embeddings::Unusable,
    error_response, fault, hints,
    reply::{Reply, ReplyBody},
    request_edit::{EditContext, edit_request},
    response::{
        choice_state::{ChoiceStates, Expected, ResponseIdentity},
        event_stream::{Commit, EventStream},
        response_reader::{self, ResponseShape},
        text_completion,
        whole_response::Assembler,
    },
    response_body::{BodyError, ResponseBody},
    upload,
};
use crate::{
    domain::{Candidate, ChatRequest, Fault, FaultKind, ModelKind},
    memory::{Memory, Reservation},
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

impl Upstream {
    /// Calls a candidate. Returns once the response is committed (the first content of a stream, or a whole body that
    /// parses), or the fault with what the ledger learns from it. Dropping the future cancels the call.
    pub(crate) async fn attempt(&self, candidate: &Arc<Candidate>, request: &ChatRequest) -> Result<Reply, Fault> {
        if let Some(body) = kinds::body(request, candidate) {
            return Call::begin(self, candidate, request).run(self, body).await;
        }
        let plain_schemas = self.needs_plain_schemas(candidate);
        let mut body = edit_request(request, candidate, EditContext::new(candidate, request, plain_schemas));
        if let Some(prompt) = request.completion.as_deref().filter(|_| candidate.takes_prompts()) {
            body = text_completion::body(body, prompt);
        }
        let result = Call::begin(self, candidate, request).run(self, body).await;
        if let Err(fault) = &result
            && !plain_schemas
            && is_about_schema(candidate, request, fault)
        {
            // Not sent again here, since only one request was admitted.
            self.remember_plain_schemas(candidate);
        }
        result
    }
}

/// A 400 that names a schema keyword which the provider refuses at times.
fn is_about_schema(candidate: &Candidate, request: &ChatRequest, fault: &Fault) -> bool {
    fault.kind == FaultKind::Rejected
        && request.size.schema_chars > 0
        && candidate.provider.wire.schema_sanitise.iter().any(|keyword| fault.message.contains(keyword.as_str()))
}

/// Warns once a minute.
fn warn_of_own_failure(cause: &str) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock();
    if last.is_none_or(|last| last.elapsed() > Duration::from_mins(1)) {
        *last = Some(Instant::now());
        tracing::warn!(
            "This replica cannot open connections to providers: {cause}. Raise its limits (`ulimit -n`), or run more replicas"
        );
    }
}

/// Estimates of a context can be half of what is true, and every token has at least a byte.
fn expected(candidate: &Candidate, request: &ChatRequest) -> Expected {
    let bytes = i64::try_from(request.body.len()).unwrap_or(i64::MAX);
    let has_texts = request.kind == ModelKind::Completion && candidate.takes_prompts();
    let has_transcripts = kinds::streams_transcript(request, candidate);
    let has_functions = request.parameters.iter().any(|name| name == "functions");
    let tokens_max = candidate.model.context.saturating_mul(2).max(bytes);
    Expected { n: u64::from(request.n), tokens_max, has_texts, has_transcripts, has_functions }
}

/// One call with its time limits.
struct Call<'a> {
    candidate: &'a Arc<Candidate>,
    request: &'a ChatRequest,
    stream: bool,
    expected: Expected,
    started: Instant,
    first_token_timeout: Duration,
    stream_idle: Duration,
    memory: &'a Arc<Memory>,
}

/// The part of a reply that comes from its body.
struct Body {
    content: ReplyBody,
    identity: ResponseIdentity,
    is_empty: bool,
    audio_seconds: Option<f64>,
}

impl<'a> Call<'a> {
    fn begin(upstream: &'a Upstream, candidate: &'a Arc<Candidate>, request: &'a ChatRequest) -> Self {
        let settings = upstream.settings();
        let own_ms = candidate.first_token_timeout_ms();
        let first_token_ms = own_ms.unwrap_or(settings.first_token_ms);
        Self {
            candidate,
            request,
            stream: request.stream || kinds::streams_transcript(request, candidate),
            expected: expected(candidate, request),
            started: Instant::now(),
            first_token_timeout: Duration::from_millis(first_token_ms),
            // What is slow to begin pauses as long: a model that thinks again, or a tool call that is sent when it is whole.
            stream_idle: Duration::from_millis(settings.stream_idle_ms.max(own_ms.unwrap_or(0))),
            memory: upstream.memory(),
        }
    }

    /// Memory for a response that is read as a whole, or for what is held of a stream.
    fn reservation(&self) -> Reservation {
        self.memory.reserve(format!("provider {}", self.candidate.provider.id).into())
    }

    fn deadline(&self) -> Instant {
        self.started + self.first_token_timeout
    }

    async fn run(&self, upstream: &Upstream, body: Bytes) -> Result<Reply, Fault> {
        let response = self.send(upstream, body).await?;
        if !response.status().is_success() {
            return Err(self.error_fault(response).await);
        }
        let hints = hints::from_headers(&self.candidate.provider.wire, response.headers(), None);
        let body = self.commit(response).await?;
        Ok(Reply {
            candidate: self.candidate.clone(),
            hints,
            time_to_first_token: self.started.elapsed(),
            identity: body.identity,
            is_empty: body.is_empty,
            audio_seconds: body.audio_seconds,
            body: body.content,
        })
    }

    async fn send(&self, upstream: &Upstream, body: Bytes) -> Result<ResponseBody, Fault> {
        let provider = &self.candidate.provider;
        let endpoint = upstream.endpoint(self.candidate, self.request).map_err(|e| {
            fault::observed(self.candidate, "connect", &format!("no connection: invalid base URL: {e}"))
        })?;
        let accept = if self.stream { EVENT_STREAM } else { JSON };
        let authorization = authorization(provider.auth, self.candidate.key.secret.as_ref());
        let (http, may_be_reused) = upstream.http_for(&endpoint.host);
        let mut request = http.post(endpoint.url.clone());
        request = request.header(ACCEPT, accept);
        request = match &self.request.upload {
            None => request.header(CONTENT_TYPE, JSON).body(body),
            Some(upload) => {
                let upload::Body { stream, length, content_type } = upload::body(upload, self.candidate);
                request.header(CONTENT_TYPE, content_type).header(CONTENT_LENGTH, length).body(stream)
            }
        };
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        match timeout_at(self.deadline(), request.send()).await {
            Ok(Ok(response)) => {
                endpoint.host.note_response();
                Ok(ResponseBody::new(response))
            }
            // Not sent again here, since only one request was admitted. The next attempt opens a connection.
            Ok(Err(e)) if may_be_reused && is_closed_early(&e) => {
                endpoint.host.note_closed();
                Err(fault::stale_connection(self.candidate, &format!("the connection broke: {}", root_cause(&e))))
            }
            Ok(Err(e)) => Err(self.transport_fault(&e)),
            Err(_) => Err(fault::timed_out(self.candidate, self.first_token_timeout)),
        }
    }

    fn transport_fault(&self, error: &reqwest::Error) -> Fault {
        if is_own_failure(error) {
            warn_of_own_failure(&root_cause(error));
            return fault::own_failure(
                self.candidate,
                &format!("this gateway cannot open a connection: {}", root_cause(error)),
            );
        }
        if error.is_connect() || error.is_builder() {
            fault::observed(self.candidate, "connect", &format!("no connection: {}", root_cause(error)))
        } else {
            fault::observed(self.candidate, "reset", &format!("the connection broke: {}", root_cause(error)))
        }
    }

    /// The fault of a body that breaks off or cannot be decoded.
    fn body_fault(&self, error: &BodyError) -> Fault {
        match error {
            BodyError::Transport(error) => self.transport_fault(error),
            BodyError::Encoding(message) => fault::observed(self.candidate, "malformed", message),
        }
    }

    /// Reads an error response and classifies it. A body that does not arrive counts as empty.
    async fn error_fault(&self, mut response: ResponseBody) -> Fault {
        let mut body = BytesMut::new();
        while body.len() < MAX_ERROR_BYTES
            && let Ok(Ok(Some(chunk))) = timeout_at(self.deadline(), response.chunk()).await
        {
            body.extend_from_slice(&chunk);
        }
        fault::from_response(self.candidate, response.status().as_u16(), response.headers(), &body)
    }

    /// Reads up to the first content. The first byte decides the form of the body, since some servers ignore `stream` or
    /// send another content type.
    async fn commit(&self, mut response: ResponseBody) -> Result<Body, Fault> {
        let prefix = self.read_prefix(&mut response).await?;
        let has_events = !matches!(prefix.trim_ascii_start().first(), None | Some(b'{' | b'[' | b'<'));
        if kinds::has_own_form(self.request) && !(self.expected.has_transcripts && has_events) {
            let mut memory = self.reservation();
            let body = self.read_rest(&mut response, prefix, &mut memory).await?;
            return self.parse_computed(&response, &body, memory).map_err(|fault| *fault);
        }
        if has_events {
            let (candidate, idle) = (self.candidate.clone(), self.stream_idle);
            let events =
                EventStream::from_response(candidate, response, prefix, idle, self.expected, self.reservation());
            return if self.stream { self.commit_stream(events).await } else { self.assemble(events).await };
        }
        let mut memory = self.reservation();
        let body = self.read_rest(&mut response, prefix, &mut memory).await?;
        self.parse_whole(&response, body, memory).await
    }

    async fn commit_stream(&self, mut events: EventStream) -> Result<Body, Fault> {
        let commit = events.commit(self.deadline(), self.first_token_timeout).await?;
        let identity = events.identity();
        Ok(Body {
            content: ReplyBody::Stream(Box::new(events)),
            identity,
            is_empty: commit == Commit::Empty,
            audio_seconds: None,
        })
    }

    /// Reads a stream to its end, for a request without `stream`.
    async fn assemble(&self, mut events: EventStream) -> Result<Body, Fault> {
        let commit = events.commit(self.deadline(), self.first_token_timeout).await?;
        let (mut assembler, mut usage, mut finish_reasons) = (Assembler::default(), None, Vec::new());
        let (mut bytes, mut memory) = (0, self.reservation());
        loop {
            match events.next().await {
                Some(Ok(event)) => {
                    bytes += event.bytes.len();
                    if bytes > MAX_RESPONSE_BYTES {
                        return Err(self.too_large());
                    }
                    memory.grow(event.bytes.len()).map_err(|_| fault::no_memory(self.candidate))?;
                    assembler.push(&event.bytes);
                    usage = event.facts.usage.or(usage);
                    finish_reasons.extend(event.facts.finish_reason);
                }
                Some(Err(_)) if events.is_starved() => return Err(fault::no_memory(self.candidate)),
                Some(Err(error)) => return Err(fault::observed(self.candidate, &error.label, &error.message)),
                None => break,
            }
        }
        let body = memory.hold(assembler.finish().into());
        Ok(Body {
            content: ReplyBody::Whole { body, usage, finish_reasons },
            identity: events.identity(),
            is_empty: commit == Commit::Empty,
            audio_seconds: None,
        })
    }

    /// Reads up to the first byte that is not white space, since some servers keep a connection open with blank lines.
    async fn read_prefix(&self, response: &mut ResponseBody) -> Result<Bytes, Fault> {
        let (mut prefix, mut blanks) = (Bytes::new(), 0);
        loop {
            let chunk = timeout_at(self.deadline(), response.chunk()).await;
            match chunk.map_err(|_| fault::timed_out(self.candidate, self.first_token_timeout))? {
                Ok(Some(chunk)) if prefix.is_empty() => prefix = chunk,
                // The rest of at most three bytes.
                Ok(Some(chunk)) => prefix = [prefix, chunk].concat().into(),
                Ok(None) => return Ok(prefix),
                Err(e) => return Err(self.body_fault(&e)),
            }
            if prefix.starts_with(BYTE_ORDER_MARK) {
                prefix = prefix.slice(BYTE_ORDER_MARK.len()..);
            }
            // Blanks are dropped as they come, so that each is looked at once.
            let length = prefix.len();
            prefix = prefix.slice(length - prefix.trim_ascii_start().len()..);
            blanks += length - prefix.len();
            if blanks > MAX_UNCOMMITTED_BYTES {
                return Err(fault::observed(self.candidate, "malformed", "more than 1 MiB of blanks came first"));
            }
            if !prefix.is_empty() && !BYTE_ORDER_MARK.starts_with(&prefix) {
                return Ok(prefix);
            }
        }
    }

    fn too_large(&self) -> Fault {
        fault::observed(self.candidate, "malformed", "the response is larger than 16 MiB")
    }

    async fn read_rest(
        &self,
        response: &mut ResponseBody,
        prefix: Bytes,
        memory: &mut Reservation,
    ) -> Result<Bytes, Fault> {
        let mut body: Option<BytesMut> = None;
        loop {
            let deadline = self.deadline().max(Instant::now() + self.stream_idle);
            let chunk = timeout_at(deadline, response.chunk()).await;
            match chunk.map_err(|_| fault::timed_out(self.candidate, self.started.elapsed()))? {
                Ok(Some(chunk)) => {
                    let body = body.get_or_insert_with(|| BytesMut::from(&prefix[..]));
                    if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                        return Err(self.too_large());
                    }
                    memory.grow(chunk.len()).map_err(|_| fault::no_memory(self.candidate))?;
                    body.extend_from_slice(&chunk);
                }
                Ok(None) => return Ok(body.map_or(prefix, BytesMut::freeze)),
                Err(e) => return Err(self.body_fault(&e)),
            }
        }
    }

    /// Reads what a model has computed that does not chat.
    fn parse_computed(
        &self,
        response: &ResponseBody,
        body: &[u8],
        mut memory: Reservation,
    ) -> Result<Body, Box<Fault>> {
        match kinds::read(&String::from_utf8_lossy(body), self.request, self.candidate) {
            Ok(Computed { body, usage, is_empty, audio_seconds }) => {
                memory.cover(body.len()).map_err(|_| fault::no_memory(self.candidate))?;
                let content = ReplyBody::Whole { body: memory.hold(body), usage, finish_reasons: Vec::new() };
                Ok(Body { content, identity: ResponseIdentity::default(), is_empty, audio_seconds })
            }
            Err(unusable) => Err(Box::new(match unusable {
                Unusable::Error => fault::from_response(self.candidate, 200, response.headers(), body),
                Unusable::Malformed(why) => fault::observed(self.candidate, "malformed", &why),
            })),
        }
    }

    async fn parse_whole(&self, response: &ResponseBody, body: Bytes, mut memory: Reservation) -> Result<Body, Fault> {
        if body.trim_ascii().is_empty() {
            return Err(fault::observed(self.candidate, "empty", "the body of the response is empty"));
        }
        // Broken UTF-8 costs its character and not the response.
        let mut text = String::from_utf8_lossy(&body);
        if self.expected.has_texts {
            text = text_completion::as_chat(text, ResponseShape::Whole);
        }
        let mut states = ChoiceStates::new(&self.candidate.model.id, self.expected);
        let parsed = match response_reader::read(&text, ResponseShape::Whole, &mut states) {
            Ok(parsed) => parsed,
            Err(error) => return Err(self.malformed(response, &body, error.what)),
        };
        if parsed.error || parsed.choices == 0 && error_response::is_flat_error(&body) {
            return Err(fault::from_response(self.candidate, 200, response.headers(), &body));
        }
        if parsed.choices == 0 {
            return Err(fault::empty_response(self.candidate));
        }
        if parsed.ended_with_error {
            return Err(fault::observed(self.candidate, "stream_error", "the response ended with an error"));
        }
        let (usage, finish_reasons) = (parsed.facts.usage, parsed.finish_reasons);
        let is_unchanged = parsed.patch.is_empty() && matches!(text, Cow::Borrowed(_));
        let body = if is_unchanged { body.clone() } else { parsed.patch.apply(&text) };
        if self.stream {
            // The calls of a normalised message are whole, so that each is one fragment.
            let text = String::from_utf8_lossy(&body);
            let events = EventStream::from_whole(self.candidate.clone(), &text, self.expected, memory);
            return self.commit_stream(events).await;
        }
        // What was reserved is for the body and its edited copy.
        memory.cover(body.len()).map_err(|_| fault::no_memory(self.candidate))?;
        Ok(Body {
            content: ReplyBody::Whole { body: memory.hold(body), usage, finish_reasons },
            identity: states.identity().clone(),
            is_empty: !states.are_usable(),
            audio_seconds: None,
        })
    }

    /// The fault of a 200 whose body is no response: an error in an array (Gemini), a web page, half a text.
    fn malformed(&self, response: &ResponseBody, body: &[u8], why: &str) -> Fault {
        if body.trim_ascii_start().first() == Some(&b'[') && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
            return fault::from_response(self.candidate, 200, response.headers(), body);
        }
        fault::observed(self.candidate, "malformed", &format!("the body of the response is no JSON object: {why}"))
    }
}

#[cfg(test)]
mod tests;
