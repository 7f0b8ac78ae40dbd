//! Lists, a page at a time: `?limit=50&cursor=…` → `{"object":"list","data":[…],"next_cursor":null}`.

use std::collections::HashMap;

use actix_web::{HttpRequest, web::Query};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::ApiError;

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

/// [`Page`] in the document.
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

/// What part of a list is asked for.
#[derive(Debug)]
pub struct Page {
    pub limit: usize,
    pub cursor: Option<String>,
    /// The other words of the query; each of them is known.
    pub others: HashMap<String, String>,
}

impl Page {
    /// Reads the query; `others`: what it may hold beside `limit` and `cursor`.
    pub fn of(request: &HttpRequest, others: &[&str]) -> Result<Self, ApiError> {
        let bad = |param: &str, message: String| ApiError::InvalidValue { param: Some(param.to_owned()), message };
        let Query(words) = Query::<Vec<(String, String)>>::from_query(request.query_string()).map_err(|error| {
            ApiError::InvalidValue { param: None, message: format!("The query cannot be read: {error}.") }
        })?;
        let mut words: HashMap<String, String> = words.into_iter().collect();
        let limit = match words.remove("limit") {
            None => LIMIT,
            Some(text) => text.parse().ok().filter(|n| (1..=LIMIT_MOST).contains(n)).ok_or_else(|| {
                bad("limit", format!("`limit`: expected a whole number from 1 to {LIMIT_MOST}, got `{text}`."))
            })?,
        };
        let cursor = words.remove("cursor").filter(|cursor| !cursor.is_empty());
        if let Some(unknown) = words.keys().find(|word| !others.contains(&word.as_str())) {
            let known = [&["limit", "cursor"], others].concat().join(", ");
            return Err(bad(unknown, format!("`{unknown}`: there is no such parameter; there are {known}.")));
        }
        Ok(Self { limit, cursor, others: words })
    }
}

/// A cursor that is none of ours.
pub fn bad_cursor() -> ApiError {
    let message = "`cursor`: expected the `next_cursor` of a page of this list.".to_owned();
    ApiError::InvalidValue { param: Some("cursor".to_owned()), message }
}
