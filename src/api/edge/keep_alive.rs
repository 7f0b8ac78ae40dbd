//! Server-sent event streams: their headers, and the comment that keeps an idle one open.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    HttpResponseBuilder,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    web::Bytes,
};
use futures_util::Stream;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

/// Shorter than the idle timeouts of proxies and ingresses (60 s and more), longer than a usual first token.
pub(crate) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Longest silence of a stream whose content has begun.
const MAX_SILENCE: Duration = Duration::from_secs(15);
/// A comment, which every reader of server-sent events skips.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Sets the headers of a stream that no proxy may buffer, compress or cache.
pub(crate) fn event_stream(response: &mut HttpResponseBuilder) -> &mut HttpResponseBuilder {
    response
        .insert_header((CONTENT_TYPE, "text/event-stream; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header(("x-accel-buffering", "no"))
}

pin_project! {
    /// Events with a comment after each [`MAX_SILENCE`] without one: a model may think for minutes after its first content.
    pub(crate) struct NeverSilent<S> {
        #[pin]
        events: S,
        last: Instant,
        // Only polled while the stream is silent. An event moves `last` alone, which is cheaper than resetting a timer.
        #[pin]
        timer: Sleep,
    }
}

impl<S> NeverSilent<S> {
    pub(crate) fn new(events: S) -> Self {
        Self { events, last: Instant::now(), timer: sleep(MAX_SILENCE) }
    }
}

impl<S: Stream<Item = Bytes>> Stream for NeverSilent<S> {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut this = self.project();
        if let Poll::Ready(event) = this.events.poll_next(context) {
            *this.last = Instant::now();
            return Poll::Ready(event);
        }
        loop {
            ready!(this.timer.as_mut().poll(context));
            let now = Instant::now();
            let due = *this.last + MAX_SILENCE;
            if due <= now {
                *this.last = now;
                this.timer.as_mut().reset(now + MAX_SILENCE);
                return Poll::Ready(Some(KEEP_ALIVE));
            }
            this.timer.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_gets_a_comment_every_fifteen_seconds_until_its_next_event() {
        let pauses = [0, 10, 40, 14, 16];
        let events = stream::iter(pauses).then(async |seconds| {
            sleep(Duration::from_secs(seconds)).await;
            Bytes::from(format!("data: {seconds}\n\n"))
        });
        let begun = Instant::now();
        let times: Vec<(u64, Bytes)> =
            NeverSilent::new(events).map(|bytes| (begun.elapsed().as_secs(), bytes)).collect().await;
        let event = |at, pause: u64| (at, Bytes::from(format!("data: {pause}\n\n")));
        let comment = |at| (at, KEEP_ALIVE);
        let expected = [
            event(0, 0),
            event(10, 10),
            comment(25),
            comment(40),
            event(50, 40),
            event(64, 14),
            comment(79),
            event(80, 16),
        ];
        assert_eq!(times, expected);
    }
}
