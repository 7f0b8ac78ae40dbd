//! Lists, a page at a time: `?limit=50&cursor=…` → `{"object":"list","data":[…],"next_cursor":null}`.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::api::edge::{error::ApiError, query::Query};

const LIMIT: usize = 50;
const LIMIT_MOST: usize = 200;

/// A page of a list, as it is told.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    object: &'static str,
    pub data: Vec<T>,
    /// To be sent back for the page behind this one; null: this is the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    pub fn new(data: Vec<T>, next_cursor: Option<String>) -> Self {
        Self { object: "list", data, next_cursor }
    }
}

/// The most entries on the page that is asked for.
pub fn limit(query: &Query) -> Result<usize, ApiError> {
    query.number("limit", LIMIT, 1..=LIMIT_MOST)
}

/// `limit` and `cursor` in the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is read")]
pub struct Paging {
    /// How many at most
    #[param(minimum = 1, maximum = 200, default = 50, nullable = false)]
    limit: Option<u8>,
    /// The `next_cursor` of the page before this one
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// What a cursor that was made up is told.
pub const A_CURSOR: &str = "the `next_cursor` of a page of this list";
