//! Stored responses: what a request needs from the store, what is put there, and the endpoints that read and delete.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Bytes, Data, Json},
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use utoipa::ToSchema;

use crate::{
    api::{
        edge::{error::ApiError, flow_error, query::Query, state::AppState},
        v1::models::model_id,
    },
    domain::Client,
    ledger::{LedgerError, NewResponse, ResponseBounds, StoredResponse},
    protocol::responses::{self, FinishedResponse, Options, Purpose, RequestBody},
};

/// A response may be continued before it has reached the store.
const PUT_DELAYS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(300)];
const DEFAULT_ITEMS: usize = 20;
const MAX_ITEMS: usize = 100;

/// Adds to `options` what the request refers to, and where the response goes.
pub(super) async fn prepare(
    state: &Data<AppState>,
    client: &Client,
    bounds: ResponseBounds,
    body: &RequestBody<'_>,
    mut options: Options,
) -> Result<Options, ApiError> {
    let references = body.references()?;
    if let Some(previous) = &references.previous {
        let links = conversation(state, client, previous).await?;
        let texts = links.iter().map(|link| (as_text(&link.input), as_text(&link.object)));
        options.history = Some(responses::conversation(texts));
    }
    let mut items = references.items;
    items.extend(options.history.as_deref().map(responses::referenced_items).unwrap_or_default());
    for id in items {
        let Some(response) = responses::response_of_item(&id) else { continue };
        let stored = state.flow.ledger.stored_response(&client.id, &response).await.map_err(unavailable)?;
        let found = stored.and_then(|s| responses::find_item(&id, as_text(&s.input), as_text(&s.object)));
        options.references.extend(found.map(|item| (id, item)));
    }
    if references.stores && options.purpose == Purpose::Respond {
        options.on_end = Some(put_later(state, client, bounds, references.previous));
    }
    Ok(options)
}

async fn conversation(state: &AppState, client: &Client, id: &str) -> Result<Vec<StoredResponse>, ApiError> {
    for delay in [Duration::ZERO].into_iter().chain(PUT_DELAYS) {
        tokio::time::sleep(delay).await;
        let links = state.flow.ledger.stored_conversation(&client.id, id).await.map_err(unavailable)?;
        if !links.is_empty() {
            return Ok(links);
        }
    }
    Err(ApiError::PreviousResponseNotFound(responses::not_found(id)))
}

/// Stores the finished response beside its delivery.
fn put_later(
    state: &Data<AppState>,
    client: &Client,
    bounds: ResponseBounds,
    previous: Option<String>,
) -> Box<dyn FnOnce(FinishedResponse) + Send> {
    let (ledger, tasks, client) = (state.flow.ledger.clone(), state.flow.tasks.clone(), client.id.clone());
    Box::new(move |finished| {
        let FinishedResponse { id, input, object } = finished;
        let response = NewResponse { id, previous, input: input.into(), object: object.into() };
        tasks.spawn(async move {
            match ledger.store_response(&client, &response, bounds).await {
                Ok(true) => {}
                Ok(false) => tracing::warn!(
                    client.id = %client,
                    "A response is larger than `responses.store_bytes_per_client` and is not stored"
                ),
                Err(error) => {
                    tracing::warn!(client.id = %client, error = %error, "A response could not be stored: {error}");
                }
            }
        });
    })
}

/// A stored response
///
/// Responses are stored only where the operator sets `responses.store`, and found only by the client that created them.
#[utoipa::path(
    get, path = "/v1/responses/{id}", tag = "responses", operation_id = "show_response",
    security(("client_key" = [])),
    params(("id" = String, Path, example = "resp_0193")),
    responses(
        (status = 200, description = "The response", content(
            (ref("#/components/schemas/ResponsesObject") = "application/json"),
        )),
        (status = 404, description = "not_found"),
    ),
)]
pub(crate) async fn show(
    state: Data<AppState>,
    client: Client,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let stored = read(&state, &client, &model_id(&request)).await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(stored.object))
}

#[derive(Serialize, ToSchema)]
#[schema(as = ResponsesDeletion)]
pub(crate) struct Deletion {
    id: String,
    object: &'static str,
    deleted: bool,
}

/// Deletes a stored response
#[utoipa::path(
    delete, path = "/v1/responses/{id}", tag = "responses", operation_id = "delete_response",
    security(("client_key" = [])),
    params(("id" = String, Path, example = "resp_0193")),
    responses(
        (status = 200, description = "The response is deleted", body = Deletion),
        (status = 404, description = "not_found"),
    ),
)]
pub(crate) async fn delete(
    state: Data<AppState>,
    client: Client,
    request: HttpRequest,
) -> Result<Json<Deletion>, ApiError> {
    let id = model_id(&request);
    if !state.flow.ledger.delete_response(&client.id, &id).await.map_err(unavailable)? {
        return Err(missing(&id));
    }
    Ok(Json(Deletion { id, object: "response", deleted: true }))
}

/// Items of a response's input.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponsesItems)]
pub(crate) struct Items {
    object: &'static str,
    #[schema(value_type = Vec<Object>)]
    data: Vec<Box<RawValue>>,
    #[schema(required)]
    first_id: Option<String>,
    #[schema(required)]
    last_id: Option<String>,
    has_more: bool,
}

/// The items that a stored response's request added to its conversation
#[utoipa::path(
    get, path = "/v1/responses/{id}/input_items", tag = "responses", operation_id = "list_response_items",
    security(("client_key" = [])),
    params(
        ("id" = String, Path, example = "resp_0193"),
        ("limit" = Option<usize>, Query, nullable = false, minimum = 1, maximum = 100),
        ("order" = Option<String>, Query, nullable = false, description = "`desc`, the default, or `asc`"),
        ("after" = Option<String>, Query, nullable = false, description = "The `last_id` of the page before"),
        ("include" = Option<String>, Query, nullable = false, description = "Has no effect"),
        ("include[]" = Option<String>, Query, nullable = false, description = "Has no effect"),
    ),
    responses(
        (status = 200, description = "The items", body = Items),
        (status = 404, description = "not_found"),
    ),
)]
pub(crate) async fn list_items(
    state: Data<AppState>,
    client: Client,
    request: HttpRequest,
) -> Result<Json<Items>, ApiError> {
    let query = Query::parse(&request, &["limit", "order", "after", "include", "include[]"])?;
    let limit = query.number("limit", DEFAULT_ITEMS, 1..=MAX_ITEMS)?;
    let stored = read(&state, &client, &model_id(&request)).await?;
    let mut items: Vec<Box<RawValue>> = serde_json::from_slice(&stored.input).map_err(|_| ApiError::Internal)?;
    if query.text("order") != Some("asc") {
        items.reverse();
    }
    if let Some(after) = query.text("after") {
        let at = items.iter().position(|item| id_of(item).as_deref() == Some(after));
        items.drain(..at.map_or(items.len(), |at| at + 1));
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let (first_id, last_id) = (items.first().and_then(|item| id_of(item)), items.last().and_then(|item| id_of(item)));
    Ok(Json(Items { object: "list", data: items, first_id, last_id, has_more }))
}

fn id_of(item: &RawValue) -> Option<String> {
    let item: Value = serde_json::from_str(item.get()).ok()?;
    item["id"].as_str().map(str::to_owned)
}

/// Cancels a background response
///
/// Responses of this gateway are never in the background, so none can be cancelled.
#[utoipa::path(
    post, path = "/v1/responses/{id}/cancel", tag = "responses", operation_id = "cancel_response",
    security(("client_key" = [])),
    params(("id" = String, Path, example = "resp_0193")),
    responses((status = 400, description = "invalid_value"), (status = 404, description = "not_found")),
)]
pub(crate) async fn cancel(
    state: Data<AppState>,
    client: Client,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    read(&state, &client, &model_id(&request)).await?;
    let message = "Only background responses can be cancelled, and this gateway has none.".to_owned();
    Err(ApiError::InvalidValue { param: Some("response_id".to_owned()), message })
}

async fn read(state: &AppState, client: &Client, id: &str) -> Result<StoredResponse, ApiError> {
    for delay in [Duration::ZERO].into_iter().chain(PUT_DELAYS) {
        tokio::time::sleep(delay).await;
        let found = state.flow.ledger.stored_response(&client.id, id).await.map_err(unavailable)?;
        if let Some(stored) = found {
            return Ok(stored);
        }
        if state.policy.load().responses.is_none() {
            break;
        }
    }
    Err(missing(id))
}

fn missing(id: &str) -> ApiError {
    ApiError::NotFound(responses::not_found(id))
}

#[expect(clippy::needless_pass_by_value, reason = "the form of `map_err`")]
fn unavailable(error: LedgerError) -> ApiError {
    flow_error::from_ledger_read(&error)
}

/// Everything in the store was text when it was put there.
fn as_text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
