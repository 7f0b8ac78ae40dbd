//! Measurements whose labels are always the same: put together once, not at every recording.

use std::sync::OnceLock;

use opentelemetry::{
    KeyValue,
    metrics::{BoundHistogram, Histogram},
};

/// Bound to its labels at its first recording: what was never recorded is not told.
#[derive(Debug)]
pub struct Bound<T>(OnceLock<BoundHistogram<T>>);

impl<T> Default for Bound<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> Bound<T> {
    pub fn record<L: AsRef<[KeyValue]>>(&self, at: &Histogram<T>, labels: impl FnOnce() -> L, value: T) {
        self.0.get_or_init(|| at.bind(labels().as_ref())).record(value);
    }
}
