//! The JSON of a client.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::edge::schema,
    domain::{ClientRecord, ClientSettings, ClientSource, key},
    ledger::rollup::Sums,
};

/// A client as the admin API and the `keys` command show it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Client)]
pub(crate) struct ClientObject {
    id: String,
    object: &'static str,
    /// The start of its key
    prefix: String,
    /// `file`: defined in the clients file
    #[schema(schema_with = schema::client_source)]
    source: &'static str,
    /// The OpenAPI document adds these fields itself: the domain does not know OpenAPI.
    #[serde(flatten)]
    #[schema(ignore)]
    settings: ClientSettings,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    rotated_at: Option<Timestamp>,
    /// How long the previous key stays valid
    #[schema(required, value_type = Option<String>, format = DateTime)]
    old_secret_until: Option<Timestamp>,
    version: i64,
    usage_today: UsageToday,
    /// The whole key, only in the response that creates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    key: Option<String>,
    /// What the creation of the client changes beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    notice: Option<&'static str>,
}

/// The first client key was made at a gateway that was open because there was none.
pub(crate) const KEYS_REQUIRED: &str = "This is the first client key: from now on callers need a key. TOLLFREE_AUTH=open \
     keeps the gateway open.";

/// Since midnight UTC.
#[derive(Debug, Default, Serialize, ToSchema)]
struct UsageToday {
    requests: i64,
    failed: i64,
    tokens_in: i64,
    tokens_out: i64,
}

impl From<&Sums> for UsageToday {
    fn from(sums: &Sums) -> Self {
        let Sums { requests, failed, tokens_in, tokens_out, .. } = *sums;
        Self { requests, failed, tokens_in, tokens_out }
    }
}

impl ClientObject {
    pub(crate) fn new(record: &ClientRecord, today: Option<&Sums>, now_ms: i64) -> Self {
        let at = |ms: Option<i64>| ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        Self {
            id: record.id.to_string(),
            object: "client",
            prefix: key::prefix(&record.id),
            source: match record.source {
                ClientSource::Store => "store",
                ClientSource::File => "file",
            },
            settings: record.settings.clone(),
            revoked_at: at(record.revoked_ms),
            created_at: at(record.created_ms),
            last_used_at: at(record.used_ms),
            rotated_at: at(record.rotated_ms),
            old_secret_until: at(record.old_secret_until(now_ms)),
            version: record.version,
            usage_today: today.map(UsageToday::from).unwrap_or_default(),
            key: None,
            notice: None,
        }
    }

    #[must_use]
    pub(crate) fn with_key(self, key: String) -> Self {
        Self { key: Some(key), ..self }
    }

    #[must_use]
    pub(crate) fn with_notice(self, notice: Option<&'static str>) -> Self {
        Self { notice, ..self }
    }
}
