//! `GET /v1/models`: what can be asked for. Meta-models first, then each model of each configured provider.

use std::collections::HashSet;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Json},
};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::edge::{error::ApiError, flow_error, state::Edge},
    catalog::{Catalog, MetaModel, Resolved},
    domain::{Candidate, Capabilities, Client, PoolSnapshot},
};

/// Of meta-models, and of models whose providers do not say: the day of this contract. The same on every replica.
const CREATED: i64 = 1_767_225_600;

/// OpenAI's shape, and what chooses between models beside it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelCard {
    pub id: String,
    object: &'static str,
    created: i64,
    owned_by: String,
    /// Tokens, prompt and answer together; of a meta-model the most that any member takes.
    context_length: i64,
    context_window: i64,
    max_output: i64,
    capabilities: Vec<&'static str>,
    /// `active`, `trial`, `gated`, `paid`; `off` when switched off at run time, for a meta-model when nothing is behind it.
    status: &'static str,
    /// Of a meta-model: `provider/model` of each member.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ModelList)]
pub struct List {
    object: &'static str,
    data: Vec<ModelCard>,
}

/// What can be asked for
///
/// Meta-models first, then each model of each configured provider.
#[utoipa::path(
    get, path = "/v1/models", tag = "models", operation_id = "list_models",
    security(("client_key" = [])),
    responses((status = 200, description = "The models", body = List)),
)]
pub async fn list(edge: Data<Edge>, client: Client) -> Json<List> {
    Json(List { object: "list", data: cards(&edge.flow.catalog.load(), &edge.flow.ledger.snapshot(), &client) })
}

/// One model, by any name that a chat request could use
#[utoipa::path(
    get, path = "/v1/models/{id}", tag = "models", operation_id = "show_model",
    security(("client_key" = [])),
    params((
        "id" = String, Path, example = "groq/openai/gpt-oss-120b",
        description = "Its slashes may be escaped or stand as they are.",
    )),
    responses(
        (status = 200, description = "The model", body = ModelCard),
        (status = 404, description = "model_not_found"),
    ),
)]
pub async fn show(edge: Data<Edge>, client: Client, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    // SDKs send the slashes of an id as `%2F`, which the router leaves as it is.
    let asked = &unescaped(request.match_info().query("id"));
    let catalog = edge.flow.catalog.load();
    let snapshot = edge.flow.ledger.snapshot();
    let card = match catalog.resolve(asked).map_err(|e| flow_error::no_model(&e))? {
        Resolved::Meta(meta) => meta_card(meta, &snapshot, &client),
        Resolved::Models(candidates) => candidates.iter().find(|c| client.may_use(c)).map(|c| model_card(c, &snapshot)),
    };
    let card = card.ok_or_else(|| ApiError::ModelNotAllowed(asked.clone()))?;
    Ok(HttpResponse::Ok().json(card))
}

/// Decodes percent escapes. An incomplete escape stays as it is.
pub fn unescaped(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Every card of what this client may use, each model once however many accounts and keys serve it.
fn cards(catalog: &Catalog, snapshot: &PoolSnapshot, client: &Client) -> Vec<ModelCard> {
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
        context_length: model.context,
        context_window: model.context,
        max_output: model.max_output,
        capabilities: model.capabilities.names(),
        status: status_name(candidate, snapshot),
        members: Vec::new(),
    }
}

pub fn status_name(candidate: &Candidate, snapshot: &PoolSnapshot) -> &'static str {
    if snapshot.is_enabled(candidate) { candidate.model.status.as_str() } else { "off" }
}

/// `None`: nothing behind it is for this client.
fn meta_card(meta: &MetaModel, snapshot: &PoolSnapshot, client: &Client) -> Option<ModelCard> {
    let whole = client.allows(&meta.name);
    let members = || meta.members.iter().filter(move |c| whole || client.may_use(c));
    if !whole && members().next().is_none() {
        return None;
    }
    let on = || members().filter(|c| snapshot.is_enabled(c));
    let context = on().map(|c| c.model.context).max().unwrap_or(0);
    let mut seen = HashSet::new();
    Some(ModelCard {
        id: meta.name.clone(),
        object: "model",
        created: CREATED,
        owned_by: "tollfree".to_owned(),
        context_length: context,
        context_window: context,
        max_output: on().map(|c| c.model.max_output).max().unwrap_or(0),
        capabilities: on().fold(Capabilities::default(), |all, c| all.with(c.model.capabilities)).names(),
        status: if on().next().is_some() { "active" } else { "off" },
        members: on().filter(|c| seen.insert(&*c.name)).map(|c| c.name.to_string()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_and_anything_else_stays() {
        assert_eq!(unescaped("groq%2Fopenai%2fgpt-oss"), "groq/openai/gpt-oss");
        for plain in ["a/b:free", "50%", "%zz", "%2", "é"] {
            assert_eq!(unescaped(plain), plain);
        }
    }
}
