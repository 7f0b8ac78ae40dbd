//! `GET /metrics`: everything that is measured, in Prometheus's text format. Public, as the probes are: it names providers
//! and models, and no caller.

use actix_web::{HttpResponse, web};

use crate::{api::edge::error::ApiError, telemetry};

/// Everything that is measured, in Prometheus's text format
#[utoipa::path(
    get, path = "/metrics", tag = "service", operation_id = "metrics",
    responses((status = 200, description = "The series", body = String, content_type = "text/plain")),
)]
pub async fn show() -> Result<HttpResponse, ApiError> {
    // Thousands of series take milliseconds to write, which no answer on this thread shall wait for.
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
    async fn a_scrape_needs_no_key() {
        let app = app(Settings { auth: AuthSettings { mode: Some(AuthMode::Required) }, ..Settings::default() }).await;
        let (status, headers, _) = call(&app, TestRequest::get().uri("/metrics")).await;
        assert_eq!(status, 200);
        assert_eq!(headers.get("content-type").unwrap(), "text/plain; version=0.0.4; charset=utf-8");
    }
}
