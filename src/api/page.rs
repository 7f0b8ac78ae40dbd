//! Lists, a page at a time: `?limit=50&cursor=…` → `{"object":"list","data":[…],"next_cursor":null}`.

use serde::Serialize;

use super::{ApiError, query::Query};

const LIMIT: usize = 50;
const LIMIT_MOST: usize = 200;

/// A page of a list, as it is told.
#[derive(Debug, Serialize)]
pub struct List<T> {
    object: &'static str,
    pub data: Vec<T>,
    /// To be sent back for the page behind this one; null: this is the last.
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

/// What a cursor that was made up is told.
pub const A_CURSOR: &str = "the `next_cursor` of a page of this list";
