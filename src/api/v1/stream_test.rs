//! `GET /v1/stream-test`: events at known times, by which `tollfree doctor` finds what holds streams back or cuts them.

use std::{convert::Infallible, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Bytes, Data},
};
use futures_util::stream;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    api::edge::{error::ApiError, keep_alive::event_stream, query::Query, state::AppState},
    domain::Client,
};

const EVENTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(200);
/// Longer than any proxy should wait.
const SILENT_MS_MAX: usize = 300_000;

struct Test {
    start: Instant,
    event: u32,
    silent: Duration,
    ended: watch::Receiver<bool>,
}

/// A stream to test proxies with
///
/// Six events, 200 ms apart, of which each says when it was sent (`sent_ms`, since the first). Before the last the stream is
/// silent for `silent_ms`: no comment keeps it alive. Costs no budget.
#[utoipa::path(
    get, path = "/v1/stream-test", tag = "status", operation_id = "stream_test",
    security(("client_key" = [])),
    params(("silent_ms" = Option<usize>, Query, nullable = false, maximum = 300_000, description = "A silence on purpose.")),
    responses(
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
        (status = 400, description = "invalid_value"),
    ),
)]
pub(crate) async fn stream_events(
    state: Data<AppState>,
    _: Client,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let query = Query::parse(&request, &["silent_ms"])?;
    let silent = Duration::from_millis(query.number("silent_ms", 0, 0..=SILENT_MS_MAX)? as u64);
    let test = Test { start: Instant::now(), event: 0, silent, ended: state.events.ended() };
    let events = stream::unfold(test, |mut test| async move {
        let bytes = test.next().await?;
        Some((Ok::<_, Infallible>(bytes), test))
    });
    Ok(event_stream(&mut HttpResponse::Ok()).streaming(events))
}

impl Test {
    /// `None` after the last event, and where the process ends first.
    async fn next(&mut self) -> Option<Bytes> {
        let pause = match self.event {
            EVENTS => return None,
            0 => Duration::ZERO,
            event if event == EVENTS - 1 => PAUSE + self.silent,
            _ => PAUSE,
        };
        tokio::select! {
            () = sleep(pause) => {}
            _ = self.ended.wait_for(|ended| *ended) => return None,
        }
        self.event += 1;
        let sent_ms = self.start.elapsed().as_millis();
        Some(format!("data: {{\"event\":{},\"of\":{EVENTS},\"sent_ms\":{sent_ms}}}\n\n", self.event).into())
    }
}
