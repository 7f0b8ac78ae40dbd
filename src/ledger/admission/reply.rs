//! One admission: what is asked, and what can come back.

use std::sync::{Arc, atomic::AtomicU64};

use crate::domain::{Choice, Client, Tier};

use crate::ledger::admission::lease::Lease;

/// One request's question: may it go now, and where?
#[derive(Debug, Clone, Copy)]
pub struct AdmitRequest<'a> {
    pub client: &'a Client,
    /// In order; the first that has room is taken.
    pub choices: &'a [Choice],
    /// How long the caller would wait in line for room, ms; 0: not at all.
    pub wait_ms: i64,
    pub tier: Tier,
    /// Where the time it stands in line is added up, µs; also where the caller leaves the line.
    pub waited_us: &'a AtomicU64,
}

#[derive(Debug)]
pub enum Admission {
    Granted(Lease),
    Refused(Refusal),
    /// The client's record is gone, closed, or another one by now: read it again. Nothing was charged.
    ClientChanged,
}

/// Nothing was charged. The same request would be admitted in `retry_ms`, were nobody else to come.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub by: RefusedBy,
    pub retry_ms: i64,
    /// False where a slot, a probe or an unsettled charge decides: then `retry_ms` is an estimate.
    pub exact: bool,
    pub lines: Vec<RefusalReason>,
    pub client: Option<ClientUsage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedBy {
    /// The caller's own quota.
    Client,
    /// Every candidate's windows, breakers or cool-downs.
    Budget,
}

/// Why one candidate (or the client) was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalReason {
    /// `groq/openai/gpt-oss-120b`; the client's id where the client's quota refused.
    pub candidate: Arc<str>,
    /// A limit's name, or `breaker`, `probe`, `shut: CAUSE`, `off`.
    pub why: String,
    /// The limit in force, where a limit refused.
    pub max: Option<i64>,
    pub retry_in_ms: i64,
}

/// A client's tightest windows after this admission: of requests, and of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientUsage {
    pub requests: Option<WindowState>,
    pub tokens: Option<WindowState>,
}

/// One window of a client's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowState {
    pub limit: i64,
    pub remaining: i64,
    /// Until all of it is free again, at the latest.
    pub reset_ms: i64,
}
