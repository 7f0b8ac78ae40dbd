//! Turns the outcome of a chat request into an HTTP response with all its headers.

use std::convert::Infallible;

use actix_web::{
    HttpResponse,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};
use futures_util::StreamExt;

use crate::{
    api::{
        edge::{
            error::ApiError,
            flow_error,
            keep_alive::{NeverSilent, event_stream},
        },
        v1::{encoded::Encoding, refusal, whole_body::WholeBody},
    },
    domain::window::go_duration,
    flow::{AttemptLog, ChatReply, FlowError},
    ledger::{ClientUsage, WindowState},
    protocol::Protocol,
    relay::ChatBody,
};

/// What the response needs to know about the request.
pub(crate) struct RequestContext {
    pub protocol: Protocol,
    pub model: String,
    pub attempt_log: AttemptLog,
    /// The value of `Preference-Applied`, where the caller may wait less than it requested.
    pub preference_applied: Option<String>,
    /// Parts of the request that were left out; usually empty.
    pub dropped: String,
}

/// `encoding` writes the answer of a protocol other than chat completions.
pub(crate) fn respond(
    result: Result<ChatReply, FlowError>,
    encoding: Option<Encoding>,
    context: &RequestContext,
) -> HttpResponse {
    match result {
        Ok(reply) => success(reply, encoding, context),
        Err(error) => {
            let standing = flow_error::client_usage(&error);
            let error = flow_error::from_flow(&error, &context.model);
            refused(&error, standing.as_ref(), context)
        }
    }
}

fn refused(error: &ApiError, standing: Option<&ClientUsage>, context: &RequestContext) -> HttpResponse {
    let mut response = refusal::refuse(context.protocol, error, context.attempt_log.request_id());
    routing_headers(response.headers_mut(), context);
    rate_limit_headers(response.headers_mut(), standing);
    response
}

fn success(reply: ChatReply, encoding: Option<Encoding>, context: &RequestContext) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    let model = reply.model.clone();
    let mut response = match (reply.body, encoding) {
        (ChatBody::Whole(body), None) => response.content_type("application/json").body(WholeBody(body)),
        (ChatBody::Whole(body), Some(encoding)) => match encoding.whole(model, &body) {
            Ok(body) => response.content_type("application/json").body(WholeBody(body)),
            Err(failure) => {
                let error = ApiError::AllFailed { message: format!("{}: {}", reply.provider, failure.message) };
                return refused(&error, reply.client.as_ref(), context);
            }
        },
        (ChatBody::Stream(stream), None) => {
            event_stream(&mut response).streaming(NeverSilent::new(stream).map(Ok::<_, Infallible>))
        }
        (ChatBody::Stream(stream), Some(encoding)) => {
            let events = encoding.events(model, Box::pin(NeverSilent::new(stream)));
            event_stream(&mut response).streaming(events.map(Ok::<_, Infallible>))
        }
    };
    let headers = response.headers_mut();
    insert(headers, "x-tollfree-provider", &reply.provider);
    insert(headers, "x-tollfree-model", &reply.model);
    routing_headers(headers, context);
    rate_limit_headers(headers, reply.client.as_ref());
    response
}

/// The attempts, the time waited for a slot, a shortened wait, what was left out, and the protocol's own headers.
pub(crate) fn routing_headers(headers: &mut HeaderMap, context: &RequestContext) {
    let attempt_log = &context.attempt_log;
    if let Some(applied) = &context.preference_applied {
        insert(headers, "preference-applied", applied);
    }
    let attempts = attempt_log.header();
    if !attempts.is_empty() {
        insert(headers, "x-tollfree-attempts", &attempts);
    }
    headers.insert(HeaderName::from_static("x-tollfree-waited-ms"), HeaderValue::from(attempt_log.waited_ms()));
    if !context.dropped.is_empty() {
        insert(headers, "x-tollfree-dropped", &context.dropped);
    }
    refusal::own_headers(context.protocol, headers, attempt_log.request_id());
}

/// The caller's own tightest windows, if it has limits.
fn rate_limit_headers(headers: &mut HeaderMap, standing: Option<&ClientUsage>) {
    let Some(standing) = standing else { return };
    if let Some(window) = &standing.requests {
        let names = ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
        window_headers(headers, names, window);
    }
    if let Some(window) = &standing.tokens {
        let names = ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
        window_headers(headers, names, window);
    }
}

fn window_headers(headers: &mut HeaderMap, [limit, remaining, reset]: [&'static str; 3], window: &WindowState) {
    headers.insert(HeaderName::from_static(limit), HeaderValue::from(window.limit.max(0)));
    headers.insert(HeaderName::from_static(remaining), HeaderValue::from(window.remaining.max(0)));
    insert(headers, reset, &go_duration(window.reset_ms));
}

/// Leaves out values that no header can hold: names of models come from files and providers.
fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// An error as one server-sent event, for a stream that has already begun.
pub(crate) fn error_event(error: &ApiError) -> String {
    let envelope = serde_json::to_string(&error.envelope()).unwrap_or_default();
    format!("data: {envelope}\n\n")
}

#[cfg(test)]
mod tests {
    use actix_web::web::Bytes;

    use super::*;
    use crate::ledger::{Refusal, RefusedBy};

    fn context() -> RequestContext {
        RequestContext {
            protocol: Protocol::Chat,
            model: "free".into(),
            attempt_log: AttemptLog::new("r1"),
            preference_applied: None,
            dropped: String::new(),
        }
    }

    fn standing(remaining_requests: i64) -> ClientUsage {
        let requests = WindowState { limit: 10, remaining: remaining_requests, reset_ms: 360_000 };
        ClientUsage { requests: Some(requests), tokens: None }
    }

    fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
        response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_success_names_its_provider_and_the_limits_of_its_caller() {
        let reply = ChatReply {
            provider: "groq".into(),
            model: "groq/openai/gpt-oss-120b".into(),
            body: ChatBody::Whole(Bytes::from_static(b"{}")),
            client: Some(standing(9)),
        };
        let response = respond(Ok(reply), None, &context());
        assert_eq!(header(&response, "content-type"), Some("application/json"));
        assert_eq!(header(&response, "x-tollfree-provider"), Some("groq"));
        assert_eq!(header(&response, "x-tollfree-model"), Some("groq/openai/gpt-oss-120b"));
        assert_eq!(header(&response, "x-tollfree-waited-ms"), Some("0"));
        assert_eq!(header(&response, "x-ratelimit-remaining-requests"), Some("9"));
        assert_eq!(header(&response, "x-ratelimit-reset-requests"), Some("6m0s"));
        assert_eq!(header(&response, "retry-after"), None);
    }

    #[test]
    fn a_refusal_by_the_callers_own_quota_has_its_headers() {
        let refusal = Refusal {
            by: RefusedBy::Client,
            retry_ms: 360_000,
            exact: true,
            reasons: Vec::new(),
            client: Some(standing(0)),
        };
        let response = respond(Err(FlowError::Refused(refusal)), None, &context());
        assert_eq!(response.status().as_u16(), 429);
        assert_eq!(header(&response, "x-ratelimit-remaining-requests"), Some("0"));
        assert_eq!(header(&response, "retry-after"), Some("360"));
        assert_eq!(header(&response, "x-should-retry"), Some("false"));
    }

    #[test]
    fn a_value_that_no_header_can_hold_is_left_out() {
        let reply =
            ChatReply {
                provider: "a\nb".into(), model: "ä".into(), body: ChatBody::Whole(Bytes::new()), client: None
            };
        let response = respond(Ok(reply), None, &context());
        assert_eq!(header(&response, "x-tollfree-provider"), None);
    }
}
