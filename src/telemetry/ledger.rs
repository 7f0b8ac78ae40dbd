//! Spans and metrics of ledger calls and of the wait queue.

use std::{
    sync::{
        LazyLock, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use opentelemetry::{
    KeyValue, global,
    metrics::{BoundHistogram, Counter, Histogram},
};
use tokio::time::Instant;
use tracing::Span;

use super::spans::{SpanExt, span};

/// From a script in this process (30 µs) to a Redis that does not answer (1 s).
const ADMIT: [f64; 12] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];
/// From a slow reply (100 ms) to a dead connection (1 s).
const STALL: [f64; 8] = [0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0];
const WAIT: [f64; 12] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0];

/// The most frequent outcome.
const GRANTED: &str = "granted";

static WAITING: AtomicI64 = AtomicI64::new(0);
static DATABASE: OnceLock<Database> = OnceLock::new();

/// The database that runs the ledger's scripts.
#[derive(Debug)]
pub(crate) struct Database {
    /// `redis`, or `embedded`.
    pub system: &'static str,
    /// Host and port, where there is a single server.
    pub server: Option<(String, u16)>,
}

/// Sets the database of the ledger's spans. Only the first call has an effect.
pub(crate) fn set_database(database: Database) {
    // Only tests open a second ledger in one process.
    let _ = DATABASE.set(database);
}

/// A database client span for one call of a ledger script, named after the script.
pub(crate) fn script(name: &'static str) -> Span {
    let span = span!(
        "script",
        otel.name = name,
        otel.kind = "client",
        db.operation.name = "EVALSHA",
        db.stored_procedure.name = name,
        db.query.summary = name,
    );
    if !span.is_disabled()
        && let Some(database) = DATABASE.get()
    {
        span.set("db.system.name", database.system);
        if let Some((host, port)) = &database.server {
            span.set("server.address", host.clone());
            span.set("server.port", i64::from(*port));
        }
    }
    span
}

/// Span and duration of one admission.
#[derive(Debug)]
pub(crate) struct AdmitSpan {
    span: Span,
    began: Instant,
}

impl AdmitSpan {
    pub(crate) fn begin() -> Self {
        Self::begin_at(Instant::now())
    }

    /// For an admission that began before.
    pub(crate) fn begin_at(began: Instant) -> Self {
        Self { span: script("admit"), began }
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// `outcome` comes from a closed set: `granted`, `refused`, `waits`, `unreachable`, `failed`.
    pub(crate) fn finish(self, outcome: &'static str) {
        self.span.set("tollfree.outcome", outcome);
        let (times, took) = (times(), self.began.elapsed().as_secs_f64());
        let labels = [KeyValue::new("outcome", outcome)];
        match outcome {
            // Bound once, because this is the common case.
            GRANTED => times.granted.get_or_init(|| times.admit.bind(&labels)).record(took),
            _ => times.admit.record(took, &labels),
        }
    }
}

/// Span and duration of one wait in the queue. It ends on drop; without a result the caller has disconnected.
#[derive(Debug)]
pub(crate) struct QueueWait {
    span: Span,
    began: Instant,
    outcome: &'static str,
}

impl QueueWait {
    pub(crate) fn begin() -> Self {
        WAITING.fetch_add(1, Ordering::Relaxed);
        Self { span: span!("wait"), began: Instant::now(), outcome: "left" }
    }

    pub(crate) fn finish(&mut self, has_room: bool) {
        self.outcome = if has_room { "granted" } else { "refused" };
    }
}

impl Drop for QueueWait {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        self.span.set("tollfree.outcome", self.outcome);
        self.span.set_end();
        times().wait.record(self.began.elapsed().as_secs_f64(), &[KeyValue::new("outcome", self.outcome)]);
    }
}

/// Records a time in which Redis did not answer although the connection was alive.
pub(crate) fn ledger_stalled(time: Duration) {
    times().stall.record(time.as_secs_f64(), &[]);
}

/// Counts a settlement or cancellation that was dropped in a long outage. Its charge stays as it was.
pub(crate) fn ledger_write_dropped() {
    times().dropped_writes.add(1, &[]);
}

/// Requests of this replica in the wait queue.
pub(crate) fn queue_length() -> i64 {
    WAITING.load(Ordering::Relaxed)
}

struct Times {
    admit: Histogram<f64>,
    granted: OnceLock<BoundHistogram<f64>>,
    wait: Histogram<f64>,
    stall: Histogram<f64>,
    dropped_writes: Counter<u64>,
}

/// Created at the first use, by which time the process has set its meter provider.
fn times() -> &'static Times {
    static TIMES: LazyLock<Times> = LazyLock::new(|| {
        let meter = global::meter("tollfree");
        let seconds = |name, what, buckets: &[f64]| {
            meter.f64_histogram(name).with_unit("s").with_description(what).with_boundaries(buckets.to_vec()).build()
        };
        Times {
            admit: seconds("tollfree.admit", "Duration of an admission.", &ADMIT),
            granted: OnceLock::new(),
            wait: seconds("tollfree.wait", "Time of requests in the wait queue.", &WAIT),
            stall: seconds("tollfree.ledger.stall", "Times in which the ledger was slow to answer.", &STALL),
            dropped_writes: meter
                .u64_counter("tollfree.ledger.dropped_writes")
                .with_description("Settlements that were dropped in a long outage of the ledger.")
                .build(),
        }
    });
    &TIMES
}
