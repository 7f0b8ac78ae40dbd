//! Schemas of client settings as requests contain them. The gateway parses them field by field, so that an error names the
//! path of its field.

use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientChange {
    /// The person or program the key is for
    #[schema(min_length = 1, max_length = 80, nullable = false)]
    name: Option<String>,
    limits: Option<ClientLimits>,
    /// The client's share of a contended limit relative to other clients
    #[schema(minimum = 1, maximum = 1000, nullable = false)]
    weight: Option<i64>,
    /// Globs over `provider/model` and meta-models. Empty: all models
    #[schema(max_items = 100, nullable = false)]
    models: Option<Vec<String>>,
    /// Whether requests may use `service_tier: "priority"`
    #[schema(nullable = false)]
    priority: Option<bool>,
    /// Whether requests may use what costs money at a provider
    #[schema(nullable = false)]
    paid: Option<bool>,
    /// How long requests without `Prefer: wait` wait for a slot
    #[schema(minimum = 0, maximum = 3_600_000)]
    wait_ms: Option<i64>,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    #[schema(max_length = 500, nullable = false)]
    note: Option<String>,
    /// A disabled key is rejected until it is enabled again
    #[schema(nullable = false)]
    disabled: Option<bool>,
}

/// Each limit has a window of its own; null means no limit.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientLimits {
    /// Requests per minute
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    rpm: Option<i64>,
    /// Requests per day
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    rpd: Option<i64>,
    /// Tokens per minute
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    tpm: Option<i64>,
    /// Tokens per day
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    tpd: Option<i64>,
    /// Concurrent requests
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    concurrency: Option<i64>,
}

#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// How long the previous key stays valid
    #[schema(minimum = 0, maximum = 604_800)]
    overlap_s: Option<i64>,
}
