//! What an operator changes at run time: small calls beside the way of a request.

use bytes::Bytes;

use serde_json::{Map, Value};

use crate::domain::RoutingStrategy;
use crate::ledger::{
    clients::audit::{Action, ChangedBy, Note},
    error::LedgerError,
    script::{engine::ScriptCall, scripts::Script},
    shared::Ledger,
};

impl Ledger {
    async fn control(&self, what: &'static str, subject: &str, note: Note<'_>) -> Result<(), LedgerError> {
        let shared = &self.shared;
        let mut args = vec![Bytes::from_static(what.as_bytes()), Bytes::copy_from_slice(subject.as_bytes())];
        args.extend(note.words());
        let mut keys = vec![shared.keys.meta(), shared.keys.health(), shared.keys.audit()];
        keys.extend(shared.keys.waiting_room());
        shared.run(&ScriptCall { script: Script::Control, keys, args }).await?;
        self.refresh_snapshot().await
    }

    /// Sets the order of `free` for all replicas.
    pub async fn set_strategy(&self, order: RoutingStrategy, by: &ChangedBy) -> Result<(), LedgerError> {
        let after = Map::from_iter([("strategy".to_owned(), Value::from(order.as_str()))]);
        let note = Note { by, action: Action::RoutingSet, subject: "free", before: Map::new(), after };
        self.control("order", order.as_str(), note).await
    }

    /// Closes every breaker of a provider, lifts its cool-downs and forgets what it said of its limits.
    pub async fn reset_provider(&self, provider: &str, by: &ChangedBy) -> Result<(), LedgerError> {
        let (before, after) = (Map::new(), Map::new());
        self.control("reset", provider, Note { by, action: Action::ProviderReset, subject: provider, before, after })
            .await
    }

    /// Switches a provider (`groq`) or a model (`groq/openai/gpt-oss-120b`) on or off for all replicas' next admission.
    pub async fn set_enabled(&self, subject: &str, on: bool, by: &ChangedBy) -> Result<(), LedgerError> {
        let action = if subject.contains('/') { Action::ModelSwitch } else { Action::ProviderSwitch };
        let after = Map::from_iter([("enabled".to_owned(), Value::from(on))]);
        let note = Note { by, action, subject, before: Map::new(), after };
        self.control(if on { "on" } else { "off" }, subject, note).await
    }
}
