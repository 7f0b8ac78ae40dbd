//! `GET /admin/v1/audit`: who changed what, and `GET /admin/v1/config`: what is set, and where.

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    ApiError, Edge,
    auth::Admin,
    failure,
    page::{List, Page, Paging, bad_cursor},
};
use crate::{config::Settings, ledger::AuditEntry};

/// One change.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditObject {
    id: String,
    time: Timestamp,
    /// `admin`, or `cli` for the command on the store itself.
    actor: String,
    /// `client.create`, `routing.set`, …
    action: String,
    /// An id or a name.
    subject: String,
    #[schema(required)]
    before: Option<Value>,
    #[schema(required)]
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
    let page = Page::of(&request, &[])?;
    let is_number = |part: &str| (1..=20).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_digit());
    if let Some(cursor) = &page.cursor
        && !cursor.split_once('-').is_some_and(|(ms, n)| is_number(ms) && is_number(n))
    {
        return Err(bad_cursor());
    }
    let most = page.limit + 1;
    let found = edge.flow.ledger.audit(page.cursor.as_deref(), most).await.map_err(|e| failure::ledger(&e))?;
    let mut entries: Vec<AuditObject> = found.into_iter().map(Into::into).collect();
    let more = entries.len() > page.limit;
    entries.truncate(page.limit);
    let next = entries.last().filter(|_| more).map(|entry| entry.id.clone());
    Ok(Json(List::new(entries, next)))
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
        let setting = |(name, source, value): &(String, String, String)| Setting {
            name: name.clone(),
            value: without_password(value),
            source: source.clone(),
        };
        Self { settings: settings.sources.iter().map(setting).collect(), trace_link: settings.trace_link.clone() }
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
