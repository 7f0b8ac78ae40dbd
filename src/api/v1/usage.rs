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
    domain::{Client, PriceList},
    ledger::rollup::{GroupBy, NONE, OTHER, Step, Sums},
};

const STEPS: [(&str, Step); 3] = [("minute", Step::Minute), ("hour", Step::Hour), ("day", Step::Day)];
const DEFAULT_MINUTES: i64 = 60;
const DEFAULT_HOURS: i64 = 24;
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
    /// Of `saved`. Null: the operator has set no prices
    #[schema(required)]
    currency: Option<String>,
    /// Sorted by requests, the most first
    series: Vec<Series>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageSeries)]
pub(crate) struct Series {
    /// The id of a client or provider, or `provider/model`. `none`: requests that reached no provider. `other`: all names
    /// beyond a bound
    name: String,
    /// The name of a client that has one
    #[schema(required)]
    label: Option<String>,
    /// Oldest first, without steps that had no request
    points: Vec<Point>,
    total: Figures,
}

/// The sums of one step, and what they would have cost elsewhere.
#[derive(Clone, Copy, Default)]
struct Costed {
    sums: Sums,
    cost: f64,
}

impl Costed {
    fn add(&mut self, sums: &Sums, cost: f64) {
        self.sums.add(sums);
        self.cost += cost;
    }
}

impl Series {
    fn new(name: String, points: &BTreeMap<i64, Costed>, is_priced: bool) -> Self {
        let mut total = Costed::default();
        for point in points.values() {
            total.add(&point.sums, point.cost);
        }
        let figures = |costed: &Costed| Figures::new(&costed.sums, is_priced.then_some(costed.cost));
        let point =
            |(start_ms, costed): (&i64, &Costed)| Point { time: timestamp(*start_ms), figures: figures(costed) };
        Self { name, label: None, points: points.iter().map(point).collect(), total: figures(&total) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn set_label(&mut self, label: Option<String>) {
        self.label = label;
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
    /// Seconds of sound in recordings
    audio_seconds: i64,
    waited_ms: i64,
    #[schema(required)]
    first_token_p50_ms: Option<i64>,
    #[schema(required)]
    first_token_p95_ms: Option<i64>,
    /// What the tokens would have cost by the operator's price list. Null: there is none
    #[schema(required)]
    saved: Option<f64>,
}

impl Figures {
    fn new(sums: &Sums, saved: Option<f64>) -> Self {
        Self {
            requests: sums.requests,
            ok: sums.ok,
            failed: sums.failed,
            limited: sums.limited,
            tokens_in: sums.tokens_in,
            tokens_out: sums.tokens_out,
            tokens_cached: sums.tokens_cached,
            audio_seconds: sums.audio_seconds,
            waited_ms: sums.waited_ms,
            first_token_p50_ms: sums.first_token_ms(0.5),
            first_token_p95_ms: sums.first_token_ms(0.95),
            saved,
        }
    }
}

/// The parameters of [`TimeRange`], for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described in the OpenAPI document")]
pub(crate) struct TimeRangeParams {
    /// `minute` (the last hour by default), `hour` (the last 24 by default) or `day` (the last 30 by default)
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
        let default_steps = match step {
            Step::Minute => DEFAULT_MINUTES,
            Step::Hour => DEFAULT_HOURS,
            Step::Day => DEFAULT_DAYS,
        };
        let from_ms = query.timestamp("from")?.unwrap_or(to_ms - (default_steps - 1) * step.ms());
        if from_ms > to_ms {
            return Err(invalid_parameter("from", "`from` is after `to`.".to_owned()));
        }
        let max_steps = stored(step).keep_ms(GroupBy::Client) / step.ms();
        if (to_ms - from_ms) / step.ms() > max_steps {
            let name = step_name(step);
            let message = format!("The range is too long: with step `{name}` the maximum is {max_steps} {name}s.");
            return Err(invalid_parameter("from", message));
        }
        Ok(Self { step, from_ms, to_ms })
    }
}

/// The roll-ups from which a step is read: hours are sums of minutes.
fn stored(step: Step) -> Step {
    if step == Step::Hour { Step::Minute } else { step }
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
    let none = PriceList::default();
    let read = Reading { by: GroupBy::Client, names: &[client.recorded_name()], prices: &none };
    let mut series = series(&state, &read, &range, |name| Some((name, ""))).await?;
    if series.is_empty() {
        series.push(Series::new(client.recorded_name().to_string(), &BTreeMap::new(), false));
    }
    Ok(Json(usage("client", &range, series, &none)))
}

pub(crate) fn usage(by: &'static str, range: &TimeRange, series: Vec<Series>, prices: &PriceList) -> Usage {
    Usage {
        object: "usage",
        by,
        step: step_name(range.step),
        from: timestamp(range.step.start(range.from_ms)),
        to: timestamp(range.to_ms),
        currency: (!prices.is_empty()).then(|| prices.currency.clone()),
        series,
    }
}

/// What is read for some series.
pub(crate) struct Reading<'a> {
    /// The roll-up.
    pub by: GroupBy,
    /// Only these names of it, or all if empty.
    pub names: &'a [&'a str],
    pub prices: &'a PriceList,
}

/// Reads a roll-up. `series_of`: the series that a name of it belongs to, and the model whose price applies; or `None` to leave
/// it out.
pub(crate) async fn series(
    state: &AppState,
    Reading { by, names, prices }: &Reading<'_>,
    range: &TimeRange,
    series_of: impl for<'a> Fn(&'a str) -> Option<(&'a str, &'a str)>,
) -> Result<Vec<Series>, ApiError> {
    let rollups = state.flow.ledger.rollups(stored(range.step), *by, (range.from_ms, range.to_ms), names).await;
    let mut all: BTreeMap<String, BTreeMap<i64, Costed>> = BTreeMap::new();
    for rollup in rollups.map_err(|e| flow_error::from_ledger_read(&e))? {
        for (name, numbers) in rollup.names {
            if let Some((name, model)) = series_of(&name) {
                let sums = Sums::from_numbers(&numbers);
                let cost = prices.cost(model, sums.tokens_in, sums.tokens_out);
                let points = all.entry(name.to_owned()).or_default();
                points.entry(range.step.start(rollup.start_ms)).or_default().add(&sums, cost);
            }
        }
    }
    let is_priced = !prices.is_empty();
    let series = all.into_iter().map(|(name, points)| Series::new(name, &points, is_priced));
    let mut series: Vec<Series> = series.collect();
    series.sort_by_key(|s| ([NONE, OTHER].contains(&s.name.as_str()), -s.total.requests));
    Ok(series)
}
