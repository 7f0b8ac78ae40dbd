//! The current request: its id and its trace, from its first byte to its last, across every `await`.
//!
//! Both are part of OpenTelemetry's current context, from which spans take their parent and log lines their ids. Without
//! tracing the context still has the request's id, and the caller's trace if there is one. The SDK reads only its own context,
//! not a `tokio::task_local!`, so the future here attaches the context at each poll.

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

/// Whether this process exports traces. No span is created otherwise.
static TRACES: AtomicBool = AtomicBool::new(false);

pub(super) fn enable_traces() {
    TRACES.store(true, Ordering::Relaxed);
}

/// One request. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RequestScope {
    /// The server span; disabled where requests are not traced.
    span: Span,
    context: Context,
}

/// Makes the request the current one of this thread until it is dropped.
pub(crate) struct RequestScopeGuard<'a> {
    _span: Option<Entered<'a>>,
    _context: Option<ContextGuard>,
}

/// `x-request-id` in the context.
struct RequestId(Arc<str>);

impl RequestScope {
    /// `header` returns a request header by name, for the W3C trace context.
    pub(crate) fn new<'h>(id: Arc<str>, header: impl Fn(&str) -> Option<&'h str>) -> Self {
        let parent = match header("traceparent") {
            Some(traceparent) => {
                let headers = Headers { parent: traceparent, state: header("tracestate") };
                TraceContextPropagator::new().extract_with_context(&Context::new(), &headers)
            }
            None => Context::new(),
        };
        let context = parent.with_value(RequestId(id));
        if !TRACES.load(Ordering::Relaxed) {
            return Self { span: Span::none(), context };
        }
        let span = {
            let _parent = context.clone().attach();
            tracing::error_span!(target: TARGET, "request", otel.kind = "server")
        };
        Self { span, context }
    }

    /// A request that is never traced.
    pub(crate) fn untraced(id: Arc<str>) -> Self {
        Self { span: Span::none(), context: Context::new().with_value(RequestId(id)) }
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Entering a span also attaches its context.
    pub(crate) fn enter(&self) -> RequestScopeGuard<'_> {
        if self.span.is_disabled() {
            RequestScopeGuard { _span: None, _context: Some(self.context.clone().attach()) }
        } else {
            RequestScopeGuard { _span: Some(self.span.enter()), _context: None }
        }
    }

    /// Runs a future, and drops it, with this request as the current one.
    pub(crate) fn instrument<F: Future>(self, work: F) -> Instrumented<F> {
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

/// Trace id of the current request, 32 hex digits. Without tracing it is the caller's.
pub(crate) fn trace_id() -> Option<String> {
    Context::map_current(|current| {
        let span = current.span();
        let ids = span.span_context();
        ids.is_valid().then(|| ids.trace_id().to_string())
    })
}

/// Ids of the current request for log lines.
pub(super) struct Ids {
    pub request: Option<Arc<str>>,
    pub trace: Option<String>,
    /// A span of this process; `None` if only the caller's span is known.
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

/// Whether spans that start now are exported.
pub(crate) fn is_traced() -> bool {
    TRACES.load(Ordering::Relaxed)
        && Context::map_current(|current| current.has_active_span() && current.span().span_context().is_sampled())
}

/// The W3C trace context headers.
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
    async fn without_tracing_the_callers_trace_is_kept() {
        let followed = scope(Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        let seen = followed.instrument(async {
            tokio::task::yield_now().await;
            (trace_id(), ids().request, ids().span)
        });
        let (trace, request, span) = seen.await;
        assert_eq!((trace.as_deref(), request.as_deref(), span), (Some(TRACE), Some("r1"), None));
        assert_eq!(trace_id(), None, "the context ends with the request");
    }

    #[test]
    fn an_invalid_traceparent_is_ignored() {
        for line in ["nonsense", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", ""] {
            let scope = scope(Some(line));
            let _within = scope.enter();
            assert_eq!(trace_id(), None, "{line}");
            assert_eq!(ids().request.as_deref(), Some("r1"));
        }
    }

    /// Sends the request id that is current when it is dropped.
    struct OnDrop(std::sync::mpsc::Sender<Option<Arc<str>>>);

    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.send(ids().request).unwrap();
        }
    }

    #[tokio::test]
    async fn a_dropped_future_is_dropped_within_its_request() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let work = scope(None).instrument(async move {
            let _on_drop = OnDrop(sender);
            std::future::pending::<()>().await;
        });
        assert!(tokio::time::timeout(std::time::Duration::from_millis(5), work).await.is_err());
        assert_eq!(receiver.recv().unwrap().as_deref(), Some("r1"));
    }
}
