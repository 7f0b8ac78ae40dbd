//! `GET /v1/usage`: the caller's own usage over time, and the series that `GET /admin/v1/usage` shares.

use std::collections::BTreeMap;

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::edge::{
        error::ApiError,
        flow_error,
        query::{Query, invalid_parameter},
        schema,
        state::AppState,
        timestamp::timestamp,
    },
    domain::Client,
    ledger::rollup::{GroupBy, NONE, OTHER, Step, Sums},
};

const STEPS: [(&str, Step); 2] = [("minute", Step::Minute), ("day", Step::Day)];
const DEFAULT_MINUTES: i64 = 60;
const DEFAULT_DAYS: i64 = 30;

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Usage {
    object: &'static str,
    #[schema(schema_with = schema::usage_subject)]
    by: &'static str,
    #[schema(schema_with = schema::usage_step)]
    step: &'static str,
    /// The start of the first step
    #[schema(format = DateTime)]
    from: String,
    #[schema(format = DateTime)]
    to: String,
    /// Sorted by requests, the most first
    series: Vec<Series>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageSeries)]
pub(crate) struct Series {
    /// The id of a client or provider, or `provider/model`. `none`: requests that reached no provider. `other`: all names
    /// beyond a bound
    name: String,
    /// Oldest first, without steps that had no request
    points: Vec<Point>,
    total: Figures,
}

impl Series {
    fn new(name: String, points: &BTreeMap<i64, Sums>) -> Self {
        let mut total = Sums::default();
        for sums in points.values() {
            total.add(sums);
        }
        let point = |(start_ms, sums): (&i64, &Sums)| Point { time: timestamp(*start_ms), figures: sums.into() };
        Self { name, points: points.iter().map(point).collect(), total: (&total).into() }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsagePoint)]
struct Point {
    /// The start of the step; days are in UTC
    #[schema(format = DateTime)]
    time: String,
    #[serde(flatten)]
    figures: Figures,
}

/// Every request is either ok, limited (429) or failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageFigures)]
struct Figures {
    requests: i64,
    ok: i64,
    failed: i64,
    limited: i64,
    tokens_in: i64,
    tokens_out: i64,
    /// Part of `tokens_in` that providers had in their caches
    tokens_cached: i64,
    waited_ms: i64,
    #[schema(required)]
    first_token_p50_ms: Option<i64>,
    #[schema(required)]
    first_token_p95_ms: Option<i64>,
}

impl From<&Sums> for Figures {
    fn from(sums: &Sums) -> Self {
        Self {
            requests: sums.requests,
            ok: sums.ok,
            failed: sums.failed,
            limited: sums.limited,
            tokens_in: sums.tokens_in,
            tokens_out: sums.tokens_out,
            tokens_cached: sums.tokens_cached,
            waited_ms: sums.waited_ms,
            first_token_p50_ms: sums.first_token_ms(0.5),
            first_token_p95_ms: sums.first_token_ms(0.95),
        }
    }
}

/// The parameters of [`TimeRange`], for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described in the OpenAPI document")]
pub(crate) struct TimeRangeParams {
    /// `minute` (the last hour by default) or `day` (the last 30 by default)
    #[param(nullable = false, example = "day")]
    step: Option<String>,
    #[param(nullable = false, format = DateTime)]
    from: Option<String>,
    #[param(nullable = false, format = DateTime)]
    to: Option<String>,
}

/// The requested time range, in milliseconds since the epoch.
pub(crate) struct TimeRange {
    step: Step,
    from_ms: i64,
    to_ms: i64,
}

impl TimeRange {
    pub(crate) fn parse(query: &Query, now_ms: i64) -> Result<Self, ApiError> {
        let step = query.one_of("step", &STEPS, Step::Minute)?;
        let to_ms = query.timestamp("to")?.unwrap_or(now_ms);
        let default_steps = if step == Step::Minute { DEFAULT_MINUTES } else { DEFAULT_DAYS };
        let from_ms = query.timestamp("from")?.unwrap_or(to_ms - (default_steps - 1) * step.ms());
        if from_ms > to_ms {
            return Err(invalid_parameter("from", "`from` is after `to`.".to_owned()));
        }
        let max_steps = step.keep_ms(GroupBy::Client) / step.ms();
        if (to_ms - from_ms) / step.ms() > max_steps {
            let name = step_name(step);
            let message = format!("The range is too long: with step `{name}` the maximum is {max_steps} {name}s.");
            return Err(invalid_parameter("from", message));
        }
        Ok(Self { step, from_ms, to_ms })
    }
}

fn step_name(step: Step) -> &'static str {
    STEPS.iter().find(|(_, other)| *other == step).map_or("", |(name, _)| name)
}

/// The caller's own usage
#[utoipa::path(
    get, path = "/v1/usage", tag = "usage", operation_id = "show_own_usage",
    security(("client_key" = [])),
    params(TimeRangeParams),
    responses((status = 200, description = "One series", body = Usage)),
)]
pub(crate) async fn show_own(
    state: Data<AppState>,
    client: Client,
    request: HttpRequest,
) -> Result<Json<Usage>, ApiError> {
    let query = Query::parse(&request, &["step", "from", "to"])?;
    let range = TimeRange::parse(&query, state.flow.ledger.now_ms())?;
    let mut series = series(&state, GroupBy::Client, &range, &[&client.id], |name| Some(name)).await?;
    if series.is_empty() {
        series.push(Series::new(client.id.to_string(), &BTreeMap::new()));
    }
    Ok(Json(usage("client", &range, series)))
}

pub(crate) fn usage(by: &'static str, range: &TimeRange, series: Vec<Series>) -> Usage {
    Usage {
        object: "usage",
        by,
        step: step_name(range.step),
        from: timestamp(range.step.start(range.from_ms)),
        to: timestamp(range.to_ms),
        series,
    }
}

/// Reads the roll-up by `by`. `names`: only these names of it, or all if empty. `series_of`: the series that a name of the
/// roll-up belongs to, or `None` to leave it out.
pub(crate) async fn series(
    state: &AppState,
    by: GroupBy,
    range: &TimeRange,
    names: &[&str],
    series_of: impl for<'a> Fn(&'a str) -> Option<&'a str>,
) -> Result<Vec<Series>, ApiError> {
    let rollups = state.flow.ledger.rollups(range.step, by, (range.from_ms, range.to_ms), names).await;
    let mut all: BTreeMap<String, BTreeMap<i64, Sums>> = BTreeMap::new();
    for rollup in rollups.map_err(|e| flow_error::from_ledger_read(&e))? {
        for (name, numbers) in rollup.names {
            if let Some(name) = series_of(&name) {
                let points = all.entry(name.to_owned()).or_default();
                points.entry(rollup.start_ms).or_default().add(&Sums::from_numbers(&numbers));
            }
        }
    }
    let mut series: Vec<Series> = all.into_iter().map(|(name, points)| Series::new(name, &points)).collect();
    series.sort_by_key(|s| ([NONE, OTHER].contains(&s.name.as_str()), -s.total.requests));
    Ok(series)
}
