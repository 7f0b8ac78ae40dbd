//! Who asks.

use std::sync::Arc;

use super::window::Limit;

/// The caller of one request. Member keys made at run time will stand here too, as `Member`.
#[derive(Debug, Clone)]
pub struct Client {
    /// What quotas and the journal count by: `anon:203.0.113.7`, `shared:2f6d…` (digest of the shared key), `admin`.
    pub id: Arc<str>,
    pub kind: ClientKind,
    /// Its own limits, checked in the same admission as the providers' (kind sliding): `(rpm, 10)`.
    pub limits: Arc<[(Limit, i64)]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    Anonymous,
    /// The one `TOLLFREE_API_KEY`.
    Shared,
    Admin,
}
