//! Probes: alive (`/healthz`) and ready for traffic (`/readyz`).

use actix_web::{HttpResponse, http::StatusCode, web::Data};
use serde_json::json;

use super::Edge;

/// 200 as long as the process answers at all; an outage of the ledger must not restart it.
pub async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// 503 until the ledger has answered once, and from the first SIGTERM on. A later outage of the ledger does not turn it:
/// that would take every replica out of service at once.
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
    response.json(json!({ "status": word }))
}
