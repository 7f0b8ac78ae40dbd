//! `GET /v1/status`: the state of all providers over all replicas of the pool, in the format of FreeLLM.

use std::collections::HashSet;

use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::edge::{schema, state::AppState, timestamp::timestamp},
    catalog::Catalog,
    domain::{Candidate, Client, PoolSnapshot, Provider, RoutingStrategy, WindowLevel, client::ClientKind},
    ledger::{KeyState, Ledger, RequestRecord, Totals},
    plan,
};

const RECENT_REQUESTS: usize = 50;

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    /// The strategy of `free`
    #[schema(schema_with = schema::strategy)]
    routing_strategy: &'static str,
    total_requests: i64,
    success_requests: i64,
    failed_requests: i64,
    providers: Vec<ProviderStatus>,
    recent_requests: Vec<RecentRequest>,
    ledger: LedgerStatus,
    /// Provider keys of the store that this replica cannot open, so that they are not used
    unreadable_provider_keys: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LedgerStatus {
    /// While false, totals and recent requests are the last ones this replica has read
    reachable: bool,
    /// Present while it is not reachable
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    away_since: Option<String>,
    /// Why it is not reachable
    #[serde(skip_serializing_if = "Option::is_none")]
    away_cause: Option<String>,
    /// Requests of this replica that wait until it is reachable
    waiting: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProviderStatus {
    id: String,
    name: String,
    pub enabled: bool,
    #[schema(schema_with = schema::breaker_state)]
    pub circuit_breaker_state: &'static str,
    models: Vec<String>,
    /// The models disabled at run time
    disabled_models: Vec<String>,
    limits: Vec<LimitStatus>,
    pub cooling_down: Vec<CooldownStatus>,
}

/// One limit of an account.
#[derive(Debug, Serialize, ToSchema)]
struct LimitStatus {
    model: String,
    account: String,
    /// `rpm`, `rpd`, `tpm`, …
    limit: &'static str,
    used: i64,
    max: i64,
    /// The maximum comes from the provider's responses
    learned: bool,
}

/// No replica calls the model or uses the key until then.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cooldown)]
pub(crate) struct CooldownStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// The account of the model, or the id of the key
    of: String,
    cause: String,
    #[schema(format = DateTime)]
    until: String,
}

/// One finished request.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RecentRequest {
    id: String,
    requested_model: String,
    #[schema(required)]
    resolved_model: Option<String>,
    #[schema(required)]
    provider: Option<String>,
    latency_ms: i64,
    #[schema(schema_with = schema::outcome)]
    status: &'static str,
    status_code: u16,
    /// As in `x-tollfree-attempts`
    attempts: String,
    #[schema(format = DateTime)]
    timestamp: String,
    streaming: bool,
    #[schema(required)]
    tokens_in: Option<i64>,
    #[schema(required)]
    tokens_out: Option<i64>,
    /// Present for the admin only
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
}

/// Providers with their limits and breakers, and the last requests
///
/// In the format of FreeLLM, over all replicas of the pool.
#[utoipa::path(
    get, path = "/v1/status", tag = "status", operation_id = "show_status",
    security(("client_key" = [])),
    responses((status = 200, description = "The status of the pool", body = Status)),
)]
pub(crate) async fn show(state: Data<AppState>, client: Client) -> Json<Status> {
    Json(status(&state, client.kind == ClientKind::Admin, None).await)
}

/// `new_strategy`: the strategy just set, which the last snapshot may not contain yet.
pub(crate) async fn status(state: &AppState, for_admin: bool, new_strategy: Option<RoutingStrategy>) -> Status {
    let journal = state.recent_requests(RECENT_REQUESTS).await;
    let Totals { requests, successes, failures } = journal.totals;
    let catalog = state.flow.catalog.load();
    let snapshot = state.flow.ledger.snapshot();
    let free = catalog.metas.iter().find(|meta| meta.name == plan::FREE);
    let configured = free.map_or(RoutingStrategy::Headroom, |meta| meta.strategy);
    Status {
        routing_strategy: new_strategy.or(snapshot.strategy).unwrap_or(configured).as_str(),
        total_requests: requests,
        success_requests: successes,
        failed_requests: failures,
        providers: catalog.providers.iter().map(|p| provider_status(p, &catalog, &snapshot)).collect(),
        recent_requests: journal.records.iter().map(|(_, record)| recent_request(record, for_admin)).collect(),
        ledger: ledger_status(&state.flow.ledger),
        unreadable_provider_keys: state.flow.ledger.provider_keys().borrow().count(KeyState::Unreadable),
    }
}

fn ledger_status(ledger: &Ledger) -> LedgerStatus {
    let away_since = ledger.away_since().map(|since| timestamp(since.as_millisecond()));
    let (reachable, away_cause) = (ledger.is_reachable(), ledger.away_cause());
    LedgerStatus { reachable, away_since, away_cause, waiting: ledger.requests_held() }
}

pub(crate) fn provider_status(provider: &Provider, catalog: &Catalog, snapshot: &PoolSnapshot) -> ProviderStatus {
    let candidates: Vec<&Candidate> =
        catalog.candidates.iter().filter(|c| c.provider.id == provider.id).map(|c| &**c).collect();
    let mut seen = HashSet::new();
    let models: Vec<&Candidate> = candidates.iter().filter(|c| seen.insert(&*c.model.id)).copied().collect();
    let disabled = models.iter().filter(|c| !snapshot.is_name_enabled(&c.name));
    let mut seen = HashSet::new();
    let subjects: Vec<&Candidate> =
        candidates.iter().filter(|c| seen.insert((&*c.model.id, &*c.account.id))).copied().collect();
    ProviderStatus {
        id: provider.id.to_string(),
        name: provider.name.clone(),
        enabled: provider.enabled && snapshot.is_name_enabled(&provider.id),
        circuit_breaker_state: snapshot.breaker(&provider.id).as_str(),
        models: models.iter().map(|c| c.model.id.to_string()).collect(),
        disabled_models: disabled.map(|c| c.model.id.to_string()).collect(),
        limits: subjects.iter().flat_map(|c| limits(c, snapshot)).collect(),
        cooling_down: subjects
            .iter()
            .filter_map(|c| model_cooldown(c, snapshot))
            .chain(key_cooldowns(&candidates, snapshot))
            .collect(),
    }
}

fn limits(candidate: &Candidate, snapshot: &PoolSnapshot) -> Vec<LimitStatus> {
    let levels = snapshot.subject(candidate).map_or(&[][..], |subject| &subject.levels);
    let limit = |level: &WindowLevel| LimitStatus {
        model: candidate.model.id.to_string(),
        account: candidate.account.id.to_string(),
        limit: level.limit.as_str(),
        used: level.used,
        max: level.max,
        learned: level.learned,
    };
    levels.iter().map(limit).collect()
}

fn model_cooldown(candidate: &Candidate, snapshot: &PoolSnapshot) -> Option<CooldownStatus> {
    let (until_ms, cause) = snapshot.subject(candidate)?.cooldown.as_ref()?;
    let (model, of) = (Some(candidate.model.id.to_string()), candidate.account.id.to_string());
    Some(CooldownStatus { model, of, cause: cause.clone(), until: timestamp(*until_ms) })
}

fn key_cooldowns(candidates: &[&Candidate], snapshot: &PoolSnapshot) -> Vec<CooldownStatus> {
    let mut seen = HashSet::new();
    let keys = candidates.iter().filter(|c| seen.insert(&*c.key.id));
    keys.filter_map(|c| {
        let (until_ms, cause) = snapshot.key_cooldowns.get(&format!("{}/{}", c.provider.id, c.key.id))?;
        let until = timestamp(*until_ms);
        Some(CooldownStatus { model: None, of: c.key.id.to_string(), cause: cause.clone(), until })
    })
    .collect()
}

fn recent_request(record: &RequestRecord, for_admin: bool) -> RecentRequest {
    let resolved = (!record.candidate.is_empty()).then(|| record.candidate.clone());
    RecentRequest {
        id: record.request_id.clone(),
        requested_model: record.requested_model.clone(),
        provider: resolved.as_deref().and_then(|name| name.split('/').next()).map(str::to_owned),
        resolved_model: resolved,
        latency_ms: record.duration_ms,
        status: match record.status {
            200 => "success",
            429 => "rate_limited",
            502 | 504 => "all_providers_failed",
            _ => "error",
        },
        status_code: record.status,
        attempts: record.attempts_header(),
        timestamp: timestamp(record.time_ms),
        streaming: record.stream,
        tokens_in: record.tokens_in,
        tokens_out: record.tokens_out,
        client: for_admin.then(|| record.client.clone()),
    }
}
