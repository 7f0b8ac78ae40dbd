//! Who asks.

use std::sync::Arc;

use super::{Candidate, key::KeyDigest, model_pattern, window::Limit};

/// The caller of one request, as the admission must know it.
#[derive(Debug, Clone)]
pub struct Client {
    /// What quotas, shares and the journal count by: `anon:203.0.113.7`, `shared:2f6d…` (digest of the shared key), `admin`,
    /// a member's own id.
    pub id: Arc<str>,
    pub kind: ClientKind,
    /// Its own limits, checked in the same admission as the providers' (kind sliding; slots for `concurrency`): `(rpm, 10)`.
    pub limits: Arc<[(Limit, i64)]>,
    /// Of a member's record, as it stood when its key was read; 0 where the ledger holds no record of this client. The
    /// admission compares: a revoked or changed record is noticed by the very next one.
    pub version: i64,
    /// Its part of a contended window against others'; at least 1.
    pub weight: i64,
    /// Globs over `provider/model` and meta-models; empty: everything.
    pub models: Arc<[String]>,
    /// How long its requests wait for a slot where they do not say, ms; `None`: as long as `queue.max_wait_ms`.
    pub wait_ms: Option<i64>,
    /// It may ask for `service_tier: "priority"`.
    pub may_priority: bool,
    /// The member's key that was shown, for looking again once its record has changed.
    pub shown: Option<KeyDigest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    Anonymous,
    /// The one `TOLLFREE_API_KEY`.
    Shared,
    Admin,
    /// A key of its own, made at run time or listed in a file of hashes.
    Registered,
}

impl Client {
    /// Of weight 1, with every model, and no record in the ledger.
    pub fn new(id: impl Into<Arc<str>>, kind: ClientKind, limits: impl Into<Arc<[(Limit, i64)]>>) -> Self {
        Self {
            id: id.into(),
            kind,
            limits: limits.into(),
            version: 0,
            weight: 1,
            models: Arc::new([]),
            wait_ms: None,
            may_priority: false,
            shown: None,
        }
    }

    /// Whether both were allowed the same, on the same terms.
    pub fn has_terms_of(&self, other: &Self) -> bool {
        let terms = |c: &Self| (c.limits.clone(), c.weight, c.models.clone(), c.wait_ms, c.may_priority);
        terms(self) == terms(other)
    }

    /// Whether a name is on the list of what it may ask for.
    pub fn allows(&self, name: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| model_pattern::matches(pattern, name))
    }

    /// Whether it may use a model, by `provider/model` or by the model's own id. A meta-model whose name is not on its list
    /// stands for those of its members that it may use.
    pub fn may_use(&self, candidate: &Candidate) -> bool {
        self.allows(&candidate.name) || self.allows(&candidate.model.id)
    }
}
