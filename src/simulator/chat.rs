//! The way of a call: authorise → read → check → fault? → slot → count → answer → settle.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
    web::Bytes,
};

use super::{
    accounting::limit::{Kind, LimitName},
    accounting::meter::Limit,
    accounting::usage::Entry,
    accounting::window::{HitReason, LimitHit},
    completion::Completion,
    dialects::request_checks::RequestError,
    dialects::{ErrorReply, Headers},
    faults::{FaultKind, FaultRule},
    in_flight::Call,
    provider::{Model, Provider},
    recorded::{Case, Form},
    request::SimulatedRequest,
    settings::Status,
    socket,
    state::State,
    stream::{self, Ending, pause},
};

/// Events handed over before a cut or a stall when the fault does not say.
const AFTER: usize = 2;

/// `POST …/chat/completions`
pub(super) async fn complete(state: Arc<State>, id: &str, http: HttpRequest, body: Bytes) -> HttpResponse {
    let providers = state.providers();
    let Some(provider) = providers.providers.get(id) else { return HttpResponse::NotFound().finish() };
    if provider.jitter_ms > 0 {
        let jitter = state.rng.up_to(provider.jitter_ms);
        pause(f64::from(u32::try_from(jitter).unwrap_or(u32::MAX))).await;
    }
    let admission = match read(provider, &http, &body) {
        Ok((account, model, request)) => {
            answer(&state, providers.enforce, provider, account, &model, &request, &http).await
        }
        Err(request_error) => Err(provider.dialect.implementation().request_error(provider, &request_error)),
    };
    admission.unwrap_or_else(|reply| {
        if !matches!(reply.status, 413 | 429 | 503) {
            state.usage(id).rejected(reply.status);
        }
        refused(reply)
    })
}

/// The account of a request's key.
pub(super) fn account(provider: &Provider, http: &HttpRequest) -> Result<String, RequestError> {
    let text = |name: header::HeaderName| http.headers().get(name).and_then(|value| value.to_str().ok());
    let agent = text(header::USER_AGENT).unwrap_or_default();
    if provider.switches.bot_filter && (agent.is_empty() || agent.starts_with("Python-urllib")) {
        return Err(RequestError::Bot);
    }
    if provider.keys.is_empty() {
        return Ok("main".to_owned());
    }
    let key = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    key.and_then(|key| provider.keys.get(key).cloned()).ok_or(RequestError::Key)
}

/// Everything that can be wrong before a limit is asked.
fn read(
    provider: &Provider,
    http: &HttpRequest,
    body: &[u8],
) -> Result<(String, Arc<Model>, SimulatedRequest), RequestError> {
    let account = account(provider, http)?;
    let mut request = SimulatedRequest::read(body).map_err(RequestError::Malformed)?;
    let name = request.model.strip_prefix("models/").unwrap_or(&request.model).to_owned();
    let model = provider.model(&name).cloned().ok_or_else(|| RequestError::NoSuchModel(name.clone()))?;
    match model.status {
        Status::Retired => return Err(RequestError::Retired(name)),
        Status::Gated => return Err(RequestError::NotOnPlan(name)),
        Status::Active if provider.switches.payment_required => return Err(RequestError::NotOnPlan(name)),
        Status::Active => {}
    }
    let dialect = provider.dialect.implementation();
    dialect.ignore(&model, &mut request);
    match dialect.check(provider, &model, &request) {
        Some(request_error) => Err(request_error),
        None => Ok((account, model, request)),
    }
}

/// Counts the call and answers it, or says which limit is in the way.
async fn answer(
    state: &Arc<State>,
    enforce: bool,
    provider: &Arc<Provider>,
    account: String,
    model: &Arc<Model>,
    request: &SimulatedRequest,
    http: &HttpRequest,
) -> Result<HttpResponse, ErrorReply> {
    let dialect = provider.dialect.implementation();
    let fault = state.faults.take(&provider.id, &account, &model.id, request.stream, &state.rng);
    let kind = fault.as_ref().and_then(FaultRule::kind);
    let counts = provider.switches.failed_count || !kind.is_some_and(FaultKind::is_failure);
    let entry = Entry {
        account: &account,
        model,
        prompt_tokens: request.prompt_tokens + model.preamble_tokens,
        max_tokens: request.max_tokens,
        stream: request.stream,
        fault: fault.as_ref().map(|fault| (fault.fault.as_str(), counts)),
    };
    if let Some(FaultKind::Case(case)) = kind.filter(|kind| kind.comes_first()) {
        state.usage(&provider.id).faulted(state.clock.now_us(), &entry, case.status());
        return Ok(recorded(case, fault.as_ref()));
    }
    let Ok(slot) = state.slot(provider, &account, model).await else {
        state.usage(&provider.id).no_slot(state.clock.now_us(), &entry);
        return Err(dialect.limit_error(provider, model, &no_slot(model), &[]));
    };
    let now = state.clock.now_us();
    let admitted = state.usage(&provider.id).admit(provider, now, &entry, enforce);
    let (ticket, statuses) = admitted.map_err(|(hit, statuses)| {
        if let Some(fault) = &fault {
            state.faults.give_back(fault);
        }
        dialect.limit_error(provider, model, &hit, &statuses)
    })?;
    let answer = Completion::to(request, provider, model, now, &state.rng);
    let call = Call::new(state, provider, account.clone(), model, ticket, slot, &answer);
    let delay = fault.as_ref().and_then(|fault| fault.delay_ms);
    match kind {
        Some(FaultKind::Slow) => pause(f64::from(u32::try_from(delay.unwrap_or(10_000)).unwrap_or(u32::MAX))).await,
        Some(FaultKind::Cut | FaultKind::Stall) | None => {}
        Some(other) => return Ok(fail(other, fault.as_ref(), provider, &answer, call, http).await),
    }
    let after = fault.as_ref().and_then(|fault| fault.after).unwrap_or(AFTER);
    let ending = match kind {
        Some(FaultKind::Cut) => Ending::CutAfter(after),
        Some(FaultKind::Stall) => Ending::StallAfter(after),
        _ => Ending::Proper,
    };
    if request.stream {
        let headers = dialect.headers(&statuses, &answer);
        let events = dialect.events(provider, &answer);
        let body = stream::of_answer(events, answer.pace.first_ms, answer.pace.chunk_ms, ending, call);
        return Ok(with(HttpResponse::Ok(), headers).content_type("text/event-stream").streaming(body));
    }
    Ok(whole(provider, &answer, ending, call).await)
}

/// An answer in one piece. Its headers tell how the limits stand after it.
async fn whole(provider: &Provider, answer: &Completion, ending: Ending, mut call: Call) -> HttpResponse {
    let dialect = provider.dialect.implementation();
    pause(answer.whole_ms()).await;
    let text = dialect.whole(provider, answer);
    match ending {
        Ending::StallAfter(_) => std::future::pending().await,
        Ending::CutAfter(_) => {
            call.truncated();
            let half: Bytes = Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]);
            let headers = dialect.headers(&call.statuses(), answer);
            let body = stream::torn(half);
            with(HttpResponse::Ok(), headers).content_type("application/json").streaming(body)
        }
        Ending::Proper => {
            call.emit(answer.output_tokens);
            call.complete();
            let headers = dialect.headers(&call.statuses(), answer);
            with(HttpResponse::Ok(), headers).content_type("application/json").body(text)
        }
    }
}

/// A fault in place of an answer.
async fn fail(
    kind: FaultKind,
    fault: Option<&FaultRule>,
    provider: &Provider,
    answer: &Completion,
    mut call: Call,
    http: &HttpRequest,
) -> HttpResponse {
    let form = if answer.stream { "text/event-stream" } else { "application/json" };
    match kind {
        FaultKind::Hang => std::future::pending().await,
        FaultKind::Reset => {
            call.failed(0);
            socket::reset_on_close(http);
            HttpResponse::Ok().streaming(stream::lost())
        }
        FaultKind::Empty => {
            call.failed(200);
            HttpResponse::Ok().content_type(form).body("")
        }
        FaultKind::Truncated => {
            call.failed(200);
            let text = provider.dialect.implementation().whole(provider, answer);
            HttpResponse::Ok().content_type(form).body(text[..text.len() / 2].to_owned())
        }
        FaultKind::Case(case) => {
            pause(answer.pace.first_ms).await;
            call.failed(case.status());
            recorded(case, fault)
        }
        FaultKind::Slow | FaultKind::Cut | FaultKind::Stall => HttpResponse::InternalServerError().finish(),
    }
}

/// A case of `wire/`, verbatim.
fn recorded(case: &'static Case, fault: Option<&FaultRule>) -> HttpResponse {
    let status = StatusCode::from_u16(case.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for header in case.headers() {
        response.insert_header(header);
    }
    match case.form {
        Form::Json | Form::Text => response.body(case.body()),
        Form::Sse => {
            let pause = fault.and_then(|fault| fault.delay_ms).unwrap_or(5);
            response.streaming(stream::of_case(case.events(), pause, case.is_cut()))
        }
    }
}

/// A reply on the wire.
pub(super) fn refused(reply: ErrorReply) -> HttpResponse {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    with(HttpResponse::build(status), reply.headers).content_type(reply.content_type).body(reply.body)
}

fn with(mut response: HttpResponseBuilder, headers: Headers) -> HttpResponseBuilder {
    for header in headers {
        response.insert_header(header);
    }
    response
}

fn no_slot(model: &Model) -> LimitHit {
    let zone = jiff::tz::TimeZone::UTC;
    let limit = Limit { name: LimitName::Concurrency, kind: Kind::Sliding, max: model.concurrency, zone };
    LimitHit { limit, used: model.concurrency, requested: 1, wait_us: 1_000_000, reason: HitReason::Full }
}
