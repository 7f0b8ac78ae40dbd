//! What an admin says of a member: its name, its limits, what it may ask for. Read from JSON field by field, so that a
//! mistake names its path and changes nothing; the same for the admin API, the `keys` command and a file of hashes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Limit, model_pattern, time::HOUR_MS};

/// Everything that can be set about a member. In JSON as the admin API shows it and as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientSettings {
    pub name: String,
    pub limits: Limits,
    /// Its part of a contended window against others'.
    pub weight: i64,
    /// Globs over `provider/model` and meta-models; empty: everything.
    pub models: Vec<String>,
    /// It may ask for `service_tier: "priority"`.
    pub priority: bool,
    /// How long its requests wait for a slot where they do not say, ms.
    pub wait_ms: Option<i64>,
    pub expires_at: Option<Timestamp>,
    pub note: String,
    pub disabled: bool,
}

/// A member's own limits; each is a window of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Requests per minute.
    pub rpm: Option<i64>,
    /// Requests per day.
    pub rpd: Option<i64>,
    /// Tokens per minute.
    pub tpm: Option<i64>,
    /// Tokens per day.
    pub tpd: Option<i64>,
    /// Requests at a time.
    pub concurrency: Option<i64>,
}

impl Limits {
    pub const NAMES: [&str; 5] = ["rpm", "rpd", "tpm", "tpd", "concurrency"];

    fn place(&mut self, name: &str) -> Option<&mut Option<i64>> {
        match name {
            "rpm" => Some(&mut self.rpm),
            "rpd" => Some(&mut self.rpd),
            "tpm" => Some(&mut self.tpm),
            "tpd" => Some(&mut self.tpd),
            "concurrency" => Some(&mut self.concurrency),
            _ => None,
        }
    }

    /// Those that are set.
    pub fn in_force(&self) -> impl Iterator<Item = (Limit, i64)> + use<> {
        let all = [
            (Limit::Rpm, self.rpm),
            (Limit::Rpd, self.rpd),
            (Limit::Tpm, self.tpm),
            (Limit::Tpd, self.tpd),
            (Limit::Concurrency, self.concurrency),
        ];
        all.into_iter().filter_map(|(limit, max)| Some((limit, max?)))
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            limits: Limits::default(),
            weight: 1,
            models: Vec::new(),
            priority: false,
            wait_ms: None,
            expires_at: None,
            note: String::new(),
            disabled: false,
        }
    }
}

/// The first mistake in what was said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadField {
    /// `limits.rpm`, `models[2]`
    pub param: String,
    pub message: String,
}

pub const NAME_MOST: usize = 80;
pub const NOTE_MOST: usize = 500;
const MODELS_MOST: usize = 100;
pub const WEIGHT_MOST: i64 = 1_000;
/// As far as `queue.max_wait_ms` goes.
pub const WAIT_MOST_MS: i64 = HOUR_MS;
/// Lua counts in doubles: everything stays far below 2^53.
const LIMIT_MOST: i64 = 1_000_000_000_000;

impl ClientSettings {
    pub const FIELDS: [&str; 9] =
        ["name", "limits", "weight", "models", "priority", "wait_ms", "expires_at", "note", "disabled"];

    /// Those of a new member.
    pub fn new(said: &Map<String, Value>, now: Timestamp) -> Result<Self, BadField> {
        if !said.contains_key("name") {
            return Err(bad("name", "it is missing: whom is the key for?"));
        }
        Self::default().changed(said, now)
    }

    /// With the fields that were said; null takes a limit, the expiry or the wait away.
    pub fn changed(&self, said: &Map<String, Value>, now: Timestamp) -> Result<Self, BadField> {
        let mut settings = self.clone();
        for (field, value) in said {
            match field.as_str() {
                "name" => settings.name = name(value)?,
                "note" => settings.note = text("note", value, NOTE_MOST)?,
                "limits" => limits(&mut settings.limits, value)?,
                "weight" => settings.weight = whole("weight", value, 1, WEIGHT_MOST)?,
                "models" => settings.models = models(value)?,
                "priority" => settings.priority = flag("priority", value)?,
                "disabled" => settings.disabled = flag("disabled", value)?,
                "wait_ms" => settings.wait_ms = unless_null(value, |v| whole("wait_ms", v, 0, WAIT_MOST_MS))?,
                "expires_at" => settings.expires_at = unless_null(value, |v| instant(v, now))?,
                other => {
                    let known = Self::FIELDS.join(", ");
                    return Err(bad(other, &format!("there is no such field; the fields are {known}")));
                }
            }
        }
        Ok(settings)
    }

    /// The fields in which two differ, as they were and as they are.
    pub fn differences(&self, after: &Self) -> (Map<String, Value>, Map<String, Value>) {
        let [before, after] = [self, after].map(|settings| match serde_json::to_value(settings) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        });
        let differs = |field: &String| before.get(field) != after.get(field);
        let only = |all: &Map<String, Value>| {
            all.iter().filter(|(field, _)| differs(field)).map(|(f, v)| (f.clone(), v.clone())).collect()
        };
        (only(&before), only(&after))
    }
}

fn bad(param: &str, what: &str) -> BadField {
    BadField { param: param.to_owned(), message: format!("`{param}`: {what}.") }
}

/// A value as it was said, cut where it is long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

fn wrong(param: &str, expected: &str, found: &Value) -> BadField {
    bad(param, &format!("expected {expected}, got {}", shown(found)))
}

fn unless_null<T>(value: &Value, read: impl FnOnce(&Value) -> Result<T, BadField>) -> Result<Option<T>, BadField> {
    if value.is_null() { Ok(None) } else { read(value).map(Some) }
}

fn whole(param: &str, value: &Value, least: i64, most: i64) -> Result<i64, BadField> {
    let number = value.as_i64().filter(|n| (least..=most).contains(n));
    number.ok_or_else(|| wrong(param, &format!("a whole number from {least} to {most}"), value))
}

fn flag(param: &str, value: &Value) -> Result<bool, BadField> {
    value.as_bool().ok_or_else(|| wrong(param, "true or false", value))
}

fn text(param: &str, value: &Value, most: usize) -> Result<String, BadField> {
    let expected = || format!("text of at most {most} characters");
    let text = value.as_str().ok_or_else(|| wrong(param, &expected(), value))?.trim();
    let length = text.chars().count();
    if length > most {
        return Err(bad(param, &format!("expected {}, got {length}", expected())));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(bad(param, "it holds control characters"));
    }
    Ok(text.to_owned())
}

fn name(value: &Value) -> Result<String, BadField> {
    let name = text("name", value, NAME_MOST)?;
    if name.is_empty() {
        return Err(bad("name", "it is empty: whom is the key for?"));
    }
    if name.contains('\n') {
        return Err(bad("name", "it is more than one line"));
    }
    Ok(name)
}

fn limits(limits: &mut Limits, value: &Value) -> Result<(), BadField> {
    if value.is_null() {
        *limits = Limits::default();
        return Ok(());
    }
    let said = value.as_object().ok_or_else(|| wrong("limits", "an object such as {\"rpm\": 10}", value))?;
    for (limit, max) in said {
        let param = format!("limits.{limit}");
        let Some(place) = limits.place(limit) else {
            let known = Limits::NAMES.join(", ");
            return Err(bad(&param, &format!("there is no such limit; a client's limits are {known}")));
        };
        *place = unless_null(max, |max| match max.as_i64() {
            Some(0) => Err(bad(&param, "a limit of 0 lets nothing through: to shut a key, set `disabled`")),
            _ => whole(&param, max, 1, LIMIT_MOST),
        })?;
    }
    Ok(())
}

fn models(value: &Value) -> Result<Vec<String>, BadField> {
    let expected = "a list of names and patterns such as [\"free\", \"groq/*\"]";
    let said = value.as_array().ok_or_else(|| wrong("models", expected, value))?;
    if said.len() > MODELS_MOST {
        return Err(bad("models", &format!("expected at most {MODELS_MOST} patterns, got {}", said.len())));
    }
    let mut models: Vec<String> = Vec::new();
    for (at, pattern) in said.iter().enumerate() {
        let param = format!("models[{at}]");
        let text = pattern.as_str().ok_or_else(|| wrong(&param, "a name or a pattern", pattern))?;
        model_pattern::check(text).map_err(|what| bad(&param, &format!("{} is no pattern: {what}", shown(pattern))))?;
        if !models.iter().any(|known| known == text) {
            models.push(text.to_owned());
        }
    }
    Ok(models)
}

fn instant(value: &Value, now: Timestamp) -> Result<Timestamp, BadField> {
    let read = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let at = read.and_then(|at| Timestamp::from_millisecond(at.as_millisecond()).ok());
    let at = at.ok_or_else(|| wrong("expires_at", "an instant such as \"2027-01-31T00:00:00Z\", or null", value))?;
    if at <= now {
        return Err(bad("expires_at", &format!("{at} has passed: it is {now:.0} now")));
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-25T12:00:00Z".parse().unwrap()
    }

    fn said(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_is_said_is_taken_and_the_rest_stays() {
        let all = json!({ "name": " ann ", "limits": { "rpm": 10, "concurrency": 2 }, "weight": 3, "priority": true,
            "models": ["free", "groq/*", "free"], "wait_ms": 0, "expires_at": "2027-01-01T00:00:00+01:00", "note": "x" });
        let settings = ClientSettings::new(&said(&all), now()).unwrap();
        assert_eq!(
            (settings.name.as_str(), settings.weight, &settings.models[..]),
            ("ann", 3, &["free", "groq/*"].map(String::from)[..])
        );
        assert_eq!(settings.expires_at.unwrap().to_string(), "2026-12-31T23:00:00Z");
        let limits: Vec<_> = settings.limits.in_force().collect();
        assert_eq!(limits, [(Limit::Rpm, 10), (Limit::Concurrency, 2)]);
        let change =
            json!({ "limits": { "rpm": null, "tpd": 5 }, "expires_at": null, "wait_ms": null, "disabled": true });
        let changed = settings.changed(&said(&change), now()).unwrap();
        assert_eq!(changed.limits, Limits { tpd: Some(5), concurrency: Some(2), ..Limits::default() });
        assert_eq!((changed.expires_at, changed.wait_ms, changed.disabled, &*changed.note), (None, None, true, "x"));
        assert_eq!(settings.changed(&said(&json!({ "limits": null })), now()).unwrap().limits, Limits::default());
        let again: ClientSettings = serde_json::from_str(&serde_json::to_string(&settings).unwrap()).unwrap();
        assert_eq!(again, settings);
    }

    #[test]
    fn a_mistake_names_its_path() {
        let long = "x".repeat(81);
        let cases = [
            (json!({}), "name", "missing"),
            (json!({ "name": "" }), "name", "empty"),
            (json!({ "name": 5 }), "name", "expected text of at most 80"),
            (json!({ "name": long }), "name", "got 81"),
            (json!({ "name": "a\tb" }), "name", "control"),
            (json!({ "name": "a\nb" }), "name", "line"),
            (json!({ "name": "a", "note": "y".repeat(501) }), "note", "got 501"),
            (json!({ "name": "a", "limts": {} }), "limts", "the fields are name, limits"),
            (json!({ "name": "a", "limits": [] }), "limits", "an object"),
            (json!({ "name": "a", "limits": { "rpm": -1 } }), "limits.rpm", "from 1 to"),
            (json!({ "name": "a", "limits": { "rpm": 0 } }), "limits.rpm", "`disabled`"),
            (json!({ "name": "a", "limits": { "rpm": 1.5 } }), "limits.rpm", "whole number"),
            (json!({ "name": "a", "limits": { "rpm": "10" } }), "limits.rpm", "got \"10\""),
            (json!({ "name": "a", "limits": { "rps": 1 } }), "limits.rps", "rpm, rpd, tpm, tpd, concurrency"),
            (json!({ "name": "a", "weight": 0 }), "weight", "from 1 to 1000"),
            (json!({ "name": "a", "weight": null }), "weight", "got null"),
            (json!({ "name": "a", "models": "free" }), "models", "a list"),
            (json!({ "name": "a", "models": ["free", 3] }), "models[1]", "got 3"),
            (json!({ "name": "a", "models": ["gr[oq/*"] }), "models[0]", "`*`"),
            (json!({ "name": "a", "priority": "yes" }), "priority", "true or false"),
            (json!({ "name": "a", "wait_ms": 3_600_001 }), "wait_ms", "from 0 to 3600000"),
            (json!({ "name": "a", "expires_at": "tomorrow" }), "expires_at", "an instant such as"),
            (json!({ "name": "a", "expires_at": "2026-11-25T11:59:59Z" }), "expires_at", "has passed"),
        ];
        for (body, param, words) in cases {
            let error = ClientSettings::new(&said(&body), now()).unwrap_err();
            assert!(error.param == param && error.message.contains(words), "{body}: {error:?}");
        }
    }

    #[test]
    fn only_what_differs_is_told() {
        let before = ClientSettings { name: "ann".into(), ..ClientSettings::default() };
        let after = ClientSettings { weight: 2, ..before.clone() };
        let (was, is) = before.differences(&after);
        assert_eq!((json!(was), json!(is)), (json!({ "weight": 1 }), json!({ "weight": 2 })));
    }
}
