//! What an admin changes at run time. Every change binds all replicas from their next admission on.

use actix_web::{
    HttpRequest, HttpResponse, Responder,
    error::JsonPayloadError,
    web::{Data, Json, Path},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    ApiError, Edge,
    auth::{Admin, Order as Asked},
    failure,
    models::unescaped,
    status::{ProviderStatus, Status, provider_status, status},
};
use crate::domain::Order;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    strategy: String,
}

/// `PATCH /v1/status/routing {"strategy":"round_robin"}`: the order of `free`, for all replicas.
pub async fn set_order(edge: Data<Edge>, asked: Asked<Routing>) -> Result<Json<Status>, ApiError> {
    let order = Order::parse(&asked.said.strategy).ok_or_else(|| {
        let names: Vec<&str> = Order::NAMES.iter().map(|(name, _)| *name).collect();
        let message = format!("`{}` is not an order. The orders are {}.", asked.said.strategy, names.join(", "));
        ApiError::InvalidValue { param: Some("strategy".to_owned()), message }
    })?;
    edge.flow.ledger.set_order(order, &asked.by).await.map_err(|e| failure::ledger(&e))?;
    tracing::info!(routing.order = order.as_str(), "Set the order of `free` to {}", order.as_str());
    Ok(Json(status(&edge, true, Some(order)).await))
}

/// `POST /v1/status/providers/{id}/reset`: closes its breakers and ends its cool-downs.
pub async fn reset(edge: Data<Edge>, admin: Admin, id: Path<String>) -> Result<Json<ProviderStatus>, ApiError> {
    let mut provider = find(&edge, &id)?;
    edge.flow.ledger.reset_provider(&id, &admin.by).await.map_err(|e| failure::ledger(&e))?;
    tracing::info!(provider.name = %id, "Reset `{id}`");
    // The snapshot of the last second may not show it yet.
    provider.circuit_breaker_state = "closed";
    provider.cooling_down.clear();
    Ok(Json(provider))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    enabled: bool,
}

/// `PATCH /v1/status/providers/{id} {"enabled":false}`: nothing is sent there until it is switched on again.
pub async fn switch_provider(
    edge: Data<Edge>,
    id: Path<String>,
    asked: Asked<Switch>,
) -> Result<Json<ProviderStatus>, ApiError> {
    let mut provider = find(&edge, &id)?;
    switch(&edge, &id, &asked).await?;
    provider.enabled = asked.said.enabled;
    Ok(Json(provider))
}

/// `PATCH /v1/status/models/{provider/model} {"enabled":false}`: the same for one model at one provider.
pub async fn switch_model(
    edge: Data<Edge>,
    request: HttpRequest,
    asked: Asked<Switch>,
) -> Result<impl Responder, ApiError> {
    let id = &*unescaped(request.match_info().query("id"));
    if !edge.flow.catalog.load().candidates.iter().any(|c| c.name == id) {
        return Err(ApiError::NotFound(format!("No model `{id}` is configured. Name it as `GET /v1/models` does.")));
    }
    switch(&edge, id, &asked).await?;
    Ok(HttpResponse::Ok().json(json!({ "id": id, "enabled": asked.said.enabled })))
}

async fn switch(edge: &Edge, subject: &str, asked: &Asked<Switch>) -> Result<(), ApiError> {
    let on = asked.said.enabled;
    edge.flow.ledger.switch(subject, on, &asked.by).await.map_err(|e| failure::ledger(&e))?;
    tracing::info!(subject, "Switched `{subject}` {}", if on { "on" } else { "off" });
    Ok(())
}

fn find(edge: &Edge, id: &str) -> Result<ProviderStatus, ApiError> {
    let catalog = edge.flow.catalog.load();
    let standing = edge.flow.ledger.standing();
    let found = catalog.providers.iter().find(|p| &*p.id == id).map(|p| provider_status(p, &catalog, &standing));
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
