//! `/dashboard`: the web page embedded in this binary, or a page that says how to build it.

use std::borrow::Cow;

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    http::header::{
        ACCEPT_ENCODING, AcceptEncoding, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETag, Encoding, HeaderValue,
        LOCATION, VARY,
    },
    web::{Bytes, Data},
};
use rust_embed::{Embed, EmbeddedFile};

use crate::api::{
    edge::{error::ApiError, state::AppState},
    static_content::{REVALIDATE, entity_tag, is_unchanged, restrict},
};

/// The output of `npm run build`, each text file also as `.br` and `.gz`. Empty if the build was never run.
#[derive(Embed)]
#[folder = "dashboard/dist"]
#[allow_missing = true]
struct Built;

const INDEX: &str = "index.html";
const HTML: &str = "text/html; charset=utf-8";
/// Allows nothing inline, nothing of other origins, and no embedding in a frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; \
     manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const NOT_BUILT_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
/// Files below `assets/` never change: their names contain a hash of their content.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

const NOT_BUILT: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Tollfree</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:4rem auto;padding:0 1rem}code{background:#8882;padding:.1em .3em}</style>
<h1>Tollfree is running</h1>
<p>This binary was built without the dashboard. <code>make run</code> builds it and starts the gateway with it
(<code>make dashboard</code> only builds it, for the next <code>cargo build</code>). This requires Node 20.</p>
<p>The same data is available at <a href="/v1/status"><code>/v1/status</code></a> and
<a href="/v1/models"><code>/v1/models</code></a>.</p>
</html>
"#;

/// The dashboard
///
/// A file below `assets/`, or the page itself at any other path, which is a view of the page.
#[utoipa::path(
    method(get, head), path = "/dashboard", tag = "service", operation_id = "dashboard",
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
)]
pub(crate) async fn page(state: Data<AppState>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let path = request.match_info().query("path");
    let base_path = state.policy.load().base_path.clone();
    let response = if let Some(content_type) = asset_type(path) {
        let missing = || ApiError::NotFound(format!("The dashboard has no file `{path}`."));
        respond(&request, content_type, IMMUTABLE, best_variant(&request, path).ok_or_else(missing)?)
    } else if let Some(index) = Built::get(INDEX).filter(|_| !base_path.is_empty()) {
        HttpResponse::Ok()
            .content_type(HTML)
            .insert_header((CACHE_CONTROL, REVALIDATE))
            .body(below(&base_path, &index.data))
    } else if let Some(index) = best_variant(&request, INDEX) {
        respond(&request, HTML, REVALIDATE, index)
    } else {
        let page = HttpResponse::Ok().content_type(HTML).insert_header((CACHE_CONTROL, REVALIDATE)).body(NOT_BUILT);
        return Ok(restrict(page, NOT_BUILT_POLICY));
    };
    Ok(restrict(response, POLICY))
}

/// The page with the addresses of its files below a path of a shared host. The files themselves find each other and the
/// gateway by their own address.
fn below(base_path: &str, index: &[u8]) -> String {
    String::from_utf8_lossy(index).replace("\"/dashboard/", &format!("\"{base_path}/dashboard/"))
}

/// `GET /`: a browser that is given only the gateway's address finds the dashboard.
pub(crate) async fn redirect(state: Data<AppState>) -> HttpResponse {
    let location = format!("{}/dashboard", state.policy.load().base_path);
    HttpResponse::Found().insert_header((LOCATION, location)).finish()
}

/// The content type of an asset, or `None` if the path is a view of the page.
fn asset_type(path: &str) -> Option<&'static str> {
    let name = path.strip_prefix("assets/")?;
    Some(match name.rsplit('.').next()? {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        "png" => "image/png",
        _ => "application/octet-stream",
    })
}

/// The smallest form of a file that the browser accepts, and its encoding.
fn best_variant(request: &HttpRequest, name: &str) -> Option<(EmbeddedFile, Option<&'static str>)> {
    let accepted = request.get_header::<AcceptEncoding>();
    let accepts = |encoding: Encoding| {
        accepted
            .as_ref()
            .is_some_and(|accepted| accepted.negotiate([&encoding].into_iter()).as_ref() == Some(&encoding))
    };
    let variants = [
        (accepts(Encoding::brotli()), ".br", Some("br")),
        (accepts(Encoding::gzip()), ".gz", Some("gzip")),
        (true, "", None),
    ];
    variants
        .into_iter()
        .filter(|(accepted, ..)| *accepted)
        .find_map(|(_, extension, encoding)| Some((Built::get(&format!("{name}{extension}"))?, encoding)))
}

fn respond(
    request: &HttpRequest,
    content_type: &str,
    cache_control: &str,
    (file, encoding): (EmbeddedFile, Option<&str>),
) -> HttpResponse {
    let tag = entity_tag(&file.metadata.sha256_hash());
    let unchanged = is_unchanged(request, &tag);
    let mut response = if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((CACHE_CONTROL, cache_control))
        .insert_header(ETag(tag))
        .insert_header((VARY, ACCEPT_ENCODING.as_str()));
    if unchanged {
        return response.finish();
    }
    response.insert_header((CONTENT_TYPE, content_type));
    if let Some(encoding) = encoding {
        response.insert_header((CONTENT_ENCODING, encoding));
    }
    response.body(match file.data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        Cow::Owned(data) => Bytes::from(data),
    })
}

#[cfg(test)]
mod tests {
    use actix_web::{
        http::header::{CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, X_FRAME_OPTIONS},
        test::TestRequest,
    };

    use super::*;
    use crate::{
        api::test_support::{app, call},
        config::Settings,
    };

    #[test]
    fn only_paths_below_assets_are_files() {
        assert_eq!(asset_type("assets/index-a1b2.js"), Some("text/javascript; charset=utf-8"));
        assert_eq!(asset_type("requests/0199.js"), None);
        assert_eq!(asset_type(""), None);
    }

    #[actix_web::test]
    async fn the_page_is_served_at_each_of_its_views_and_may_load_nothing_foreign() {
        let app = app(Settings::default()).await;
        for path in ["/dashboard", "/dashboard/", "/dashboard/requests/0199?status=429"] {
            let (status, headers, _) = call(&app, TestRequest::get().uri(path)).await;
            assert_eq!(status, 200, "{path}");
            assert_eq!(headers.get(CONTENT_TYPE).unwrap(), "text/html; charset=utf-8", "{path}");
            let policy = headers.get(CONTENT_SECURITY_POLICY).unwrap().to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'"), "{policy}");
            assert_eq!(headers.get(X_FRAME_OPTIONS).unwrap(), "DENY", "{path}");
        }
        let (status, _, body) = call(&app, TestRequest::get().uri("/dashboard/assets/gone-1234.js")).await;
        assert_eq!((status, &body["error"]["code"]), (404, &"not_found".into()));
    }

    #[actix_web::test]
    async fn assets_are_compressed_and_cached_by_the_browser() {
        let app = app(Settings::default()).await;
        for name in Built::iter().filter(|name| name.ends_with(".js")) {
            let ask = || TestRequest::get().uri(&format!("/dashboard/{name}")).insert_header((ACCEPT_ENCODING, "br"));
            let (status, headers, _) = call(&app, ask()).await;
            assert_eq!((status, headers.get(CONTENT_ENCODING).unwrap()), (200, &HeaderValue::from_static("br")));
            assert_eq!(headers.get(CACHE_CONTROL).unwrap(), IMMUTABLE);
            let tag = headers.get(ETAG).unwrap().clone();
            let (status, _, _) = call(&app, ask().insert_header((IF_NONE_MATCH, tag))).await;
            assert_eq!(status, 304, "{name}");
        }
    }
}
