//! The query of a URL, read strictly: what is not known or cannot be read is told, and changes nothing.

use std::ops::RangeInclusive;

use actix_web::HttpRequest;
use jiff::Timestamp;
use url::form_urlencoded;

use crate::api::edge::error::ApiError;

/// A filter's words. Characters.
const TEXT_MOST: usize = 200;

pub struct Query {
    given: Vec<(String, String)>,
}

impl Query {
    /// `known`: every parameter the endpoint takes, each at most once.
    pub fn of(request: &HttpRequest, known: &[&str]) -> Result<Self, ApiError> {
        Self::read(request.query_string(), known)
    }

    fn read(query: &str, known: &[&str]) -> Result<Self, ApiError> {
        let mut given: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            if !known.contains(&&*name) {
                let takes = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(wrong(&name, format!("There is no parameter `{name}`. This endpoint takes: {takes}.")));
            }
            if given.iter().any(|(other, _)| *other == name) {
                return Err(wrong(&name, format!("`{name}` is given twice.")));
            }
            if value.chars().count() > TEXT_MOST {
                return Err(wrong(&name, format!("`{name}` is longer than {TEXT_MOST} characters.")));
            }
            given.push((name, value));
        }
        Ok(Self { given })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A filter; an empty one filters nothing.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    pub fn number(&self, name: &str, default: usize, range: RangeInclusive<usize>) -> Result<usize, ApiError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let number = value.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (least, most) = range.into_inner();
            wrong(name, format!("`{name}` is `{value}`; it must be a whole number from {least} to {most}."))
        })
    }

    /// Ms since the epoch.
    pub fn instant(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let instant = value.parse::<Timestamp>().map_err(|_| {
            wrong(name, format!("`{name}` is `{value}`; it must be an instant such as `2026-01-31T12:00:00Z`."))
        })?;
        Ok(Some(instant.as_millisecond()))
    }

    pub fn one_of<T: Copy>(&self, name: &str, choices: &[(&str, T)], default: T) -> Result<T, ApiError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let found = choices.iter().find(|(choice, _)| *choice == value);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
            wrong(name, format!("`{name}` is `{value}`; it must be one of {}.", names.join(", ")))
        })
    }

    /// What only `read` can tell; `expected` says what it should have been.
    pub fn read_as<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let read = read(value).ok_or_else(|| wrong(name, format!("`{name}` is `{value}`; it must be {expected}.")))?;
        Ok(Some(read))
    }
}

/// A parameter that cannot be taken as it is.
pub fn wrong(name: &str, message: String) -> ApiError {
    ApiError::InvalidValue { param: Some(name.chars().take(TEXT_MOST).collect()), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(result: Result<impl Sized, ApiError>) -> String {
        match result {
            Err(ApiError::InvalidValue { param: Some(param), .. }) => param,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("it was taken"),
        }
    }

    #[test]
    fn whatever_is_not_known_or_not_right_names_its_parameter() {
        let known = ["limit", "since", "by", "search"];
        for (query, at_fault) in [("limits=5", "limits"), ("limit=1&limit=2", "limit"), ("=", "")] {
            assert_eq!(param(Query::read(query, &known)), at_fault, "{query}");
        }
        assert_eq!(param(Query::read(&format!("search={}", "a".repeat(201)), &known)), "search");
        let read = |query: &str| Query::read(query, &known).unwrap();
        for number in ["", "0", "-1", "201", "1.5", "many", "1e2", "%31%30%30%30"] {
            assert_eq!(param(read(&format!("limit={number}")).number("limit", 50, 1..=200)), "limit", "{number}");
        }
        for instant in ["", "today", "2026-01-31", "1700000000", "2026-13-01T00:00:00Z"] {
            assert_eq!(param(read(&format!("since={instant}")).instant("since")), "since", "{instant}");
        }
        assert_eq!(param(read("by=colour").one_of("by", &[("client", 1)], 1)), "by");
    }

    #[test]
    fn what_is_right_is_read() {
        let query = Query::read(
            "limit=200&since=2026-01-31T12%3A00%3A00.5%2B01%3A00&by=b&search=%20a+b",
            &["limit", "since", "by", "search", "cursor"],
        );
        let query = query.unwrap();
        assert_eq!(query.number("limit", 50, 1..=200).unwrap(), 200);
        assert_eq!(query.instant("since").unwrap(), Some(1_769_857_200_500));
        assert_eq!(query.one_of("by", &[("a", 1), ("b", 2)], 1).unwrap(), 2);
        assert_eq!((query.text("search"), query.text("cursor")), (Some(" a b"), None));
        assert_eq!(Query::read("", &[]).unwrap().number("limit", 50, 1..=200).unwrap(), 50);
    }
}
