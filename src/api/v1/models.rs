//! `GET /v1/models`: meta-models first, then each model of each configured provider.

use std::collections::HashSet;

use actix_web::{HttpRequest, HttpResponse, web::Data};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;

use crate::{
    api::{
        edge::{error::ApiError, flow_error, schema, state::AppState},
        v1::{codex_models, messages_models},
    },
    catalog::{Catalog, MetaModel, Resolved},
    domain::{Candidate, Capabilities, Client, ModelKind, PoolSnapshot},
};

/// `created` of all models, because providers do not report it: a constant, so that all replicas agree.
const CREATED: i64 = 1_767_225_600;

/// OpenAI's model object, with further fields to choose a model by.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelCard {
    id: String,
    object: &'static str,
    created: i64,
    owned_by: String,
    /// What the model is for, and thereby which endpoint serves it: `embedding` models serve `/v1/embeddings`
    #[schema(schema_with = schema::model_kind)]
    kind: &'static str,
    /// Tokens of prompt and response together; the largest of any member for a meta-model
    context_length: i64,
    context_window: i64,
    max_output: i64,
    capabilities: Vec<&'static str>,
    /// `off`: disabled at run time, or a meta-model without enabled members
    #[schema(schema_with = schema::model_status)]
    status: &'static str,
    /// The members of a meta-model as `provider/model`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ModelList)]
pub(crate) struct List {
    object: &'static str,
    data: Vec<ModelCard>,
}

/// The models this key may use
///
/// Meta-models first, then each model of each configured provider. With `client_version` the list has the form of Codex's
/// catalogue: `{"models": […]}`, of models that can call tools. With the
/// header `anthropic-version` it has Anthropic's form.
#[utoipa::path(
    get, path = "/v1/models", tag = "models", operation_id = "list_models",
    security(("client_key" = [])),
    params(("client_version" = Option<String>, Query, nullable = false, description = "The version of Codex that asks.")),
    responses((status = 200, description = "The models", body = List)),
)]
pub(crate) async fn list(state: Data<AppState>, client: Client, request: HttpRequest) -> HttpResponse {
    let (catalog, snapshot) = (state.flow.catalog.load(), state.flow.ledger.snapshot());
    if form_urlencoded::parse(request.query_string().as_bytes()).any(|(name, _)| name == "client_version") {
        return HttpResponse::Ok().json(codex_models::list(&catalog, &snapshot, &client));
    }
    if messages_models::is_wanted(&request) {
        return messages_models::list(&catalog, &snapshot, &client, &request);
    }
    HttpResponse::Ok().json(List { object: "list", data: cards(&catalog, &snapshot, &client) })
}

/// One model, by any name that a chat request accepts
#[utoipa::path(
    get, path = "/v1/models/{id}", tag = "models", operation_id = "show_model",
    security(("client_key" = [])),
    params((
        "id" = String, Path, example = "groq/openai/gpt-oss-120b",
        description = "Slashes may be percent-encoded.",
    )),
    responses(
        (status = 200, description = "The model", body = ModelCard),
        (status = 404, description = "model_not_found"),
    ),
)]
pub(crate) async fn show(
    state: Data<AppState>,
    client: Client,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let id = model_id(&request);
    let catalog = state.flow.catalog.load();
    let snapshot = state.flow.ledger.snapshot();
    if messages_models::is_wanted(&request) {
        return Ok(messages_models::show(&catalog, &snapshot, &client, &request, &id));
    }
    let card = match catalog.resolve(&id).map_err(|e| flow_error::model_not_found(&e))? {
        Resolved::Meta(meta) => meta_card(meta, &snapshot, &client),
        Resolved::Models(candidates) => candidates.iter().find(|c| client.may_use(c)).map(|c| model_card(c, &snapshot)),
    };
    let card = card.ok_or(ApiError::ModelNotAllowed(id))?;
    Ok(HttpResponse::Ok().json(card))
}

/// The model id in the path. SDKs send its slashes as `%2F`, which the router does not decode.
pub(crate) fn model_id(request: &HttpRequest) -> String {
    percent_decode_str(request.match_info().query("id")).decode_utf8_lossy().into_owned()
}

/// The cards of all models this client may use, each model once although several accounts and keys may serve it.
pub(crate) fn cards(catalog: &Catalog, snapshot: &PoolSnapshot, client: &Client) -> Vec<ModelCard> {
    let mut seen = HashSet::new();
    let models = catalog.candidates.iter().filter(|c| client.may_use(c) && seen.insert(&*c.name));
    let metas = catalog.metas.iter().filter_map(|meta| meta_card(meta, snapshot, client));
    metas.chain(models.map(|c| model_card(c, snapshot))).collect()
}

fn model_card(candidate: &Candidate, snapshot: &PoolSnapshot) -> ModelCard {
    let Candidate { provider, model, .. } = candidate;
    ModelCard {
        id: candidate.name.to_string(),
        object: "model",
        created: CREATED,
        owned_by: provider.id.to_string(),
        kind: model.kind.as_str(),
        context_length: model.context,
        context_window: model.context,
        max_output: model.max_output,
        capabilities: model.capabilities.names(),
        status: status_name(candidate, snapshot),
        members: Vec::new(),
    }
}

pub(crate) fn status_name(candidate: &Candidate, snapshot: &PoolSnapshot) -> &'static str {
    if snapshot.is_enabled(candidate) { candidate.model.status.as_str() } else { "off" }
}

/// `None` if the client may use none of the members.
fn meta_card(meta: &MetaModel, snapshot: &PoolSnapshot, client: &Client) -> Option<ModelCard> {
    let allows_all = client.allows(&meta.name);
    let members = || meta.members.iter().filter(move |c| allows_all || client.may_use(c));
    if !allows_all && members().next().is_none() {
        return None;
    }
    let enabled = || members().filter(|c| snapshot.is_enabled(c));
    let context = enabled().map(|c| c.model.context).max().unwrap_or(0);
    let mut seen = HashSet::new();
    Some(ModelCard {
        id: meta.name.clone(),
        object: "model",
        created: CREATED,
        owned_by: "tollfree".to_owned(),
        kind: meta.members.first().map_or(ModelKind::Chat, |c| c.model.kind).as_str(),
        context_length: context,
        context_window: context,
        max_output: enabled().map(|c| c.model.max_output).max().unwrap_or(0),
        capabilities: enabled().fold(Capabilities::default(), |all, c| all.with(c.model.capabilities)).names(),
        status: if enabled().next().is_some() { "active" } else { "off" },
        members: enabled().filter(|c| seen.insert(&*c.name)).map(|c| c.name.to_string()).collect(),
    })
}
