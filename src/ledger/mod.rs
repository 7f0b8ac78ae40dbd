//! ③⑥ The budget that all replicas share. Every decision is made by one of the scripts in `lua/`; this room builds their
//! calls and reads their replies.
//!
//! [`Ledger::admit`] reserves for one candidate out of several in one atomic step and returns a [`Lease`], which is
//! settled once, when the call has ended. The headers of `lua/*.lua` state the rules and the constants.

mod admission;
mod clients;
mod control;
mod discovery;
pub mod embedded;
mod error;
mod provider_keys;
pub mod redis;
mod reports;
mod responses;
mod script;
mod shared;

use std::sync::Arc;

pub use self::{
    admission::{
        affinity::AgentSession,
        lease::Lease,
        refusal::{ClientUsage, Refusal, RefusalReason, RefusedBy, WindowState},
        request::{Admission, AdmitRequest},
    },
    clients::{
        admin::ChangeError,
        audit::{AuditEntry, ChangedBy},
        cache::MAX_RECORD_AGE,
        lookup::AuthenticationError,
        sessions::{SESSION, SessionKey},
    },
    discovery::findings::{Allowance, Allowances, Findings},
    error::LedgerError,
    provider_keys::{
        changes::{AccountChange, NewProviderKey, ProviderKeyChange, ProviderKeyError, last_four, provider_key_id},
        master_keys::MasterKeys,
        record::{KeyState, StoredKey, StoredKeys},
    },
    reports::{
        budget, forecast,
        journal::{AttemptRecord, JournalPage, JournalRange, PassedOver, RecordId, RequestRecord, Totals},
        rollup,
    },
    responses::{NewResponse, ResponseBounds, StoredResponse},
    script::{engine, keys, scripts},
    shared::{Ledger, Rules},
};
use crate::{catalog::Current, shutdown::Tasks};

impl Ledger {
    /// Starts the background tasks: heartbeats, renewals, the snapshot of the pool and the watch on its epoch.
    pub fn start(engine: Arc<dyn engine::ScriptEngine>, rules: &Rules, catalog: Current, tasks: Tasks) -> Self {
        let ledger = Self::without_tasks(engine, rules, catalog, tasks);
        admission::sync::watch(&ledger);
        reports::snapshot::watch(&ledger);
        admission::renew::watch(&ledger);
        admission::heartbeat::watch(&ledger);
        admission::queue::watch(&ledger);
        clients::lookup::watch_uses(&ledger);
        provider_keys::watch::watch(&ledger);
        ledger
    }
}
