//! How a request ended → an HTTP response with all its headers.

use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use futures_util::StreamExt;

use crate::{
    api::edge::{error::ApiError, flow_error},
    domain::window::go_duration,
    flow::{AttemptLog, ChatReply, FlowError},
    ledger::{ClientUsage, WindowState},
    relay::ChatBody,
};

/// What is known of a request from its start.
pub struct Asked {
    pub model: String,
    pub attempt_log: AttemptLog,
    /// The caller asked to wait longer than it may: what it may.
    pub preference_applied: Option<String>,
}

/// The answer, or the error that is told instead.
pub fn finish(result: Result<ChatReply, FlowError>, asked: &Asked) -> HttpResponse {
    match result {
        Ok(answer) => success(answer, asked),
        Err(error) => {
            let standing = flow_error::client_usage(&error);
            let mut response = flow_error::told(error, &asked.model).error_response();
            asked_headers(response.headers_mut(), asked);
            client_headers(response.headers_mut(), standing.as_ref());
            response
        }
    }
}

fn success(answer: ChatReply, asked: &Asked) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    let mut response = match answer.body {
        ChatBody::Whole(body) => response.content_type("application/json").body(body),
        ChatBody::Stream(stream) => {
            event_stream(&mut response).streaming(stream.map(Ok::<_, std::convert::Infallible>))
        }
    };
    let headers = response.headers_mut();
    set(headers, "x-tollfree-provider", &answer.provider);
    set(headers, "x-tollfree-model", &answer.model);
    asked_headers(headers, asked);
    client_headers(headers, answer.client.as_ref());
    response
}

/// Server-sent events that nobody on the way buffers, compresses or keeps.
pub fn event_stream(response: &mut HttpResponseBuilder) -> &mut HttpResponseBuilder {
    response
        .insert_header((CONTENT_TYPE, "text/event-stream; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header(("x-accel-buffering", "no"))
}

/// Whom we asked, how long the caller waited for a slot, and where it may not wait as long as it would.
pub fn asked_headers(headers: &mut HeaderMap, asked: &Asked) {
    let attempt_log = &asked.attempt_log;
    if let Some(applied) = &asked.preference_applied {
        set(headers, "preference-applied", applied);
    }
    let attempts = attempt_log.header();
    if !attempts.is_empty() {
        set(headers, "x-tollfree-attempts", &attempts);
    }
    headers.insert(HeaderName::from_static("x-tollfree-waited-ms"), HeaderValue::from(attempt_log.waited_ms()));
}

/// Where the caller's own tightest windows stand, if it has limits.
fn client_headers(headers: &mut HeaderMap, standing: Option<&ClientUsage>) {
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
    set(headers, reset, &go_duration(window.reset_ms));
}

/// Names of models and providers come from files and providers: what no header can hold is left out.
fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// An error as one server-sent event, for a stream that has already begun.
pub fn error_event(error: &ApiError) -> String {
    let envelope = serde_json::to_string(&error.envelope()).unwrap_or_default();
    format!("data: {envelope}\n\n")
}

#[cfg(test)]
mod tests {
    use actix_web::web::Bytes;

    use super::*;
    use crate::ledger::{Refusal, RefusedBy};

    fn asked() -> Asked {
        Asked { model: "free".into(), attempt_log: AttemptLog::new("r1"), preference_applied: None }
    }

    fn standing(remaining_requests: i64) -> ClientUsage {
        let requests = WindowState { limit: 10, remaining: remaining_requests, reset_ms: 360_000 };
        ClientUsage { requests: Some(requests), tokens: None }
    }

    fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
        response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn an_answer_says_who_gave_it_and_where_its_caller_stands() {
        let answer = ChatReply {
            provider: "groq".into(),
            model: "groq/openai/gpt-oss-120b".into(),
            body: ChatBody::Whole(Bytes::from_static(b"{}")),
            client: Some(standing(9)),
        };
        let response = finish(Ok(answer), &asked());
        assert_eq!(header(&response, "content-type"), Some("application/json"));
        assert_eq!(header(&response, "x-tollfree-provider"), Some("groq"));
        assert_eq!(header(&response, "x-tollfree-model"), Some("groq/openai/gpt-oss-120b"));
        assert_eq!(header(&response, "x-tollfree-waited-ms"), Some("0"));
        assert_eq!(header(&response, "x-ratelimit-remaining-requests"), Some("9"));
        assert_eq!(header(&response, "x-ratelimit-reset-requests"), Some("6m0s"));
        assert_eq!(header(&response, "retry-after"), None);
    }

    #[test]
    fn a_refusal_by_the_callers_own_quota_shows_that_quota() {
        let refusal = Refusal {
            by: RefusedBy::Client,
            retry_ms: 360_000,
            exact: true,
            reasons: Vec::new(),
            client: Some(standing(0)),
        };
        let response = finish(Err(FlowError::Refused(refusal)), &asked());
        assert_eq!(response.status().as_u16(), 429);
        assert_eq!(header(&response, "x-ratelimit-remaining-requests"), Some("0"));
        assert_eq!(header(&response, "retry-after"), Some("360"));
        assert_eq!(header(&response, "x-should-retry"), Some("false"));
    }

    #[test]
    fn what_no_header_can_hold_is_left_out() {
        let answer =
            ChatReply {
                provider: "a\nb".into(), model: "ä".into(), body: ChatBody::Whole(Bytes::new()), client: None
            };
        let response = finish(Ok(answer), &asked());
        assert_eq!(header(&response, "x-tollfree-provider"), None);
    }
}
