//! How the value of one setting is read. The same rules hold for the file, whose values have types, and for the
//! environment, whose values are text. An error says what was expected; the caller adds the name and the value.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, IntoDeserializer},
};

fn expected<E: Error>(what: impl std::fmt::Display) -> E {
    E::custom(format!("expected {what}"))
}

/// A whole number from `MIN` to `MAX`.
pub(super) fn whole<'de, D, T, const MIN: i64, const MAX: i64>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i64>,
{
    optional_whole::<D, T, MIN, MAX>(input)?.ok_or_else(|| expected("a whole number"))
}

/// The same, or nothing.
pub(super) fn optional_whole<'de, D, T, const MIN: i64, const MAX: i64>(input: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i64>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Integer(i64),
        Text(String),
    }
    let number = match Option::<Number>::deserialize(input) {
        Ok(None) => return Ok(None),
        Ok(Some(Number::Integer(n))) => Some(n),
        Ok(Some(Number::Text(text))) => text.parse().ok(),
        Err(_) => None,
    };
    let number = number.filter(|n| (MIN..=MAX).contains(n)).and_then(|n| T::try_from(n).ok());
    number.map(Some).ok_or_else(|| expected(format!("a whole number from {MIN} to {MAX}")))
}

/// A name of an enum, read as text because the `config` crate's error for a wrong one does not list the right ones.
pub(super) fn name<'de, D: Deserializer<'de>, T: DeserializeOwned>(input: D) -> Result<T, D::Error> {
    T::deserialize(String::deserialize(input)?.as_str().into_deserializer())
}

/// The same, or nothing.
pub(super) fn optional_name<'de, D: Deserializer<'de>, T: DeserializeOwned>(input: D) -> Result<Option<T>, D::Error> {
    let name = Option::<String>::deserialize(input)?;
    name.map(|name| T::deserialize(name.as_str().into_deserializer())).transpose()
}

/// A list: an array in the file, separated by commas in the environment. The error of `T` says what was expected.
pub(super) mod list {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer};

    /// As text, so that an empty list has a value, too.
    pub(in crate::config) fn serialize<T: Display, S: Serializer>(items: &[T], output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(&items.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }

    pub(in crate::config) fn deserialize<'de, D, T>(input: D) -> Result<Vec<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err = String>,
    {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum List {
            Text(String),
            Items(Vec<String>),
        }
        let items = match List::deserialize(input).map_err(|_| super::expected("an array of strings"))? {
            List::Text(text) => super::split(&text).map(str::to_owned).collect(),
            List::Items(items) => items,
        };
        items.iter().map(|item| item.trim().parse().map_err(|what: String| super::expected(what))).collect()
    }
}

/// A period of days, hours or minutes, such as `7d`; nothing, or `off`, for none.
pub(super) mod optional_period {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::time::{DAY_MS, HOUR_MS};

    const UNITS: [(char, i64); 3] = [('d', DAY_MS), ('h', HOUR_MS), ('m', 60_000)];
    const MAX_MS: i64 = 365 * DAY_MS;

    #[expect(clippy::ref_option, reason = "the form that serde calls")]
    pub(in crate::config) fn serialize<S: Serializer>(period: &Option<Duration>, output: S) -> Result<S::Ok, S::Error> {
        let Some(period) = period else { return output.serialize_none() };
        let ms = i64::try_from(period.as_millis()).unwrap_or(MAX_MS);
        let (unit, unit_ms) = UNITS.into_iter().find(|(_, unit_ms)| ms % unit_ms == 0).unwrap_or(UNITS[2]);
        output.serialize_str(&format!("{}{unit}", ms / unit_ms))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(input).map_err(|_| wrong())?;
        let Some(text) = text.filter(|text| text != "off") else { return Ok(None) };
        let unit = UNITS.into_iter().find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, ms)));
        let ms = unit.and_then(|(number, ms)| number.trim().parse::<i64>().ok()?.checked_mul(ms));
        let ms = ms.filter(|ms| (1..=MAX_MS).contains(ms)).and_then(|ms| u64::try_from(ms).ok());
        ms.map(|ms| Some(Duration::from_millis(ms))).ok_or_else(wrong)
    }

    fn wrong<E: serde::de::Error>() -> E {
        super::expected("a period such as 7d, 12h or 30m, at most 365d, or off")
    }
}

/// The parts of a comma-separated list.
pub(super) fn split(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// An address or a host name to bind.
pub(super) fn host<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let host = String::deserialize(input)?;
    let bare = host.strip_prefix('[').and_then(|v| v.strip_suffix(']')).unwrap_or(&host);
    let is_name = !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    if is_name || bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(host);
    }
    Err(expected("an address or a host name to bind, such as 0.0.0.0 or ::"))
}

/// Nothing, or a path of plain segments without a slash at its end.
pub(super) fn base_path<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let path = String::deserialize(input)?;
    let is_segment =
        |segment: &str| !segment.is_empty() && segment.chars().all(|c| c.is_ascii_alphanumeric() || "-_.~".contains(c));
    if path.is_empty() || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_segment)) {
        return Ok(path);
    }
    Err(expected("a path such as /llm, without a slash at its end"))
}

/// An address of plain characters, because it is written into scripts; without the slash at its end.
pub(super) fn public_url<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    let Some(url) = Option::<String>::deserialize(input)? else { return Ok(None) };
    let is_http = url::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if is_http && url.chars().all(|c| c.is_ascii_alphanumeric() || "-._~:/[]".contains(c)) {
        return Ok(Some(url.trim_end_matches('/').to_owned()));
    }
    Err(expected("an address such as https://gateway.example"))
}

/// The name of a pool.
pub(super) fn pool<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let pool = String::deserialize(input)?;
    if (1..=64).contains(&pool.len()) && pool.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c)) {
        return Ok(pool);
    }
    Err(expected("1 to 64 of A-Z a-z 0-9 - _ . :"))
}

/// An address that contains `{trace_id}`, or nothing.
pub(super) fn trace_link<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    let Some(link) = Option::<String>::deserialize(input)? else { return Ok(None) };
    let is_http = url::Url::parse(&link).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if is_http && link.contains("{trace_id}") && !link.contains(char::is_whitespace) {
        return Ok(Some(link));
    }
    Err(expected("an address that contains {trace_id}, such as https://traces.example/trace/{trace_id}"))
}

/// An address of the web, or nothing.
pub(super) fn web_address<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    let Some(address) = Option::<String>::deserialize(input)? else { return Ok(None) };
    match url::Url::parse(&address) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Some(address)),
        _ => Err(expected("an http:// or https:// address")),
    }
}

/// The name of a currency.
pub(super) fn currency<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let name = String::deserialize(input)?;
    if (1..=8).contains(&name.chars().count()) && !name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Ok(name);
    }
    Err(expected("the name of a currency, such as USD"))
}

/// A level, or directives such as `info,tollfree::ledger=debug`. FreeLLM's `fatal` and `silent` become `error` and `off`.
pub(super) fn log_level<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let text = String::deserialize(input)?;
    let directives = split(&text).map(|directive| match directive.rsplit_once('=') {
        Some((target, name)) => Some(format!("{target}={}", level(name)?)).filter(|_| !target.is_empty()),
        None => level(directive),
    });
    let directives = directives.collect::<Option<Vec<String>>>().filter(|directives| !directives.is_empty());
    directives.map(|directives| directives.join(",")).ok_or_else(|| {
        expected("error, warn, info, debug, trace or off, or directives such as `info,tollfree::ledger=debug`")
    })
}

fn level(name: &str) -> Option<String> {
    match name.to_lowercase().as_str() {
        "fatal" => Some("error".to_owned()),
        "silent" => Some("off".to_owned()),
        level @ ("error" | "warn" | "info" | "debug" | "trace" | "off") => Some(level.to_owned()),
        _ => None,
    }
}

/// What a bearer token may consist of, so that it fits a header. The error does not repeat the key.
pub(super) fn check_key(key: &str) -> Result<(), String> {
    if key.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(());
    }
    Err("expected a key of visible ASCII characters, without blanks".into())
}

/// An `http` or `https` address without a query. The error does not repeat what may be a password.
pub(super) fn check_base_url(text: &str) -> Result<(), String> {
    let is_base = |url: url::Url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() && url.fragment().is_none()
    };
    if url::Url::parse(text).is_ok_and(is_base) {
        return Ok(());
    }
    let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
    Err(format!("expected an address such as https://host/v1, got `{shown}`"))
}

pub(super) fn check_model_id(id: &str) -> Result<(), String> {
    if id.is_empty() || id.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("expected the id of a model, got `{id}`"));
    }
    Ok(())
}
