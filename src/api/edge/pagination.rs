//! Lists, a page at a time: `?limit=50&cursor=…` → `{"object":"list","data":[…],"next_cursor":null}`.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::api::edge::{error::ApiError, query::Query};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    object: &'static str,
    pub data: Vec<T>,
    /// The `cursor` of the next page, null on the last one
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    pub(crate) fn new(data: Vec<T>, next_cursor: Option<String>) -> Self {
        Self { object: "list", data, next_cursor }
    }
}

/// The requested page size.
pub(crate) fn limit(query: &Query) -> Result<usize, ApiError> {
    query.number("limit", DEFAULT_LIMIT, 1..=MAX_LIMIT)
}

/// The parameters `limit` and `cursor`, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described in the OpenAPI document")]
pub(crate) struct PageParams {
    /// Maximum number of entries
    #[param(minimum = 1, maximum = 200, default = 50, nullable = false)]
    limit: Option<u8>,
    /// The `next_cursor` of the previous page
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// The expected value in the error for an invalid cursor.
pub(crate) const EXPECTED_CURSOR: &str = "the `next_cursor` of a page of this list";
