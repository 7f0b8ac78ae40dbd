//! Liveness (`/healthz`) and readiness (`/readyz`) probes.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Data, Json},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::edge::state::AppState;

#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    status: &'static str,
}

/// Liveness probe
///
/// Does not depend on the ledger: an outage of Redis must not restart the process.
#[utoipa::path(
    method(get, head), path = "/healthz", tag = "service", operation_id = "health",
    responses((status = 200, description = "Alive", body = Health, example = json!({ "status": "ok" }))),
)]
pub(crate) async fn alive() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// `GET /api/hello` and `HEAD /`, by which clients find out whether the address is right.
pub(crate) async fn hello() -> HttpResponse {
    HttpResponse::Ok().finish()
}

/// Readiness probe
///
/// 503 until the ledger has replied once, and after SIGTERM. A later outage of Redis does not change it: that would take every
/// replica out of service at once.
#[utoipa::path(
    method(get, head), path = "/readyz", tag = "service", operation_id = "readiness",
    responses(
        (status = 200, description = "Ready", body = Health, example = json!({ "status": "ready" })),
        (status = 503, description = "Starting or draining", body = Health, example = json!({ "status": "draining" })),
    ),
)]
pub(crate) async fn ready(state: Data<AppState>) -> HttpResponse {
    let (status, text) = if state.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if state.flow.ledger.is_ready() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "waiting for the ledger")
    };
    let mut response = HttpResponse::build(status);
    if status != StatusCode::OK {
        response.insert_header(("retry-after", 1)).insert_header(("retry-after-ms", 1_000));
    }
    response.json(Health { status: text })
}
