//! The authenticated caller.

use std::sync::Arc;

use super::{Candidate, key::KeyDigest, model_pattern, window::Limit};

/// The caller of one request, with everything that admission needs.
#[derive(Debug, Clone)]
pub struct Client {
    /// Id for quotas, shares and the journal: `anon:203.0.113.7`, `shared:2f6d…` (digest of the shared key), `admin`, or the
    /// id of a client record.
    pub id: Arc<str>,
    pub kind: ClientKind,
    /// The name in the journal where it differs from the id: the address of a caller whose network has the id.
    pub recorded_as: Option<Arc<str>>,
    /// The client's own limits, such as `(rpm, 10)`, checked in the same admission as the providers'. Windows are sliding;
    /// `concurrency` has slots.
    pub limits: Arc<[(Limit, i64)]>,
    /// Version of the client's record, or 0 without one. Admission compares it, so that a revoked or changed record takes
    /// effect with the next request.
    pub version: i64,
    /// Weight of the client's share of a contended window; at least 1.
    pub weight: i64,
    /// Patterns for `provider/model` and meta-models; empty: all.
    pub models: Arc<[String]>,
    /// Default time in the wait queue. `None`: `queue.max_wait_ms`.
    pub wait_ms: Option<i64>,
    /// Whether `service_tier: "priority"` is allowed.
    pub may_priority: bool,
    /// Whether the client's record allows what costs money at a provider. An admin may use it, too.
    pub may_cost_money: bool,
    /// Digest of the presented client key, to read a changed record again.
    pub shown: Option<KeyDigest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    Anonymous,
    /// The one `TOLLFREE_API_KEY`.
    Shared,
    Admin,
    /// A client with a record, created at run time or listed in the clients file.
    Registered,
}

impl Client {
    /// A client of weight 1 that may use all models and has no record.
    pub fn new(id: impl Into<Arc<str>>, kind: ClientKind, limits: impl Into<Arc<[(Limit, i64)]>>) -> Self {
        Self {
            id: id.into(),
            kind,
            recorded_as: None,
            limits: limits.into(),
            version: 0,
            weight: 1,
            models: Arc::new([]),
            wait_ms: None,
            may_priority: false,
            may_cost_money: kind == ClientKind::Admin,
            shown: None,
        }
    }

    /// Whether both have the same limits and permissions.
    pub fn has_settings_of(&self, other: &Self) -> bool {
        let settings =
            |c: &Self| (c.limits.clone(), c.weight, c.models.clone(), c.wait_ms, c.may_priority, c.may_cost_money);
        settings(self) == settings(other)
    }

    /// Its name in the journal and in reports.
    pub fn recorded_name(&self) -> &Arc<str> {
        self.recorded_as.as_ref().unwrap_or(&self.id)
    }

    /// Whether a name matches the client's list of models.
    pub fn allows(&self, name: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| model_pattern::matches(pattern, name))
    }

    /// Whether the client may use a model, by `provider/model` or by the model's id. A pattern with `/` and `*` is always of
    /// `provider/model`: ids of models at other providers begin with the name of a vendor, which can be that of a provider. A
    /// meta-model that is not allowed itself routes only to its allowed members.
    pub fn may_use(&self, candidate: &Candidate) -> bool {
        let is_of_provider = |pattern: &str| pattern.contains('/') && pattern.contains('*');
        self.allows(&candidate.name)
            || self
                .models
                .iter()
                .any(|pattern| !is_of_provider(pattern) && model_pattern::matches(pattern, &candidate.model.id))
    }
}
