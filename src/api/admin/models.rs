//! `GET /admin/v1/models`: all models with their limits, and the ranking of each meta-model's members with its reasons.

use std::collections::HashSet;

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::{
        edge::{auth::Admin, error::ApiError, query::Query, schema, state::AppState},
        v1::models::status_name,
    },
    catalog::{Known, MetaModel},
    domain::{Candidate, ModelKind, PoolSnapshot, Window},
    plan::{Estimates, ranking},
};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelFactsList)]
pub(crate) struct List {
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
    /// What its members are for
    #[schema(schema_with = schema::model_kind)]
    model_kind: &'static str,
    #[schema(schema_with = schema::strategy)]
    strategy: &'static str,
    members: Vec<Member>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MetaModelMember)]
struct Member {
    name: String,
    rank: usize,
    why: String,
}

/// A retired model has only a status, its date and a successor.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = OneModelFacts)]
#[expect(clippy::struct_field_names, reason = "named by the interface")]
struct Model {
    id: String,
    /// What the model is for
    #[schema(schema_with = schema::model_kind)]
    model_kind: &'static str,
    #[schema(required)]
    context_length: Option<i64>,
    #[schema(required)]
    max_output: Option<i64>,
    capabilities: Vec<&'static str>,
    #[schema(required)]
    quality: Option<u32>,
    /// Limits per account
    limits: Vec<LimitInForce>,
    #[schema(schema_with = schema::model_status)]
    status: &'static str,
    #[schema(required)]
    successor: Option<String>,
    /// The day or the month since when it is retired
    #[schema(required)]
    retired_on: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelLimit)]
struct LimitInForce {
    limit: &'static str,
    max: i64,
    #[schema(schema_with = schema::window_kind)]
    kind: &'static str,
    #[schema(schema_with = schema::limit_source)]
    source: &'static str,
}

/// All models with their limits, and the ranking of meta-model members
///
/// Meta-models with their members in order, then each model with its limits in force, then retired models with their
/// successors.
#[utoipa::path(
    get, path = "/admin/v1/models", tag = "models", operation_id = "list_model_facts",
    security(("admin_key" = [])),
    responses((status = 200, description = "The models", body = List)),
)]
pub(crate) async fn list(state: Data<AppState>, _: Admin, request: HttpRequest) -> Result<Json<List>, ApiError> {
    Query::parse(&request, &[])?;
    let catalog = state.flow.catalog.load();
    let snapshot = state.flow.ledger.snapshot();
    let mut seen = HashSet::new();
    let metas = catalog.metas.iter().map(|m| meta_entry(m, &snapshot, &state.flow.estimates));
    let models = catalog.candidates.iter().filter(|c| seen.insert(c.name.clone())).map(|c| model_entry(c, &snapshot));
    let data: Vec<Entry> = metas.chain(models).collect();
    let retired = catalog.known.iter().filter(|known| known.retired && !seen.contains(&*known.name()));
    let data = data.into_iter().chain(retired.map(retired_entry)).collect();
    Ok(Json(List { object: "list", data, next_cursor: None }))
}

fn meta_entry(meta: &MetaModel, snapshot: &PoolSnapshot, estimates: &Estimates) -> Entry {
    let members = ranking::ranking(meta, snapshot, estimates).into_iter().zip(1..);
    let member = |(ranked, rank): (ranking::Ranked, usize)| Member {
        name: ranked.candidate.name.to_string(),
        rank,
        why: ranked.why,
    };
    let strategy = ranking::strategy_of(meta, snapshot).as_str();
    // All members have one kind.
    let model_kind = meta.members.first().map_or(ModelKind::Chat, |member| member.model.kind).as_str();
    Entry::Meta(Meta { id: meta.name.clone(), model_kind, strategy, members: members.map(member).collect() })
}

fn model_entry(candidate: &Candidate, snapshot: &PoolSnapshot) -> Entry {
    let levels = snapshot.subject(candidate).map_or(&[][..], |subject| &subject.levels);
    let limit = |(at, window): (usize, &Window)| {
        // The snapshot has the levels in the order of the windows.
        let learned = levels.get(at).filter(|level| level.limit == window.limit && level.learned);
        LimitInForce {
            limit: window.limit.as_str(),
            max: learned.map_or(window.max, |level| level.max),
            kind: window.kind.as_str(),
            source: if learned.is_some() { "learned" } else { window.source.as_str() },
        }
    };
    let model = &candidate.model;
    Entry::Model(Model {
        id: candidate.name.to_string(),
        model_kind: model.kind.as_str(),
        context_length: Some(model.context),
        max_output: Some(model.max_output),
        capabilities: model.capabilities.names(),
        quality: Some(model.quality),
        limits: candidate.windows.iter().enumerate().map(limit).collect(),
        status: status_name(candidate, snapshot),
        successor: model.successor.as_ref().map(|next| format!("{}/{next}", candidate.provider.id)),
        retired_on: None,
    })
}

fn retired_entry(known: &Known) -> Entry {
    let Known { kind, successor, retired_on, .. } = known.clone();
    let model_kind = kind.as_str();
    Entry::Model(Model { id: known.name(), model_kind, status: "retired", successor, retired_on, ..Model::default() })
}
