//! `GET /admin/v1/budget`: every limit window with its usage, its clients and a forecast.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::edge::{
        auth::{Admin, AdminJson},
        error::ApiError,
        flow_error,
        query::Query,
        schema,
        state::AppState,
        timestamp::timestamp,
    },
    catalog::Catalog,
    domain::{BreakerState, Candidate, Limit, PoolSnapshot, Provider, Scope, WindowKind, Zone},
    ledger::{
        Allowances,
        budget::{self, LearnedFrom, WindowReport},
        forecast::{self, UsageHistory},
    },
};

/// An allowance is shown in thousandths.
const ALLOWANCE_UNITS: i64 = 1_000;

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Budget {
    object: &'static str,
    #[schema(format = DateTime)]
    taken_at: String,
    replicas: i64,
    /// Requests in the wait queue
    waiting: i64,
    totals: Totals,
    providers: Vec<ProviderBudget>,
}

/// Requests since the state was created.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BudgetTotals)]
struct Totals {
    requests: i64,
    successes: i64,
    failures: i64,
}

#[derive(Debug, Serialize, ToSchema)]
struct ProviderBudget {
    id: String,
    name: String,
    enabled: bool,
    breaker: Breaker,
    accounts: Vec<AccountBudget>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BudgetBreaker)]
struct Breaker {
    #[schema(schema_with = schema::breaker_state)]
    state: &'static str,
    /// When an open breaker lets a probe through
    #[schema(required, format = DateTime)]
    until: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct AccountBudget {
    id: String,
    keys: Vec<Key>,
    /// The windows shared by all models of the account
    windows: Vec<Window>,
    models: Vec<ModelBudget>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BudgetKey)]
struct Key {
    id: String,
    #[schema(required, format = DateTime)]
    cooldown_until: Option<String>,
    #[schema(required)]
    cause: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ModelBudget {
    id: String,
    name: String,
    enabled: bool,
    breaker: Breaker,
    /// A cooldown of the model, its account or all its keys
    #[schema(required)]
    cooldown: Option<Cooldown>,
    #[schema(required)]
    first_token_ms: Option<i64>,
    windows: Vec<Window>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BudgetCooldown)]
struct Cooldown {
    #[schema(format = DateTime)]
    until: String,
    cause: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BudgetWindow)]
struct Window {
    /// `rpm`, `rpd`, `tpm`, …; `allowance`: thousandths of a month's allowance, as the provider reports
    limit: &'static str,
    #[schema(schema_with = schema::window_kind)]
    kind: &'static str,
    /// The limit in force
    max: i64,
    configured: i64,
    /// `learned`: from the provider's responses; `unknown`: the provider has not reported how much of its allowance is used, and `used`
    /// and `left` say nothing
    #[schema(schema_with = schema::window_source)]
    source: &'static str,
    /// Where and when a learned limit was learned
    #[schema(required)]
    learned: Option<LearnedLimit>,
    used: i64,
    /// Units of requests in the wait queue
    waiting: i64,
    left: i64,
    /// When the next unit becomes available, without further requests
    #[schema(format = DateTime)]
    next_free_at: String,
    /// When nothing used so far counts any more
    #[schema(required, format = DateTime)]
    resets_at: Option<String>,
    span_ms: i64,
    /// The clients with the most usage recorded in this span
    clients: Vec<ClientShare>,
    /// Present for windows of a day or month
    #[schema(required)]
    forecast: Option<Forecast>,
}

#[derive(Debug, Serialize, ToSchema)]
struct LearnedLimit {
    /// `answer`: its headers named the limit; `refusal`: a refusal did; `ceiling`: a refusal named none, and this is what was used
    /// then, for a day
    #[schema(schema_with = schema::learned_from)]
    from: &'static str,
    #[schema(required, format = DateTime)]
    at: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BudgetClient)]
struct ClientShare {
    client: String,
    #[schema(required)]
    name: Option<String>,
    units: i64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Forecast {
    /// Null if the limit lasts at this pace
    #[schema(required, format = DateTime)]
    exhausted_at: Option<String>,
    pace_per_hour: f64,
}

/// Every limit window with its usage, its clients and a forecast
#[utoipa::path(
    get, path = "/admin/v1/budget", tag = "usage", operation_id = "show_budget",
    security(("admin_key" = [])),
    responses((status = 200, description = "The budget of the whole pool", body = Budget)),
)]
pub(crate) async fn show(state: Data<AppState>, _: Admin, request: HttpRequest) -> Result<Json<Budget>, ApiError> {
    Query::parse(&request, &[])?;
    Ok(Json(load(&state).await?))
}

/// A limit of an account, or of one model of it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LearnedLimitOf)]
pub(crate) struct LimitOf {
    provider: String,
    account: String,
    /// Absent: a limit over all models of the account
    #[serde(default)]
    model: Option<String>,
    /// `rpm`, `rpd`, `tpm`, …
    limit: String,
}

/// Forgets a limit that was learned from a provider's responses
///
/// The configured limit is in force at the next admission of every replica, until the provider names another one.
#[utoipa::path(
    post, path = "/admin/v1/budget/forget", tag = "usage", operation_id = "forget_learned_limit",
    security(("admin_key" = [])),
    request_body(content = LimitOf, example = json!({
        "provider": "groq", "account": "main", "model": "openai/gpt-oss-120b", "limit": "rpd",
    })),
    responses((status = 200, description = "The budget after the change", body = Budget)),
)]
pub(crate) async fn forget(state: Data<AppState>, json: AdminJson<LimitOf>) -> Result<Json<Budget>, ApiError> {
    let LimitOf { provider, account, model, limit } = json.body;
    let invalid = |message| ApiError::InvalidValue { param: Some("limit".to_owned()), message };
    let limit = limit.parse().map_err(|()| invalid(format!("There is no limit `{limit}`.")))?;
    let forgotten = state.flow.ledger.forget_limit(&provider, &account, model.as_deref(), limit, &json.by).await;
    forgotten.map_err(|e| flow_error::from_ledger_read(&e))?;
    Ok(Json(load(&state).await?))
}

pub(crate) async fn load(state: &AppState) -> Result<Budget, ApiError> {
    let ledger = &state.flow.ledger;
    let catalog = state.flow.catalog.load_full();
    let report = ledger.budget().await.map_err(|e| flow_error::from_ledger_read(&e))?;
    let windows = catalog.candidates.iter().flat_map(|c| c.windows.iter());
    let history = ledger.usage_history(windows).await.map_err(|e| flow_error::from_ledger_read(&e))?;
    let mut view = BudgetView {
        catalog: &catalog,
        snapshot: ledger.snapshot(),
        report: &report,
        history,
        names: HashMap::new(),
        allowances: ledger.allowances(),
    };
    let clients = view.clients();
    view.names = state.display_names.lookup(ledger, clients.iter().map(String::as_str)).await;
    Ok(Budget {
        object: "budget",
        taken_at: timestamp(report.now_ms),
        replicas: report.replicas,
        waiting: report.waiting,
        totals: Totals {
            requests: report.totals.requests,
            successes: report.totals.successes,
            failures: report.totals.failures,
        },
        providers: catalog.providers.iter().map(|p| view.provider(p)).collect(),
    })
}

impl Budget {
    /// Equal for two budgets that differ only in the time they were taken.
    pub(crate) fn json_without_time(&self) -> Vec<u8> {
        let Self { replicas, waiting, totals, providers, .. } = self;
        serde_json::to_vec(&(replicas, waiting, totals, providers)).unwrap_or_default()
    }
}

/// The sources of a budget.
struct BudgetView<'a> {
    catalog: &'a Catalog,
    /// Breakers, cooldowns and latencies as of the last second.
    snapshot: Arc<PoolSnapshot>,
    report: &'a budget::Budget,
    history: UsageHistory,
    names: HashMap<String, String>,
    allowances: Arc<Allowances>,
}

impl BudgetView<'_> {
    /// The ids of all clients in the response.
    fn clients(&self) -> HashSet<String> {
        let all = &self.report.windows;
        let windows = all.iter().flat_map(|(subject, windows)| windows.iter().map(move |window| (subject, window)));
        let shares = windows.flat_map(|(subject, window)| self.history.top_clients(subject, window));
        shares.map(|share| share.client).collect()
    }

    fn provider(&self, provider: &Provider) -> ProviderBudget {
        let candidates: Vec<&Candidate> =
            self.catalog.candidates.iter().filter(|c| c.provider.id == provider.id).map(|c| &**c).collect();
        let mut seen = HashSet::new();
        let accounts = candidates.iter().filter(|c| seen.insert(&*c.account.id));
        ProviderBudget {
            id: provider.id.to_string(),
            name: provider.name.clone(),
            enabled: provider.enabled && self.snapshot.is_name_enabled(&provider.id),
            breaker: self.breaker(&provider.id),
            accounts: accounts.map(|c| self.account(c, &candidates)).collect(),
        }
    }

    /// The account of `first` with the models of all `candidates` that use it.
    fn account(&self, first: &Candidate, candidates: &[&Candidate]) -> AccountBudget {
        let mut seen = HashSet::new();
        let models = candidates.iter().filter(|c| c.account.id == first.account.id && seen.insert(&*c.model.id));
        AccountBudget {
            id: first.account.id.to_string(),
            keys: first.account.keys.iter().map(|key| self.key(&first.provider.id, &key.id)).collect(),
            windows: self.windows(first, Scope::Account).into_iter().chain(self.allowance(first)).collect(),
            models: models.map(|c| self.model(c)).collect(),
        }
    }

    fn key(&self, provider: &str, id: &str) -> Key {
        let cooldown = self.snapshot.key_cooldowns.get(&format!("{provider}/{id}"));
        Key {
            id: id.to_owned(),
            cooldown_until: cooldown.map(|(until_ms, _)| timestamp(*until_ms)),
            cause: cooldown.map(|(_, cause)| cause.clone()),
        }
    }

    fn model(&self, candidate: &Candidate) -> ModelBudget {
        let subject = self.snapshot.subject(candidate);
        let cooldown = subject.and_then(|s| s.cooldown.as_ref());
        #[expect(clippy::cast_possible_truncation, reason = "a latency in milliseconds")]
        let first_token_ms = subject.and_then(|s| s.first_token_ms).map(|ms| ms.round() as i64);
        ModelBudget {
            id: candidate.model.id.to_string(),
            name: candidate.name.to_string(),
            enabled: candidate.model.enabled && self.snapshot.is_name_enabled(&candidate.name),
            breaker: self.breaker(&candidate.name),
            cooldown: cooldown.map(|(until_ms, cause)| Cooldown { until: timestamp(*until_ms), cause: cause.clone() }),
            first_token_ms,
            windows: self.windows(candidate, Scope::Model),
        }
    }

    /// The bar of a month's allowance, where the provider reports how much of it is used.
    fn allowance(&self, candidate: &Candidate) -> Option<Window> {
        let allowance = self.allowances.get(&format!("{}/{}", candidate.provider.id, candidate.account.id))?;
        let used = allowance.used_ppm.unwrap_or(0) / (1_000_000 / ALLOWANCE_UNITS);
        let month = Zone::parse("UTC").ok()?.boundaries(Limit::Rpmonth, self.report.now_ms);
        let left = (ALLOWANCE_UNITS - used).max(0);
        Some(Window {
            limit: "allowance",
            kind: WindowKind::Calendar.as_str(),
            max: ALLOWANCE_UNITS,
            configured: ALLOWANCE_UNITS,
            source: if allowance.used_ppm.is_some() { "provider" } else { "unknown" },
            learned: None,
            used,
            waiting: 0,
            left,
            next_free_at: timestamp(if left > 0 { self.report.now_ms } else { month.next }),
            resets_at: Some(timestamp(month.next)),
            span_ms: month.next - month.last,
            clients: Vec::new(),
            forecast: None,
        })
    }

    fn windows(&self, candidate: &Candidate, scope: Scope) -> Vec<Window> {
        let subject = budget::subject(candidate, scope);
        let windows = self.report.windows.get(subject).map_or(&[][..], Vec::as_slice);
        windows.iter().map(|window| self.window(subject, window)).collect()
    }

    fn window(&self, subject: &str, report: &WindowReport) -> Window {
        let share = |share: forecast::ClientShare| ClientShare {
            name: self.names.get(&share.client).cloned(),
            client: share.client,
            units: share.units,
        };
        let forecast = self.history.forecast(subject, report).map(|forecast| Forecast {
            exhausted_at: forecast.exhausted_ms.map(timestamp),
            pace_per_hour: forecast.pace_per_hour,
        });
        Window {
            limit: report.window.limit.as_str(),
            kind: report.window.kind.as_str(),
            max: report.max,
            configured: report.window.max,
            source: if report.learned.is_some() { "learned" } else { report.window.source.as_str() },
            learned: report.learned.map(|learned| LearnedLimit {
                from: match learned.from {
                    LearnedFrom::Unknown => "unknown",
                    LearnedFrom::Answer => "answer",
                    LearnedFrom::Refusal => "refusal",
                    LearnedFrom::Ceiling => "ceiling",
                },
                at: learned.at_ms.map(timestamp),
            }),
            used: report.used,
            waiting: report.waiting,
            left: (report.max - report.used).max(0),
            next_free_at: timestamp(report.opens_ms.max(self.report.now_ms)),
            resets_at: report.empty_ms.map(timestamp),
            span_ms: report.window.span_ms,
            clients: self.history.top_clients(subject, report).into_iter().map(share).collect(),
            forecast,
        }
    }

    fn breaker(&self, name: &str) -> Breaker {
        let state = self.snapshot.breaker(name);
        let until = match state {
            BreakerState::Open { until_ms } => Some(timestamp(until_ms)),
            BreakerState::Closed | BreakerState::HalfOpen => None,
        };
        Breaker { state: state.as_str(), until }
    }
}
