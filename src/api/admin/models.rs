//! `GET /admin/v1/models`: what can be asked for and why it stands where it stands, and what cannot be any more.

use std::collections::HashSet;

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::{
        edge::{auth::Admin, error::ApiError, query::Query, state::Edge},
        v1::models::status_name,
    },
    catalog::{Known, MetaModel},
    domain::{Candidate, PoolSnapshot},
    plan::{Estimates, ranking},
};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelFactsList)]
pub struct List {
    object: &'static str,
    data: Vec<Entry>,
    #[schema(required)]
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = ModelFacts)]
enum Entry {
    Meta(Meta),
    Model(Model),
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MetaModelFacts)]
struct Meta {
    id: String,
    /// The rule in force.
    order: &'static str,
    members: Vec<Member>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MetaModelMember)]
struct Member {
    name: String,
    rank: usize,
    why: String,
}

/// Of a retired one no more is known than its successor.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OneModelFacts)]
struct Model {
    id: String,
    #[schema(required)]
    context_length: Option<i64>,
    #[schema(required)]
    max_output: Option<i64>,
    capabilities: Vec<&'static str>,
    #[schema(required)]
    quality: Option<u32>,
    /// Of each account.
    limits: Vec<Cap>,
    /// `active`, `trial`, `gated`, `paid`, `off`, `retired`
    status: &'static str,
    #[schema(required)]
    successor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelLimit)]
struct Cap {
    limit: &'static str,
    /// In force.
    max: i64,
    kind: &'static str,
    source: &'static str,
}

/// Why each model stands where it stands
///
/// Meta-models with their members in order, then each model with its limits in force; retired ones name their successor.
#[utoipa::path(
    get, path = "/admin/v1/models", tag = "models", operation_id = "list_model_facts",
    security(("admin_key" = [])),
    responses((status = 200, description = "Everything known of the models", body = List)),
)]
pub async fn list(edge: Data<Edge>, _: Admin, request: HttpRequest) -> Result<Json<List>, ApiError> {
    Query::of(&request, &[])?;
    let catalog = edge.flow.catalog.load();
    let snapshot = edge.flow.ledger.snapshot();
    let mut seen = HashSet::new();
    let metas = catalog.metas.iter().map(|m| meta(m, &snapshot, &edge.flow.estimates));
    let models = catalog.candidates.iter().filter(|c| seen.insert(c.name.clone())).map(|c| model(c, &snapshot));
    let data: Vec<Entry> = metas.chain(models).collect();
    let gone = catalog.known.iter().filter(|known| known.retired && !seen.contains(&*known.name()));
    let data = data.into_iter().chain(gone.map(retired)).collect();
    Ok(Json(List { object: "list", data, next_cursor: None }))
}

fn meta(meta: &MetaModel, snapshot: &PoolSnapshot, learned: &Estimates) -> Entry {
    let members = ranking::ranking(meta, snapshot, learned).into_iter().zip(1..);
    let member = |(ranked, rank): (ranking::Ranked, usize)| Member {
        name: ranked.candidate.name.to_string(),
        rank,
        why: ranked.why,
    };
    let order = ranking::strategy_of(meta, snapshot).as_str();
    Entry::Meta(Meta { id: meta.name.clone(), order, members: members.map(member).collect() })
}

fn model(candidate: &Candidate, snapshot: &PoolSnapshot) -> Entry {
    let levels = snapshot.subject(candidate).map_or(&[][..], |subject| &subject.levels);
    let limit = |(at, window): (usize, &crate::domain::Window)| {
        // In the windows' order, once they were looked at.
        let level = levels.get(at).filter(|level| level.limit == window.limit && level.learned);
        Cap {
            limit: window.limit.as_str(),
            max: level.map_or(window.max, |level| level.max),
            kind: window.kind.as_str(),
            source: if level.is_some() { "learned" } else { window.source.as_str() },
        }
    };
    let model = &candidate.model;
    Entry::Model(Model {
        id: candidate.name.to_string(),
        context_length: Some(model.context),
        max_output: Some(model.max_output),
        capabilities: model.capabilities.names(),
        quality: Some(model.quality),
        limits: candidate.windows.iter().enumerate().map(limit).collect(),
        status: status_name(candidate, snapshot),
        successor: model.successor.as_ref().map(|next| format!("{}/{next}", candidate.provider.id)),
    })
}

fn retired(known: &Known) -> Entry {
    Entry::Model(Model {
        id: known.name(),
        context_length: None,
        max_output: None,
        capabilities: Vec::new(),
        quality: None,
        limits: Vec::new(),
        status: "retired",
        successor: known.successor.clone(),
    })
}
