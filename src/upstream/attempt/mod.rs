//! Sends once, waits for the first content, tells how it ended.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use serde::de::IgnoredAny;
use tokio::time::{Instant, timeout_at};

use super::{
    client::{Upstream, authorization, root_cause},
    fault, hints,
    reply::{Reply, ReplyBody},
    request_edit::{EditContext, edit_request},
    response::{
        event_stream::EventStream,
        response_reader::{self, ChoiceStates, ResponseIdentity, ResponseShape},
    },
};
use crate::domain::{Candidate, ChatRequest, Fault, FaultKind};

/// An error's body is read up to here.
const ERROR_BYTES_MAX: usize = 256 << 10;
/// A whole answer is read up to here.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

impl Upstream {
    /// One attempt: `Ok` once the answer is committed (first content of a stream, or a whole body that parses),
    /// else the fault with all that the shared state shall learn. Dropping the future cancels the call.
    pub async fn attempt(&self, candidate: &Arc<Candidate>, request: &ChatRequest) -> Result<Reply, Fault> {
        let plain_schemas = self.needs_plain_schemas(candidate);
        let body = edit_request(request, candidate, EditContext::new(candidate, request, plain_schemas));
        let result = Call::begin(self, candidate, request.stream).run(self, body).await;
        if let Err(fault) = &result
            && !plain_schemas
            && is_about_schema(candidate, request, fault)
        {
            // Not sent again here: a second send would be one request more than was admitted.
            self.remember_plain_schemas(candidate);
        }
        result
    }
}

/// A 400 that names a schema keyword which this provider has at times refused.
fn is_about_schema(candidate: &Candidate, request: &ChatRequest, fault: &Fault) -> bool {
    fault.kind == FaultKind::Rejected
        && request.size.schema_chars > 0
        && candidate.provider.wire.schema_sanitise.iter().any(|keyword| fault.message.contains(keyword.as_str()))
}

/// One call and how long it may take.
struct Call<'a> {
    candidate: &'a Arc<Candidate>,
    stream: bool,
    started: Instant,
    /// How long the first content may take.
    patience: Duration,
    silence: Duration,
}

impl<'a> Call<'a> {
    fn begin(upstream: &Upstream, candidate: &'a Arc<Candidate>, stream: bool) -> Self {
        let settings = upstream.settings();
        let patience = candidate.provider.first_token_timeout_ms.unwrap_or(settings.first_token_ms);
        Self {
            candidate,
            stream,
            started: Instant::now(),
            patience: Duration::from_millis(patience),
            silence: Duration::from_millis(settings.stream_idle_ms),
        }
    }

    fn deadline(&self) -> Instant {
        self.started + self.patience
    }

    async fn run(&self, upstream: &Upstream, body: Bytes) -> Result<Reply, Fault> {
        let response = self.send(upstream, body).await?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let hints = hints::from_headers(&self.candidate.provider.wire, response.headers(), None);
        let (body, identity) = self.committed(response).await?;
        let candidate = self.candidate.clone();
        Ok(Reply { candidate, hints, time_to_first_token: self.started.elapsed(), identity, body })
    }

    async fn send(&self, upstream: &Upstream, body: Bytes) -> Result<Response, Fault> {
        let provider = &self.candidate.provider;
        let url = upstream
            .chat_url(&provider.base_url)
            .map_err(|e| fault::observed(self.candidate, "connect", &format!("no connection: the base URL: {e}")))?;
        let accept = if self.stream { EVENT_STREAM } else { JSON };
        let mut request = upstream.http().post(url).header(CONTENT_TYPE, JSON).header(ACCEPT, accept).body(body);
        if let Some(value) = authorization(provider.auth, self.candidate.key.secret.as_ref()) {
            request = request.header(AUTHORIZATION, value);
        }
        match timeout_at(self.deadline(), request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(e)) => Err(self.transport(&e)),
            Err(_) => Err(fault::timed_out(self.candidate, self.patience)),
        }
    }

    fn transport(&self, error: &reqwest::Error) -> Fault {
        if error.is_connect() || error.is_builder() {
            fault::observed(self.candidate, "connect", &format!("no connection: {}", root_cause(error)))
        } else {
            fault::observed(self.candidate, "reset", &format!("the connection broke: {}", root_cause(error)))
        }
    }

    /// Reads what the provider says and judges it; a body that does not come is as good as none.
    async fn refused(&self, mut response: Response) -> Fault {
        let mut body = BytesMut::new();
        while body.len() < ERROR_BYTES_MAX
            && let Ok(Ok(Some(chunk))) = timeout_at(self.deadline(), response.chunk()).await
        {
            body.extend_from_slice(&chunk);
        }
        fault::from_response(self.candidate, response.status().as_u16(), response.headers(), &body)
    }

    async fn committed(&self, mut response: Response) -> Result<(ReplyBody, ResponseIdentity), Fault> {
        let head = self.head(&mut response).await?;
        // Told by its first byte, not by its content type: some answer a stream with plain JSON, or with a page.
        let plain = matches!(head.trim_ascii_start().first(), None | Some(b'{' | b'[' | b'<'));
        if self.stream && !plain {
            let mut events = EventStream::begin(self.candidate.clone(), response, head, self.silence);
            events.commit(self.deadline(), self.patience).await?;
            let named = events.named();
            return Ok((ReplyBody::Stream(events), named));
        }
        let body = self.rest(&mut response, head).await?;
        self.whole(&response, body).await
    }

    /// Everything up to the first byte that is not white space (some keep a connection awake with blank lines).
    async fn head(&self, response: &mut Response) -> Result<Bytes, Fault> {
        let mut head = Bytes::new();
        loop {
            let chunk = timeout_at(self.deadline(), response.chunk()).await;
            match chunk.map_err(|_| fault::timed_out(self.candidate, self.patience))? {
                Ok(Some(chunk)) if head.is_empty() => head = chunk,
                Ok(Some(chunk)) => head = [head, chunk].concat().into(),
                Ok(None) => return Ok(head),
                Err(e) => return Err(self.transport(&e)),
            }
            if !head.trim_ascii_start().is_empty() {
                return Ok(head);
            }
        }
    }

    async fn rest(&self, response: &mut Response, head: Bytes) -> Result<Bytes, Fault> {
        let mut body: Option<BytesMut> = None;
        loop {
            let deadline = self.deadline().max(Instant::now() + self.silence);
            let chunk = timeout_at(deadline, response.chunk()).await;
            match chunk.map_err(|_| fault::timed_out(self.candidate, self.started.elapsed()))? {
                Ok(Some(chunk)) => {
                    let body = body.get_or_insert_with(|| BytesMut::from(&head[..]));
                    body.extend_from_slice(&chunk);
                    if body.len() > ANSWER_BYTES_MAX {
                        return Err(fault::observed(self.candidate, "malformed", "the answer is larger than 64 MiB"));
                    }
                }
                Ok(None) => return Ok(body.map_or(head, BytesMut::freeze)),
                Err(e) => return Err(self.transport(&e)),
            }
        }
    }

    async fn whole(&self, response: &Response, body: Bytes) -> Result<(ReplyBody, ResponseIdentity), Fault> {
        if body.trim_ascii().is_empty() {
            return Err(fault::observed(self.candidate, "empty", "the answer's body is empty"));
        }
        let text = std::str::from_utf8(&body).unwrap_or_default();
        let mut choices = ChoiceStates::default();
        let Ok(answer) = response_reader::read(text, ResponseShape::Whole, &mut choices) else {
            return Err(self.no_answer(response, &body));
        };
        if answer.error {
            return Err(fault::from_response(self.candidate, 200, response.headers(), &body));
        }
        if answer.choices == 0 || !answer.facts.commits() {
            return Err(fault::empty_response(self.candidate));
        }
        if answer.finish_reasons.iter().any(|reason| reason == "error") {
            return Err(fault::observed(self.candidate, "stream_error", "the answer ended with an error"));
        }
        if self.stream {
            let events = response_reader::as_events(text).map_err(|_| self.no_answer(response, &body))?;
            let mut events = EventStream::of_whole(self.candidate.clone(), events);
            events.commit(self.deadline().max(Instant::now() + self.silence), self.patience).await?;
            return Ok((ReplyBody::Stream(events), choices.named()));
        }
        let (usage, finish_reasons) = (answer.facts.usage, answer.finish_reasons);
        let body = if answer.mended.is_empty() { body } else { answer.mended.apply(text) };
        Ok((ReplyBody::Whole { body, usage, finish_reasons }, choices.named()))
    }

    /// A 200 whose body is no answer: an error in an array (Gemini), a page, half a text.
    fn no_answer(&self, response: &Response, body: &[u8]) -> Fault {
        if body.trim_ascii_start().first() == Some(&b'[') && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
            return fault::from_response(self.candidate, 200, response.headers(), body);
        }
        fault::observed(self.candidate, "malformed", "the answer's body is no JSON object")
    }
}

#[cfg(test)]
mod tests;
