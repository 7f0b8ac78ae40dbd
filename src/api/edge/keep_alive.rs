//! Server-sent event streams: their headers, and the comment that keeps an idle one open.

use std::time::Duration;

use actix_web::{
    HttpResponseBuilder,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    web::Bytes,
};

/// Shorter than the idle timeouts of proxies and ingresses (60 s and more), longer than a usual first token.
pub(crate) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// A comment, which every reader of server-sent events skips.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Sets the headers of a stream that no proxy may buffer, compress or cache.
pub(crate) fn event_stream(response: &mut HttpResponseBuilder) -> &mut HttpResponseBuilder {
    response
        .insert_header((CONTENT_TYPE, "text/event-stream; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header(("x-accel-buffering", "no"))
}
