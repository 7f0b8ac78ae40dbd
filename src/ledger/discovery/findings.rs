//! The findings of the pool.

use std::collections::BTreeMap;

use crate::domain::ModelFindings;

/// What was found in the lists of models, by provider.
pub type Findings = BTreeMap<String, ModelFindings>;

/// Allowances that providers have reported, by `provider/account`.
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
