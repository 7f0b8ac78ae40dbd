//! `GET /metrics`: all metrics in the Prometheus text format. Public like the probes: it names providers and models, but no
//! client.

use actix_web::{HttpResponse, web};

use crate::{api::edge::error::ApiError, telemetry};

/// All metrics, in the Prometheus text format
#[utoipa::path(
    get, path = "/metrics", tag = "service", operation_id = "metrics",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")),
)]
pub(crate) async fn show() -> Result<HttpResponse, ApiError> {
    // Writing thousands of series takes milliseconds, which must not delay the other requests of this thread.
    let text = web::block(telemetry::scrape).await.map_err(|_| ApiError::Internal)?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use crate::{
        api::test_support::{app, call},
        config::{AuthMode, AuthSettings, Settings},
    };

    #[actix_web::test]
    async fn scraping_needs_no_key() {
        let app = app(Settings { auth: AuthSettings { mode: Some(AuthMode::Required) }, ..Settings::default() }).await;
        let (status, headers, _) = call(&app, TestRequest::get().uri("/metrics")).await;
        assert_eq!(status, 200);
        assert_eq!(headers.get("content-type").unwrap(), "text/plain; version=0.0.4; charset=utf-8");
    }
}
