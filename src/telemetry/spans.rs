//! Spans as the other rooms make them: `tracing` spans of one target, which only the trace exporter sees.
//!
//! They are of level ERROR, so that no `LOG_LEVEL` switches them off, and are not made at all where the request is not
//! traced: then a span costs one look at a thread's current context, and its attributes are never put together.

use opentelemetry::{Array, StringValue, Value, trace::Status, trace::TraceContextExt};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of every span that is exported; the log is made to ignore it.
pub const TARGET: &str = "tollfree::trace";

/// A span below the current one: `span!("plan", tollfree.model.asked = %name)`.
macro_rules! span {
    ($($what:tt)*) => {
        if $crate::telemetry::is_traced() {
            ::tracing::error_span!(target: $crate::telemetry::TARGET, $($what)*)
        } else {
            ::tracing::Span::none()
        }
    };
}
pub(crate) use span;

/// What becomes known of a span after it began.
pub trait SpanExt {
    fn set(&self, key: &'static str, value: impl Into<Value>);
    fn set_list(&self, key: &'static str, values: &[String]);
    fn set_name(&self, name: String);
    /// It failed: `error.type` and the span's status. The words are ours, never a provider's or a caller's.
    fn set_error(&self, kind: &str);
    /// It ends now, however long its handle is kept.
    fn set_end(&self);
}

impl SpanExt for Span {
    fn set(&self, key: &'static str, value: impl Into<Value>) {
        if !self.is_disabled() {
            self.set_attribute(key, value);
        }
    }

    fn set_list(&self, key: &'static str, values: &[String]) {
        if !self.is_disabled() {
            let values: Vec<StringValue> = values.iter().cloned().map(StringValue::from).collect();
            self.set_attribute(key, Value::Array(Array::String(values)));
        }
    }

    fn set_name(&self, name: String) {
        if !self.is_disabled() {
            self.context().span().update_name(name);
        }
    }

    fn set_error(&self, kind: &str) {
        if !self.is_disabled() {
            self.set_attribute("error.type", kind.to_owned());
            self.set_status(Status::error(kind.to_owned()));
        }
    }

    fn set_end(&self) {
        self.in_scope(|| {});
    }
}
