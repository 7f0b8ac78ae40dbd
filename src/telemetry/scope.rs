//! Which request is being worked on: its id and its trace, from its first byte to its last, through every `await`.
//!
//! Kept in OpenTelemetry's current context, where spans find their parent and log lines their ids. Where nothing is
//! traced that context still holds the request's id, and the caller's trace if it came with one: two words to swap for
//! each poll.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{self, Poll},
};

use opentelemetry::{
    Context, ContextGuard,
    propagation::{Extractor, TextMapPropagator},
    trace::TraceContextExt,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use pin_project_lite::pin_project;
use tracing::{Span, span::Entered};

use super::spans::TARGET;

/// Whether this process exports traces: until it does no span is made.
static TRACES: AtomicBool = AtomicBool::new(false);

pub(super) fn trace_from_now_on() {
    TRACES.store(true, Ordering::Relaxed);
}

/// One request. Cheap to clone.
#[derive(Clone)]
pub struct RequestScope {
    /// The server's span; none where requests are not traced.
    span: Span,
    context: Context,
}

/// While it lives, the request is the current one of this thread.
pub struct RequestScopeGuard<'a> {
    _span: Option<Entered<'a>>,
    _context: Option<ContextGuard>,
}

/// `x-request-id`, as it rides in the context.
struct RequestId(Arc<str>);

impl RequestScope {
    /// `header`: the request's headers by name, for the W3C trace context.
    pub fn new<'h>(id: Arc<str>, header: impl Fn(&str) -> Option<&'h str>) -> Self {
        let came_with = match header("traceparent") {
            Some(parent) => {
                let headers = Headers { parent, state: header("tracestate") };
                TraceContextPropagator::new().extract_with_context(&Context::new(), &headers)
            }
            None => Context::new(),
        };
        let context = came_with.with_value(RequestId(id));
        if !TRACES.load(Ordering::Relaxed) {
            return Self { span: Span::none(), context };
        }
        let span = {
            let _parent = context.clone().attach();
            tracing::error_span!(target: TARGET, "request", otel.kind = "server")
        };
        Self { span, context }
    }

    /// One that is not worth a trace.
    pub fn untraced(id: Arc<str>) -> Self {
        Self { span: Span::none(), context: Context::new().with_value(RequestId(id)) }
    }

    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Entering the span brings the context with it, where there is a span.
    pub fn enter(&self) -> RequestScopeGuard<'_> {
        if self.span.is_disabled() {
            RequestScopeGuard { _span: None, _context: Some(self.context.clone().attach()) }
        } else {
            RequestScopeGuard { _span: Some(self.span.enter()), _context: None }
        }
    }

    /// Everything that `work` does, its end included, is of this request.
    pub fn instrument<F: Future>(self, work: F) -> Instrumented<F> {
        Instrumented { work: Some(work), scope: self }
    }
}

pin_project! {
    pub struct Instrumented<F> {
        #[pin]
        work: Option<F>,
        scope: RequestScope,
    }

    impl<F> PinnedDrop for Instrumented<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _within = this.scope.enter();
            this.work.set(None);
        }
    }
}

impl<F: Future> Future for Instrumented<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _within = this.scope.enter();
        match this.work.as_pin_mut() {
            Some(work) => work.poll(context),
            None => Poll::Pending,
        }
    }
}

/// The trace of the request that is being worked on: 32 hex digits. Its caller's where we do not trace ourselves.
pub fn trace_id() -> Option<String> {
    Context::map_current(|current| {
        let span = current.span();
        let ids = span.span_context();
        ids.is_valid().then(|| ids.trace_id().to_string())
    })
}

/// What a log line says of its request.
pub(super) struct Ids {
    pub request: Option<Arc<str>>,
    pub trace: Option<String>,
    /// Ours: the caller's own span is not where a line was written.
    pub span: Option<String>,
}

pub(super) fn ids() -> Ids {
    Context::map_current(|current| {
        let span = current.span();
        let ids = span.span_context();
        Ids {
            request: current.get::<RequestId>().map(|id| id.0.clone()),
            trace: ids.is_valid().then(|| ids.trace_id().to_string()),
            span: (ids.is_valid() && !ids.is_remote()).then(|| ids.span_id().to_string()),
        }
    })
}

/// Whether somebody will look at spans made here and now.
pub fn is_traced() -> bool {
    TRACES.load(Ordering::Relaxed)
        && Context::map_current(|current| current.has_active_span() && current.span().span_context().is_sampled())
}

/// The W3C headers.
struct Headers<'h> {
    parent: &'h str,
    state: Option<&'h str>,
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(self.parent),
            "tracestate" => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn scope(traceparent: Option<&'static str>) -> RequestScope {
        RequestScope::new("r1".into(), move |name| traceparent.filter(|_| name == "traceparent"))
    }

    #[tokio::test]
    async fn the_callers_trace_is_followed_where_nothing_is_traced() {
        let followed = scope(Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        let seen = followed.instrument(async {
            tokio::task::yield_now().await;
            (trace_id(), ids().request, ids().span)
        });
        let (trace, request, span) = seen.await;
        assert_eq!((trace.as_deref(), request.as_deref(), span), (Some(TRACE), Some("r1"), None));
        assert_eq!(trace_id(), None, "it ends with the request");
    }

    #[test]
    fn a_traceparent_that_is_none_is_ignored() {
        for line in ["nonsense", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", ""] {
            let scope = scope(Some(line));
            let _within = scope.enter();
            assert_eq!(trace_id(), None, "{line}");
            assert_eq!(ids().request.as_deref(), Some("r1"));
        }
    }

    /// Seen by what is dropped inside.
    struct Leaving(std::sync::mpsc::Sender<Option<Arc<str>>>);

    impl Drop for Leaving {
        fn drop(&mut self) {
            self.0.send(ids().request).unwrap();
        }
    }

    #[tokio::test]
    async fn work_that_is_dropped_is_dropped_as_the_requests_own() {
        let (tell, told) = std::sync::mpsc::channel();
        let work = scope(None).instrument(async move {
            let _leaving = Leaving(tell);
            std::future::pending::<()>().await;
        });
        assert!(tokio::time::timeout(std::time::Duration::from_millis(5), work).await.is_err());
        assert_eq!(told.recv().unwrap().as_deref(), Some("r1"));
    }
}
