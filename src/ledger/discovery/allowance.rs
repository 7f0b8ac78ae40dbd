//! How much of an account's allowance is used, as its provider reports.

use std::sync::Arc;

use super::findings::{Allowance, Allowances};
use crate::ledger::{
    error::LedgerError,
    script::{encode, engine::ScriptCall, scripts::Script},
    shared::Ledger,
};

impl Ledger {
    /// The allowances as last read.
    pub fn allowances(&self) -> Arc<Allowances> {
        self.shared.allowances.load_full()
    }

    /// Whether this replica may request an account's allowance for all, for `ms` from now on.
    pub async fn claim_allowance(&self, account: &str, ms: i64) -> Result<bool, LedgerError> {
        self.shared.claim(&format!("allowance:{account}"), ms).await
    }

    /// Shares the allowance that a provider has reported with all replicas, which read it within a minute.
    pub async fn write_allowance(&self, account: &str, allowance: Allowance) -> Result<(), LedgerError> {
        let names = &self.shared.keys;
        let [queue, ..] = names.queue();
        let call = ScriptCall {
            script: Script::FindingsWrite,
            keys: vec![names.meta(), names.provider_keys(), names.allowances(), queue],
            args: vec![encode::text(account), encode::text(&allowance.encode()), encode::number(0)],
        };
        self.shared.run(&call).await?;
        self.read_findings().await.map(drop)
    }
}
