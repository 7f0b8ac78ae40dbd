//! How much of an account's allowance is used, as its provider tells.

use std::{collections::BTreeMap, sync::Arc};

use crate::ledger::{
    error::LedgerError,
    script::{encode, engine::ScriptCall, scripts::Script},
    shared::Ledger,
};

/// What a provider has told, by `provider/account`.
pub type Allowances = BTreeMap<String, Allowance>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Millionths of the allowance that are used.
    pub used_ppm: i64,
    /// By the ledger's clock.
    pub at_ms: i64,
}

impl Allowance {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (used, at) = text.split_once(' ')?;
        Some(Self { used_ppm: used.parse().ok()?, at_ms: at.parse().ok()? })
    }
}

impl Ledger {
    /// The allowances as last read.
    pub fn allowances(&self) -> Arc<Allowances> {
        self.shared.allowances.load_full()
    }

    /// Whether this replica may ask for an account's allowance for all, for `ms` from now on.
    pub async fn claim_allowance(&self, account: &str, ms: i64) -> Result<bool, LedgerError> {
        self.shared.claim(&format!("allowance:{account}"), ms).await
    }

    /// Shares what a provider has told with all replicas, which read it within a minute.
    pub async fn write_allowance(
        &self,
        account: &str,
        Allowance { used_ppm, at_ms }: Allowance,
    ) -> Result<(), LedgerError> {
        let names = &self.shared.keys;
        let [queue, ..] = names.queue();
        let call = ScriptCall {
            script: Script::FindingsWrite,
            keys: vec![names.meta(), names.provider_keys(), names.allowances(), queue],
            args: vec![encode::text(account), encode::text(&format!("{used_ppm} {at_ms}")), encode::number(0)],
        };
        self.shared.run(&call).await?;
        self.read_findings().await.map(drop)
    }
}
