//! What operators change at run time: the routing strategy, breakers, and which providers and models are enabled.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    clients::audit::{Action, AuditNote, ChangedBy},
    error::LedgerError,
    script::{encode, engine::ScriptCall, scripts::Script},
    shared::Ledger,
};
use crate::domain::{Limit, RoutingStrategy};

impl Ledger {
    async fn control(&self, operation: &str, subject: &str, note: AuditNote<'_>) -> Result<(), LedgerError> {
        let shared = &self.shared;
        let mut args = vec![encode::text(operation), encode::text(subject)];
        args.extend(note.encode());
        let mut keys = vec![shared.keys.meta(), shared.keys.health(), shared.keys.audit()];
        keys.extend(shared.keys.queue());
        shared.run(&ScriptCall { script: Script::Control, keys, args }).await?;
        self.refresh_snapshot().await
    }

    /// Sets the strategy of `free` for all replicas.
    pub async fn set_strategy(&self, strategy: RoutingStrategy, by: &ChangedBy) -> Result<(), LedgerError> {
        let after = Map::from_iter([("strategy".to_owned(), Value::from(strategy.as_str()))]);
        let note = AuditNote { after, ..AuditNote::new(by, Action::RoutingSet, "free") };
        self.control("order", strategy.as_str(), note).await
    }

    /// Closes every breaker of a provider, ends its cooldowns and removes the limits learned from its responses.
    pub async fn reset_provider(&self, provider: &str, by: &ChangedBy) -> Result<(), LedgerError> {
        self.control("reset", provider, AuditNote::new(by, Action::ProviderReset, provider)).await
    }

    /// Forgets a limit that was learned from a provider. `model`: `None` for one over all models of the account.
    pub async fn forget_limit(
        &self,
        provider: &str,
        account: &str,
        model: Option<&str>,
        limit: Limit,
        by: &ChangedBy,
    ) -> Result<(), LedgerError> {
        let (field, name) = match model {
            Some(model) => (format!("m:{provider}/{account}/{model}"), limit.to_string()),
            None => (format!("a:{provider}/{account}"), limit.as_str().to_uppercase()),
        };
        let subject = format!("{} {limit}", &field[2..]);
        self.control("forget", &format!("{field} {name}"), AuditNote::new(by, Action::LimitForget, &subject)).await
    }

    /// Notes the configuration of each provider, as a digest of its address, keys and models. Where it differs from the one
    /// noted before, by any replica, the provider's breakers are closed and its cooldowns end. Returns these providers.
    pub(crate) async fn note_providers(&self, digests: &[(Arc<str>, String)]) -> Result<Vec<String>, LedgerError> {
        let shared = &self.shared;
        let mut keys = vec![shared.keys.meta(), shared.keys.health()];
        keys.extend(shared.keys.queue());
        let words = digests.iter().flat_map(|(provider, digest)| [&**provider, digest.as_str()]);
        let args = words.map(encode::text).collect();
        let reply = shared.run(&ScriptCall { script: Script::ProviderChange, keys, args }).await?;
        let changed: Vec<String> =
            reply.as_str().unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
        if !changed.is_empty() {
            // The snapshot of the next second shows it too.
            let _ = self.refresh_snapshot().await;
        }
        Ok(changed)
    }

    /// Enables or disables a provider (`groq`) or a model (`groq/openai/gpt-oss-120b`) for all replicas.
    pub async fn set_enabled(&self, subject: &str, enabled: bool, by: &ChangedBy) -> Result<(), LedgerError> {
        let action = if subject.contains('/') { Action::ModelSwitch } else { Action::ProviderSwitch };
        let after = Map::from_iter([("enabled".to_owned(), Value::from(enabled))]);
        let note = AuditNote { after, ..AuditNote::new(by, action, subject) };
        self.control(if enabled { "on" } else { "off" }, subject, note).await
    }
}
