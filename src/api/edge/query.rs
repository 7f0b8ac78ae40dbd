//! Strict parsing of a URL's query: unknown, repeated and invalid parameters are errors.

use std::ops::RangeInclusive;

use actix_web::HttpRequest;
use jiff::Timestamp;
use url::form_urlencoded;

use crate::api::edge::error::ApiError;

const MAX_TEXT_CHARS: usize = 300;

pub(crate) struct Query {
    given: Vec<(String, String)>,
}

impl Query {
    /// `known`: every parameter the endpoint accepts, each at most once.
    pub(crate) fn parse(request: &HttpRequest, known: &[&str]) -> Result<Self, ApiError> {
        Self::parse_str(request.query_string(), known)
    }

    fn parse_str(query: &str, known: &[&str]) -> Result<Self, ApiError> {
        let mut given: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            if !known.contains(&&*name) {
                let accepted = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(invalid_parameter(
                    &name,
                    format!("Unknown parameter `{name}`. This endpoint accepts: {accepted}."),
                ));
            }
            if given.iter().any(|(other, _)| *other == name) {
                return Err(invalid_parameter(&name, format!("`{name}` occurs twice.")));
            }
            if value.chars().count() > MAX_TEXT_CHARS {
                return Err(invalid_parameter(&name, format!("`{name}` is longer than {MAX_TEXT_CHARS} characters.")));
            }
            given.push((name, value));
        }
        Ok(Self { given })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The value of a filter; an empty one counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    pub(crate) fn number(&self, name: &str, default: usize, range: RangeInclusive<usize>) -> Result<usize, ApiError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let number = value.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (least, most) = range.into_inner();
            invalid_parameter(name, format!("`{name}` is `{value}`; it must be a whole number from {least} to {most}."))
        })
    }

    /// A timestamp, in milliseconds since the epoch.
    pub(crate) fn timestamp(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let timestamp = value.parse::<Timestamp>().map_err(|_| {
            invalid_parameter(
                name,
                format!("`{name}` is `{value}`; it must be a timestamp such as `2026-01-31T12:00:00Z`."),
            )
        })?;
        Ok(Some(timestamp.as_millisecond()))
    }

    pub(crate) fn one_of<T: Copy>(&self, name: &str, choices: &[(&str, T)], default: T) -> Result<T, ApiError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let found = choices.iter().find(|(choice, _)| *choice == value);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
            invalid_parameter(name, format!("`{name}` is `{value}`; it must be one of {}.", names.join(", ")))
        })
    }

    /// Parses a value with `parse`. `expected` describes valid values in the error message.
    pub(crate) fn parse_with<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let parsed = parse(value)
            .ok_or_else(|| invalid_parameter(name, format!("`{name}` is `{value}`; it must be {expected}.")))?;
        Ok(Some(parsed))
    }
}

pub(crate) fn invalid_parameter(name: &str, message: String) -> ApiError {
    ApiError::InvalidValue { param: Some(name.chars().take(MAX_TEXT_CHARS).collect()), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(result: Result<impl Sized, ApiError>) -> String {
        match result {
            Err(ApiError::InvalidValue { param: Some(param), .. }) => param,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("it was accepted"),
        }
    }

    #[test]
    fn an_unknown_or_invalid_parameter_is_named_in_the_error() {
        let known = ["limit", "since", "by", "search"];
        for (query, at_fault) in [("limits=5", "limits"), ("limit=1&limit=2", "limit"), ("=", "")] {
            assert_eq!(param(Query::parse_str(query, &known)), at_fault, "{query}");
        }
        assert_eq!(param(Query::parse_str(&format!("search={}", "a".repeat(MAX_TEXT_CHARS + 1)), &known)), "search");
        let read = |query: &str| Query::parse_str(query, &known).unwrap();
        for number in ["", "0", "-1", "201", "1.5", "many", "1e2", "%31%30%30%30"] {
            assert_eq!(param(read(&format!("limit={number}")).number("limit", 50, 1..=200)), "limit", "{number}");
        }
        for instant in ["", "today", "2026-01-31", "1700000000", "2026-13-01T00:00:00Z"] {
            assert_eq!(param(read(&format!("since={instant}")).timestamp("since")), "since", "{instant}");
        }
        assert_eq!(param(read("by=colour").one_of("by", &[("client", 1)], 1)), "by");
    }

    #[test]
    fn valid_parameters_are_parsed() {
        let query = Query::parse_str(
            "limit=200&since=2026-01-31T12%3A00%3A00.5%2B01%3A00&by=b&search=%20a+b",
            &["limit", "since", "by", "search", "cursor"],
        );
        let query = query.unwrap();
        assert_eq!(query.number("limit", 50, 1..=200).unwrap(), 200);
        assert_eq!(query.timestamp("since").unwrap(), Some(1_769_857_200_500));
        assert_eq!(query.one_of("by", &[("a", 1), ("b", 2)], 1).unwrap(), 2);
        assert_eq!((query.text("search"), query.text("cursor")), (Some(" a b"), None));
        assert_eq!(Query::parse_str("", &[]).unwrap().number("limit", 50, 1..=200).unwrap(), 50);
    }
}
