//! The server span of a request, by the OpenTelemetry HTTP conventions. The query is left out because it may hold keys.

use actix_web::{
    dev::ServiceRequest,
    http::{
        Version,
        header::{HOST, USER_AGENT},
    },
};
use tracing::Span;

use crate::{api::edge::request_id::RequestId, telemetry::SpanExt};

/// Bounds attributes whose values the caller chooses.
const MAX_CHARS: usize = 256;

/// Sets the attributes known when the request arrives.
pub(crate) fn record_request(span: &Span, request: &ServiceRequest, id: &RequestId) {
    if span.is_disabled() {
        return;
    }
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    span.set("url.scheme", "http");
    span.set("url.path", truncated(request.path()));
    span.set("tollfree.request.id", id.0.clone());
    span.set(
        "network.protocol.version",
        match request.version() {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        },
    );
    if let Some(host) = header(HOST) {
        let (name, port) = host.rsplit_once(':').map_or((host, None), |(name, port)| (name, port.parse::<u16>().ok()));
        span.set("server.address", truncated(name));
        if let Some(port) = port {
            span.set("server.port", i64::from(port));
        }
    }
    if let Some(peer) = request.peer_addr() {
        span.set("network.peer.address", peer.ip().to_string());
        span.set("network.peer.port", i64::from(peer.port()));
    }
    if let Some(user_agent) = header(USER_AGENT) {
        span.set("user_agent.original", truncated(user_agent));
    }
}

/// Sets the attributes known when the request has ended. `error`: the server failed, or its caller left.
pub(crate) fn record_response(
    span: &Span,
    method: &'static str,
    route: Option<&str>,
    status: Option<u16>,
    error: Option<&str>,
) {
    if span.is_disabled() {
        return;
    }
    // The conventions name spans of unknown methods `HTTP`.
    let verb = if method == "_OTHER" { "HTTP" } else { method };
    span.set_name(route.map_or_else(|| verb.to_owned(), |route| format!("{verb} {route}")));
    span.set("http.request.method", method);
    if let Some(route) = route {
        span.set("http.route", route.to_owned());
    }
    if let Some(status) = status {
        span.set("http.response.status_code", i64::from(status));
    }
    match (status, error) {
        (Some(500..), Some(error)) => span.set_error(error),
        // Not a failure of the server.
        (_, Some(error)) => span.set("error.type", error.to_owned()),
        (_, None) => {}
    }
}

pub(crate) fn truncated(text: &str) -> String {
    text.chars().take(MAX_CHARS).collect()
}
