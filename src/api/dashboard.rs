//! `/dashboard`: the web page out of this binary. Where it is not built in, a page that says how to have it.

use std::borrow::Cow;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap,
        IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
    web::Bytes,
};
use data_encoding::HEXLOWER;
use rust_embed::{Embed, EmbeddedFile};

use crate::api::edge::error::ApiError;

/// What `npm run build` left in `dashboard/dist`: each text also as `.br` and `.gz`. Empty where it was never run.
#[derive(Embed)]
#[folder = "dashboard/dist"]
#[allow_missing = true]
struct Built;

const INDEX: &str = "index.html";
/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
    connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The names below `assets/` carry a hash of what is in them.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";

const NOT_BUILT_IN: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Tollfree</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:4rem auto;padding:0 1rem}code{background:#8882;padding:.1em .3em}</style>
<h1>Tollfree is running</h1>
<p>The dashboard is not built into this binary. <code>make run</code> builds it and starts the gateway with it
(<code>make dashboard</code> only builds it, for the next <code>cargo build</code>). Node 20 is needed.</p>
<p>What it would show is at <a href="/v1/status"><code>/v1/status</code></a>; the models are at
<a href="/v1/models"><code>/v1/models</code></a>.</p>
</html>
"#;

/// The dashboard
///
/// A file below `assets/`, or the page itself at any other path: where in it we are is read from the URL by the page.
#[utoipa::path(
    method(get, head), path = "/dashboard", tag = "service", operation_id = "dashboard",
    responses((status = 200, description = "A page for people", body = String, content_type = "text/html")),
)]
pub async fn page(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let path = request.match_info().query("path");
    let accepts = Accepts::of(request.headers());
    if let Some(kind) = content_type(path) {
        let missing = || ApiError::NotFound(format!("The dashboard has no file `{path}`."));
        let found = variant(path, accepts).ok_or_else(missing)?;
        return Ok(answer(&request, kind, FOR_EVER, found));
    }
    Ok(match variant(INDEX, accepts) {
        Some(found) => answer(&request, "text/html; charset=utf-8", ASK_AGAIN, found),
        None => guarded(HttpResponse::Ok(), "default-src 'none'; style-src 'unsafe-inline'")
            .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
            .insert_header((CACHE_CONTROL, ASK_AGAIN))
            .body(NOT_BUILT_IN),
    })
}

/// `None`: not a name that an asset can have, so it is a place within the page.
fn content_type(path: &str) -> Option<&'static str> {
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

/// Which compressed forms the browser takes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Accepts {
    brotli: bool,
    gzip: bool,
}

impl Accepts {
    fn of(headers: &HeaderMap) -> Self {
        let lines: Vec<&str> = headers.get_all(ACCEPT_ENCODING).filter_map(|value| value.to_str().ok()).collect();
        let takes = |wanted: &str| {
            lines.iter().flat_map(|line| line.split(',')).any(|each| {
                let mut parts = each.split(';').map(str::trim);
                let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
                let refused =
                    parts.filter_map(|part| part.strip_prefix("q=")).any(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
                named && !refused
            })
        };
        Self { brotli: takes("br"), gzip: takes("gzip") }
    }
}

/// The smallest form of a file that the browser takes, and its encoding.
fn variant(name: &str, accepts: Accepts) -> Option<(EmbeddedFile, Option<&'static str>)> {
    let forms = [(accepts.brotli, ".br", Some("br")), (accepts.gzip, ".gz", Some("gzip")), (true, "", None)];
    forms
        .into_iter()
        .filter(|(taken, ..)| *taken)
        .find_map(|(_, end, encoding)| Some((Built::get(&format!("{name}{end}"))?, encoding)))
}

fn answer(
    request: &HttpRequest,
    kind: &str,
    cache: &str,
    (file, encoding): (EmbeddedFile, Option<&str>),
) -> HttpResponse {
    let tag = format!("\"{}\"", HEXLOWER.encode(&file.metadata.sha256_hash()[..8]));
    let known = request.headers().get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    let unchanged = known.flat_map(|line| line.split(',')).any(|each| each.trim().trim_start_matches("W/") == tag);
    let mut response = guarded(if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() }, POLICY);
    response
        .insert_header((CACHE_CONTROL, cache))
        .insert_header((ETAG, tag))
        .insert_header((VARY, ACCEPT_ENCODING.as_str()));
    if unchanged {
        return response.finish();
    }
    response.insert_header((CONTENT_TYPE, kind));
    if let Some(encoding) = encoding {
        response.insert_header((CONTENT_ENCODING, encoding));
    }
    response.body(match file.data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        Cow::Owned(data) => Bytes::from(data),
    })
}

/// What a browser is told not to do with it.
fn guarded(mut response: HttpResponseBuilder, policy: &str) -> HttpResponseBuilder {
    response
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header(("cross-origin-opener-policy", "same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use actix_web::{http::header::HeaderValue, test::TestRequest};

    use super::*;
    use crate::{
        api::test_support::{app, call},
        config::Settings,
    };

    fn accepts(line: &'static str) -> Accepts {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(line));
        Accepts::of(&headers)
    }

    #[test]
    fn a_compressed_form_goes_to_those_who_take_it() {
        assert_eq!(accepts("gzip, deflate, br, zstd"), Accepts { brotli: true, gzip: true });
        assert_eq!(accepts("GZIP;q=0.8, br;q=0"), Accepts { brotli: false, gzip: true });
        assert_eq!(accepts("identity"), Accepts::default());
    }

    #[test]
    fn only_what_is_below_assets_is_a_file() {
        assert_eq!(content_type("assets/index-a1b2.js"), Some("text/javascript; charset=utf-8"));
        assert_eq!(content_type("requests/0199.js"), None);
        assert_eq!(content_type(""), None);
    }

    #[actix_web::test]
    async fn the_page_stands_at_each_of_its_urls_and_may_load_nothing_foreign() {
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
    async fn what_is_built_in_is_kept_by_the_browser() {
        let app = app(Settings::default()).await;
        for name in Built::iter().filter(|name| name.ends_with(".js")) {
            let ask = || TestRequest::get().uri(&format!("/dashboard/{name}")).insert_header((ACCEPT_ENCODING, "br"));
            let (status, headers, _) = call(&app, ask()).await;
            assert_eq!((status, headers.get(CONTENT_ENCODING).unwrap()), (200, &HeaderValue::from_static("br")));
            assert_eq!(headers.get(CACHE_CONTROL).unwrap(), FOR_EVER);
            let tag = headers.get(ETAG).unwrap().clone();
            let (status, _, _) = call(&app, ask().insert_header((IF_NONE_MATCH, tag))).await;
            assert_eq!(status, 304, "{name}");
        }
    }
}
