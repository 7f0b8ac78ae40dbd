//! `/admin/v1/provider-keys…`: provider keys that are added at run time. A change applies to the next admission of every
//! replica.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Json, Path},
};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{
        admin::{
            provider_key_object::{self, ProviderKeyObject, ProviderObject},
            provider_key_service::KeyService,
        },
        edge::{
            auth::{Admin, AdminJson},
            error::ApiError,
            flow_error,
            pagination::List,
            query::Query,
            state::AppState,
        },
    },
    flow::model_lists::Lists,
    ledger::{AccountChange, NewProviderKey, ProviderKeyChange},
};

/// The body of a new key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProviderKey)]
pub(crate) struct NewKey {
    /// `groq`, or the name of a `[providers.NAME]` table
    provider: String,
    /// The secret. It is never returned
    #[schema(value_type = String, min_length = 1, max_length = 4096, format = Password)]
    key: Secret,
    /// An existing or new account. Absent: one of its own
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    #[schema(max_length = 100, nullable = false)]
    label: String,
    /// Whether the provider is called with the key first; a key that it refuses is not kept
    #[serde(default = "yes", rename = "try")]
    #[schema(default = true)]
    is_tried: bool,
}

/// Has no `Debug`, and errors about it name its type only.
pub(crate) struct Secret(SecretString);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input).map(|text| Self(text.trim().into()))
    }
}

fn yes() -> bool {
    true
}

/// Changes of a key. Absent fields stay unchanged.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProviderKeyChange)]
pub(crate) struct KeyChange {
    /// Null gives it an account of its own
    #[serde(default, deserialize_with = "named_or_own")]
    #[schema(value_type = Option<String>)]
    pub account: AccountChange,
    #[serde(default)]
    #[schema(max_length = 100, nullable = false)]
    pub label: Option<String>,
    /// A disabled key is not used until it is enabled again
    #[serde(default)]
    #[schema(nullable = false)]
    pub disabled: Option<bool>,
}

fn named_or_own<'de, D: Deserializer<'de>>(input: D) -> Result<AccountChange, D::Error> {
    Ok(Option::deserialize(input)?.map_or(AccountChange::Own, AccountChange::Named))
}

impl From<KeyChange> for ProviderKeyChange {
    fn from(change: KeyChange) -> Self {
        let KeyChange { account, label, disabled } = change;
        Self { account, label, disabled }
    }
}

fn service(state: &AppState) -> KeyService<'_> {
    KeyService { ledger: &state.flow.ledger, catalog: state.flow.catalog.load_full(), upstream: &state.flow.upstream }
}

/// Provider keys
///
/// Those of the environment first, then those that were added at run time, the oldest first.
#[utoipa::path(
    get, path = "/admin/v1/provider-keys", tag = "providers", operation_id = "list_provider_keys",
    security(("admin_key" = [])),
    responses((status = 200, description = "The keys, without their secrets", body = List<ProviderKeyObject>)),
)]
pub(crate) async fn list(
    state: Data<AppState>,
    _: Admin,
    request: HttpRequest,
) -> Result<Json<List<ProviderKeyObject>>, ApiError> {
    Query::parse(&request, &[])?;
    service(&state).list().await.map(Json)
}

/// Adds a provider key for all replicas
///
/// The key is tried first with one small call. It is in force at every replica within a second.
#[utoipa::path(
    post, path = "/admin/v1/provider-keys", tag = "providers", operation_id = "add_provider_key",
    security(("admin_key" = [])),
    request_body(content = NewKey, example = json!({
        "provider": "groq", "key": "gsk_an-example-of-a-provider-key", "account": "acme", "label": "made by ann", "try": false,
    })),
    responses(
        (status = 201, description = "The key, without its secret", body = ProviderKeyObject),
        (status = 400, description = "provider_key_refused"),
        (status = 409, description = "provider_key_exists, too_many_provider_keys, master_key_not_set, conflict"),
        (status = 502, description = "upstream_error"),
    ),
)]
pub(crate) async fn add(state: Data<AppState>, json: AdminJson<NewKey>) -> Result<HttpResponse, ApiError> {
    let NewKey { provider, key: Secret(secret), account, label, is_tried } = json.body;
    let new = NewProviderKey { provider, secret, account, label };
    let key = service(&state).add(new, is_tried, &json.by).await?;
    tracing::info!(provider_key.id = %key.id, "Added the provider key `{}`", key.id);
    Ok(HttpResponse::Created().json(key))
}

/// A body without fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Empty {}

/// Tries a provider key with its provider
///
/// One small call, by this replica.
#[utoipa::path(
    post, path = "/admin/v1/provider-keys/{id}/test", tag = "providers", operation_id = "test_provider_key",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "groq-7a46a00e")),
    responses(
        (status = 200, description = "The key, with the result as its `test`", body = ProviderKeyObject),
        (status = 404, description = "not_found"),
        (status = 409, description = "provider_key_unreadable"),
    ),
)]
pub(crate) async fn test(
    state: Data<AppState>,
    id: Path<String>,
    _: AdminJson<Empty>,
) -> Result<Json<ProviderKeyObject>, ApiError> {
    service(&state).test(&id).await.map(Json)
}

/// Changes a provider key
///
/// Applies to the next admission of every replica. Of a key of the environment only its account can be changed; null gives it the
/// one that the configuration names.
#[utoipa::path(
    patch, path = "/admin/v1/provider-keys/{id}", tag = "providers", operation_id = "change_provider_key",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "groq-7a46a00e")),
    request_body(content = KeyChange, example = json!({ "disabled": true })),
    responses(
        (status = 200, description = "The key after the change", body = ProviderKeyObject),
        (status = 404, description = "not_found"),
        (status = 409, description = "provider_key_in_environment, conflict"),
    ),
)]
pub(crate) async fn change(
    state: Data<AppState>,
    id: Path<String>,
    json: AdminJson<KeyChange>,
) -> Result<Json<ProviderKeyObject>, ApiError> {
    let key = service(&state).change(&id, json.body.into(), &json.by).await?;
    tracing::info!(provider_key.id = %id, "Changed the provider key `{id}`");
    Ok(Json(key))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedProviderKey {
    id: String,
    object: &'static str,
    deleted: bool,
}

/// Deletes a provider key
///
/// After the response no replica admits another request with it. What it has used stays counted.
#[utoipa::path(
    delete, path = "/admin/v1/provider-keys/{id}", tag = "providers", operation_id = "delete_provider_key",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "groq-7a46a00e")),
    responses(
        (
            status = 200, description = "The key is deleted", body = DeletedProviderKey,
            example = json!({ "id": "groq-7a46a00e", "object": "provider_key", "deleted": true }),
        ),
        (status = 404, description = "not_found"),
        (status = 409, description = "provider_key_in_environment, conflict"),
    ),
)]
pub(crate) async fn delete(
    state: Data<AppState>,
    id: Path<String>,
    admin: Admin,
) -> Result<Json<DeletedProviderKey>, ApiError> {
    service(&state).delete(&id, &admin.by).await?;
    tracing::info!(provider_key.id = %id, "Deleted the provider key `{id}`");
    Ok(Json(DeletedProviderKey { id: id.into_inner(), object: "provider_key", deleted: true }))
}

/// Providers
///
/// Every provider of the catalogue and of the file, with a key or without one.
#[utoipa::path(
    get, path = "/admin/v1/providers", tag = "providers", operation_id = "list_providers",
    security(("admin_key" = [])),
    responses((status = 200, description = "The providers", body = List<ProviderObject>)),
)]
pub(crate) async fn list_providers(
    state: Data<AppState>,
    _: Admin,
    request: HttpRequest,
) -> Result<Json<List<ProviderObject>>, ApiError> {
    Query::parse(&request, &[])?;
    Ok(Json(all_providers(&state)))
}

fn all_providers(state: &AppState) -> List<ProviderObject> {
    let ledger = &state.flow.ledger;
    let findings = ledger.findings().borrow().clone();
    provider_key_object::providers(&state.flow.catalog.load(), &findings, ledger.now_ms())
}

/// A change of a provider.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProviderChange)]
pub(crate) struct Switch {
    /// Whether it is called without a key while it has none. Its limits then count the address of the gateway, which others may
    /// share, and prompts may be logged
    keyless: bool,
}

/// Switches on or off that a provider is called without a key
///
/// For providers that answer without one. It holds for every replica within a second, and switched off at once.
#[utoipa::path(
    patch, path = "/admin/v1/providers/{id}", tag = "providers", operation_id = "change_provider",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "kilo")),
    request_body(content = Switch, example = json!({ "keyless": true })),
    responses(
        (status = 200, description = "The provider after the change", body = ProviderObject),
        (status = 404, description = "not_found"),
        (status = 409, description = "keyless_in_configuration, too_many_provider_keys, conflict"),
    ),
)]
pub(crate) async fn switch(
    state: Data<AppState>,
    id: Path<String>,
    json: AdminJson<Switch>,
) -> Result<Json<ProviderObject>, ApiError> {
    let is_keyless = json.body.keyless;
    service(&state).set_keyless(&id, is_keyless, &json.by).await?;
    tracing::info!(provider.name = %id, keyless = is_keyless, "`{id}` is called without a key from now on: {is_keyless}");
    let mut all = all_providers(&state).data.into_iter();
    let provider = all.find(|provider| provider.id == *id);
    provider.map(Json).ok_or_else(|| ApiError::NotFound(format!("There is no provider `{id}`.")))
}

/// Which list to look at.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    /// Absent: those of all configured providers
    #[serde(default)]
    #[schema(nullable = false)]
    provider: Option<String>,
}

/// Looks at the lists of models of providers now
///
/// All replicas get what is found, and models that were refused are served again where the list has them. Without this call
/// each list is looked at every six hours, by one replica for all.
#[utoipa::path(
    post, path = "/admin/v1/providers/refresh", tag = "providers", operation_id = "refresh_model_lists",
    security(("admin_key" = [])),
    request_body(content = Refresh, example = json!({ "provider": "groq" })),
    responses((status = 200, description = "The providers, with what was found", body = List<ProviderObject>)),
)]
pub(crate) async fn refresh(
    state: Data<AppState>,
    json: AdminJson<Refresh>,
) -> Result<Json<List<ProviderObject>>, ApiError> {
    let lists = json.body.provider.as_deref().map_or(Lists::All, Lists::Of);
    state.flow.look_at_model_lists(lists).await.map_err(|e| flow_error::from_ledger_read(&e))?;
    Ok(Json(all_providers(&state)))
}
