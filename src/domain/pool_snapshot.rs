//! A replica's copy of the shared state, up to a second old. For planning and display only: `admit` decides.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::Deserialize;

use super::{candidate::Candidate, window::Limit};

/// How a meta-model orders its candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutingStrategy {
    /// Lowest time to the first token, as measured, or from the catalogue before the first measurement.
    Fast,
    /// Highest quality rank.
    Smart,
    /// Largest share of the budget left.
    Headroom,
    /// In the order of the list of members.
    Listed,
    RoundRobin,
    Random,
}

impl RoutingStrategy {
    pub const NAMES: [(&'static str, RoutingStrategy); 6] = [
        ("fast", RoutingStrategy::Fast),
        ("smart", RoutingStrategy::Smart),
        ("headroom", RoutingStrategy::Headroom),
        ("listed", RoutingStrategy::Listed),
        ("round_robin", RoutingStrategy::RoundRobin),
        ("random", RoutingStrategy::Random),
    ];

    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, o)| *o == self).map_or("", |(n, _)| n)
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(n, _)| *n == name).map(|(_, o)| *o)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BreakerState {
    #[default]
    Closed,
    /// No calls before this instant of the ledger's clock.
    Open {
        until_ms: i64,
    },
    HalfOpen,
}

impl BreakerState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// Value of the breaker gauge: 0 closed, 1 half open, 2 open.
    pub fn as_gauge(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open { .. } => 2,
        }
    }
}

/// Usage of one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowLevel {
    pub limit: Limit,
    pub used: i64,
    /// The limit in force: as the provider reported it (`learned`), else as configured.
    pub max: i64,
    pub learned: bool,
}

/// State of one account and model.
#[derive(Debug, Clone, Default)]
pub struct SubjectSnapshot {
    pub levels: Vec<WindowLevel>,
    /// End (ms) and cause of a cooldown of the model, its account or all its keys.
    pub cooldown: Option<(i64, String)>,
    /// Average time to the first token of the provider's model.
    pub first_token_ms: Option<f64>,
}

/// State of the whole pool at one instant of the ledger's clock.
#[derive(Debug, Clone, Default)]
pub struct PoolSnapshot {
    /// 0 before the first snapshot.
    pub taken_ms: i64,
    /// Strategy of `free` that was set at run time for all replicas.
    pub strategy: Option<RoutingStrategy>,
    /// By [`Candidate::subject`].
    pub subjects: FxHashMap<Arc<str>, SubjectSnapshot>,
    /// By provider id, and by `provider/model` for a model's own breaker.
    pub breakers: FxHashMap<String, BreakerState>,
    /// Provider ids and `provider/model` names that were disabled at run time.
    pub disabled: Vec<String>,
    /// End (ms) and cause of cooldowns of provider keys, by `provider/key id`.
    pub key_cooldowns: FxHashMap<String, (i64, String)>,
}

impl PoolSnapshot {
    /// State of a candidate's account and model.
    pub fn subject(&self, candidate: &Candidate) -> Option<&SubjectSnapshot> {
        self.subjects.get(&*candidate.subject)
    }

    /// Whether a provider id, or a `provider/model` name, is not disabled at run time.
    pub fn is_name_enabled(&self, name: &str) -> bool {
        !self.disabled.iter().any(|disabled| disabled == name)
    }

    /// Whether neither the candidate's provider nor its model is disabled at run time.
    pub fn is_enabled(&self, candidate: &Candidate) -> bool {
        self.disabled.is_empty()
            || self.is_name_enabled(&candidate.provider.id) && self.is_name_enabled(&candidate.name)
    }

    /// State of a breaker by its name: a provider id, or `provider/model`. An unknown breaker is closed.
    pub fn breaker(&self, name: &str) -> BreakerState {
        self.breakers.get(name).copied().unwrap_or_default()
    }

    /// Smallest share left over all windows: 1 if unknown or without limits, 0 if full.
    pub fn headroom(&self, candidate: &Candidate) -> f64 {
        let Some(subject) = self.subject(candidate) else { return 1.0 };
        subject
            .levels
            .iter()
            .map(|l| if l.max <= 0 { 0.0 } else { (l.max - l.used).max(0) as f64 / l.max as f64 })
            .fold(1.0, f64::min)
    }
}
