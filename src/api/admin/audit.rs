//! `GET /admin/v1/audit`: the audit log, newest first.

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    api::edge::{
        auth::Admin,
        error::ApiError,
        flow_error,
        pagination::{self, List, PageParams},
        query::Query,
        schema,
        state::AppState,
    },
    ledger::{AuditEntry, RecordId},
};

/// One change made by an administrator.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(crate) struct AuditObject {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// `cli`: the `keys` command, run on the store itself
    #[schema(schema_with = schema::audit_actor)]
    actor: String,
    /// `client.create`, `routing.set`, …
    action: String,
    /// The id or name of what was changed
    subject: String,
    #[schema(required, value_type = Option<std::collections::BTreeMap<String, Value>>)]
    before: Option<Value>,
    #[schema(required, value_type = Option<std::collections::BTreeMap<String, Value>>)]
    after: Option<Value>,
    /// The address of the admin
    #[schema(required)]
    address: Option<String>,
}

impl From<AuditEntry> for AuditObject {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { id, time, actor, action, subject, before, after, address } = entry;
        Self { id, time, actor, action, subject, before, after, address }
    }
}

/// The audit log, newest first
#[utoipa::path(
    get, path = "/admin/v1/audit", tag = "admin", operation_id = "list_audit",
    security(("admin_key" = [])),
    params(PageParams),
    responses((status = 200, description = "A page of changes", body = List<AuditObject>)),
)]
pub(crate) async fn list(
    state: Data<AppState>,
    _: Admin,
    request: HttpRequest,
) -> Result<Json<List<AuditObject>>, ApiError> {
    let query = Query::parse(&request, &["limit", "cursor"])?;
    let (limit, below) = (pagination::limit(&query)?, query.parse_with("cursor", pagination::EXPECTED_CURSOR, cursor)?);
    let found = state.flow.ledger.audit(below, limit + 1).await.map_err(|e| flow_error::from_ledger_read(&e))?;
    let mut entries: Vec<AuditObject> = found.into_iter().map(Into::into).collect();
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| more).map(|entry| entry.id.clone());
    Ok(Json(List::new(entries, next)))
}

/// The id of an entry: `1700000000000-0`.
fn cursor(text: &str) -> Option<RecordId> {
    text.parse().ok().filter(|id| *id > RecordId::default())
}
