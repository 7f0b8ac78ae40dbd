//! `GET /v1/status`: FreeLLM's shape, over all replicas of the pool.

use std::collections::HashSet;

use actix_web::web::{Data, Json};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{Object, ObjectBuilder},
};

use crate::{
    api::edge::state::Edge,
    catalog::Catalog,
    domain::{Candidate, Client, PoolSnapshot, Provider, RoutingStrategy, client::ClientKind},
    ledger::{RequestRecord, Totals},
    plan,
};

const RECENT: usize = 50;

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The order of `free`.
    #[schema(schema_with = order_names)]
    routing_strategy: &'static str,
    total_requests: i64,
    success_requests: i64,
    failed_requests: i64,
    providers: Vec<ProviderStatus>,
    recent_requests: Vec<Recent>,
    ledger: LedgerStatus,
}

/// False: an outage. Totals and recent requests are then the last that this replica saw.
#[derive(Debug, Serialize, ToSchema)]
struct LedgerStatus {
    reachable: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderStatus {
    pub id: String,
    pub name: String,
    pub enabled: bool,
    /// `closed`, `open`, `half_open`
    pub circuit_breaker_state: &'static str,
    pub models: Vec<String>,
    /// Of `models`: switched off at run time.
    pub disabled_models: Vec<String>,
    pub limits: Vec<LimitStatus>,
    pub cooling_down: Vec<Cooling>,
}

/// One window of one account, and of one model where it is counted per model.
#[derive(Debug, Serialize, ToSchema)]
pub struct LimitStatus {
    model: String,
    account: String,
    /// `rpm`, `rpd`, `tpm`, …
    limit: &'static str,
    used: i64,
    max: i64,
    /// The figure came from the provider's own answers.
    learned: bool,
}

/// Left alone until then, by every replica.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cooling {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// The account, or the id of the key.
    of: String,
    cause: String,
    #[schema(format = DateTime)]
    until: String,
}

/// One finished request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecentRequest)]
#[serde(rename_all = "camelCase")]
struct Recent {
    id: String,
    requested_model: String,
    #[schema(required)]
    resolved_model: Option<String>,
    #[schema(required)]
    provider: Option<String>,
    latency_ms: i64,
    /// `success`, `error`, `rate_limited`, `all_providers_failed`
    status: &'static str,
    status_code: u16,
    /// As `x-tollfree-attempts` told them.
    attempts: String,
    #[schema(format = DateTime)]
    timestamp: String,
    streaming: bool,
    #[schema(required)]
    tokens_in: Option<i64>,
    #[schema(required)]
    tokens_out: Option<i64>,
    /// For the admin only.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
}

/// The names of all orders, for the document.
pub fn order_names() -> Object {
    ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .enum_values(Some(RoutingStrategy::NAMES.map(|(name, _)| name)))
        .build()
}

/// Providers, their limits and breakers, the last requests
///
/// FreeLLM's shape, over all replicas of the pool. Who asked is told to the admin only.
#[utoipa::path(
    get, path = "/v1/status", tag = "status", operation_id = "show_status",
    security(("client_key" = [])),
    responses((status = 200, description = "The pool as it stands", body = Status)),
)]
pub async fn show(edge: Data<Edge>, client: Client) -> Json<Status> {
    Json(status(&edge, client.kind == ClientKind::Admin, None).await)
}

/// `ordered`: the order just set, which the snapshot of the last second may not show yet.
pub async fn status(edge: &Edge, for_admin: bool, ordered: Option<RoutingStrategy>) -> Status {
    let journal = edge.journal(RECENT).await;
    let Totals { requests, successes, failures } = journal.totals;
    let catalog = edge.flow.catalog.load();
    let snapshot = edge.flow.ledger.snapshot();
    let configured =
        catalog.metas.iter().find(|m| m.name == plan::FREE).map_or(RoutingStrategy::Headroom, |m| m.strategy);
    Status {
        routing_strategy: ordered.or(snapshot.strategy).unwrap_or(configured).as_str(),
        total_requests: requests,
        success_requests: successes,
        failed_requests: failures,
        providers: catalog.providers.iter().map(|p| provider_status(p, &catalog, &snapshot)).collect(),
        recent_requests: journal.records.iter().map(|(_, line)| recent(line, for_admin)).collect(),
        ledger: LedgerStatus { reachable: edge.flow.ledger.is_reachable() },
    }
}

pub fn provider_status(provider: &Provider, catalog: &Catalog, snapshot: &PoolSnapshot) -> ProviderStatus {
    let candidates: Vec<&Candidate> =
        catalog.candidates.iter().filter(|c| c.provider.id == provider.id).map(|c| &**c).collect();
    let mut seen = HashSet::new();
    let models: Vec<&Candidate> = candidates.iter().filter(|c| seen.insert(&*c.model.id)).copied().collect();
    let mut seen = HashSet::new();
    let subjects: Vec<&Candidate> =
        candidates.iter().filter(|c| seen.insert((&*c.model.id, &*c.account.id))).copied().collect();
    ProviderStatus {
        id: provider.id.to_string(),
        name: provider.name.clone(),
        enabled: provider.enabled && snapshot.is_name_enabled(&provider.id),
        circuit_breaker_state: snapshot.breaker(&provider.id).as_str(),
        models: models.iter().map(|c| c.model.id.to_string()).collect(),
        disabled_models: models
            .iter()
            .filter(|c| !snapshot.is_name_enabled(&c.name))
            .map(|c| c.model.id.to_string())
            .collect(),
        limits: subjects.iter().flat_map(|c| limits(c, snapshot)).collect(),
        cooling_down: subjects
            .iter()
            .filter_map(|c| cooling_model(c, snapshot))
            .chain(cooling_keys(&candidates, snapshot))
            .collect(),
    }
}

fn limits(candidate: &Candidate, snapshot: &PoolSnapshot) -> Vec<LimitStatus> {
    let levels = snapshot.subject(candidate).map_or(&[][..], |s| &s.levels);
    let limit = |level: &crate::domain::WindowLevel| LimitStatus {
        model: candidate.model.id.to_string(),
        account: candidate.account.id.to_string(),
        limit: level.limit.as_str(),
        used: level.used,
        max: level.max,
        learned: level.learned,
    };
    levels.iter().map(limit).collect()
}

fn cooling_model(candidate: &Candidate, snapshot: &PoolSnapshot) -> Option<Cooling> {
    let (until_ms, cause) = snapshot.subject(candidate)?.cooldown.as_ref()?;
    let (model, of) = (Some(candidate.model.id.to_string()), candidate.account.id.to_string());
    Some(Cooling { model, of, cause: cause.clone(), until: instant(*until_ms) })
}

fn cooling_keys(candidates: &[&Candidate], snapshot: &PoolSnapshot) -> Vec<Cooling> {
    let mut seen = HashSet::new();
    let keys = candidates.iter().filter(|c| seen.insert(&*c.key.id));
    keys.filter_map(|c| {
        let (until_ms, cause) = snapshot.key_cooldowns.get(&format!("{}/{}", c.provider.id, c.key.id))?;
        Some(Cooling { model: None, of: c.key.id.to_string(), cause: cause.clone(), until: instant(*until_ms) })
    })
    .collect()
}

fn recent(line: &RequestRecord, for_admin: bool) -> Recent {
    let resolved = (!line.candidate.is_empty()).then(|| line.candidate.clone());
    Recent {
        id: line.request_id.clone(),
        requested_model: line.requested_model.clone(),
        provider: resolved.as_deref().and_then(|name| name.split('/').next()).map(str::to_owned),
        resolved_model: resolved,
        latency_ms: line.duration_ms,
        status: match line.status {
            200 => "success",
            429 => "rate_limited",
            502 | 504 => "all_providers_failed",
            _ => "error",
        },
        status_code: line.status,
        attempts: line.attempts_header(),
        timestamp: instant(line.time_ms),
        streaming: line.stream,
        tokens_in: line.tokens_in,
        tokens_out: line.tokens_out,
        client: for_admin.then(|| line.client.clone()),
    }
}

pub fn instant(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}
