//! `GET /v1/models` as Anthropic's clients read it. Claude Code keeps only names with `claude` or `anthropic` in them, so that
//! meta-models are listed as `anthropic/free-smart`.

use std::{collections::HashSet, sync::Arc};

use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use serde::Serialize;

use crate::{
    api::{
        edge::{error::ApiError, flow_error, request_id::RequestId},
        v1::refusal::{own_headers, refuse},
    },
    catalog::{Catalog, LISTED_PREFIX, MetaModel, Resolved},
    domain::{Candidate, Capabilities, Client, ModelKind, PoolSnapshot},
    protocol::Protocol,
};

const CREATED: &str = "2026-01-01T00:00:00Z";
/// Anthropic's largest page.
const MAX_PAGE: usize = 1_000;

#[derive(Serialize)]
pub(crate) struct Model {
    r#type: &'static str,
    id: String,
    display_name: String,
    created_at: &'static str,
    max_input_tokens: i64,
    max_tokens: i64,
    description: String,
}

#[derive(Serialize)]
struct Page<'a> {
    data: &'a [Model],
    has_more: bool,
    first_id: Option<String>,
    last_id: Option<String>,
}

/// Whether the caller speaks Anthropic's protocol.
pub(super) fn is_wanted(request: &HttpRequest) -> bool {
    request.headers().contains_key("anthropic-version")
}

pub(super) fn list(catalog: &Catalog, snapshot: &PoolSnapshot, client: &Client, request: &HttpRequest) -> HttpResponse {
    let models = models(catalog, snapshot, client);
    let value = |wanted: &str| {
        let mut given = url::form_urlencoded::parse(request.query_string().as_bytes());
        given.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    let limit = value("limit").and_then(|limit| limit.parse().ok()).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let after = value("after_id").and_then(|id| models.iter().position(|model| model.id == id));
    let rest = &models[after.map_or(0, |at| at + 1)..];
    let data = &rest[..limit.min(rest.len())];
    let id_of = |model: Option<&'_ Model>| model.map(|model| model.id.clone());
    let (first_id, last_id) = (id_of(data.first()), id_of(data.last()));
    answer(request, &Page { data, has_more: data.len() < rest.len(), first_id, last_id })
}

pub(super) fn show(
    catalog: &Catalog,
    snapshot: &PoolSnapshot,
    client: &Client,
    request: &HttpRequest,
    id: &str,
) -> HttpResponse {
    let found = match catalog.resolve(id) {
        Ok(Resolved::Meta(meta)) => of_meta(id.to_owned(), meta, snapshot, client),
        Ok(Resolved::Models(candidates)) => {
            let usable: Vec<&Candidate> = candidates.iter().map(|c| &**c).filter(|c| client.may_use(c)).collect();
            (!usable.is_empty()).then(|| model(id.to_owned(), id.to_owned(), &usable, snapshot))
        }
        Err(error) => return refuse(Protocol::Messages, &flow_error::model_not_found(&error), &request_id(request)),
    };
    match found {
        Some(found) => answer(request, &found),
        None => refuse(Protocol::Messages, &ApiError::ModelNotAllowed(id.to_owned()), &request_id(request)),
    }
}

fn answer(request: &HttpRequest, body: &impl Serialize) -> HttpResponse {
    let mut response = HttpResponse::Ok().json(body);
    own_headers(Protocol::Messages, response.headers_mut(), &request_id(request));
    response
}

fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestId>().map(|id| id.0.to_string()).unwrap_or_default()
}

/// Meta-models by their listed names, then each model of each configured provider.
pub(crate) fn models(catalog: &Catalog, snapshot: &PoolSnapshot, client: &Client) -> Vec<Model> {
    let mut seen = HashSet::new();
    let is_chat = |c: &&Arc<Candidate>| c.model.kind == ModelKind::Chat;
    let own = catalog.candidates.iter().filter(is_chat).filter(|c| client.may_use(c) && seen.insert(&*c.name));
    let metas = catalog
        .metas
        .iter()
        .filter_map(|meta| of_meta(format!("{LISTED_PREFIX}{}", meta.name), meta, snapshot, client));
    let own = own.map(|c| {
        let keys: Vec<&Candidate> = catalog.candidates.iter().map(|c| &**c).filter(|k| k.name == c.name).collect();
        model(c.name.to_string(), c.name.to_string(), &keys, snapshot)
    });
    metas.chain(own).collect()
}

/// `None` if the client may use none of the members.
fn of_meta(id: String, meta: &MetaModel, snapshot: &PoolSnapshot, client: &Client) -> Option<Model> {
    let allows_all = client.allows(&meta.name);
    let members: Vec<&Candidate> =
        meta.members.iter().map(|c| &**c).filter(|c| allows_all || client.may_use(c)).collect();
    (!members.is_empty()).then(|| model(id, meta.name.clone(), &members, snapshot))
}

/// What holds for whichever candidate answers an agent: the smallest window, and the budget, of those that can call tools.
fn model(id: String, display_name: String, candidates: &[&Candidate], snapshot: &PoolSnapshot) -> Model {
    let can_call = |c: &&&Candidate| c.model.may_do().has(Capabilities::TOOLS);
    let enabled: Vec<&Candidate> = candidates.iter().filter(|c| snapshot.is_enabled(c)).copied().collect();
    let callers: Vec<&Candidate> = enabled.iter().filter(can_call).copied().collect();
    let of = if callers.is_empty() { &enabled } else { &callers };
    let least = |size: fn(&Candidate) -> i64| of.iter().map(|c| size(c)).filter(|n| *n > 0).min().unwrap_or(0);
    Model {
        r#type: "model",
        id,
        display_name,
        created_at: CREATED,
        max_input_tokens: least(|c| c.model.context),
        max_tokens: least(|c| c.model.max_output),
        description: budget(of, snapshot),
    }
}

/// What is left of the budget now.
fn budget(usable: &[&Candidate], snapshot: &PoolSnapshot) -> String {
    let left = |c: &&Candidate| snapshot.headroom(c);
    let free = usable.iter().filter(|c| left(c) > 0.0).count();
    let most = usable.iter().map(left).fold(0.0, f64::max);
    format!("{free} of {} have budget now, up to {:.0} % of it left", usable.len(), most * 100.0)
}
