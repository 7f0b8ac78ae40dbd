//! `/admin/v1/clients…`: who has a key, and what each may do with it. A change binds every replica's next admission.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Json, Path},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Ref, RefOr, Schema},
};

use crate::{
    api::edge::{
        auth::{Admin, Order},
        error::ApiError,
        flow_error,
        pagination::{self, List, Paging},
        query::Query,
        state::Edge,
    },
    domain::{BadField, ClientRecord, ClientSettings, ClientSource, key},
    ledger::{ChangeError, Ledger, LedgerError, rollup::Sums},
};

/// A member, as the admin API and the `keys` command show it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Client)]
pub struct ClientObject {
    id: String,
    object: &'static str,
    /// What its key begins with.
    prefix: String,
    /// `store`, or `file` for one of the file of hashes.
    source: &'static str,
    #[serde(flatten)]
    #[schema(value_type = ClientTerms)]
    settings: ClientSettings,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    rotated_at: Option<Timestamp>,
    /// Until when the key before this one works, too.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    old_secret_until: Option<Timestamp>,
    version: i64,
    usage_today: UsageToday,
    /// The whole key: only in the answer that makes it (`ClientWithKey`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    key: Option<String>,
}

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

/// [`ClientSettings`] in the document, which the inner rooms know nothing of: it stands in `shapes/clients.json`.
struct ClientTerms;

impl PartialSchema for ClientTerms {
    fn schema() -> RefOr<Schema> {
        Ref::from_schema_name("ClientTerms").into()
    }
}

impl ToSchema for ClientTerms {}

impl ClientObject {
    fn of(member: &ClientRecord, today: Option<&Sums>, now_ms: i64) -> Self {
        let at = |ms: Option<i64>| ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        Self {
            id: member.id.to_string(),
            object: "client",
            prefix: key::prefix(&member.id),
            source: match member.source {
                ClientSource::Store => "store",
                ClientSource::File => "file",
            },
            settings: member.settings.clone(),
            revoked_at: at(member.revoked_ms),
            created_at: at(member.created_ms),
            last_used_at: at(member.used_ms),
            rotated_at: at(member.rotated_ms),
            old_secret_until: at(member.old_secret_until(now_ms)),
            version: member.version,
            usage_today: today.map(UsageToday::from).unwrap_or_default(),
            key: None,
        }
    }

    #[must_use]
    pub fn with_key(self, key: String) -> Self {
        Self { key: Some(key), ..self }
    }
}

/// A key for a member
///
/// The whole key is told here and never again.
#[utoipa::path(
    post, path = "/admin/v1/clients", tag = "clients", operation_id = "create_client",
    security(("admin_key" = [])),
    request_body(content = ref("#/components/schemas/NewClient"), content_type = "application/json"),
    responses(
        (status = 201, description = "The client, with its `key`", body = ref("#/components/schemas/ClientWithKey")),
        (status = 409, description = "too_many_clients, conflict"),
    ),
)]
pub async fn create(edge: Data<Edge>, order: Order<Map<String, Value>>) -> Result<HttpResponse, ApiError> {
    let ledger = &edge.flow.ledger;
    let (member, key) = ledger.create_client(&order.said, &order.by).await.map_err(told)?;
    tracing::info!(client.id = %member.id, "Made a key for the client `{}`", member.id);
    Ok(HttpResponse::Created().json(shown(ledger, &member).await.with_key(key)))
}

/// Who has a key
///
/// Members of the operator's file first, then the newest first.
#[utoipa::path(
    get, path = "/admin/v1/clients", tag = "clients", operation_id = "list_clients",
    security(("admin_key" = [])),
    params(
        ("search" = Option<String>, Query, nullable = false, description = "In ids, names and notes", example = "ann"),
        Paging,
    ),
    responses((status = 200, description = "A page of the clients", body = List<ClientObject>)),
)]
pub async fn list(edge: Data<Edge>, _: Admin, request: HttpRequest) -> Result<Json<List<ClientObject>>, ApiError> {
    let query = Query::of(&request, &["search", "limit", "cursor"])?;
    let (limit, search) = (pagination::limit(&query)?, query.text("search").map(str::to_lowercase));
    let from = query.read_as("cursor", pagination::A_CURSOR, Cursor::read)?.unwrap_or_default();
    listed(&edge.flow.ledger, limit, from, search.as_deref()).await.map(Json).map_err(|e| flow_error::unread(&e))
}

/// Where a page ended: behind so many of the file's members, or at a place in the ledger's list.
#[derive(Debug, Clone, Copy)]
pub enum Cursor {
    File(usize),
    Store(i64),
}

impl Default for Cursor {
    fn default() -> Self {
        Self::File(0)
    }
}

impl Cursor {
    pub fn read(text: &str) -> Option<Self> {
        match text.split_at_checked(1)? {
            ("f", n) => n.parse().ok().map(Self::File),
            ("s", place) => place.parse().ok().map(Self::Store),
            _ => None,
        }
    }

    fn told(self) -> String {
        match self {
            Self::File(n) => format!("f{n}"),
            Self::Store(place) => format!("s{place}"),
        }
    }
}

/// No place in the ledger's list is so high: they are instants in ms.
const BEYOND: i64 = 1 << 52;
/// Records read at a time while looking for some words.
const READ: usize = 100;

/// Members of the file first, in its order, then those of the ledger, the newest first. `search`: in lower case.
pub async fn listed(
    ledger: &Ledger,
    limit: usize,
    from: Cursor,
    search: Option<&str>,
) -> Result<List<ClientObject>, LedgerError> {
    let (found, next) = found(ledger, limit, from, search).await?;
    Ok(List::new(with_usage(ledger, &found).await?, next.map(Cursor::told)))
}

async fn found(
    ledger: &Ledger,
    limit: usize,
    from: Cursor,
    search: Option<&str>,
) -> Result<(Vec<ClientRecord>, Option<Cursor>), LedgerError> {
    let fits = |member: &ClientRecord| {
        let words = [&*member.id, &member.settings.name, &member.settings.note];
        search.is_none_or(|search| words.iter().any(|text| text.to_lowercase().contains(search)))
    };
    let mut found = Vec::new();
    let mut below = match from {
        Cursor::Store(place) => place,
        Cursor::File(from) => {
            for (at, member) in ledger.file_clients().iter().enumerate().skip(from).filter(|(_, m)| fits(m)) {
                if found.len() == limit {
                    return Ok((found, Some(Cursor::File(at))));
                }
                found.push(member.clone());
            }
            BEYOND
        }
    };
    loop {
        let page = ledger.list_clients(below, READ).await?;
        for (member, place) in page.clients {
            if fits(&member) {
                if found.len() == limit {
                    return Ok((found, Some(Cursor::Store(below))));
                }
                found.push(member);
            }
            below = place;
        }
        match page.last {
            Some(place) => below = place,
            None => return Ok((found, None)),
        }
    }
}

/// As they are shown, each with what it has used today.
async fn with_usage(ledger: &Ledger, members: &[ClientRecord]) -> Result<Vec<ClientObject>, LedgerError> {
    let ids: Vec<&str> = members.iter().map(|member| &*member.id).collect();
    let today = ledger.usage_today(&ids).await?;
    let now_ms = ledger.now_ms();
    Ok(members.iter().map(|member| ClientObject::of(member, today.get(&*member.id), now_ms)).collect())
}

/// One of them, after it was read or changed: that what it has used cannot be read does not undo the change.
pub async fn shown(ledger: &Ledger, member: &ClientRecord) -> ClientObject {
    let today = ledger.usage_today(&[&member.id]).await.unwrap_or_default();
    ClientObject::of(member, today.get(&*member.id), ledger.now_ms())
}

/// One client
#[utoipa::path(
    get, path = "/admin/v1/clients/{id}", tag = "clients", operation_id = "show_client",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "k7f3a9c2")),
    responses(
        (status = 200, description = "The client", body = ClientObject),
        (status = 404, description = "not_found"),
    ),
)]
pub async fn show(edge: Data<Edge>, _: Admin, id: Path<String>) -> Result<Json<ClientObject>, ApiError> {
    let member = find(&edge.flow.ledger, &id).await.map_err(|e| flow_error::unread(&e))?;
    let member = member.ok_or_else(|| told(ChangeError::Unknown(id.into_inner())))?;
    Ok(Json(shown(&edge.flow.ledger, &member).await))
}

async fn find(ledger: &Ledger, id: &str) -> Result<Option<ClientRecord>, LedgerError> {
    let listed = ledger.file_clients().iter().find(|member| *member.id == *id).cloned();
    match listed {
        None if key::is_id(id) => ledger.client_record(id).await,
        listed => Ok(listed),
    }
}

/// Changes what a client may do
///
/// What is not said stays; null takes a limit, the expiry or the wait away. It binds every replica's next admission.
#[utoipa::path(
    patch, path = "/admin/v1/clients/{id}", tag = "clients", operation_id = "change_client",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "k7f3a9c2")),
    request_body(content = ref("#/components/schemas/ClientChange"), content_type = "application/json"),
    responses(
        (status = 200, description = "The client as it is now", body = ClientObject),
        (status = 404, description = "not_found"),
        (status = 409, description = "client_revoked, client_in_file, conflict"),
    ),
)]
pub async fn change(
    edge: Data<Edge>,
    id: Path<String>,
    order: Order<Map<String, Value>>,
) -> Result<Json<ClientObject>, ApiError> {
    let ledger = &edge.flow.ledger;
    let member = ledger.update_client(&id, &order.said, &order.by).await.map_err(told)?;
    tracing::info!(client.id = %id, "Changed the client `{id}`");
    Ok(Json(shown(ledger, &member).await))
}

/// A replaced key may work for a week more.
const OVERLAP_MOST_S: i64 = 604_800;

/// `{"overlap_s": 3600}`: how long both keys work; nothing said: the old one ends at once.
pub fn overlap(said: &Map<String, Value>) -> Result<Duration, BadField> {
    let bad = |param: &str, message: String| BadField { param: param.to_owned(), message };
    if let Some(other) = said.keys().find(|field| *field != "overlap_s") {
        return Err(bad(other, format!("`{other}`: there is no such field; there is overlap_s.")));
    }
    let Some(value) = said.get("overlap_s").filter(|value| !value.is_null()) else { return Ok(Duration::ZERO) };
    let seconds = value.as_i64().filter(|s| (0..=OVERLAP_MOST_S).contains(s)).and_then(|s| u64::try_from(s).ok());
    seconds.map(Duration::from_secs).ok_or_else(|| {
        bad("overlap_s", format!("`overlap_s`: expected a whole number from 0 to {OVERLAP_MOST_S}, got {value}."))
    })
}

/// A new key for a client
///
/// `overlap_s`: how long the one before it works, too; nothing said: not at all.
#[utoipa::path(
    post, path = "/admin/v1/clients/{id}/rotate", tag = "clients", operation_id = "rotate_client",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "k7f3a9c2")),
    request_body(content = ref("#/components/schemas/Rotation"), content_type = "application/json"),
    responses(
        (status = 200, description = "The client, with its new `key`", body = ref("#/components/schemas/ClientWithKey")),
        (status = 404, description = "not_found"),
        (status = 409, description = "client_revoked, client_in_file, conflict"),
    ),
)]
pub async fn rotate(
    edge: Data<Edge>,
    id: Path<String>,
    order: Order<Map<String, Value>>,
) -> Result<Json<ClientObject>, ApiError> {
    let ledger = &edge.flow.ledger;
    let overlap = overlap(&order.said).map_err(|bad| told(bad.into()))?;
    let (member, key) = ledger.rotate_client_key(&id, overlap, &order.by).await.map_err(told)?;
    tracing::info!(client.id = %id, "Made a new key for the client `{id}`");
    Ok(Json(shown(ledger, &member).await.with_key(key)))
}

/// Nothing can be said with it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Ends a client's key for good
///
/// It stays in the list. When this has answered, no replica admits another request of it.
#[utoipa::path(
    post, path = "/admin/v1/clients/{id}/revoke", tag = "clients", operation_id = "revoke_client",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "k7f3a9c2")),
    responses(
        (status = 200, description = "The client, revoked", body = ClientObject),
        (status = 404, description = "not_found"),
        (status = 409, description = "client_revoked, client_in_file, conflict"),
    ),
)]
pub async fn revoke(edge: Data<Edge>, id: Path<String>, order: Order<Nothing>) -> Result<Json<ClientObject>, ApiError> {
    let ledger = &edge.flow.ledger;
    let member = ledger.revoke_client(&id, &order.by).await.map_err(told)?;
    tracing::info!(client.id = %id, "Revoked the key of the client `{id}`");
    Ok(Json(shown(ledger, &member).await))
}

/// A client that is no more.
#[derive(Serialize, ToSchema)]
pub struct DeletedClient {
    id: String,
    object: &'static str,
    deleted: bool,
}

/// Takes a client out of the list
#[utoipa::path(
    delete, path = "/admin/v1/clients/{id}", tag = "clients", operation_id = "delete_client",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "k7f3a9c2")),
    responses(
        (
            status = 200, description = "It is gone", body = DeletedClient,
            example = json!({ "id": "k7f3a9c2", "object": "client", "deleted": true }),
        ),
        (status = 404, description = "not_found"),
        (status = 409, description = "client_in_file, conflict"),
    ),
)]
pub async fn delete(edge: Data<Edge>, id: Path<String>, admin: Admin) -> Result<Json<DeletedClient>, ApiError> {
    edge.flow.ledger.delete_client(&id, &admin.by).await.map_err(told)?;
    tracing::info!(client.id = %id, "Deleted the client `{id}`");
    Ok(Json(DeletedClient { id: id.into_inner(), object: "client", deleted: true }))
}

/// Why nothing was changed.
pub fn told(error: ChangeError) -> ApiError {
    let message = error.to_string();
    match error {
        ChangeError::Unknown(_) => ApiError::NotFound(message),
        ChangeError::Revoked(_) => ApiError::Conflict { code: "client_revoked", message },
        ChangeError::InFile(_) => ApiError::Conflict { code: "client_in_file", message },
        ChangeError::TooMany => ApiError::Conflict { code: "too_many_clients", message },
        ChangeError::Busy(_) => ApiError::Conflict { code: "conflict", message },
        ChangeError::Bad(BadField { param, message }) => ApiError::InvalidValue { param: Some(param), message },
        ChangeError::Ledger(error) => flow_error::unread(&error),
        ChangeError::NoRandomness(error) => {
            tracing::error!(%error, "No key can be made: {error}");
            ApiError::Internal
        }
    }
}
