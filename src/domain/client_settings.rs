//! Settings of a client: name, limits, allowed models. Parsed from JSON field by field, so that an error names the field's path
//! and changes nothing. The admin API, the `keys` command and the clients file share this parser.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Limit, model_pattern, time::HOUR_MS};

/// All settings of a client. Its JSON is what the admin API returns and the ledger stores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientSettings {
    pub name: String,
    pub limits: Limits,
    /// Weight of the client's share of a contended window.
    pub weight: i64,
    /// Patterns for `provider/model` and meta-models; empty: all.
    pub models: Vec<String>,
    /// Whether `service_tier: "priority"` is allowed.
    pub priority: bool,
    /// Whether parameters that cost money at a provider are allowed.
    pub paid: bool,
    /// Default time in the wait queue.
    pub wait_ms: Option<i64>,
    pub expires_at: Option<Timestamp>,
    pub note: String,
    pub disabled: bool,
}

/// A client's own limits, one window each.
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
    /// Concurrent requests.
    pub concurrency: Option<i64>,
}

impl Limits {
    pub const NAMES: [&str; 5] = ["rpm", "rpd", "tpm", "tpd", "concurrency"];

    fn field(&mut self, name: &str) -> Option<&mut Option<i64>> {
        match name {
            "rpm" => Some(&mut self.rpm),
            "rpd" => Some(&mut self.rpd),
            "tpm" => Some(&mut self.tpm),
            "tpd" => Some(&mut self.tpd),
            "concurrency" => Some(&mut self.concurrency),
            _ => None,
        }
    }

    /// The limits that are set.
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
            paid: false,
            wait_ms: None,
            expires_at: None,
            note: String::new(),
            disabled: false,
        }
    }
}

/// The first error in the given fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadField {
    /// `limits.rpm`, `models[2]`
    pub param: String,
    pub message: String,
}

pub const MAX_NAME_CHARS: usize = 80;
pub const MAX_NOTE_CHARS: usize = 500;
const MAX_MODELS: usize = 100;
pub const MAX_WEIGHT: i64 = 1_000;
/// The same maximum as that of `queue.max_wait_ms`.
pub const MAX_WAIT_MS: i64 = HOUR_MS;
/// Lua numbers are doubles, so all values stay far below 2^53.
const MAX_LIMIT: i64 = 1_000_000_000_000;

impl ClientSettings {
    pub const FIELDS: [&str; 10] =
        ["name", "limits", "weight", "models", "priority", "paid", "wait_ms", "expires_at", "note", "disabled"];

    /// Settings of a new client.
    pub fn new(fields: &Map<String, Value>, now: Timestamp) -> Result<Self, BadField> {
        if !fields.contains_key("name") {
            return Err(bad("name", "it is missing"));
        }
        Self::default().changed(fields, now)
    }

    /// These settings with the given fields replaced. `null` clears a limit, the expiry or the wait.
    pub fn changed(&self, fields: &Map<String, Value>, now: Timestamp) -> Result<Self, BadField> {
        let mut settings = self.clone();
        for (field, value) in fields {
            match field.as_str() {
                "name" => settings.name = name(value)?,
                "note" => settings.note = text("note", value, MAX_NOTE_CHARS)?,
                "limits" => limits(&mut settings.limits, value)?,
                "weight" => settings.weight = whole("weight", value, 1, MAX_WEIGHT)?,
                "models" => settings.models = models(value)?,
                "priority" => settings.priority = flag("priority", value)?,
                "paid" => settings.paid = flag("paid", value)?,
                "disabled" => settings.disabled = flag("disabled", value)?,
                "wait_ms" => settings.wait_ms = unless_null(value, |v| whole("wait_ms", v, 0, MAX_WAIT_MS))?,
                "expires_at" => settings.expires_at = unless_null(value, |v| instant(v, now))?,
                other => {
                    let known = Self::FIELDS.join(", ");
                    return Err(bad(other, &format!("there is no such field; the fields are {known}")));
                }
            }
        }
        Ok(settings)
    }

    /// The fields that differ, with the values before and after.
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

fn bad(param: &str, problem: &str) -> BadField {
    BadField { param: param.to_owned(), message: format!("`{param}`: {problem}.") }
}

/// A value for a message, truncated.
fn excerpt(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

fn wrong(param: &str, expected: &str, found: &Value) -> BadField {
    bad(param, &format!("expected {expected}, got {}", excerpt(found)))
}

fn unless_null<T>(value: &Value, read: impl FnOnce(&Value) -> Result<T, BadField>) -> Result<Option<T>, BadField> {
    if value.is_null() { Ok(None) } else { read(value).map(Some) }
}

fn whole(param: &str, value: &Value, min: i64, max: i64) -> Result<i64, BadField> {
    let number = value.as_i64().filter(|n| (min..=max).contains(n));
    number.ok_or_else(|| wrong(param, &format!("a whole number from {min} to {max}"), value))
}

fn flag(param: &str, value: &Value) -> Result<bool, BadField> {
    value.as_bool().ok_or_else(|| wrong(param, "true or false", value))
}

fn text(param: &str, value: &Value, max: usize) -> Result<String, BadField> {
    let expected = || format!("text of at most {max} characters");
    let text = value.as_str().ok_or_else(|| wrong(param, &expected(), value))?.trim();
    let length = text.chars().count();
    if length > max {
        return Err(bad(param, &format!("expected {}, got {length}", expected())));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(bad(param, "it contains control characters"));
    }
    Ok(text.to_owned())
}

fn name(value: &Value) -> Result<String, BadField> {
    let name = text("name", value, MAX_NAME_CHARS)?;
    if name.is_empty() {
        return Err(bad("name", "it is empty"));
    }
    if name.contains('\n') {
        return Err(bad("name", "it has more than one line"));
    }
    Ok(name)
}

fn limits(limits: &mut Limits, value: &Value) -> Result<(), BadField> {
    if value.is_null() {
        *limits = Limits::default();
        return Ok(());
    }
    let fields = value.as_object().ok_or_else(|| wrong("limits", "an object such as {\"rpm\": 10}", value))?;
    for (limit, max) in fields {
        let param = format!("limits.{limit}");
        let Some(field) = limits.field(limit) else {
            let known = Limits::NAMES.join(", ");
            return Err(bad(&param, &format!("there is no such limit; a client's limits are {known}")));
        };
        *field = unless_null(max, |max| match max.as_i64() {
            Some(0) => Err(bad(&param, "a limit of 0 would reject everything: set `disabled` instead")),
            _ => whole(&param, max, 1, MAX_LIMIT),
        })?;
    }
    Ok(())
}

fn models(value: &Value) -> Result<Vec<String>, BadField> {
    let expected = "a list of names and patterns such as [\"free\", \"groq/*\"]";
    let fields = value.as_array().ok_or_else(|| wrong("models", expected, value))?;
    if fields.len() > MAX_MODELS {
        return Err(bad("models", &format!("expected at most {MAX_MODELS} patterns, got {}", fields.len())));
    }
    let mut models: Vec<String> = Vec::new();
    for (at, pattern) in fields.iter().enumerate() {
        let param = format!("models[{at}]");
        let text = pattern.as_str().ok_or_else(|| wrong(&param, "a name or a pattern", pattern))?;
        model_pattern::check(text)
            .map_err(|what| bad(&param, &format!("{} is not a pattern: {what}", excerpt(pattern))))?;
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

    fn fields(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn given_fields_change_and_others_stay() {
        let all = json!({ "name": " ann ", "limits": { "rpm": 10, "concurrency": 2 }, "weight": 3, "priority": true,
            "models": ["free", "groq/*", "free"], "wait_ms": 0, "expires_at": "2027-01-01T00:00:00+01:00", "note": "x" });
        let settings = ClientSettings::new(&fields(&all), now()).unwrap();
        assert_eq!(
            (settings.name.as_str(), settings.weight, &settings.models[..]),
            ("ann", 3, &["free", "groq/*"].map(String::from)[..])
        );
        assert_eq!(settings.expires_at.unwrap().to_string(), "2026-12-31T23:00:00Z");
        let limits: Vec<_> = settings.limits.in_force().collect();
        assert_eq!(limits, [(Limit::Rpm, 10), (Limit::Concurrency, 2)]);
        let change =
            json!({ "limits": { "rpm": null, "tpd": 5 }, "expires_at": null, "wait_ms": null, "disabled": true });
        let changed = settings.changed(&fields(&change), now()).unwrap();
        assert_eq!(changed.limits, Limits { tpd: Some(5), concurrency: Some(2), ..Limits::default() });
        assert_eq!((changed.expires_at, changed.wait_ms, changed.disabled, &*changed.note), (None, None, true, "x"));
        assert_eq!(settings.changed(&fields(&json!({ "limits": null })), now()).unwrap().limits, Limits::default());
        let again: ClientSettings = serde_json::from_str(&serde_json::to_string(&settings).unwrap()).unwrap();
        assert_eq!(again, settings);
    }

    #[test]
    fn an_error_names_its_path() {
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
            (json!({ "name": "a", "paid": 1 }), "paid", "true or false"),
            (json!({ "name": "a", "wait_ms": 3_600_001 }), "wait_ms", "from 0 to 3600000"),
            (json!({ "name": "a", "expires_at": "tomorrow" }), "expires_at", "an instant such as"),
            (json!({ "name": "a", "expires_at": "2026-11-25T11:59:59Z" }), "expires_at", "has passed"),
        ];
        for (body, param, words) in cases {
            let error = ClientSettings::new(&fields(&body), now()).unwrap_err();
            assert!(error.param == param && error.message.contains(words), "{body}: {error:?}");
        }
    }

    #[test]
    fn differences_lists_only_changed_fields() {
        let before = ClientSettings { name: "ann".into(), ..ClientSettings::default() };
        let after = ClientSettings { weight: 2, ..before.clone() };
        let (was, is) = before.differences(&after);
        assert_eq!((json!(was), json!(is)), (json!({ "weight": 1 }), json!({ "weight": 2 })));
    }
}
