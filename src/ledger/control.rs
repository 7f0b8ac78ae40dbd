//! What an operator changes at run time: small calls beside the way of a request.

use bytes::Bytes;

use super::{Ledger, admission::LedgerError, host::ScriptCall, scripts::Script};
use crate::domain::Order;

impl Ledger {
    async fn control(&self, what: &'static str, subject: &str) -> Result<(), LedgerError> {
        let shared = &self.shared;
        let call = ScriptCall {
            script: Script::Control,
            keys: [shared.keys.meta(), shared.keys.health()].into_iter().chain(shared.keys.waiting_room()).collect(),
            args: vec![Bytes::from_static(what.as_bytes()), Bytes::copy_from_slice(subject.as_bytes())],
        };
        shared.run(&call).await?;
        self.look().await
    }

    /// Sets the order of `free` for all replicas.
    pub async fn set_order(&self, order: Order) -> Result<(), LedgerError> {
        self.control("order", order.as_str()).await
    }

    /// Closes every breaker of a provider, lifts its cool-downs and forgets what it said of its limits.
    pub async fn reset_provider(&self, provider: &str) -> Result<(), LedgerError> {
        self.control("reset", provider).await
    }

    /// Switches a provider (`groq`) or a model (`groq/openai/gpt-oss-120b`) on or off for all replicas' next admission.
    pub async fn switch(&self, subject: &str, on: bool) -> Result<(), LedgerError> {
        self.control(if on { "on" } else { "off" }, subject).await
    }
}
