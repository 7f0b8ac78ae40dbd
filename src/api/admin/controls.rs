//! What an admin changes at run time. Every change binds all replicas from their next admission on.

use actix_web::{
    HttpRequest,
    error::JsonPayloadError,
    web::{Data, Json, Path},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{
        edge::{
            auth::{Admin, Order as Asked},
            error::ApiError,
            flow_error,
            state::Edge,
        },
        v1::{
            models::unescaped,
            status::{ProviderStatus, Status, order_names, provider_status, status},
        },
    },
    domain::RoutingStrategy,
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    #[schema(schema_with = order_names)]
    strategy: String,
}

/// Sets the order of `free`, for all replicas
#[utoipa::path(
    patch, path = "/v1/status/routing", tag = "status", operation_id = "set_order",
    security(("admin_key" = [])),
    request_body(content = Routing, example = json!({ "strategy": "round_robin" })),
    responses((status = 200, description = "The status, with the new order", body = Status)),
)]
pub async fn set_order(edge: Data<Edge>, asked: Asked<Routing>) -> Result<Json<Status>, ApiError> {
    let order = RoutingStrategy::parse(&asked.said.strategy).ok_or_else(|| {
        let names: Vec<&str> = RoutingStrategy::NAMES.iter().map(|(name, _)| *name).collect();
        let message = format!("`{}` is not an order. The orders are {}.", asked.said.strategy, names.join(", "));
        ApiError::InvalidValue { param: Some("strategy".to_owned()), message }
    })?;
    edge.flow.ledger.set_strategy(order, &asked.by).await.map_err(|e| flow_error::ledger(&e))?;
    tracing::info!(routing.order = order.as_str(), "Set the order of `free` to {}", order.as_str());
    Ok(Json(status(&edge, true, Some(order)).await))
}

/// Closes a provider's breakers and ends its cool-downs
#[utoipa::path(
    post, path = "/v1/status/providers/{id}/reset", tag = "status", operation_id = "reset_provider",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "groq")),
    responses(
        (status = 200, description = "The provider, with a clean slate", body = ProviderStatus),
        (status = 404, description = "not_found"),
    ),
)]
pub async fn reset(edge: Data<Edge>, admin: Admin, id: Path<String>) -> Result<Json<ProviderStatus>, ApiError> {
    let mut provider = find(&edge, &id)?;
    edge.flow.ledger.reset_provider(&id, &admin.by).await.map_err(|e| flow_error::ledger(&e))?;
    tracing::info!(provider.name = %id, "Reset `{id}`");
    // The snapshot of the last second may not show it yet.
    provider.circuit_breaker_state = "closed";
    provider.cooling_down.clear();
    Ok(Json(provider))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    enabled: bool,
}

/// Switches a provider off or on
///
/// Nothing is sent there until it is switched on again, by any replica.
#[utoipa::path(
    patch, path = "/v1/status/providers/{id}", tag = "status", operation_id = "switch_provider",
    security(("admin_key" = [])),
    params(("id" = String, Path, example = "groq")),
    request_body(content = Switch, example = json!({ "enabled": false })),
    responses(
        (status = 200, description = "The provider, switched", body = ProviderStatus),
        (status = 404, description = "not_found"),
    ),
)]
pub async fn switch_provider(
    edge: Data<Edge>,
    id: Path<String>,
    asked: Asked<Switch>,
) -> Result<Json<ProviderStatus>, ApiError> {
    let mut provider = find(&edge, &id)?;
    set_enabled(&edge, &id, &asked).await?;
    provider.enabled = asked.said.enabled;
    Ok(Json(provider))
}

/// One model at one provider.
#[derive(Serialize, ToSchema)]
pub struct SwitchedModel {
    id: String,
    enabled: bool,
}

/// Switches one model at one provider off or on
#[utoipa::path(
    patch, path = "/v1/status/models/{id}", tag = "status", operation_id = "switch_model",
    security(("admin_key" = [])),
    params((
        "id" = String, Path, example = "groq/openai/gpt-oss-120b",
        description = "`provider/model`; its slashes may be escaped or stand as they are.",
    )),
    request_body(content = Switch, example = json!({ "enabled": false })),
    responses(
        (
            status = 200, description = "What it is now", body = SwitchedModel,
            example = json!({ "id": "groq/openai/gpt-oss-120b", "enabled": false }),
        ),
        (status = 404, description = "not_found"),
    ),
)]
pub async fn switch_model(
    edge: Data<Edge>,
    request: HttpRequest,
    asked: Asked<Switch>,
) -> Result<Json<SwitchedModel>, ApiError> {
    let id = &*unescaped(request.match_info().query("id"));
    if !edge.flow.catalog.load().candidates.iter().any(|c| *c.name == *id) {
        return Err(ApiError::NotFound(format!("No model `{id}` is configured. Name it as `GET /v1/models` does.")));
    }
    set_enabled(&edge, id, &asked).await?;
    Ok(Json(SwitchedModel { id: id.to_owned(), enabled: asked.said.enabled }))
}

async fn set_enabled(edge: &Edge, subject: &str, asked: &Asked<Switch>) -> Result<(), ApiError> {
    let on = asked.said.enabled;
    edge.flow.ledger.set_enabled(subject, on, &asked.by).await.map_err(|e| flow_error::ledger(&e))?;
    tracing::info!(subject, "Switched `{subject}` {}", if on { "on" } else { "off" });
    Ok(())
}

fn find(edge: &Edge, id: &str) -> Result<ProviderStatus, ApiError> {
    let catalog = edge.flow.catalog.load();
    let snapshot = edge.flow.ledger.snapshot();
    let found = catalog.providers.iter().find(|p| &*p.id == id).map(|p| provider_status(p, &catalog, &snapshot));
    found.ok_or_else(|| {
        let names: Vec<&str> = catalog.providers.iter().map(|p| &*p.id).collect();
        ApiError::NotFound(format!("No provider `{id}` is configured. There is: {}.", names.join(", ")))
    })
}

/// What is wrong with an admin's body, in the one envelope.
pub fn bad_body(error: &JsonPayloadError) -> ApiError {
    match error {
        JsonPayloadError::Overflow { limit } | JsonPayloadError::OverflowKnownLength { limit, .. } => {
            ApiError::TooLarge { max: *limit }
        }
        JsonPayloadError::Deserialize(e) if e.is_data() => {
            ApiError::InvalidValue { param: None, message: e.to_string() }
        }
        JsonPayloadError::ContentType => ApiError::InvalidValue {
            param: Some("content-type".to_owned()),
            message: "Send JSON with the content type `application/json`.".to_owned(),
        },
        other => ApiError::InvalidJson { message: other.to_string() },
    }
}
