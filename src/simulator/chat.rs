//! The way of a call: authorise → read → check → fault? → slot → count → answer → settle.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
    web::Bytes,
};

use super::{
    answer::Answer,
    ask::Ask,
    books::Entry,
    call::Call,
    checks::Complaint,
    counters::Limit,
    dialect::{Headers, Refusal},
    faults::{Fault, Happening},
    limit::{Kind, LimitName},
    provider::{Model, Provider},
    settings::Status,
    socket,
    stream::{self, Ending, pause},
    window::{Hit, Why},
    wire::{Case, Form},
    world::World,
};

/// Events handed over before a cut or a stall when the fault does not say.
const AFTER: usize = 2;

/// `POST …/chat/completions`
pub async fn complete(world: Arc<World>, id: &str, request: HttpRequest, body: Bytes) -> HttpResponse {
    let scene = world.scene();
    let Some(provider) = scene.providers.get(id) else { return HttpResponse::NotFound().finish() };
    if provider.jitter_ms > 0 {
        let jitter = world.chance.up_to(provider.jitter_ms);
        pause(f64::from(u32::try_from(jitter).unwrap_or(u32::MAX))).await;
    }
    let admission = match read(provider, &request, &body) {
        Ok((account, model, ask)) => answer(&world, scene.enforce, provider, account, &model, &ask, &request).await,
        Err(complaint) => Err(provider.dialect.speaks().complain(provider, &complaint)),
    };
    admission.unwrap_or_else(|refusal| {
        if !matches!(refusal.status, 413 | 429 | 503) {
            world.books(id).turned_away(refusal.status);
        }
        refused(refusal)
    })
}

/// The account of a request's key.
pub fn account(provider: &Provider, request: &HttpRequest) -> Result<String, Complaint> {
    let text = |name: header::HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let agent = text(header::USER_AGENT).unwrap_or_default();
    if provider.switches.bot_filter && (agent.is_empty() || agent.starts_with("Python-urllib")) {
        return Err(Complaint::Bot);
    }
    if provider.keys.is_empty() {
        return Ok("main".to_owned());
    }
    let key = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    key.and_then(|key| provider.keys.get(key).cloned()).ok_or(Complaint::Key)
}

/// Everything that can be wrong before a limit is asked.
fn read(provider: &Provider, request: &HttpRequest, body: &[u8]) -> Result<(String, Arc<Model>, Ask), Complaint> {
    let account = account(provider, request)?;
    let mut ask = Ask::read(body).map_err(Complaint::Malformed)?;
    let name = ask.model.strip_prefix("models/").unwrap_or(&ask.model).to_owned();
    let model = provider.model(&name).cloned().ok_or_else(|| Complaint::NoSuchModel(name.clone()))?;
    match model.status {
        Status::Retired => return Err(Complaint::Retired(name)),
        Status::Gated => return Err(Complaint::NotOnPlan(name)),
        Status::Active if provider.switches.payment_required => return Err(Complaint::NotOnPlan(name)),
        Status::Active => {}
    }
    let dialect = provider.dialect.speaks();
    dialect.ignore(&model, &mut ask);
    match dialect.check(provider, &model, &ask) {
        Some(complaint) => Err(complaint),
        None => Ok((account, model, ask)),
    }
}

/// Counts the call and answers it, or says which limit is in the way.
async fn answer(
    world: &Arc<World>,
    enforce: bool,
    provider: &Arc<Provider>,
    account: String,
    model: &Arc<Model>,
    ask: &Ask,
    request: &HttpRequest,
) -> Result<HttpResponse, Refusal> {
    let dialect = provider.dialect.speaks();
    let fault = world.faults.meet(&provider.id, &account, &model.id, ask.stream, &world.chance);
    let happening = fault.as_ref().and_then(Fault::happening);
    let counts = provider.switches.failed_count || !happening.is_some_and(Happening::is_failure);
    let entry = Entry {
        account: &account,
        model,
        prompt_tokens: ask.prompt_tokens + model.preamble_tokens,
        max_tokens: ask.max_tokens,
        stream: ask.stream,
        fault: fault.as_ref().map(|fault| (fault.fault.as_str(), counts)),
    };
    if let Some(Happening::Case(case)) = happening.filter(|happening| happening.comes_first()) {
        world.books(&provider.id).faulted(world.clock.now_us(), &entry, case.status());
        return Ok(recorded(case, fault.as_ref()));
    }
    let Ok(slot) = world.slot(provider, &account, model).await else {
        world.books(&provider.id).no_slot(world.clock.now_us(), &entry);
        return Err(dialect.refuse(provider, model, &no_slot(model), &[]));
    };
    let now = world.clock.now_us();
    let admitted = world.books(&provider.id).admit(provider, now, &entry, enforce);
    let (ticket, views) = admitted.map_err(|(hit, views)| {
        if let Some(fault) = &fault {
            world.faults.give_back(fault);
        }
        dialect.refuse(provider, model, &hit, &views)
    })?;
    let answer = Answer::to(ask, provider, model, now, &world.chance);
    let call = Call::new(world, provider, account.clone(), model, ticket, slot, &answer);
    let delay = fault.as_ref().and_then(|fault| fault.delay_ms);
    match happening {
        Some(Happening::Slow) => pause(f64::from(u32::try_from(delay.unwrap_or(10_000)).unwrap_or(u32::MAX))).await,
        Some(Happening::Cut | Happening::Stall) | None => {}
        Some(other) => return Ok(fail(other, fault.as_ref(), provider, &answer, call, request).await),
    }
    let after = fault.as_ref().and_then(|fault| fault.after).unwrap_or(AFTER);
    let ending = match happening {
        Some(Happening::Cut) => Ending::CutAfter(after),
        Some(Happening::Stall) => Ending::StallAfter(after),
        _ => Ending::Proper,
    };
    if ask.stream {
        let headers = dialect.headers(&views, &answer);
        let events = dialect.events(provider, &answer);
        let body = stream::of_answer(events, answer.pace.first_ms, answer.pace.chunk_ms, ending, call);
        return Ok(with(HttpResponse::Ok(), headers).content_type("text/event-stream").streaming(body));
    }
    Ok(whole(provider, &answer, ending, call).await)
}

/// An answer in one piece. Its headers tell how the limits stand after it.
async fn whole(provider: &Provider, answer: &Answer, ending: Ending, mut call: Call) -> HttpResponse {
    let dialect = provider.dialect.speaks();
    pause(answer.whole_ms()).await;
    let text = dialect.whole(provider, answer);
    match ending {
        Ending::StallAfter(_) => std::future::pending().await,
        Ending::CutAfter(_) => {
            call.broke();
            let half: Bytes = Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]);
            let headers = dialect.headers(&call.views(), answer);
            let body = stream::torn(half);
            with(HttpResponse::Ok(), headers).content_type("application/json").streaming(body)
        }
        Ending::Proper => {
            call.handed_over(answer.completion_tokens);
            call.complete();
            let headers = dialect.headers(&call.views(), answer);
            with(HttpResponse::Ok(), headers).content_type("application/json").body(text)
        }
    }
}

/// A fault in place of an answer.
async fn fail(
    happening: Happening,
    fault: Option<&Fault>,
    provider: &Provider,
    answer: &Answer,
    mut call: Call,
    request: &HttpRequest,
) -> HttpResponse {
    let form = if answer.stream { "text/event-stream" } else { "application/json" };
    match happening {
        Happening::Hang => std::future::pending().await,
        Happening::Reset => {
            call.failed(0);
            socket::reset_on_close(request);
            HttpResponse::Ok().streaming(stream::lost())
        }
        Happening::Empty => {
            call.failed(200);
            HttpResponse::Ok().content_type(form).body("")
        }
        Happening::Truncated => {
            call.failed(200);
            let text = provider.dialect.speaks().whole(provider, answer);
            HttpResponse::Ok().content_type(form).body(text[..text.len() / 2].to_owned())
        }
        Happening::Case(case) => {
            pause(answer.pace.first_ms).await;
            call.failed(case.status());
            recorded(case, fault)
        }
        Happening::Slow | Happening::Cut | Happening::Stall => HttpResponse::InternalServerError().finish(),
    }
}

/// A case of `wire/`, verbatim.
fn recorded(case: &'static Case, fault: Option<&Fault>) -> HttpResponse {
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

/// A refusal on the wire.
pub fn refused(refusal: Refusal) -> HttpResponse {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    with(HttpResponse::build(status), refusal.headers).content_type(refusal.content_type).body(refusal.body)
}

fn with(mut response: HttpResponseBuilder, headers: Headers) -> HttpResponseBuilder {
    for header in headers {
        response.insert_header(header);
    }
    response
}

fn no_slot(model: &Model) -> Hit {
    let zone = jiff::tz::TimeZone::UTC;
    let limit = Limit { name: LimitName::Concurrency, kind: Kind::Sliding, max: model.concurrency, zone };
    Hit { limit, used: model.concurrency, requested: 1, wait_us: 1_000_000, why: Why::Full }
}
