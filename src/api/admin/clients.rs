//! `/admin/v1/clients…`: clients, their keys and settings. A change applies to the next admission of every replica.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Json, Path},
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    api::{
        admin::{
            client_list::{Cursor, client_object, list_clients},
            client_object::{ClientObject, KEYS_REQUIRED},
        },
        edge::{
            auth::{Admin, AdminJson},
            error::ApiError,
            flow_error,
            pagination::{self, List, PageParams},
            query::Query,
            state::AppState,
        },
    },
    domain::{BadField, ClientRecord, key},
    ledger::{ChangeError, Ledger, LedgerError},
};

/// Creates a client and its key
///
/// The whole key is returned only in this response. The first client key ends the service to callers without a key where the
/// gateway is open only because there was none; `notice` says so.
#[utoipa::path(
    post, path = "/admin/v1/clients", tag = "clients", operation_id = "create_client",
    security(("admin_key" = [])),
    request_body(
        content = ref("#/components/schemas/NewClient"), content_type = "application/json",
        examples(
            ("minimal" = (summary = "Only a name", value = json!({ "name": "ben" }))),
            ("limited" = (summary = "With limits", value = json!({
                "name": "ann", "limits": { "rpm": 10, "tpd": 200_000 }, "weight": 2, "models": ["free", "groq/*"],
                "wait_ms": 10_000, "expires_at": "2099-01-31T00:00:00Z", "note": "intern",
            }))),
        ),
    ),
    responses(
        (status = 201, description = "The client, with its `key`", body = ref("#/components/schemas/ClientWithKey")),
        (status = 409, description = "too_many_clients, conflict"),
    ),
)]
pub(crate) async fn create(
    state: Data<AppState>,
    json: AdminJson<Map<String, Value>>,
) -> Result<HttpResponse, ApiError> {
    let ledger = &state.flow.ledger;
    let (record, key) = ledger.create_client(&json.body, &json.by).await.map_err(change_error)?;
    tracing::info!(client.id = %record.id, "Created the client `{}`", record.id);
    let notice = state.note_clients().then_some(KEYS_REQUIRED);
    Ok(HttpResponse::Created().json(client_object(ledger, &record).await.with_key(key).with_notice(notice)))
}

/// Clients
///
/// Clients of the clients file come first, then the others, newest first.
#[utoipa::path(
    get, path = "/admin/v1/clients", tag = "clients", operation_id = "list_clients",
    security(("admin_key" = [])),
    params(
        ("search" = Option<String>, Query, nullable = false, description = "Part of an id, name or note", example = "ann"),
        PageParams,
    ),
    responses((status = 200, description = "A page of clients", body = List<ClientObject>)),
)]
pub(crate) async fn list(
    state: Data<AppState>,
    _: Admin,
    request: HttpRequest,
) -> Result<Json<List<ClientObject>>, ApiError> {
    let query = Query::parse(&request, &["search", "limit", "cursor"])?;
    let (limit, search) = (pagination::limit(&query)?, query.text("search").map(str::to_lowercase));
    let from = query.parse_with("cursor", pagination::EXPECTED_CURSOR, Cursor::parse)?.unwrap_or_default();
    let page = list_clients(&state.flow.ledger, limit, from, search.as_deref()).await;
    page.map(Json).map_err(|e| flow_error::from_ledger_read(&e))
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
pub(crate) async fn show(state: Data<AppState>, _: Admin, id: Path<String>) -> Result<Json<ClientObject>, ApiError> {
    let record = find_record(&state.flow.ledger, &id).await.map_err(|e| flow_error::from_ledger_read(&e))?;
    let record = record.ok_or_else(|| change_error(ChangeError::Unknown(id.into_inner())))?;
    Ok(Json(client_object(&state.flow.ledger, &record).await))
}

async fn find_record(ledger: &Ledger, id: &str) -> Result<Option<ClientRecord>, LedgerError> {
    let listed = ledger.file_clients().iter().find(|record| *record.id == *id).cloned();
    match listed {
        None if key::is_id(id) => ledger.client_record(id).await,
        listed => Ok(listed),
    }
}

/// Changes the settings of a client
///
/// Absent fields stay unchanged; null clears a limit, the expiry or the wait. Applies to the next admission of every replica.
#[utoipa::path(
    patch, path = "/admin/v1/clients/{id}", tag = "clients", operation_id = "change_client",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "k7f3a9c2")),
    request_body(
        content = ref("#/components/schemas/ClientChange"), content_type = "application/json",
        example = json!({ "limits": { "rpm": 20, "tpd": null }, "weight": 3 }),
    ),
    responses(
        (status = 200, description = "The client after the change", body = ClientObject),
        (status = 404, description = "not_found"),
        (status = 409, description = "client_revoked, client_in_file, conflict"),
    ),
)]
pub(crate) async fn change(
    state: Data<AppState>,
    id: Path<String>,
    json: AdminJson<Map<String, Value>>,
) -> Result<Json<ClientObject>, ApiError> {
    let ledger = &state.flow.ledger;
    let record = ledger.update_client(&id, &json.body, &json.by).await.map_err(change_error)?;
    tracing::info!(client.id = %id, "Changed the client `{id}`");
    Ok(Json(client_object(ledger, &record).await))
}

/// A replaced key may stay valid for up to a week.
const MAX_OVERLAP_S: i64 = 604_800;

/// Parses `{"overlap_s": 3600}`: how long both keys are valid. Without it the previous key ends immediately.
pub(crate) fn parse_overlap(body: &Map<String, Value>) -> Result<Duration, BadField> {
    let bad = |param: &str, message: String| BadField { param: param.to_owned(), message };
    if let Some(other) = body.keys().find(|field| *field != "overlap_s") {
        return Err(bad(other, format!("Unknown field `{other}`. The only field is `overlap_s`.")));
    }
    let Some(value) = body.get("overlap_s").filter(|value| !value.is_null()) else { return Ok(Duration::ZERO) };
    let seconds = value.as_i64().filter(|s| (0..=MAX_OVERLAP_S).contains(s)).and_then(|s| u64::try_from(s).ok());
    seconds.map(Duration::from_secs).ok_or_else(|| {
        bad("overlap_s", format!("`overlap_s`: expected a whole number from 0 to {MAX_OVERLAP_S}, got {value}."))
    })
}

/// Creates a new key for a client
///
/// The previous key stays valid for `overlap_s` seconds, 0 by default.
#[utoipa::path(
    post, path = "/admin/v1/clients/{id}/rotate", tag = "clients", operation_id = "rotate_client",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "k7f3a9c2")),
    request_body(
        content = ref("#/components/schemas/Rotation"), content_type = "application/json",
        example = json!({ "overlap_s": 3600 }),
    ),
    responses(
        (status = 200, description = "The client, with its new `key`", body = ref("#/components/schemas/ClientWithKey")),
        (status = 404, description = "not_found"),
        (status = 409, description = "client_revoked, client_in_file, conflict"),
    ),
)]
pub(crate) async fn rotate(
    state: Data<AppState>,
    id: Path<String>,
    json: AdminJson<Map<String, Value>>,
) -> Result<Json<ClientObject>, ApiError> {
    let ledger = &state.flow.ledger;
    let overlap = parse_overlap(&json.body).map_err(|error| change_error(error.into()))?;
    let (record, key) = ledger.rotate_client_key(&id, overlap, &json.by).await.map_err(change_error)?;
    tracing::info!(client.id = %id, "Created a new key for the client `{id}`");
    Ok(Json(client_object(ledger, &record).await.with_key(key)))
}

/// A body without fields.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Empty {}

/// Revokes a client's key for good
///
/// The client stays in the list. After the response no replica admits another request with its key.
#[utoipa::path(
    post, path = "/admin/v1/clients/{id}/revoke", tag = "clients", operation_id = "revoke_client",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "k7f3a9c2")),
    responses(
        (status = 200, description = "The revoked client", body = ClientObject),
        (status = 404, description = "not_found"),
        (status = 409, description = "client_revoked, client_in_file, conflict"),
    ),
)]
pub(crate) async fn revoke(
    state: Data<AppState>,
    id: Path<String>,
    json: AdminJson<Empty>,
) -> Result<Json<ClientObject>, ApiError> {
    let ledger = &state.flow.ledger;
    let record = ledger.revoke_client(&id, &json.by).await.map_err(change_error)?;
    tracing::info!(client.id = %id, "Revoked the key of the client `{id}`");
    Ok(Json(client_object(ledger, &record).await))
}

/// A deleted client.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedClient {
    id: String,
    object: &'static str,
    deleted: bool,
}

/// Deletes a client
#[utoipa::path(
    delete, path = "/admin/v1/clients/{id}", tag = "clients", operation_id = "delete_client",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "k7f3a9c2")),
    responses(
        (
            status = 200, description = "The client is deleted", body = DeletedClient,
            example = json!({ "id": "k7f3a9c2", "object": "client", "deleted": true }),
        ),
        (status = 404, description = "not_found"),
        (status = 409, description = "client_in_file, conflict"),
    ),
)]
pub(crate) async fn delete(
    state: Data<AppState>,
    id: Path<String>,
    admin: Admin,
) -> Result<Json<DeletedClient>, ApiError> {
    state.flow.ledger.delete_client(&id, &admin.by).await.map_err(change_error)?;
    tracing::info!(client.id = %id, "Deleted the client `{id}`");
    Ok(Json(DeletedClient { id: id.into_inner(), object: "client", deleted: true }))
}

fn change_error(error: ChangeError) -> ApiError {
    let message = error.to_string();
    match error {
        ChangeError::Unknown(_) => ApiError::NotFound(message),
        ChangeError::Revoked(_) => ApiError::Conflict { code: "client_revoked", message },
        ChangeError::InFile(_) => ApiError::Conflict { code: "client_in_file", message },
        ChangeError::TooMany => ApiError::Conflict { code: "too_many_clients", message },
        ChangeError::Busy(_) => ApiError::Conflict { code: "conflict", message },
        ChangeError::Bad(BadField { param, message }) => ApiError::InvalidValue { param: Some(param), message },
        ChangeError::Ledger(error) => flow_error::from_ledger_read(&error),
        ChangeError::NoRandomness(error) => {
            tracing::error!(%error, "Cannot create a key: {error}");
            ApiError::Internal
        }
    }
}
