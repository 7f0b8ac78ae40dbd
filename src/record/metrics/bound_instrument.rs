//! Histograms bound to constant labels, which are built once instead of at every recording.

use std::sync::OnceLock;

use opentelemetry::{
    KeyValue,
    metrics::{BoundHistogram, Histogram},
};

/// Binds at its first recording, so that series without recordings are not exported.
#[derive(Debug)]
pub(super) struct Bound<T>(OnceLock<BoundHistogram<T>>);

impl<T> Default for Bound<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> Bound<T> {
    pub(super) fn record<L: AsRef<[KeyValue]>>(&self, at: &Histogram<T>, labels: impl FnOnce() -> L, value: T) {
        self.0.get_or_init(|| at.bind(labels().as_ref())).record(value);
    }
}
