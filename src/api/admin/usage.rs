//! `GET /admin/v1/usage`: usage over time by client, provider or model, filtered.

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};

use crate::{
    api::{
        edge::{auth::Admin, error::ApiError, query::Query, state::AppState},
        v1::usage::{Reading, Series, TimeRange, TimeRangeParams, Usage, series, usage},
    },
    ledger::rollup::{GroupBy, split_name},
};

const SUBJECTS: [(&str, GroupBy); 3] =
    [("client", GroupBy::Client), ("provider", GroupBy::Provider), ("model", GroupBy::Model)];

/// A name of a roll-up taken apart; parts it does not record are empty.
struct Parts<'a> {
    client: &'a str,
    provider: &'a str,
    model: &'a str,
}

impl<'a> Parts<'a> {
    fn new(by: GroupBy, name: &'a str) -> Self {
        let provider_of = |model: &'a str| model.split('/').next().unwrap_or(model);
        match by {
            GroupBy::Client => Self { client: name, provider: "", model: "" },
            GroupBy::Provider => Self { client: "", provider: name, model: "" },
            GroupBy::Model => Self { client: "", provider: provider_of(name), model: name },
            GroupBy::ClientModel | GroupBy::Window => {
                let (client, model) = split_name(name);
                Self { client, provider: provider_of(model), model }
            }
        }
    }
}

/// The smallest roll-up that records what the series are named by and everything that is filtered by.
fn smallest_rollup(by: GroupBy, client: bool, provider: bool, model: bool) -> GroupBy {
    let client = client || by == GroupBy::Client;
    let (provider, model) = (provider || by == GroupBy::Provider, model || by == GroupBy::Model);
    match (client, provider, model) {
        (true, false, false) => GroupBy::Client,
        (true, ..) => GroupBy::ClientModel,
        (false, true, false) => GroupBy::Provider,
        (false, ..) => GroupBy::Model,
    }
}

/// Requests, tokens, waits and time to first token over time, by client, provider or model
#[utoipa::path(
    get, path = "/admin/v1/usage", tag = "usage", operation_id = "show_usage",
    security(("admin_key" = [])),
    params(
        ("by" = Option<String>, Query, nullable = false, description = "`client`, `provider` or `model`", example = "model"),
        TimeRangeParams,
        ("client" = Option<String>, Query, nullable = false, description = "Only this client"),
        ("provider" = Option<String>, Query, nullable = false, description = "Only this provider"),
        ("model" = Option<String>, Query, nullable = false, description = "Only this `provider/model`"),
    ),
    responses((status = 200, description = "A series for each name", body = Usage)),
)]
pub(crate) async fn show(state: Data<AppState>, _: Admin, request: HttpRequest) -> Result<Json<Usage>, ApiError> {
    let query = Query::parse(&request, &["by", "step", "from", "to", "client", "provider", "model"])?;
    let by = query.one_of("by", &SUBJECTS, GroupBy::Client)?;
    let range = TimeRange::parse(&query, state.flow.ledger.now_ms())?;
    let [client, provider, model] = ["client", "provider", "model"].map(|name| query.text(name));
    let prices = state.policy.load().prices.clone();
    let needs_model = model.is_some() || !prices.is_empty();
    let rollup = smallest_rollup(by, client.is_some(), provider.is_some(), needs_model);
    // A filter on the roll-up's own names is applied by the ledger.
    let name = match rollup {
        GroupBy::Client => client,
        GroupBy::Provider => provider,
        GroupBy::Model => model,
        GroupBy::ClientModel | GroupBy::Window => None,
    };
    let names: Vec<&str> = name.into_iter().collect();
    let read = Reading { by: rollup, names: &names, prices: &prices };
    let mut series = series(&state, &read, &range, |name| {
        let parts = Parts::new(rollup, name);
        let matches = client.is_none_or(|client| client == parts.client)
            && provider.is_none_or(|provider| provider == parts.provider)
            && model.is_none_or(|model| model == parts.model);
        let series = match by {
            GroupBy::Client => parts.client,
            GroupBy::Provider => parts.provider,
            GroupBy::Model | GroupBy::ClientModel | GroupBy::Window => parts.model,
        };
        matches.then_some((series, parts.model))
    })
    .await?;
    if by == GroupBy::Client {
        let clients = series.iter().map(Series::name);
        let names = state.display_names.lookup(&state.flow.ledger, clients).await;
        for one in &mut series {
            one.set_label(names.get(one.name()).cloned());
        }
    }
    let by = SUBJECTS.iter().find(|(_, other)| *other == by).map_or("", |(name, _)| name);
    Ok(Json(usage(by, &range, series, &prices)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_rollup_with_all_requested_names_is_read() {
        for (by, filters, rollup) in [
            (GroupBy::Client, [false, false, false], GroupBy::Client),
            (GroupBy::Client, [true, false, false], GroupBy::Client),
            (GroupBy::Client, [false, true, false], GroupBy::ClientModel),
            (GroupBy::Provider, [false, false, false], GroupBy::Provider),
            (GroupBy::Provider, [false, false, true], GroupBy::Model),
            (GroupBy::Model, [false, true, false], GroupBy::Model),
            (GroupBy::Model, [true, false, false], GroupBy::ClientModel),
        ] {
            let [client, provider, model] = filters;
            assert_eq!(smallest_rollup(by, client, provider, model), rollup, "{by:?} {filters:?}");
        }
    }

    #[test]
    fn a_combined_name_is_taken_apart() {
        for (name, expected) in [
            ("anon:::1\tgroq/openai/x", ("anon:::1", "groq", "groq/openai/x")),
            ("ann\tnone", ("ann", "none", "none")),
            ("other\tother", ("other", "other", "other")),
        ] {
            let Parts { client, provider, model } = Parts::new(GroupBy::ClientModel, name);
            assert_eq!((client, provider, model), expected);
        }
    }
}
