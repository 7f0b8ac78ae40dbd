//! `/setup`: how to configure each tool, as a page, as scripts for machines without this program, and the files that the
//! scripts write. All of it comes from the table in `src/setup`.

mod page;
mod public_url;

use std::collections::BTreeMap;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, HeaderValue},
    web::{Data, Payload},
};
use serde_json::json;
use url::form_urlencoded;

use self::public_url::public_url;
use crate::{
    api::{
        edge::{access_policy::presented_key, body, error::ApiError, state::AppState},
        static_content::restrict,
        v1::{codex_models, messages_models, models},
    },
    domain::Client,
    setup::{Gateway, Places, System, TOOLS, Target, Tool, VARIABLES, lines, tool},
};

/// Settings of a tool have some kilobytes.
const BODY_BYTES_MAX: usize = 4 << 20;
/// The key of a caller at a gateway that requires none.
const OPEN_KEY: &str = "open";
/// The address in it may come from the request, and no cache may keep a key.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// How to configure each tool, as a page
#[utoipa::path(
    get, path = "/setup", tag = "service", operation_id = "setup_page",
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
)]
pub(crate) async fn show_page(state: Data<AppState>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let html = page::html(&public_url(&state.policy.load(), &request)?);
    let page =
        HttpResponse::Ok().content_type("text/html; charset=utf-8").insert_header((CACHE_CONTROL, NO_STORE)).body(html);
    Ok(restrict(page, page::policy()))
}

/// A script that configures a tool
///
/// `claude-code.sh` for shells of Unix, `claude-code.ps1` for PowerShell. It holds no secret: it reads the client key from the
/// terminal.
#[utoipa::path(
    get, path = "/setup/{script}", tag = "service", operation_id = "setup_script",
    params(("script" = String, Path, example = "claude-code.sh", description = "The tool, with `.sh` or `.ps1`.")),
    responses(
        (status = 200, description = "The script", body = String, content_type = "text/plain"),
        (status = 404, description = "not_found"),
    ),
)]
pub(crate) async fn show_script(state: Data<AppState>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let name = request.match_info().query("script");
    let url = public_url(&state.policy.load(), &request)?;
    let Some(script) = script(name, &url) else { return Err(unknown(name)) };
    Ok(HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((CACHE_CONTROL, NO_STORE))
        .body(script))
}

fn script(name: &str, url: &str) -> Option<String> {
    let (id, end) = name.rsplit_once('.')?;
    let tool = tool(id)?;
    let (template, variables) = match end {
        "sh" => (include_str!("setup.sh"), VARIABLES.join("|")),
        "ps1" => (include_str!("setup.ps1"), VARIABLES.map(|name| format!("'{name}'")).join(", ")),
        _ => return None,
    };
    let filled = template.replace("@VARIABLES@", &variables).replace("@URL@", url);
    Some(filled.replace("@TOOL@", tool.id).replace("@NAME@", tool.name).replace("@PROGRAM@", tool.program))
}

fn unknown(name: &str) -> ApiError {
    let ids: Vec<&str> = TOOLS.iter().map(|tool| tool.id).collect();
    ApiError::NotFound(format!("There is no script `{name}`. Tools: {}; each with .sh and .ps1.", ids.join(", ")))
}

/// The files of a tool for one key
///
/// The body is a form (`application/x-www-form-urlencoded`). It has the folders of the person (`HOME`, `os` and the variables
/// with which tools find their files), optionally a `model`, and as `text0`, `text1` … the present texts of files that are to
/// be merged. The answer has a line for each file: its mode, its kind (`edit`, `whole` or `own`), and its path and new text in
/// Base64. Nothing is stored.
#[utoipa::path(
    post, path = "/setup/{tool}/files", tag = "service", operation_id = "setup_files",
    security(("client_key" = [])),
    params(("tool" = String, Path, example = "claude-code", description = "The tool.")),
    responses(
        (status = 200, description = "The files", body = String, content_type = "text/plain"),
        (status = 400, description = "invalid_value"),
        (status = 403, description = "model_not_allowed"),
        (status = 404, description = "not_found"),
        (status = 413, description = "request_too_large"),
        (status = 415, description = "unsupported_encoding"),
    ),
)]
pub(crate) async fn make_files(
    state: Data<AppState>,
    client: Client,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let name = request.match_info().query("tool").to_owned();
    let tool = tool(&name).ok_or_else(|| unknown(&name))?;
    let body = body::read(&request, payload.into_inner(), BODY_BYTES_MAX, &mut None).await?;
    let form = form(&body);
    let url = public_url(&state.policy.load(), &request)?;
    let target = target(&state, &client, &request, &form, &url)?;
    let text = files(tool, &target, &form)?;
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").insert_header((CACHE_CONTROL, NO_STORE)).body(text))
}

/// The fields of the form. Those of `environment` are lines of `NAME=value`.
fn form(body: &[u8]) -> BTreeMap<String, String> {
    let mut form: BTreeMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    let lines = form.remove("environment").unwrap_or_default();
    for (name, value) in
        lines.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| VARIABLES.contains(name))
    {
        form.insert(name.to_owned(), value.to_owned());
    }
    form
}

fn files(tool: &Tool, target: &Target, form: &BTreeMap<String, String>) -> Result<String, ApiError> {
    let current = |number: usize| form.get(&format!("text{number}")).cloned().unwrap_or_default();
    lines(tool, target, current).map_err(|(path, error)| invalid("text", format!("{path} was left as it is: {error}")))
}

/// The gateway as this key sees it, and the person's folders.
fn target(
    state: &AppState,
    client: &Client,
    request: &HttpRequest,
    form: &BTreeMap<String, String>,
    url: &str,
) -> Result<Target, ApiError> {
    let (catalog, snapshot) = (state.flow.catalog.load(), state.flow.ledger.snapshot());
    let list = json!({ "data": models::cards(&catalog, &snapshot, client) });
    let windows = json!({ "data": messages_models::models(&catalog, &snapshot, client) });
    let codex = json!(codex_models::list(&catalog, &snapshot, client));
    let gateway = Gateway::new(url, &list, &windows, codex);
    let system = match form.get("os").map_or("", String::as_str) {
        "Darwin" => System::Mac,
        "Windows" => System::Windows,
        _ => System::Linux,
    };
    let mut env = form.clone();
    // A caller that only looks needs no folder of its own.
    env.entry("HOME".to_owned()).or_insert_with(|| "~".to_owned());
    let places = Places::new(env, system).ok_or_else(|| invalid("HOME", "`HOME` is empty.".to_owned()))?;
    let model = match form.get("model").filter(|model| !model.is_empty()) {
        Some(model) => Some(gateway.offer(model).cloned().ok_or_else(|| ApiError::ModelNotAllowed(model.clone()))?),
        None => None,
    };
    let key = presented_key(request.headers()).unwrap_or(OPEN_KEY).to_owned();
    Target::new(gateway, key.into(), places, model.as_ref())
        .ok_or_else(|| invalid("model", "This key may use no model.".to_owned()))
}

fn invalid(param: &str, message: String) -> ApiError {
    ApiError::InvalidValue { param: Some(param.to_owned()), message }
}

#[cfg(test)]
mod powershell;
#[cfg(test)]
mod tests;
