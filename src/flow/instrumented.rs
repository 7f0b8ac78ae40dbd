//! How the story is told while it happens: spans for whoever follows one request, measurements for whoever watches them all.
//!
//! Span names and attributes are those of OpenTelemetry's conventions for databases and for calls of models (`gen_ai`). Of prompts and replies nothing is told.

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

/// Names come from callers and providers: a trace takes no more of one than this.
const LONGEST: usize = 256;

/// Choosing who may serve.
pub fn plan(
    client: &Client,
    request: &ChatRequest,
    route: impl FnOnce() -> Result<RoutePlan, PlanError>,
) -> Result<RoutePlan, PlanError> {
    let span = span!("plan", tollfree.client = &*client.id, tollfree.model.asked = short(&request.model));
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

/// One call of a provider, from its sending to its last byte. Dropped before its end is told, its caller has left.
pub struct ModelCall {
    span: Span,
    call: Arc<metrics::Call>,
    began: Instant,
    stream: bool,
    is_told: bool,
}

impl ModelCall {
    pub fn begin(candidate: &Candidate, request: &ChatRequest) -> Self {
        let model = &candidate.model.id;
        let span = span!(
            "chat",
            otel.name = format!("chat {model}"),
            otel.kind = "client",
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = &*provider_name(&candidate.provider.id),
            gen_ai.request.model = &**model,
        );
        if !span.is_disabled() {
            tell_request(&span, candidate, request);
        }
        let call = metrics::Call::of(&candidate.name, || (provider_name(&candidate.provider.id), model.clone()));
        Self { span, call, began: Instant::now(), stream: request.stream, is_told: false }
    }

    /// The span to work in.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    pub fn failed(mut self, fault: &Fault) {
        self.is_told = true;
        if let Some(status) = fault.status {
            self.span.set("http.response.status_code", i64::from(status));
        }
        self.end(Some(&fault.label));
    }

    /// Its first content is there.
    pub fn answered(&self, reply: &Reply) {
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

    pub fn ended(mut self, ended: &RelayOutcome) {
        self.is_told = true;
        if let Some(usage) = ended.usage {
            self.call.used(usage.input, usage.output);
            self.span.set("gen_ai.usage.input_tokens", usage.input);
            self.span.set("gen_ai.usage.output_tokens", usage.output);
        }
        if !self.span.is_disabled() && !ended.finish_reasons.is_empty() {
            let reasons: Vec<String> = ended.finish_reasons.iter().map(|r| short(r).to_owned()).collect();
            self.span.set_list("gen_ai.response.finish_reasons", &reasons);
        }
        self.end(match &ended.ending {
            Ending::Complete => None,
            Ending::Broken { label } => Some(label),
            Ending::ClientLeft => Some(LEFT),
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

/// `error.type` of what its caller did not wait for.
const LEFT: &str = "client_left";

impl Drop for ModelCall {
    fn drop(&mut self) {
        if !self.is_told {
            self.end(Some(LEFT));
        }
    }
}

fn tell_request(span: &Span, candidate: &Candidate, request: &ChatRequest) {
    if let Ok(url) = url::Url::parse(&candidate.provider.base_url)
        && let Some(host) = url.host_str()
    {
        span.set("server.address", host.to_owned());
        span.set("server.port", i64::from(url.port_or_known_default().unwrap_or(443)));
    }
    span.set("tollfree.provider", candidate.provider.id.clone());
    span.set("tollfree.account", candidate.account.id.clone());
    if request.stream {
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

/// The conventions' name of a provider, where it is not ours.
pub fn provider_name(id: &Arc<str>) -> Arc<str> {
    match &**id {
        "gemini" => Arc::from("gcp.gemini"),
        "mistral" => Arc::from("mistral_ai"),
        _ => id.clone(),
    }
}

fn short(name: &str) -> &str {
    let mut end = name.len().min(LONGEST);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// One chat as its caller sees it, for the measurements. Dropped before its end is told, its caller has left.
pub struct ChatMetrics {
    chat: metrics::Chat,
    began: Instant,
    status: u16,
    _in_flight: metrics::InFlight,
}

impl ChatMetrics {
    /// Until the plan says otherwise `asked` is a name that is served.
    pub fn begin(asked: &str) -> Self {
        let chat = metrics::Chat::new(asked);
        Self { chat, began: Instant::now(), status: RequestRecord::CANCELLED, _in_flight: metrics::InFlight::enter() }
    }

    pub fn answering(&mut self, candidate: &Candidate) {
        let id = &candidate.provider.id;
        self.chat.first_token(id, || provider_name(id), self.began.elapsed());
    }

    pub fn failed(mut self, error: &FlowError) {
        self.status = error.status();
        if matches!(error, FlowError::Plan(PlanError::NotFound(_))) {
            self.chat.asked_other();
        }
    }

    pub fn ended(mut self, ended: &RelayOutcome) {
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
