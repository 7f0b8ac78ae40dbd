//! `GET /admin/v1/events`: finished requests and budget changes of the whole pool as they happen. Each replica runs one
//! poller, and only while a stream is open.

use std::{convert::Infallible, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Bytes, Data},
};
use futures_util::stream;
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep, timeout_at},
};

use crate::{
    api::{
        admin::{budget, model_changes::model_changes, requests::RequestObject},
        edge::{
            access_policy::presented_key,
            auth::Admin,
            error::ApiError,
            event_hub::Event,
            flow_error,
            keep_alive::{KEEP_ALIVE, KEEP_ALIVE_INTERVAL, event_stream},
            query::{Query, invalid_parameter},
            session,
            state::AppState,
        },
    },
    domain::KeyDigest,
    ledger::{JournalPage, JournalRange, LedgerError, RecordId, SessionKey},
};

/// The poller reads the journal and the budget in turn, each once a second.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const MAX_RECORDS_PER_READ: usize = 200;
/// How long a check of a stream's session counts.
const AUTHORITY_INTERVAL: Duration = Duration::from_millis(100);
/// Pause before a stream retries to read the journal while the ledger is unreachable.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Publishes events until no stream is open. While the ledger is unreachable nothing is published; the streams catch up
/// from the journal afterwards.
async fn poll(state: Data<AppState>, sender: broadcast::Sender<Event>) {
    let (mut last_record, mut last_budget) = (None, Vec::new());
    let mut findings = state.flow.ledger.findings();
    let mut last_findings = findings.borrow_and_update().clone();
    let mut budget_is_next = false;
    while !state.events.stops_unused(&sender) {
        if findings.has_changed().unwrap_or(false) {
            let present = findings.borrow_and_update().clone();
            for change in model_changes(&last_findings, &present) {
                let _ = sender.send(Event::new(None, "models", &change));
            }
            last_findings = present;
        }
        let has_more = if budget_is_next {
            publish_budget(&state, &sender, &mut last_budget).await;
            false
        } else {
            publish_requests(&state, &sender, &mut last_record).await.unwrap_or(false)
        };
        // The first budget follows at once: a new page waits for it.
        let is_start = last_budget.is_empty() && !budget_is_next;
        budget_is_next = !budget_is_next && !has_more;
        if !is_start {
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// Publishes the budget if it changed.
async fn publish_budget(state: &AppState, sender: &broadcast::Sender<Event>, last: &mut Vec<u8>) {
    let Ok(budget) = budget::load(state).await else { return };
    let text = budget.json_without_time();
    if text != *last {
        *last = text;
        let event = Event::new(None, "budget", &budget);
        state.events.set_budget(event.clone());
        // An error means that no stream is open any more; the next round stops the poller.
        let _ = sender.send(event);
    }
}

/// Publishes the requests recorded after `last`; true if there may be more. The first call only finds the journal's end.
async fn publish_requests(
    state: &AppState,
    sender: &broadcast::Sender<Event>,
    last: &mut Option<RecordId>,
) -> Result<bool, LedgerError> {
    let Some(from) = *last else {
        // What ended before a stream opened is no news on it.
        state.flow.recorded().await;
        let end = state.flow.ledger.journal(1, JournalRange::Newest).await?.last;
        *last = Some(end.unwrap_or_default());
        return Ok(false);
    };
    let page = state.flow.ledger.journal(MAX_RECORDS_PER_READ, JournalRange::NewerThan(from)).await?;
    let is_full = page.scanned == MAX_RECORDS_PER_READ;
    *last = page.last.or(*last);
    for event in request_events(state, page).await {
        let _ = sender.send(event);
    }
    Ok(is_full)
}

async fn request_events(state: &AppState, page: JournalPage) -> Vec<Event> {
    let clients = page.records.iter().map(|(_, line)| line.client.as_str());
    let names = state.display_names.lookup(&state.flow.ledger, clients).await;
    let event = |(id, line)| Event::new(Some(id), "request", &RequestObject::new(id, line, &names));
    page.records.into_iter().map(event).collect()
}

/// What opened a stream. The stream ends with it.
struct Authority {
    admin: KeyDigest,
    /// The cookie of the session, if the stream was opened with one.
    cookie: Option<KeyDigest>,
    checked: Instant,
}

impl Authority {
    fn new(request: &HttpRequest, admin: KeyDigest) -> Self {
        let has_key = presented_key(request.headers()).is_some();
        let cookie = session::token_of_request(request).filter(|_| !has_key).map(|token| KeyDigest::of(&token));
        Self { admin, cookie, checked: Instant::now() }
    }

    /// Whether the session has not ended, and the admin key is the same. An unreachable ledger ends nothing.
    async fn holds(&mut self, state: &AppState) -> bool {
        if self.checked.elapsed() < AUTHORITY_INTERVAL {
            return true;
        }
        self.checked = Instant::now();
        if !state.policy.load().admin_key.is_some_and(|key| key.is(&self.admin)) {
            return false;
        }
        let Some(cookie) = &self.cookie else { return true };
        let session = SessionKey { cookie, admin: &self.admin };
        !matches!(state.flow.ledger.find_session(session).await, Ok(None))
    }
}

/// One open stream.
struct Listener {
    state: Data<AppState>,
    authority: Authority,
    receiver: broadcast::Receiver<Event>,
    ended: watch::Receiver<bool>,
    /// Sent before anything else.
    first: Option<Bytes>,
    /// The last journal id sent, or received as `Last-Event-ID`.
    last: Option<RecordId>,
    /// The journal may hold requests after `last` that the poller has already published.
    is_behind: bool,
}

/// Events of the pool as they happen, over all replicas
///
/// `event: request` is a finished request (`Request`). `event: budget` is the whole `Budget`, at most once a second and only
/// when it changed. `event: models` names the models that a provider has gained or lost: `{"provider", "new", "gone", "back"}`.
/// Comments keep the connection alive.
#[utoipa::path(
    get, path = "/admin/v1/events", tag = "usage", operation_id = "stream_events",
    security(("admin_key" = [])),
    params((
        "Last-Event-ID" = Option<String>, Header, nullable = false,
        description = "The id of the last request received: the stream continues after it.",
    )),
    responses(
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
        (status = 400, description = "invalid_value"),
    ),
)]
pub(crate) async fn stream_events(
    state: Data<AppState>,
    _: Admin,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    Query::parse(&request, &[])?;
    let last = match request.headers().get("last-event-id") {
        None => None,
        Some(value) => Some(value.to_str().ok().and_then(|text| text.parse::<RecordId>().ok()).ok_or_else(|| {
            invalid_parameter("last-event-id", "`Last-Event-ID` is not the id of an event of this stream.".to_owned())
        })?),
    };
    if !state.flow.ledger.is_reachable() {
        state.flow.ledger.journal(1, JournalRange::Newest).await.map_err(|e| flow_error::from_ledger_read(&e))?;
    }
    let (receiver, budget) = state.events.subscribe(|sender| {
        state.flow.tasks.spawn_endless(poll(state.clone(), sender));
    });
    // A client that loses its connection reconnects after two seconds.
    let mut first = b"retry: 2000\n\n".to_vec();
    first.extend(budget.iter().flat_map(|event| &event.text[..]));
    let ended = state.events.ended();
    let is_behind = last.is_some();
    let admin = state.policy.load().admin_key.ok_or(ApiError::AdminKeyNotSet)?;
    let authority = Authority::new(&request, admin);
    let listener = Listener { state, authority, receiver, ended, first: Some(Bytes::from(first)), last, is_behind };
    let events = stream::unfold(listener, |mut listener| async move {
        let bytes = listener.next().await?;
        if !listener.authority.holds(&listener.state).await {
            return None;
        }
        Some((Ok::<_, Infallible>(bytes), listener))
    });
    let mut response = HttpResponse::Ok();
    Ok(event_stream(&mut response).streaming(events))
}

impl Listener {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let keep_alive_at = Instant::now() + KEEP_ALIVE_INTERVAL;
        while !*self.ended.borrow() {
            if self.is_behind {
                if let Some(bytes) = self.catch_up().await {
                    return Some(bytes);
                }
                continue;
            }
            let received = tokio::select! {
                _ = self.ended.wait_for(|ended| *ended) => return None,
                received = timeout_at(keep_alive_at, self.receiver.recv()) => received,
            };
            match received {
                Err(_) => return Some(KEEP_ALIVE),
                Ok(Ok(Event { id: None, text })) => return Some(text),
                // Sent by `catch_up` already.
                Ok(Ok(Event { id: Some(id), .. })) if self.last.is_some_and(|last| id <= last) => {}
                Ok(Ok(Event { id, text })) => {
                    self.last = id;
                    return Some(text);
                }
                Ok(Err(broadcast::error::RecvError::Lagged(_))) => self.is_behind = self.last.is_some(),
                // The poller ends before its listeners only when the process does.
                Ok(Err(broadcast::error::RecvError::Closed)) => return None,
            }
        }
        None
    }

    /// The next requests recorded after `last`, if there are any.
    async fn catch_up(&mut self) -> Option<Bytes> {
        let from = self.last.unwrap_or_default();
        let Ok(page) = self.state.flow.ledger.journal(MAX_RECORDS_PER_READ, JournalRange::NewerThan(from)).await else {
            sleep(RETRY_INTERVAL).await;
            return Some(KEEP_ALIVE);
        };
        self.is_behind = page.scanned == MAX_RECORDS_PER_READ;
        self.last = page.last.or(self.last);
        let events = request_events(&self.state, page).await;
        let bytes = events.iter().flat_map(|event| event.text.to_vec()).collect::<Vec<u8>>();
        (!bytes.is_empty()).then(|| Bytes::from(bytes))
    }
}
