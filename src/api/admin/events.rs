//! `GET /admin/v1/events`: what happens in the pool, as it happens, over all replicas. One poller per replica, and only
//! while somebody listens.

use std::{convert::Infallible, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Bytes, Data},
};
use futures_util::stream;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep, timeout_at},
};

use crate::{
    api::{
        admin::{budget, requests::Record},
        edge::{
            auth::Admin,
            error::ApiError,
            flow_error,
            query::{Query, wrong},
            state::Edge,
        },
        v1::responders,
    },
    ledger::{JournalPage, JournalRange, RecordId},
};

/// One read of the ledger, the journal and the budget by turns: two a second.
const TURN: Duration = Duration::from_millis(500);
/// Lines of one read.
const LINES_MOST: usize = 200;
/// What a slow listener may leave unread; beyond it he reads the journal himself.
const BACKLOG: usize = 1_024;
const QUIET: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// One event as it is sent.
#[derive(Debug, Clone)]
struct Told {
    /// Of a journal line; what listeners name when they come again.
    id: Option<RecordId>,
    text: Bytes,
}

impl Told {
    fn new(id: Option<RecordId>, event: &str, data: &impl Serialize) -> Self {
        let data = serde_json::to_string(data).unwrap_or_default();
        let id_line = id.map_or_else(String::new, |id| format!("id: {id}\n"));
        Self { id, text: Bytes::from(format!("{id_line}event: {event}\ndata: {data}\n\n")) }
    }
}

/// Where listeners meet the poller.
pub struct Events {
    live: Mutex<Live>,
    ended: watch::Sender<bool>,
}

#[derive(Default)]
struct Live {
    /// There while a poller is at work.
    to: Option<broadcast::Sender<Told>>,
    /// The last one told: what a new listener begins with.
    budget: Option<Told>,
}

impl Default for Events {
    fn default() -> Self {
        Self { live: Mutex::default(), ended: watch::Sender::new(false) }
    }
}

impl Events {
    /// The process drains: every stream ends, so that its listener goes to another replica.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Starts a poller where there is none.
    fn listen(edge: &Data<Edge>) -> (broadcast::Receiver<Told>, Option<Told>) {
        let mut live = edge.events.live.lock();
        if let Some(to) = &live.to {
            return (to.subscribe(), live.budget.clone());
        }
        let (to, from) = broadcast::channel(BACKLOG);
        live.to = Some(to.clone());
        live.budget = None;
        edge.flow.tasks.spawn_endless(poll(edge.clone(), to));
        (from, None)
    }

    /// True: nobody listens, and whoever comes from now on starts another poller.
    fn is_over(&self, to: &broadcast::Sender<Told>) -> bool {
        let mut live = self.live.lock();
        let over = to.receiver_count() == 0;
        if over {
            *live = Live::default();
        }
        over
    }
}

async fn poll(edge: Data<Edge>, to: broadcast::Sender<Told>) {
    let (mut last, mut shown) = (None, Vec::new());
    let mut for_budget = false;
    while !edge.events.is_over(&to) {
        // While the ledger is away nothing is told: whoever noticed has said so, and what is missed is read afterwards.
        let more = if for_budget {
            tell_budget(&edge, &to, &mut shown).await;
            false
        } else {
            tell_lines(&edge, &to, &mut last).await.unwrap_or(false)
        };
        let is_first = shown.is_empty() && !for_budget;
        for_budget = !for_budget && !more;
        if !is_first {
            sleep(TURN).await;
        }
    }
}

async fn tell_budget(edge: &Edge, to: &broadcast::Sender<Told>, shown: &mut Vec<u8>) {
    let Ok(budget) = budget::take(edge).await else { return };
    let text = budget.text_without_time();
    if text != *shown {
        *shown = text;
        let told = Told::new(None, "budget", &budget);
        edge.events.live.lock().budget = Some(told.clone());
        let _ = to.send(told); // nobody listens any more: seen at the next turn
    }
}

/// Tells the lines behind `last`; true where there may be more of them. The first time it only finds the end.
async fn tell_lines(
    edge: &Edge,
    to: &broadcast::Sender<Told>,
    last: &mut Option<RecordId>,
) -> Result<bool, crate::ledger::LedgerError> {
    let Some(from) = *last else {
        let end = edge.flow.ledger.journal(1, JournalRange::Newest).await?.last;
        *last = Some(end.unwrap_or_default());
        return Ok(false);
    };
    let page = edge.flow.ledger.journal(LINES_MOST, JournalRange::NewerThan(from)).await?;
    let is_full = page.scanned == LINES_MOST;
    *last = page.last.or(*last);
    for told in lines(edge, page).await {
        let _ = to.send(told);
    }
    Ok(is_full)
}

async fn lines(edge: &Edge, page: JournalPage) -> Vec<Told> {
    let clients = page.records.iter().map(|(_, line)| line.client.as_str());
    let names = edge.names.of(&edge.flow.ledger, clients).await;
    let told = |(id, line)| Told::new(Some(id), "request", &Record::of(id, line, &names));
    page.records.into_iter().map(told).collect()
}

/// One open stream.
struct Listener {
    edge: Data<Edge>,
    from: broadcast::Receiver<Told>,
    ended: watch::Receiver<bool>,
    /// Sent before anything else.
    first: Option<Bytes>,
    /// The last journal line sent, or named by the listener.
    last: Option<RecordId>,
    /// There are lines behind `last` that no poller will tell again.
    is_behind: bool,
}

/// What happens in the pool, as it happens, over all replicas
///
/// `event: request` is a finished request as the journal has it (`Request`), `event: budget` the whole `Budget`, about once
/// a second and only when it changed. Comments keep the connection alive.
#[utoipa::path(
    get, path = "/admin/v1/events", tag = "usage", operation_id = "listen",
    security(("admin_key" = [])),
    params((
        "Last-Event-ID" = Option<String>, Header, nullable = false,
        description = "The id of the last request seen: the stream goes on behind it.",
    )),
    responses(
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
        (status = 400, description = "invalid_value"),
    ),
)]
pub async fn listen(edge: Data<Edge>, _: Admin, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Query::of(&request, &[])?;
    let last = match request.headers().get("last-event-id") {
        None => None,
        Some(value) => Some(value.to_str().ok().and_then(|text| text.parse::<RecordId>().ok()).ok_or_else(|| {
            wrong("last-event-id", "`Last-Event-ID` is not the id of an event of this stream.".to_owned())
        })?),
    };
    if !edge.flow.ledger.is_reachable() {
        edge.flow.ledger.journal(1, JournalRange::Newest).await.map_err(|e| flow_error::unread(&e))?;
    }
    let (from, budget) = Events::listen(&edge);
    // Whoever is cut off comes again in two seconds; the poller may have told the budget long ago.
    let mut first = b"retry: 2000\n\n".to_vec();
    first.extend(budget.iter().flat_map(|told| &told.text[..]));
    let ended = edge.events.ended.subscribe();
    let is_behind = last.is_some();
    let listener = Listener { edge, from, ended, first: Some(Bytes::from(first)), last, is_behind };
    let events = stream::unfold(listener, |mut listener| async move {
        let bytes = listener.next().await?;
        Some((Ok::<_, Infallible>(bytes), listener))
    });
    let mut response = HttpResponse::Ok();
    Ok(responders::event_stream(&mut response).streaming(events))
}

impl Listener {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let quiet_until = Instant::now() + QUIET;
        while !*self.ended.borrow() {
            if self.is_behind {
                if let Some(bytes) = self.catch_up().await {
                    return Some(bytes);
                }
                continue;
            }
            let told = tokio::select! {
                _ = self.ended.wait_for(|ended| *ended) => return None,
                told = timeout_at(quiet_until, self.from.recv()) => told,
            };
            match told {
                Err(_) => return Some(KEEP_ALIVE),
                Ok(Ok(Told { id: None, text })) => return Some(text),
                // Read by catching up already.
                Ok(Ok(Told { id: Some(id), .. })) if self.last.is_some_and(|last| id <= last) => {}
                Ok(Ok(Told { id, text })) => {
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

    /// The next lines behind `last`, if there are any.
    async fn catch_up(&mut self) -> Option<Bytes> {
        let from = self.last.unwrap_or_default();
        let Ok(page) = self.edge.flow.ledger.journal(LINES_MOST, JournalRange::NewerThan(from)).await else {
            // The ledger is away: the stream stays, and goes on when it is back.
            sleep(TURN * 4).await;
            return Some(KEEP_ALIVE);
        };
        self.is_behind = page.scanned == LINES_MOST;
        self.last = page.last.or(self.last);
        let bytes = lines(&self.edge, page).await.iter().flat_map(|told| told.text.to_vec()).collect::<Vec<u8>>();
        (!bytes.is_empty()).then(|| Bytes::from(bytes))
    }
}
