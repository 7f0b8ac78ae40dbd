//! `GET /admin/v1/budget`: every window, what is left of it, when it opens, who uses it and where that leads.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::{
        edge::{auth::Admin, error::ApiError, flow_error, query::Query, state::Edge},
        v1::status::instant,
    },
    catalog::Catalog,
    domain::{BreakerState, Candidate, PoolSnapshot, Provider, Scope},
    ledger::{
        budget::{self, WindowReport},
        forecast::UsageHistory,
    },
};

/// The whole pool as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Budget {
    object: &'static str,
    #[schema(format = DateTime)]
    taken_at: String,
    replicas: i64,
    /// Requests that stand in line.
    waiting: i64,
    totals: Totals,
    providers: Vec<ProviderBudget>,
}

/// Requests since the state began.
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

/// `closed`, `open` until then, `half_open`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BudgetBreaker)]
struct Breaker {
    state: &'static str,
    #[schema(required, format = DateTime)]
    until: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct AccountBudget {
    id: String,
    keys: Vec<Key>,
    /// Over all its models.
    windows: Vec<Window>,
    models: Vec<ModelBudget>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BudgetKey)]
struct Key {
    id: String,
    #[schema(required, format = DateTime)]
    shut_until: Option<String>,
    #[schema(required)]
    cause: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ModelBudget {
    id: String,
    name: String,
    enabled: bool,
    breaker: Breaker,
    /// A cool-down on it, its account or all its keys.
    #[schema(required)]
    shut: Option<Shut>,
    #[schema(required)]
    first_content_ms: Option<i64>,
    windows: Vec<Window>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BudgetShut)]
struct Shut {
    #[schema(format = DateTime)]
    until: String,
    cause: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BudgetWindow)]
struct Window {
    /// `rpm`, `rpd`, `tpm`, …
    limit: &'static str,
    /// `sliding`, `bucket`, `calendar`, `concurrency`
    kind: &'static str,
    /// In force.
    max: i64,
    configured: i64,
    /// `catalogue`, `file`, or `learned`: the provider said so.
    source: &'static str,
    used: i64,
    /// Units of those who stand in line for it.
    waiting: i64,
    left: i64,
    /// When one unit more fits, if nobody else comes.
    #[schema(format = DateTime)]
    next_free_at: String,
    /// When nothing of what is used counts any more.
    #[schema(required, format = DateTime)]
    resets_at: Option<String>,
    span_ms: i64,
    /// By what was recorded in that span, the most first.
    users: Vec<ClientShare>,
    /// Of days and months only.
    #[schema(required)]
    forecast: Option<Forecast>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BudgetUser)]
struct ClientShare {
    client: String,
    #[schema(required)]
    name: Option<String>,
    units: i64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Forecast {
    /// Null: not at this pace.
    #[schema(required, format = DateTime)]
    exhausted_at: Option<String>,
    pace_per_hour: f64,
}

/// Every window: what is left of it, when it opens, who uses it and where that leads
#[utoipa::path(
    get, path = "/admin/v1/budget", tag = "usage", operation_id = "show_budget",
    security(("admin_key" = [])),
    responses((status = 200, description = "The whole pool as it stands", body = Budget)),
)]
pub async fn show(edge: Data<Edge>, _: Admin, request: HttpRequest) -> Result<Json<Budget>, ApiError> {
    Query::of(&request, &[])?;
    Ok(Json(take(&edge).await?))
}

/// As it stands now.
pub async fn take(edge: &Edge) -> Result<Budget, ApiError> {
    let ledger = &edge.flow.ledger;
    let catalog = edge.flow.catalog.load_full();
    let seen = ledger.budget().await.map_err(|e| flow_error::unread(&e))?;
    let windows = catalog.candidates.iter().flat_map(|c| c.windows.iter());
    let uses = ledger.usage_history(windows).await.map_err(|e| flow_error::unread(&e))?;
    let mut view = View { catalog: &catalog, snapshot: ledger.snapshot(), seen: &seen, uses, names: HashMap::new() };
    let clients = view.clients();
    view.names = edge.names.of(ledger, clients.iter().map(String::as_str)).await;
    Ok(Budget {
        object: "budget",
        taken_at: instant(seen.now_ms),
        replicas: seen.replicas,
        waiting: seen.waiting,
        totals: Totals {
            requests: seen.totals.requests,
            successes: seen.totals.successes,
            failures: seen.totals.failures,
        },
        providers: catalog.providers.iter().map(|p| view.provider(p)).collect(),
    })
}

impl Budget {
    /// The same state at another instant is the same budget.
    pub fn text_without_time(&self) -> Vec<u8> {
        let Self { replicas, waiting, totals, providers, .. } = self;
        serde_json::to_vec(&(replicas, waiting, totals, providers)).unwrap_or_default()
    }
}

struct View<'a> {
    catalog: &'a Catalog,
    /// Breakers, cool-downs and speeds, of the last second.
    snapshot: Arc<PoolSnapshot>,
    seen: &'a budget::Budget,
    uses: UsageHistory,
    names: HashMap<String, String>,
}

impl View<'_> {
    /// Everybody who uses any window.
    fn clients(&self) -> HashSet<String> {
        let stands = self.seen.windows.iter().flat_map(|(subject, stands)| stands.iter().map(move |s| (subject, s)));
        stands.flat_map(|(subject, stand)| self.uses.top_clients(subject, stand)).map(|user| user.client).collect()
    }

    fn provider(&self, provider: &Provider) -> ProviderBudget {
        let all: Vec<&Candidate> =
            self.catalog.candidates.iter().filter(|c| c.provider.id == provider.id).map(|c| &**c).collect();
        let mut seen = HashSet::new();
        let accounts = all.iter().filter(|c| seen.insert(&*c.account.id));
        ProviderBudget {
            id: provider.id.to_string(),
            name: provider.name.clone(),
            enabled: provider.enabled && self.snapshot.is_name_enabled(&provider.id),
            breaker: self.breaker(&provider.id),
            accounts: accounts.map(|c| self.account(c, &all)).collect(),
        }
    }

    fn account(&self, of: &Candidate, all: &[&Candidate]) -> AccountBudget {
        let mut seen = HashSet::new();
        let models = all.iter().filter(|c| c.account.id == of.account.id && seen.insert(&*c.model.id));
        AccountBudget {
            id: of.account.id.to_string(),
            keys: of.account.keys.iter().map(|key| self.key(&of.provider.id, &key.id)).collect(),
            windows: self.windows(of, Scope::Account),
            models: models.map(|c| self.model(c)).collect(),
        }
    }

    fn key(&self, provider: &str, id: &str) -> Key {
        let shut = self.snapshot.key_cooldowns.get(&format!("{provider}/{id}"));
        Key {
            id: id.to_owned(),
            shut_until: shut.map(|(until, _)| instant(*until)),
            cause: shut.map(|(_, cause)| cause.clone()),
        }
    }

    fn model(&self, candidate: &Candidate) -> ModelBudget {
        let subject = self.snapshot.subject(candidate);
        let shut = subject.and_then(|s| s.cooldown.as_ref());
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds of an answer")]
        let first_content_ms = subject.and_then(|s| s.first_token_ms).map(|ms| ms.round() as i64);
        ModelBudget {
            id: candidate.model.id.to_string(),
            name: candidate.name.to_string(),
            enabled: candidate.model.enabled && self.snapshot.is_name_enabled(&candidate.name),
            breaker: self.breaker(&candidate.name),
            shut: shut.map(|(until, cause)| Shut { until: instant(*until), cause: cause.clone() }),
            first_content_ms,
            windows: self.windows(candidate, Scope::Model),
        }
    }

    fn windows(&self, candidate: &Candidate, scope: Scope) -> Vec<Window> {
        let subject = budget::subject(candidate, scope);
        let stands = self.seen.windows.get(subject).map_or(&[][..], Vec::as_slice);
        stands.iter().map(|stand| self.window(subject, stand)).collect()
    }

    fn window(&self, subject: &str, stand: &WindowReport) -> Window {
        let user = |user: crate::ledger::forecast::ClientShare| ClientShare {
            name: self.names.get(&user.client).cloned(),
            client: user.client,
            units: user.units,
        };
        let forecast = self.uses.forecast(subject, stand).map(|forecast| Forecast {
            exhausted_at: forecast.exhausted_ms.map(instant),
            pace_per_hour: forecast.pace_per_hour,
        });
        Window {
            limit: stand.window.limit.as_str(),
            kind: stand.window.kind.as_str(),
            max: stand.max,
            configured: stand.window.max,
            source: if stand.learned { "learned" } else { stand.window.source.as_str() },
            used: stand.used,
            waiting: stand.waiting,
            left: (stand.max - stand.used).max(0),
            next_free_at: instant(stand.opens_ms.max(self.seen.now_ms)),
            resets_at: stand.empty_ms.map(instant),
            span_ms: stand.window.span_ms,
            users: self.uses.top_clients(subject, stand).into_iter().map(user).collect(),
            forecast,
        }
    }

    fn breaker(&self, name: &str) -> Breaker {
        let state = self.snapshot.breaker(name);
        let until = match state {
            BreakerState::Open { until_ms } => Some(instant(until_ms)),
            BreakerState::Closed | BreakerState::HalfOpen => None,
        };
        Breaker { state: state.as_str(), until }
    }
}
