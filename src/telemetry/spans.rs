//! Spans for export: `tracing` spans with a target of their own, which only the trace exporter reads.
//!
//! Their level is ERROR, so that `LOG_LEVEL` does not disable them. Where the request is not traced, no span is created: the
//! macro then costs one lookup of the current context, and its attributes are not evaluated.

use opentelemetry::{Array, StringValue, Value, trace::Status, trace::TraceContextExt};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Target of all exported spans; the log filters it out.
pub(crate) const TARGET: &str = "tollfree::trace";

/// A span below the current one: `span!("plan", tollfree.client = %id)`.
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

/// Attributes and status that are set after a span has started. All do nothing on a disabled span.
pub(crate) trait SpanExt {
    fn set(&self, key: &'static str, value: impl Into<Value>);
    fn set_list(&self, key: &'static str, values: &[String]);
    fn set_name(&self, name: String);
    /// Sets `error.type` and the span's status. `kind` comes from a closed set, never from a provider or a caller.
    fn set_error(&self, kind: &str);
    /// Sets the end to now, even if the handle lives longer.
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
