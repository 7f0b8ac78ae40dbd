//! The findings of the pool.

use std::collections::BTreeMap;

use crate::domain::ModelFindings;

/// What was found in the lists of models, by provider.
pub type Findings = BTreeMap<String, ModelFindings>;

/// Allowances that providers have reported, by `provider/account`.
pub type Allowances = BTreeMap<String, Allowance>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Millionths of the allowance that are used. `None`: the provider has not reported them yet.
    pub used_ppm: Option<i64>,
    /// By the ledger's clock.
    pub at_ms: i64,
}

/// What stands in the store in place of the millionths.
const UNKNOWN: &str = "unknown";

impl Allowance {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (used, at) = text.split_once(' ')?;
        let used_ppm = if used == UNKNOWN { None } else { Some(used.parse().ok()?) };
        Some(Self { used_ppm, at_ms: at.parse().ok()? })
    }

    pub(super) fn encode(self) -> String {
        let used = self.used_ppm.map_or_else(|| UNKNOWN.to_owned(), |used| used.to_string());
        format!("{used} {}", self.at_ms)
    }
}
