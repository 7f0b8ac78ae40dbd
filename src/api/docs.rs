//! `/openapi.json`, and `/docs`: the same document as a static page without scripts.

use std::fmt::Write as _;

use actix_web::{HttpRequest, HttpResponse, http::header::HeaderValue, web::Data};
use data_encoding::BASE64;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::api::static_content::{CachedDocument, restrict};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    code{background:#8882;padding:.1em .3em;overflow-wrap:anywhere}h2{margin-top:2.5rem}\
    @media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}";

/// The OpenAPI document in both forms.
pub(crate) struct ApiDocs {
    json: CachedDocument,
    html: CachedDocument,
    policy: HeaderValue,
}

impl ApiDocs {
    pub(super) fn new(document: &Value) -> Self {
        let style_hash = BASE64.encode(&Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Self {
            json: CachedDocument::new(document.to_string(), "application/json"),
            html: CachedDocument::new(html(document), "text/html; charset=utf-8"),
            policy: HeaderValue::try_from(policy).expect("a policy is ASCII"),
        }
    }
}

/// The OpenAPI document
#[utoipa::path(
    get, path = "/openapi.json", tag = "service", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")),
)]
pub(crate) async fn json(docs: Data<ApiDocs>, request: HttpRequest) -> HttpResponse {
    docs.json.respond(&request)
}

/// The OpenAPI document as a page
#[utoipa::path(
    get, path = "/docs", tag = "service", operation_id = "docs",
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
)]
pub(crate) async fn page(docs: Data<ApiDocs>, request: HttpRequest) -> HttpResponse {
    restrict(docs.html.respond(&request), docs.policy.clone())
}

/// Every operation by tag, with its parameters and responses.
fn html(document: &Value) -> String {
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Tollfree API</title><style>{STYLE}</style><h1>Tollfree API</h1><p>{}<p>Request and response schemas are in \
         <a href=openapi.json>openapi.json</a>, which any OpenAPI viewer can show.",
        markup(&document["info"]["description"])
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        let _ = write!(html, "<h2>{}</h2>", markup(&tag["description"]));
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            let operations = item.as_object().into_iter().flatten();
            for (method, operation) in operations.filter(|(_, operation)| operation["tags"][0] == tag["name"]) {
                write_operation(&mut html, &format!("{} {path}", method.to_uppercase()), operation, document);
            }
        }
    }
    html
}

fn write_operation(html: &mut String, name: &str, operation: &Value, document: &Value) {
    let (summary, description) = (markup(&operation["summary"]), markup(&operation["description"]));
    let _ = write!(html, "<h3><code>{name}</code> {summary}</h3><p>{description}<ul>");
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (name, place) = (markup(&parameter["name"]), markup(&parameter["in"]));
        let _ = write!(html, "<li><code>{name}</code> ({place}) {}", markup(&parameter["description"]));
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let reference = response["$ref"].as_str().and_then(|path| document.pointer(&path[1..]));
        let _ = write!(html, "<li><b>{status}</b> {}", markup(&reference.unwrap_or(response)["description"]));
    }
    html.push_str("</ul>");
}

/// Escaped text with its backticks as code and its empty lines as paragraphs.
fn markup(text: &Value) -> String {
    let text = text.as_str().unwrap_or_default();
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace("\n\n", "<p>");
    let parts = escaped.split('`').enumerate();
    parts.map(|(i, part)| if i % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}
