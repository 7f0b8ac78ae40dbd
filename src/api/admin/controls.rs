//! The controls below `/v1/status`: the strategy of `free`, switching providers and models on and off, resetting breakers.
//! A change applies to the next admission of every replica.

use actix_web::{
    HttpRequest,
    web::{Data, Json, Path},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{
        edge::{
            auth::{Admin, AdminJson},
            error::ApiError,
            flow_error, schema,
            state::AppState,
        },
        v1::{
            models::model_id,
            status::{ProviderStatus, Status, provider_status, status},
        },
    },
    domain::RoutingStrategy,
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Routing {
    #[schema(schema_with = schema::strategy)]
    strategy: String,
}

/// Sets the strategy of `free`, for all replicas
#[utoipa::path(
    patch, path = "/v1/status/routing", tag = "status", operation_id = "set_routing_strategy",
    security(("admin_key" = [])),
    request_body(content = Routing, example = json!({ "strategy": "round_robin" })),
    responses((status = 200, description = "The status, with the new strategy", body = Status)),
)]
pub(crate) async fn set_strategy(state: Data<AppState>, json: AdminJson<Routing>) -> Result<Json<Status>, ApiError> {
    let strategy = RoutingStrategy::parse(&json.body.strategy).ok_or_else(|| {
        let names: Vec<&str> = RoutingStrategy::NAMES.iter().map(|(name, _)| *name).collect();
        let message = format!("Unknown strategy `{}`. The strategies are {}.", json.body.strategy, names.join(", "));
        ApiError::InvalidValue { param: Some("strategy".to_owned()), message }
    })?;
    state.flow.ledger.set_strategy(strategy, &json.by).await.map_err(|e| flow_error::from_ledger_read(&e))?;
    let name = strategy.as_str();
    tracing::info!(routing.strategy = name, "Set the strategy of `free` to {name}");
    Ok(Json(status(&state, true, Some(strategy)).await))
}

/// Closes a provider's breakers, ends its cooldowns, and serves models again that it has refused
#[utoipa::path(
    post, path = "/v1/status/providers/{id}/reset", tag = "status", operation_id = "reset_provider",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "groq")),
    responses(
        (status = 200, description = "The provider after the reset", body = ProviderStatus),
        (status = 404, description = "not_found"),
    ),
)]
pub(crate) async fn reset_provider(
    state: Data<AppState>,
    admin: Admin,
    id: Path<String>,
) -> Result<Json<ProviderStatus>, ApiError> {
    let mut provider = find_provider(&state, &id)?;
    let ledger = &state.flow.ledger;
    ledger.reset_provider(&id, &admin.by).await.map_err(|e| flow_error::from_ledger_read(&e))?;
    let refused: Vec<String> = {
        let findings = ledger.findings();
        let findings = findings.borrow();
        let models = findings.get(&*id).into_iter().flat_map(|found| found.refused.keys());
        models.map(|model| format!("{id}/{model}")).collect()
    };
    ledger.serve_again(&refused).await.map_err(|e| flow_error::from_ledger_read(&e))?;
    tracing::info!(provider.name = %id, "Reset the provider `{id}`");
    // The last snapshot may not contain the change yet.
    provider.circuit_breaker_state = "closed";
    provider.cooling_down.clear();
    Ok(Json(provider))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Switch {
    enabled: bool,
}

/// Enables or disables a provider
///
/// No replica calls a disabled provider.
#[utoipa::path(
    patch, path = "/v1/status/providers/{id}", tag = "status", operation_id = "switch_provider",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "groq")),
    request_body(content = Switch, example = json!({ "enabled": false })),
    responses(
        (status = 200, description = "The provider after the change", body = ProviderStatus),
        (status = 404, description = "not_found"),
    ),
)]
pub(crate) async fn switch_provider(
    state: Data<AppState>,
    id: Path<String>,
    json: AdminJson<Switch>,
) -> Result<Json<ProviderStatus>, ApiError> {
    let mut provider = find_provider(&state, &id)?;
    set_enabled(&state, &id, &json).await?;
    provider.enabled = json.body.enabled;
    Ok(Json(provider))
}

/// One model of one provider.
#[derive(Serialize, ToSchema)]
pub(crate) struct SwitchedModel {
    id: String,
    enabled: bool,
}

/// Enables or disables one model of one provider
#[utoipa::path(
    patch, path = "/v1/status/models/{id}", tag = "status", operation_id = "switch_model",
    security(("admin_key" = [])),
    params((
        "id" = String, Path, example = "groq/openai/gpt-oss-120b",
        description = "`provider/model`; slashes may be percent-encoded.",
    )),
    request_body(content = Switch, example = json!({ "enabled": false })),
    responses(
        (status = 200, description = "The model after the change", body = SwitchedModel),
        (status = 404, description = "not_found"),
    ),
)]
pub(crate) async fn switch_model(
    state: Data<AppState>,
    request: HttpRequest,
    json: AdminJson<Switch>,
) -> Result<Json<SwitchedModel>, ApiError> {
    let id = model_id(&request);
    if !state.flow.catalog.load().candidates.iter().any(|c| *c.name == *id) {
        let message = format!("No model `{id}` is configured. `GET /v1/models` lists the configured models.");
        return Err(ApiError::NotFound(message));
    }
    set_enabled(&state, &id, &json).await?;
    Ok(Json(SwitchedModel { id, enabled: json.body.enabled }))
}

async fn set_enabled(state: &AppState, subject: &str, json: &AdminJson<Switch>) -> Result<(), ApiError> {
    let enabled = json.body.enabled;
    state.flow.ledger.set_enabled(subject, enabled, &json.by).await.map_err(|e| flow_error::from_ledger_read(&e))?;
    tracing::info!(subject, "{} `{subject}`", if enabled { "Enabled" } else { "Disabled" });
    Ok(())
}

fn find_provider(state: &AppState, id: &str) -> Result<ProviderStatus, ApiError> {
    let catalog = state.flow.catalog.load();
    let snapshot = state.flow.ledger.snapshot();
    let found = catalog.providers.iter().find(|p| &*p.id == id).map(|p| provider_status(p, &catalog, &snapshot));
    found.ok_or_else(|| {
        let names: Vec<&str> = catalog.providers.iter().map(|p| &*p.id).collect();
        ApiError::NotFound(format!("No provider `{id}` is configured. Configured providers: {}.", names.join(", ")))
    })
}
