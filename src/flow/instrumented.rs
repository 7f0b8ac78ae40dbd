//! Spans and metrics of planning, model calls and whole requests.
//!
//! Names follow OpenTelemetry's semantic conventions for generative AI (`gen_ai`). Prompts and replies are never recorded.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::Span;

use super::FlowError;
use crate::{
    domain::{Candidate, Capabilities, ChatRequest, Client, Fault, RoutePlan},
    ledger::RequestRecord,
    plan::PlanError,
    record::metrics,
    relay::{Ending, RelayOutcome},
    telemetry::{SpanExt, span},
    upstream::Reply,
};

/// Bytes of a caller's or provider's name that a span records.
const MAX_NAME_BYTES: usize = 256;

/// Runs `route` in a `plan` span.
pub(crate) fn plan(
    client: &Client,
    request: &ChatRequest,
    route: impl FnOnce() -> Result<RoutePlan, PlanError>,
) -> Result<RoutePlan, PlanError> {
    let span = span!("plan", tollfree.client = &*client.id, tollfree.model.requested = short(&request.model));
    let planned = span.in_scope(route);
    match &planned {
        Ok(plan) => span.set("tollfree.candidates", i64::try_from(plan.choices.len()).unwrap_or(i64::MAX)),
        Err(error) => span.set_error(match error {
            PlanError::NotFound(_) => "model_not_found",
            PlanError::ContextTooLong { .. } => "context_length_exceeded",
            PlanError::Unsupported { .. } => "unsupported_by_models",
            PlanError::NotAllowed { .. } => "model_not_allowed",
        }),
    }
    planned
}

/// Span and metrics of one model call, from sending to the last byte. A drop without a recorded end counts as cancelled.
pub(crate) struct ModelCall {
    span: Span,
    call: Arc<metrics::Call>,
    began: Instant,
    stream: bool,
    has_ended: bool,
}

impl ModelCall {
    /// `protocol` is the client's; the call is a chat completion in any case.
    pub(crate) fn begin(candidate: &Candidate, request: &ChatRequest, protocol: &'static str) -> Self {
        let (model, operation) = (&candidate.model.id, request.kind.operation());
        let span = span!(
            "chat",
            otel.name = format!("{operation} {model}"),
            otel.kind = "client",
            gen_ai.operation.name = operation,
            gen_ai.provider.name = &*provider_name(&candidate.provider.id),
            gen_ai.request.model = &**model,
        );
        if !span.is_disabled() {
            set_request_attributes(&span, candidate, request);
            span.set("tollfree.protocol", protocol);
        }
        let call = metrics::Call::of(protocol, &candidate.name, operation, || {
            (provider_name(&candidate.provider.id), model.clone())
        });
        Self { span, call, began: Instant::now(), stream: request.stream, has_ended: false }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(crate) fn failed(mut self, fault: &Fault) {
        self.has_ended = true;
        if let Some(status) = fault.status {
            self.span.set("http.response.status_code", i64::from(status));
        }
        self.end(Some(&fault.label));
    }

    /// The first content has arrived.
    pub(crate) fn replied(&self, reply: &Reply) {
        if self.stream {
            self.call.first_chunk(reply.time_to_first_token);
        }
        if self.span.is_disabled() {
            return;
        }
        if self.stream {
            self.span.set("gen_ai.response.time_to_first_chunk", reply.time_to_first_token.as_secs_f64());
        }
        if let Some(id) = &reply.identity.id {
            self.span.set("gen_ai.response.id", short(id).to_owned());
        }
        if let Some(model) = &reply.identity.model {
            self.span.set("gen_ai.response.model", short(model).to_owned());
        }
    }

    pub(crate) fn ended(mut self, ended: &RelayOutcome) {
        self.has_ended = true;
        if let Some(usage) = ended.usage {
            self.call.tokens_used(usage.input, usage.output, usage.cached);
            self.span.set("gen_ai.usage.input_tokens", usage.input);
            self.span.set("gen_ai.usage.output_tokens", usage.output);
            if usage.cached > 0 {
                self.span.set("gen_ai.usage.cache_read.input_tokens", usage.cached);
            }
        }
        if !self.span.is_disabled() && !ended.finish_reasons.is_empty() {
            let reasons: Vec<String> = ended.finish_reasons.iter().map(|r| short(r).to_owned()).collect();
            self.span.set_list("gen_ai.response.finish_reasons", &reasons);
        }
        self.end(match &ended.ending {
            Ending::Complete => None,
            Ending::Broken { label } => Some(label),
            Ending::ClientLeft => Some(CANCELLED),
        });
    }

    fn end(&self, error: Option<&str>) {
        if let Some(error) = error {
            self.span.set_error(error);
        }
        self.span.set_end();
        self.call.ended(error, self.began.elapsed());
    }
}

/// `error.type` of a call whose caller disconnected.
const CANCELLED: &str = "client_left";

impl Drop for ModelCall {
    fn drop(&mut self) {
        if !self.has_ended {
            self.end(Some(CANCELLED));
        }
    }
}

fn set_request_attributes(span: &Span, candidate: &Candidate, request: &ChatRequest) {
    if let Ok(url) = url::Url::parse(&candidate.provider.base_url)
        && let Some(host) = url.host_str()
    {
        span.set("server.address", host.to_owned());
        span.set("server.port", i64::from(url.port_or_known_default().unwrap_or(443)));
    }
    span.set("tollfree.provider", candidate.provider.id.clone());
    span.set("tollfree.account", candidate.account.id.clone());
    if let Some(session) = &request.session {
        span.set("gen_ai.conversation.id", session.clone());
    }
    if request.wants_stream() {
        span.set("gen_ai.request.stream", true);
    }
    if request.n != 1 {
        span.set("gen_ai.request.choice.count", i64::from(request.n));
    }
    if request.needs.has(Capabilities::JSON_SCHEMA) || request.needs.has(Capabilities::JSON_OBJECT) {
        span.set("gen_ai.output.type", "json");
    }
    let sampling = &request.sampling;
    let whole = [("gen_ai.request.max_tokens", request.max_tokens), ("gen_ai.request.seed", sampling.seed)];
    for (key, value) in whole.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        span.set(key, value);
    }
    let parts = [
        ("gen_ai.request.temperature", sampling.temperature),
        ("gen_ai.request.top_p", sampling.top_p),
        ("gen_ai.request.presence_penalty", sampling.presence_penalty),
        ("gen_ai.request.frequency_penalty", sampling.frequency_penalty),
    ];
    for (key, value) in parts.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        span.set(key, value);
    }
}

/// A provider's name in the semantic conventions.
pub(crate) fn provider_name(id: &Arc<str>) -> Arc<str> {
    match &**id {
        "gemini" => Arc::from("gcp.gemini"),
        "mistral" => Arc::from("mistral_ai"),
        _ => id.clone(),
    }
}

fn short(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// Metrics of one request as its caller sees it. A drop without a recorded end counts as cancelled.
pub(crate) struct ChatMetrics {
    chat: metrics::Chat,
    began: Instant,
    status: u16,
    _in_flight: metrics::InFlight,
}

impl ChatMetrics {
    /// `model`: the name under which the request is counted; `None` where it is not served.
    pub(crate) fn begin(protocol: &'static str, request: &ChatRequest, model: Option<&str>) -> Self {
        let chat = metrics::Chat::new(protocol, model, request.kind.operation());
        Self { chat, began: Instant::now(), status: RequestRecord::CANCELLED, _in_flight: metrics::InFlight::enter() }
    }

    pub(crate) fn replied(&mut self, candidate: &Candidate) {
        let id = &candidate.provider.id;
        self.chat.first_token(id, || provider_name(id), self.began.elapsed());
    }

    pub(crate) fn failed(mut self, error: &FlowError) {
        self.status = error.status();
    }

    pub(crate) fn ended(mut self, ended: &RelayOutcome) {
        self.status = match ended.ending {
            Ending::Complete => 200,
            Ending::Broken { .. } => RequestRecord::STREAM_BROKEN,
            Ending::ClientLeft => RequestRecord::CANCELLED,
        };
    }
}

impl Drop for ChatMetrics {
    fn drop(&mut self) {
        self.chat.ended((self.status != 200).then_some(self.status), self.began.elapsed());
    }
}
