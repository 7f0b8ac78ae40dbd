//! A chat completion, or a call of another kind: authorise → parse → check → fault? → slot → count → respond → settle.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
    web::Bytes,
};

use super::{
    accounting::{
        limit::{LimitName, WindowKind},
        meter::Limit,
        usage::Arrival,
        window::{HitReason, LimitHit},
    },
    completion::Completion,
    completions,
    dialects::{ErrorReply, Headers, request_checks::RequestError},
    embeddings,
    faults::{FaultKind, FaultRule},
    in_flight::Call,
    moderation,
    provider::{Model, Provider},
    ranking,
    recorded::{Case, Form},
    request::SimulatedRequest,
    settings::Status,
    socket,
    state::State,
    stream::{self, Ending, pause, whole_ms},
    transcription,
};

/// Events sent before a cut or a stall when the fault does not say.
const DEFAULT_EVENTS_BEFORE_FAULT: usize = 2;
const DEFAULT_SLOW_MS: u64 = 10_000;
const DEFAULT_EVENT_PAUSE_MS: u64 = 5;

/// `POST …/chat/completions`
pub(crate) async fn complete(state: Arc<State>, id: &str, http: HttpRequest, body: Bytes) -> HttpResponse {
    serve(state, id, http, body, Kind::Chat).await
}

/// `POST …/completions`, or Mistral's `…/fim/completions`
pub(crate) async fn complete_prompt(state: Arc<State>, id: &str, http: HttpRequest, body: Bytes) -> HttpResponse {
    serve(state, id, http, body, Kind::Completion).await
}

/// `POST …/moderations`
pub(crate) async fn moderate(state: Arc<State>, id: &str, http: HttpRequest, body: Bytes) -> HttpResponse {
    serve(state, id, http, body, Kind::Moderation).await
}

/// `POST …/audio/transcriptions` and `…/audio/translations`
pub(crate) async fn transcribe(state: Arc<State>, id: &str, http: HttpRequest, body: Bytes) -> HttpResponse {
    serve(state, id, http, body, Kind::Transcription).await
}

/// `POST …/rerank`
pub(crate) async fn rank(state: Arc<State>, id: &str, http: HttpRequest, body: Bytes) -> HttpResponse {
    serve(state, id, http, body, Kind::Rerank).await
}

/// `POST …/embeddings`
pub(crate) async fn embed(state: Arc<State>, id: &str, http: HttpRequest, body: Bytes) -> HttpResponse {
    serve(state, id, http, body, Kind::Embedding).await
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chat,
    Completion,
    Embedding,
    Moderation,
    Rerank,
    Transcription,
}

async fn serve(state: Arc<State>, id: &str, http: HttpRequest, body: Bytes, kind: Kind) -> HttpResponse {
    let providers = state.providers();
    let Some(provider) = providers.by_id.get(id) else { return HttpResponse::NotFound().finish() };
    if provider.jitter_ms > 0 {
        pause(whole_ms(state.rng.up_to(provider.jitter_ms))).await;
    }
    let response = match parse(provider, &http, &body, kind) {
        Ok((account, model, request)) => {
            let calls = Calls { state: &state, enforce: providers.enforce, provider, http: &http, kind };
            calls.respond(account, &model, &request).await
        }
        Err(error) => Err(provider.dialect.implementation().request_error(provider, &error)),
    };
    response.unwrap_or_else(|reply| {
        if !matches!(reply.status, 413 | 429 | 503) {
            state.usage(id).rejected(reply.status);
        }
        error_response(reply)
    })
}

/// The account of a request's key.
pub(crate) fn account(provider: &Provider, http: &HttpRequest) -> Result<String, RequestError> {
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

/// Parses a request and checks everything that comes before the limits.
fn parse(
    provider: &Provider,
    http: &HttpRequest,
    body: &[u8],
    kind: Kind,
) -> Result<(String, Arc<Model>, SimulatedRequest), RequestError> {
    let account = account(provider, http)?;
    let parsed = match kind {
        Kind::Chat => SimulatedRequest::parse(body),
        Kind::Completion => completions::parse(body),
        Kind::Embedding => embeddings::parse(body),
        Kind::Moderation => moderation::parse(body),
        Kind::Rerank => ranking::parse(body),
        Kind::Transcription => {
            let content_type = http.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            transcription::parse(body, content_type.unwrap_or_default())
        }
    };
    let mut request = parsed.map_err(RequestError::Malformed)?;
    let name = request.model.strip_prefix("models/").unwrap_or(&request.model).to_owned();
    let model = provider.model(&name).cloned().ok_or_else(|| RequestError::NoSuchModel(name.clone()))?;
    match model.status {
        Status::Retired => return Err(RequestError::Retired(name)),
        Status::Gated => return Err(RequestError::NotOnPlan(name)),
        Status::Active if provider.switches.payment_required => return Err(RequestError::NotOnPlan(name)),
        Status::Active => {}
    }
    let dialect = provider.dialect.implementation();
    let error = match kind {
        Kind::Chat | Kind::Completion if does_not_chat(&model) => {
            Some(RequestError::Value { param: "model", message: format!("{name} does not support chat completions") })
        }
        Kind::Chat => {
            dialect.ignore(&model, &mut request);
            dialect.check(provider, &model, &request)
        }
        Kind::Completion => {
            dialect.ignore(&model, &mut request);
            completions::check(provider, &model, &request).or_else(|| dialect.check(provider, &model, &request))
        }
        Kind::Embedding => embeddings::check(&model, &request),
        Kind::Moderation => moderation::check(&model),
        Kind::Rerank => ranking::check(&model),
        Kind::Transcription => {
            transcription::count_seconds(&model, &mut request);
            transcription::check(provider.dialect, &model, &request)
        }
    };
    match error {
        Some(error) => Err(error),
        None => Ok((account, model, request)),
    }
}

fn does_not_chat(model: &Model) -> bool {
    model.vectors.is_some() || model.can.moderate || model.can.rerank || model.can.transcribe
}

/// The calls of one HTTP request.
struct Calls<'a> {
    state: &'a Arc<State>,
    enforce: bool,
    provider: &'a Arc<Provider>,
    http: &'a HttpRequest,
    kind: Kind,
}

impl Calls<'_> {
    /// Counts the call and responds, or returns the error of the limit that refuses it.
    async fn respond(
        &self,
        account: String,
        model: &Arc<Model>,
        request: &SimulatedRequest,
    ) -> Result<HttpResponse, ErrorReply> {
        let Self { state, enforce, provider, http, kind: operation } = *self;
        let dialect = provider.dialect.implementation();
        let fault = state.faults.take(&provider.id, &account, &model.id, request.stream, &state.rng);
        let kind = fault.as_ref().and_then(FaultRule::kind);
        let counts = provider.switches.failed_count || !kind.is_some_and(FaultKind::is_failure);
        let arrival = Arrival {
            account: &account,
            model,
            prompt_tokens: request.prompt_tokens + model.preamble_tokens,
            sound: request.sound,
            max_tokens: request.max_tokens,
            stream: request.stream,
            fault: fault.as_ref().map(|fault| (fault.fault.as_str(), counts)),
        };
        if let Some(FaultKind::Case(case)) = kind.filter(|kind| kind.precedes_limits()) {
            state.usage(&provider.id).faulted(state.clock.now_us(), &arrival, case.status());
            return Ok(recorded_response(case, fault.as_ref()));
        }
        let Ok(slot) = state.slot(provider, &account, model).await else {
            state.usage(&provider.id).no_slot(state.clock.now_us(), &arrival);
            return Err(dialect.limit_error(provider, model, &no_slot(model), &[]));
        };
        let now = state.clock.now_us();
        let admitted = state.usage(&provider.id).admit(provider, now, &arrival, enforce);
        let (charged, statuses) = admitted.map_err(|(hit, statuses)| {
            if let Some(fault) = &fault {
                state.faults.give_back(fault);
            }
            dialect.limit_error(provider, model, &hit, &statuses)
        })?;
        let mut completion = Completion::generate(request, provider, model, now, &state.rng);
        let has_texts = operation == Kind::Completion && completions::has_texts(provider);
        if has_texts {
            completion.body = Some(completions::as_text(&dialect.whole(provider, &completion)));
        }
        if matches!(operation, Kind::Embedding | Kind::Moderation | Kind::Rerank | Kind::Transcription) {
            (completion.output_tokens, completion.reasoning_tokens) = (0, 0);
            (completion.content, completion.reasoning) = (Vec::new(), Vec::new());
            completion.body = Some(match operation {
                Kind::Moderation => moderation::response(request),
                Kind::Rerank => ranking::response(provider.dialect, completion.seed, request),
                Kind::Transcription => transcription::response(request),
                _ => embeddings::response(model, request),
            });
        }
        let call = Call::new(state, provider, account.clone(), model, charged, slot, &completion);
        match kind {
            Some(FaultKind::Slow) => {
                let delay_ms = fault.as_ref().and_then(|fault| fault.delay_ms);
                pause(whole_ms(delay_ms.unwrap_or(DEFAULT_SLOW_MS))).await;
            }
            Some(FaultKind::Cut | FaultKind::Stall) | None => {}
            Some(other) => return Ok(fail(other, fault.as_ref(), provider, &completion, call, http).await),
        }
        let after = fault.as_ref().and_then(|fault| fault.after).unwrap_or(DEFAULT_EVENTS_BEFORE_FAULT);
        let ending = match kind {
            Some(FaultKind::Cut) => Ending::CutAfter(after),
            Some(FaultKind::Stall) => Ending::StallAfter(after),
            _ => Ending::Regular,
        };
        if request.stream {
            let headers = dialect.headers(&statuses, &completion);
            let mut events = match operation {
                Kind::Transcription => transcription::events(request),
                _ => dialect.events(provider, &completion),
            };
            if has_texts {
                events = completions::events_as_text(events);
            }
            let pace = completion.pace;
            let body = stream::completion_body(events, pace.first_ms, pace.chunk_ms, ending, call);
            return Ok(with(HttpResponse::Ok(), headers).content_type("text/event-stream").streaming(body));
        }
        Ok(whole(provider, &completion, ending, call).await)
    }
}

/// The body of a response without streaming.
fn text_of(provider: &Provider, completion: &Completion) -> String {
    let own = || provider.dialect.implementation().whole(provider, completion);
    completion.body.clone().unwrap_or_else(own)
}

/// A response without streaming. Its headers show the limits as they are after it.
async fn whole(provider: &Provider, completion: &Completion, ending: Ending, mut call: Call) -> HttpResponse {
    let dialect = provider.dialect.implementation();
    pause(completion.whole_ms()).await;
    let text = text_of(provider, completion);
    match ending {
        Ending::StallAfter(_) => std::future::pending().await,
        Ending::CutAfter(_) => {
            call.truncated();
            let half = Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]);
            let headers = dialect.headers(&call.statuses(), completion);
            let body = stream::torn_body(Some(half));
            with(HttpResponse::Ok(), headers).content_type("application/json").streaming(body)
        }
        Ending::Regular => {
            call.emit(completion.output_tokens);
            call.complete();
            let headers = dialect.headers(&call.statuses(), completion);
            with(HttpResponse::Ok(), headers).content_type("application/json").body(text)
        }
    }
}

/// A fault in place of a response.
async fn fail(
    kind: FaultKind,
    fault: Option<&FaultRule>,
    provider: &Provider,
    completion: &Completion,
    mut call: Call,
    http: &HttpRequest,
) -> HttpResponse {
    let form = if completion.stream { "text/event-stream" } else { "application/json" };
    match kind {
        FaultKind::Hang => std::future::pending().await,
        FaultKind::Reset => {
            call.failed(0);
            socket::reset_on_close(http);
            HttpResponse::Ok().streaming(stream::torn_body(None))
        }
        FaultKind::Empty => {
            call.failed(200);
            HttpResponse::Ok().content_type(form).body("")
        }
        FaultKind::Truncated => {
            call.failed(200);
            let text = text_of(provider, completion);
            HttpResponse::Ok().content_type(form).body(text[..text.len() / 2].to_owned())
        }
        FaultKind::Case(case) => {
            pause(completion.pace.first_ms).await;
            call.failed(case.status());
            recorded_response(case, fault)
        }
        FaultKind::Slow | FaultKind::Cut | FaultKind::Stall => HttpResponse::InternalServerError().finish(),
    }
}

/// A recorded case, verbatim.
fn recorded_response(case: &'static Case, fault: Option<&FaultRule>) -> HttpResponse {
    let status = StatusCode::from_u16(case.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for header in case.headers() {
        response.insert_header(header);
    }
    match case.form {
        Form::Json | Form::Text => response.body(case.body()),
        Form::Sse => {
            let pause_ms = fault.and_then(|fault| fault.delay_ms).unwrap_or(DEFAULT_EVENT_PAUSE_MS);
            response.streaming(stream::recorded_body(case.events(), pause_ms, case.is_cut()))
        }
    }
}

pub(crate) fn error_response(reply: ErrorReply) -> HttpResponse {
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
    let limit = Limit { name: LimitName::Concurrency, kind: WindowKind::Sliding, max: model.concurrency, zone };
    LimitHit { limit, used: model.concurrency, requested: 1, wait_us: 1_000_000, reason: HitReason::Full }
}
