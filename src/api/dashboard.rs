//! `/dashboard`. Where the web page is not built in, a page that says how to have it.

use actix_web::{HttpResponse, http::header::ContentType};

const NOT_BUILT_IN: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Tollfree</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:4rem auto;padding:0 1rem}code{background:#8882;padding:.1em .3em}</style>
<h1>Tollfree is running</h1>
<p>The dashboard is not built into this binary. <code>make run</code> builds it and starts the gateway with it.</p>
<p>What it would show is at <a href="/v1/status"><code>/v1/status</code></a>; the models are at
<a href="/v1/models"><code>/v1/models</code></a>.</p>
</html>
"#;

/// The dashboard
#[utoipa::path(
    get, path = "/dashboard", tag = "service", operation_id = "dashboard",
    responses((status = 200, description = "A page for people", body = String, content_type = "text/html")),
)]
pub async fn page() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::html()).body(NOT_BUILT_IN)
}
