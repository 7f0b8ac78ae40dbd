//! Probes: alive (`/healthz`) and ready for traffic (`/readyz`).

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Data, Json},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::edge::state::Edge;

#[derive(Serialize, ToSchema)]
pub struct Health {
    status: &'static str,
}

/// Is the process alive?
///
/// 200 as long as the process answers at all; an outage of the ledger must not restart it.
#[utoipa::path(
    method(get, head), path = "/healthz", tag = "service", operation_id = "health",
    responses((status = 200, description = "It is", body = Health, example = json!({ "status": "ok" }))),
)]
pub async fn alive() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Does this replica want traffic?
///
/// 503 until the ledger has answered once, and from the first SIGTERM on. A later outage of the ledger does not turn it:
/// that would take every replica out of service at once.
#[utoipa::path(
    method(get, head), path = "/readyz", tag = "service", operation_id = "readiness",
    responses(
        (status = 200, description = "It does", body = Health, example = json!({ "status": "ready" })),
        (status = 503, description = "Not yet, or no more", body = Health, example = json!({ "status": "draining" })),
    ),
)]
pub async fn ready(edge: Data<Edge>) -> HttpResponse {
    let (status, word) = if edge.draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if edge.flow.ledger.is_ready() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "waiting for the ledger")
    };
    let mut response = HttpResponse::build(status);
    if status != StatusCode::OK {
        response.insert_header(("retry-after", 1)).insert_header(("retry-after-ms", 1_000));
    }
    response.json(Health { status: word })
}
