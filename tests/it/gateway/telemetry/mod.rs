//! Traces, metrics and log records, as a collector receives them and `/metrics` shows them.

mod logs;
mod metrics;
mod outage;
mod settings;
mod traces;
