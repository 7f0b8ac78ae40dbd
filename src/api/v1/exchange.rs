//! The one way of a model request through the edge, whatever protocol it speaks: decode, flow, answer.

use std::{
    future::{Ready, ready},
    time::Duration,
};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse, ResponseError,
    dev::Payload,
    http::header::HeaderMap,
    web::{Bytes, Data},
};
use serde::de::DeserializeOwned;
use utoipa::{IntoParams, IntoResponses};

use crate::{
    api::{
        edge::{
            error::ApiError,
            flow_error,
            request_id::{RequestId, TraceId},
            state::AppState,
        },
        v1::{
            agent_session::SessionHeaders,
            early_keepalive,
            encoded::Encoding,
            posted::Posted,
            prefer::Prefer,
            refusal::refuse,
            responders::{self, RequestContext},
        },
    },
    domain::{ChatRequest, Client, PromptSize, Tier, client::ClientKind},
    flow::{AttemptLog, ChatBody, ChatReply, FlowError},
    memory::Reservation,
    protocol::{BadRequest, Decoded, Encoder, Failure, Protocol},
};

/// One request of a client at an endpoint of a model, before its body is read.
pub(crate) struct Call {
    pub state: Data<AppState>,
    attempt_log: AttemptLog,
    prefer: Result<Prefer, ApiError>,
    session: SessionHeaders,
    /// For the body of the request.
    memory: Option<Reservation>,
}

impl FromRequest for Call {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let mut read = || {
            let state = request.app_data::<Data<AppState>>().ok_or(ApiError::Internal)?.clone();
            let id = RequestId::from_request(request, payload).into_inner()?;
            let trace = TraceId::from_request(request, payload).into_inner()?;
            let prefer = Prefer::from_request(request, payload).into_inner();
            let session = SessionHeaders::read(request.headers());
            Ok(Self { state, attempt_log: AttemptLog::with_trace(&*id.0, trace.0), prefer, session, memory: None })
        };
        ready(read())
    }
}

impl Call {
    /// Decodes what was posted, and answers it. Invalid requests are recorded too, but only those of authenticated callers.
    pub(crate) async fn answer(
        mut self,
        protocol: Protocol,
        posted: Result<Posted, ApiError>,
        decode: impl FnOnce(Bytes, &HeaderMap) -> Result<Decoded, BadRequest>,
    ) -> HttpResponse {
        let Posted { client, request, body, .. } = match self.take(posted) {
            Ok(posted) => posted,
            Err(error) => return self.refuse(protocol, &error),
        };
        match body.and_then(|body| Ok(decode(body, request.headers())?)) {
            Ok(decoded) => self.serve(protocol, client, decoded).await,
            Err(error) => self.reject(protocol, &client, &error),
        }
    }

    /// Keeps the memory of the body until the request is over, or a provider has answered it.
    pub(crate) fn take(&mut self, posted: Result<Posted, ApiError>) -> Result<Posted, ApiError> {
        let mut posted = posted?;
        self.memory = posted.memory.take();
        Ok(posted)
    }

    /// Runs a decoded request through the flow.
    pub(crate) async fn serve(mut self, protocol: Protocol, client: Client, decoded: Decoded) -> HttpResponse {
        let Decoded { mut request, encoder, dropped } = decoded;
        request.may_cost_money = client.may_cost_money;
        request.session = std::mem::take(&mut self.session).name(&request, protocol);
        let flow = self.state.flow.clone();
        let (mut context, wait) = match self.context(protocol, &client, &request.model, request.tier) {
            Ok(context) => context,
            Err(error) => return self.reject(protocol, &client, &error),
        };
        context.dropped = dropped.join(", ");
        let encoding = encoder.map(|encoder| self.encoding(encoder, &client, request.size));
        let streams = request.stream;
        let reply = flow.chat(client, request, context.attempt_log.clone(), wait);
        let reply = early_keepalive::pending(reply, self.memory.take());
        if streams {
            early_keepalive::respond(reply, encoding, context).await
        } else {
            responders::respond(reply.await, encoding, &context)
        }
    }

    /// Runs a request to a model that does not chat. `encode` writes what it has computed, given the name of the model.
    pub(crate) async fn compute<T: DeserializeOwned>(
        self,
        protocol: Protocol,
        client: Client,
        request: ChatRequest,
        encode: impl FnOnce(T, &str) -> Option<Bytes>,
    ) -> HttpResponse {
        self.compute_or_relay(protocol, client, request, encode, None).await
    }

    /// The same for a request whose answer may come in pieces, which `encoder` writes.
    pub(crate) async fn compute_or_relay<T: DeserializeOwned>(
        self,
        protocol: Protocol,
        client: Client,
        mut request: ChatRequest,
        encode: impl FnOnce(T, &str) -> Option<Bytes>,
        encoder: Option<Box<dyn Encoder>>,
    ) -> HttpResponse {
        request.may_cost_money = client.may_cost_money;
        let flow = self.state.flow.clone();
        let (context, wait) = match self.context(protocol, &client, &request.model, request.tier) {
            Ok(context) => context,
            Err(error) => return self.reject(protocol, &client, &error),
        };
        let encoding = encoder.map(|encoder| self.encoding(encoder, &client, request.size));
        let mut memory = self.state.bodies.reserve(client.id.clone());
        let reply = Box::pin(flow.chat(client, request, context.attempt_log.clone(), wait)).await;
        if matches!(&reply, Ok(ChatReply { body: ChatBody::Stream(_), .. })) && encoding.is_some() {
            return responders::respond(reply, encoding, &context);
        }
        let reply = reply.and_then(|reply| {
            let computed = match &reply.body {
                ChatBody::Whole(body) => serde_json::from_slice(body).ok(),
                ChatBody::Stream(_) => None,
            };
            let body = computed.and_then(|computed| encode(computed, &reply.model));
            let body = body.ok_or_else(|| FlowError::Damaged("The answer cannot be read.".to_owned()))?;
            memory.grow(body.len()).map_err(|_| FlowError::Damaged(Failure::no_memory().message))?;
            Ok(ChatReply { body: ChatBody::Whole(memory.hold(body)), ..reply })
        });
        responders::respond(reply, None, &context)
    }

    fn encoding(&self, encoder: Box<dyn Encoder>, client: &Client, size: PromptSize) -> Encoding {
        Encoding::new(encoder, self.state.flow.clone(), size, self.state.bodies.reserve(client.id.clone()))
    }

    /// What the response needs to know of a request, and how long the request may wait.
    pub(crate) fn context(
        &self,
        protocol: Protocol,
        client: &Client,
        model: &str,
        tier: Tier,
    ) -> Result<(RequestContext, Duration), ApiError> {
        let prefer = check_tier(tier, client).and_then(|()| self.prefer.clone())?;
        self.attempt_log.set_protocol(protocol.name());
        let wait = self.state.flow.wait_limits.allowed_wait(client, tier, prefer.0);
        let context = RequestContext {
            protocol,
            model: model.to_owned(),
            attempt_log: self.attempt_log.clone(),
            preference_applied: prefer.cut_to(wait),
            dropped: String::new(),
        };
        Ok((context, wait))
    }

    pub(crate) fn request_id(&self) -> &str {
        self.attempt_log.request_id()
    }

    /// Refuses the request of an authenticated caller, and records it.
    pub(crate) fn reject(&self, protocol: Protocol, client: &Client, error: &ApiError) -> HttpResponse {
        self.attempt_log.set_protocol(protocol.name());
        self.state.flow.record_rejected(client, &self.attempt_log, error.status_code().as_u16(), error.code());
        self.refuse(protocol, error)
    }

    /// Refuses a request.
    pub(crate) fn refuse(&self, protocol: Protocol, error: &ApiError) -> HttpResponse {
        refuse(protocol, error, self.request_id())
    }
}

/// Refusals that every protocol has in common, for the API document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the document alone reads the variants")]
pub(crate) enum ModelErrors {
    #[response(status = 403, description = "model_not_allowed")]
    NotAllowed,
    #[response(status = 404, description = "model_not_found")]
    NotFound,
    #[response(status = 429, description = "client_quota_exceeded, budget_exhausted")]
    Exhausted,
    #[response(status = 502, description = "upstream_error")]
    Upstream,
    #[response(status = 503, description = "no_provider_available, ledger_unavailable")]
    Unavailable,
    #[response(status = 504, description = "upstream_timeout")]
    Timeout,
}

/// Headers that a request for a model may have, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only described in the OpenAPI document")]
pub(crate) struct ModelHeaders {
    /// Seconds the caller is willing to wait for a slot; 0 = never. The smallest of this, the key's default and
    /// `queue.max_wait_ms` applies.
    #[param(rename = "Prefer", nullable = false, example = "wait=10")]
    prefer: Option<String>,
    /// Kept if it has at most 128 letters, digits and `-_.:`.
    #[param(rename = "x-request-id", nullable = false, example = "job-7")]
    request_id: Option<String>,
    /// W3C trace context.
    #[param(nullable = false)]
    traceparent: Option<String>,
}

/// Estimated tokens of a prompt, by the estimator of admission.
pub(crate) fn estimate_prompt(state: &AppState, client: &Client, request: &ChatRequest) -> Result<i64, ApiError> {
    let estimated = state.flow.estimate_prompt(client, request);
    estimated.map_err(|error| flow_error::from_flow(&FlowError::Plan(error), &request.model))
}

/// Only keys with permission may use the priority tier.
fn check_tier(tier: Tier, client: &Client) -> Result<(), ApiError> {
    if tier == Tier::Priority && !client.may_priority && client.kind != ClientKind::Admin {
        let message = "This key may not use `service_tier: \"priority\"`.".to_owned();
        return Err(ApiError::InvalidValue { param: Some("service_tier".to_owned()), message });
    }
    Ok(())
}
