//! `GET /admin/v1/audit`: who changed what, and `GET /admin/v1/config`: what is set, and where.

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
        pagination::{self, List, Paging},
        query::Query,
        state::Edge,
    },
    config::{SettingSource, Settings},
    ledger::{AuditEntry, RecordId},
};

/// One change.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditObject {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// `admin`, or `cli` for the command on the store itself.
    actor: String,
    /// `client.create`, `routing.set`, …
    action: String,
    /// An id or a name.
    subject: String,
    #[schema(required, value_type = Option<std::collections::BTreeMap<String, Value>>)]
    before: Option<Value>,
    #[schema(required, value_type = Option<std::collections::BTreeMap<String, Value>>)]
    after: Option<Value>,
    /// Where the admin was.
    #[schema(required)]
    address: Option<String>,
}

impl From<AuditEntry> for AuditObject {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { id, time, actor, action, subject, before, after, address } = entry;
        Self { id, time, actor, action, subject, before, after, address }
    }
}

/// Who changed what, the newest first
#[utoipa::path(
    get, path = "/admin/v1/audit", tag = "admin", operation_id = "list_audit",
    security(("admin_key" = [])),
    params(Paging),
    responses((status = 200, description = "A page of the changes", body = List<AuditObject>)),
)]
pub async fn list(edge: Data<Edge>, _: Admin, request: HttpRequest) -> Result<Json<List<AuditObject>>, ApiError> {
    let query = Query::of(&request, &["limit", "cursor"])?;
    let (limit, below) = (pagination::limit(&query)?, query.read_as("cursor", pagination::A_CURSOR, cursor)?);
    let found = edge.flow.ledger.audit(below, limit + 1).await.map_err(|e| flow_error::unread(&e))?;
    let mut entries: Vec<AuditObject> = found.into_iter().map(Into::into).collect();
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| more).map(|entry| entry.id.clone());
    Ok(Json(List::new(entries, next)))
}

/// An entry's id: `1700000000000-0`.
fn cursor(text: &str) -> Option<RecordId> {
    text.parse().ok().filter(|id| *id > RecordId::default())
}

/// What is set. Swapped whole on reload; secrets are not in it.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Config)]
pub struct ConfigView {
    settings: Vec<Setting>,
    /// Where a request's trace is looked at: an address with `{trace_id}` in it.
    #[schema(required)]
    trace_link: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Setting {
    /// `server.port`
    name: String,
    /// `set` for a secret.
    value: String,
    /// `default`, `tollfree.toml:12`, `env PORT`
    source: String,
}

impl ConfigView {
    pub fn of(settings: &Settings) -> Self {
        let setting = |setting: &SettingSource| Setting {
            name: setting.name.clone(),
            value: without_password(&setting.value),
            source: setting.source.clone(),
        };
        let trace_link = settings.dashboard.trace_link.clone();
        Self { settings: settings.sources.iter().map(setting).collect(), trace_link }
    }
}

/// An address may hold a password: `https://user:password@host`.
fn without_password(value: &str) -> String {
    match value.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            match rest[..end].rfind('@') {
                Some(at) => format!("{scheme}://…{}", &rest[at..]),
                None => value.to_owned(),
            }
        }
        None => value.to_owned(),
    }
}

/// What is set, and where
///
/// A secret's value is `set`. `trace_link` is where a request's trace is looked at.
#[utoipa::path(
    get, path = "/admin/v1/config", tag = "admin", operation_id = "show_config",
    security(("admin_key" = [])),
    responses((status = 200, description = "The settings in force", body = ConfigView)),
)]
pub async fn config(edge: Data<Edge>, _: Admin) -> Json<std::sync::Arc<ConfigView>> {
    Json(edge.door.load().config.clone())
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn an_addresss_password_is_not_told() {
        for (value, told) in [
            ("3000", "3000"),
            ("\"http://gpu-box:8000/v1\"", "\"http://gpu-box:8000/v1\""),
            ("\"http://me:hunter2@gpu-box:8000/v1\"", "\"http://…@gpu-box:8000/v1\""),
            ("http://box/a@b", "http://box/a@b"),
        ] {
            assert_eq!(without_password(value), told);
        }
    }
}
