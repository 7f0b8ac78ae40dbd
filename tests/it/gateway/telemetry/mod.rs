//! Traces, metrics and log lines, seen from what a collector received and from `/metrics`.

mod logs;
mod metrics;
mod outage;
mod settings;
mod traces;
