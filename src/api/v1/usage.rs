//! `GET /admin/v1/usage` and a client's own `GET /v1/usage`: series out of the roll-ups.

use std::collections::BTreeMap;

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{
        edge::{
            auth::Admin,
            error::ApiError,
            flow_error,
            query::{Query, wrong},
            state::Edge,
        },
        v1::status::instant,
    },
    domain::Client,
    ledger::rollup::{GroupBy, NONE, OTHER, Step, Sums, split_name},
};

const STEPS: [(&str, Step); 2] = [("minute", Step::Minute), ("day", Step::Day)];
const SUBJECTS: [(&str, GroupBy); 3] =
    [("client", GroupBy::Client), ("provider", GroupBy::Provider), ("model", GroupBy::Model)];
/// Where the caller does not say from when.
const MINUTES: i64 = 60;
const DAYS: i64 = 30;

#[derive(Debug, Serialize, ToSchema)]
pub struct Usage {
    object: &'static str,
    /// `client`, `provider`, `model`
    by: &'static str,
    /// `minute`, `day`
    step: &'static str,
    /// The start of the first stretch.
    #[schema(format = DateTime)]
    from: String,
    #[schema(format = DateTime)]
    to: String,
    /// The most requests first.
    series: Vec<Series>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageSeries)]
pub struct Series {
    /// Id of a client or provider, or `provider/model`; `none`: no provider was asked; `other`: all beyond a bound of names.
    name: String,
    /// Oldest first; stretches without a request are left out.
    points: Vec<Point>,
    total: Figures,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsagePoint)]
pub struct Point {
    /// The stretch's start; days are those of UTC.
    #[schema(format = DateTime)]
    time: String,
    #[serde(flatten)]
    figures: Figures,
}

/// Every request is ok, limited (429) or failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageFigures)]
pub struct Figures {
    requests: i64,
    ok: i64,
    failed: i64,
    limited: i64,
    tokens_in: i64,
    tokens_out: i64,
    waited_ms: i64,
    #[schema(required)]
    first_content_p50_ms: Option<i64>,
    #[schema(required)]
    first_content_p95_ms: Option<i64>,
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
            waited_ms: sums.waited_ms,
            first_content_p50_ms: sums.first_token_ms(0.5),
            first_content_p95_ms: sums.first_token_ms(0.95),
        }
    }
}

/// [`Span`] in the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is read")]
pub struct Stretches {
    /// `minute` (of the last hour, where nothing else is said) or `day` (of the last 30)
    #[param(nullable = false, example = "day")]
    step: Option<String>,
    #[param(nullable = false, format = DateTime)]
    from: Option<String>,
    #[param(nullable = false, format = DateTime)]
    to: Option<String>,
}

/// Which stretches.
struct Span {
    step: Step,
    from_ms: i64,
    to_ms: i64,
}

impl Span {
    fn read(query: &Query, now_ms: i64) -> Result<Self, ApiError> {
        let step = query.one_of("step", &STEPS, Step::Minute)?;
        let to_ms = query.instant("to")?.unwrap_or(now_ms);
        let usual = if step == Step::Minute { MINUTES } else { DAYS };
        let from_ms = query.instant("from")?.unwrap_or(to_ms - (usual - 1) * step.ms());
        if from_ms > to_ms {
            return Err(wrong("from", "`from` is after `to`.".to_owned()));
        }
        let most = step.keep_ms(GroupBy::Client) / step.ms();
        if (to_ms - from_ms) / step.ms() > most {
            let name = step_name(step);
            return Err(wrong("from", format!("By the {name}, at most {most} {name}s can be asked for at once.")));
        }
        Ok(Self { step, from_ms, to_ms })
    }
}

fn step_name(step: Step) -> &'static str {
    STEPS.iter().find(|(_, other)| *other == step).map_or("", |(name, _)| name)
}

/// Of a name in the roll-up at hand: client, provider and model, as far as it tells them.
type Of<'a> = (&'a str, &'a str, &'a str);

/// The roll-up that tells enough, and how to read its names.
struct Source {
    by: GroupBy,
    of: for<'a> fn(&'a str) -> Of<'a>,
}

fn provider_of(model: &str) -> &str {
    model.split('/').next().unwrap_or(model)
}

impl Source {
    fn of(by: GroupBy) -> Self {
        let of: for<'a> fn(&'a str) -> Of<'a> = match by {
            GroupBy::Client => |name| (name, "", ""),
            GroupBy::Provider => |name| ("", name, ""),
            GroupBy::Model => |name| ("", provider_of(name), name),
            GroupBy::ClientModel | GroupBy::Window => |name| {
                let (client, model) = split_name(name);
                (client, provider_of(model), model)
            },
        };
        Self { by, of }
    }

    /// The smallest that holds what the series are named by and everything that is filtered by.
    fn for_question(by: GroupBy, client: bool, provider: bool, model: bool) -> Self {
        let client = client || by == GroupBy::Client;
        let (provider, model) = (provider || by == GroupBy::Provider, model || by == GroupBy::Model);
        Self::of(match (client, provider, model) {
            (true, false, false) => GroupBy::Client,
            (true, ..) => GroupBy::ClientModel,
            (false, true, false) => GroupBy::Provider,
            (false, ..) => GroupBy::Model,
        })
    }
}

/// Requests, tokens, waits and first content over time, by client, provider or model
#[utoipa::path(
    get, path = "/admin/v1/usage", tag = "usage", operation_id = "show_usage",
    security(("admin_key" = [])),
    params(
        ("by" = Option<String>, Query, nullable = false, description = "`client`, `provider` or `model`", example = "model"),
        Stretches,
        ("client" = Option<String>, Query, nullable = false, description = "Only this client's"),
        ("provider" = Option<String>, Query, nullable = false, description = "Only what this provider was asked"),
        ("model" = Option<String>, Query, nullable = false, description = "Only what this `provider/model` was asked"),
    ),
    responses((status = 200, description = "A series for each name", body = Usage)),
)]
pub async fn of_all(edge: Data<Edge>, _: Admin, request: HttpRequest) -> Result<Json<Usage>, ApiError> {
    let query = Query::of(&request, &["by", "step", "from", "to", "client", "provider", "model"])?;
    let by = query.one_of("by", &SUBJECTS, GroupBy::Client)?;
    let span = Span::read(&query, edge.flow.ledger.now_ms())?;
    let [client, provider, model] = ["client", "provider", "model"].map(|name| query.text(name));
    let source = Source::for_question(by, client.is_some(), provider.is_some(), model.is_some());
    // A name that is known beforehand is asked for alone.
    let alone = match source.by {
        GroupBy::Client => client,
        GroupBy::Provider => provider,
        GroupBy::Model => model,
        GroupBy::ClientModel | GroupBy::Window => None,
    };
    let names: Vec<&str> = alone.into_iter().collect();
    let series = series(&edge, &source, &span, &names, |(c, p, m)| {
        let wanted = client.is_none_or(|client| client == c)
            && provider.is_none_or(|provider| provider == p)
            && model.is_none_or(|model| model == m);
        wanted.then_some(match by {
            GroupBy::Client => c,
            GroupBy::Provider => p,
            GroupBy::Model | GroupBy::ClientModel | GroupBy::Window => m,
        })
    })
    .await?;
    let by = SUBJECTS.iter().find(|(_, other)| *other == by).map_or("", |(name, _)| name);
    Ok(Json(usage(by, &span, series)))
}

/// The caller's own use
#[utoipa::path(
    get, path = "/v1/usage", tag = "usage", operation_id = "show_own_usage",
    security(("client_key" = [])),
    params(Stretches),
    responses((status = 200, description = "One series", body = Usage)),
)]
pub async fn of_caller(edge: Data<Edge>, client: Client, request: HttpRequest) -> Result<Json<Usage>, ApiError> {
    let query = Query::of(&request, &["step", "from", "to"])?;
    let span = Span::read(&query, edge.flow.ledger.now_ms())?;
    let mut series = series(&edge, &Source::of(GroupBy::Client), &span, &[&client.id], |(c, ..)| Some(c)).await?;
    if series.is_empty() {
        let total = Figures::from(&Sums::default());
        series.push(Series { name: client.id.to_string(), points: Vec::new(), total });
    }
    Ok(Json(usage("client", &span, series)))
}

fn usage(by: &'static str, span: &Span, series: Vec<Series>) -> Usage {
    Usage {
        object: "usage",
        by,
        step: step_name(span.step),
        from: instant(span.step.start(span.from_ms)),
        to: instant(span.to_ms),
        series,
    }
}

/// `name_of`: the series that a roll-up's name belongs to; `None` leaves it out.
async fn series(
    edge: &Edge,
    source: &Source,
    span: &Span,
    names: &[&str],
    name_of: impl for<'a> Fn(Of<'a>) -> Option<&'a str>,
) -> Result<Vec<Series>, ApiError> {
    let ledger = &edge.flow.ledger;
    let rollups = ledger.rollups(span.step, source.by, (span.from_ms, span.to_ms), names).await;
    let mut all: BTreeMap<String, BTreeMap<i64, Sums>> = BTreeMap::new();
    for rollup in rollups.map_err(|e| flow_error::unread(&e))? {
        for (name, numbers) in rollup.names {
            if let Some(name) = name_of((source.of)(&name)) {
                let points = all.entry(name.to_owned()).or_default();
                points.entry(rollup.start_ms).or_default().add(&Sums::from_numbers(&numbers));
            }
        }
    }
    let mut series: Vec<Series> = all.into_iter().map(|(name, points)| one(name, &points)).collect();
    // What has no name of its own comes last.
    series.sort_by_key(|s| ([NONE, OTHER].contains(&s.name.as_str()), -s.total.requests));
    Ok(series)
}

fn one(name: String, points: &BTreeMap<i64, Sums>) -> Series {
    let mut total = Sums::default();
    for sums in points.values() {
        total.add(sums);
    }
    let point = |(start_ms, sums): (&i64, &Sums)| Point { time: instant(*start_ms), figures: sums.into() };
    Series { name, points: points.iter().map(point).collect(), total: (&total).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_takes_the_smallest_roll_up_that_can_answer_it() {
        for (by, filters, source) in [
            (GroupBy::Client, [false, false, false], GroupBy::Client),
            (GroupBy::Client, [true, false, false], GroupBy::Client),
            (GroupBy::Client, [false, true, false], GroupBy::ClientModel),
            (GroupBy::Provider, [false, false, false], GroupBy::Provider),
            (GroupBy::Provider, [false, false, true], GroupBy::Model),
            (GroupBy::Model, [false, true, false], GroupBy::Model),
            (GroupBy::Model, [true, false, false], GroupBy::ClientModel),
        ] {
            let [client, provider, model] = filters;
            assert_eq!(Source::for_question(by, client, provider, model).by, source, "{by:?} {filters:?}");
        }
    }

    #[test]
    fn names_are_taken_apart_as_they_were_put_together() {
        let source = Source::of(GroupBy::ClientModel);
        assert_eq!((source.of)("anon:::1\tgroq/openai/x"), ("anon:::1", "groq", "groq/openai/x"));
        assert_eq!((source.of)("ann\tnone"), ("ann", "none", "none"));
        assert_eq!((source.of)("other\tother"), ("other", "other", "other"));
    }
}
