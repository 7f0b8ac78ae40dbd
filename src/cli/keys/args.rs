//! The arguments that describe a client, as fields of the admin API.

use jiff::{SignedDuration, Span, Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};

/// Fields of the admin API and their options, for its messages.
pub(super) const OPTIONS: [(&str, &str); 12] = [
    ("limits.rpm", "--rpm"),
    ("limits.rpd", "--rpd"),
    ("limits.tpm", "--tpm"),
    ("limits.tpd", "--tpd"),
    ("limits.concurrency", "--concurrency"),
    ("models", "--model"),
    ("weight", "--weight"),
    ("wait_ms", "--wait"),
    ("expires_at", "--expires"),
    ("overlap_s", "--overlap"),
    ("note", "--note"),
    ("name", "NAME"),
];

/// What a key may do.
#[derive(clap::Args)]
pub(super) struct ClientArgs {
    /// Requests per minute; `none` removes the limit
    #[arg(long, value_name = "N|none", value_parser = parse_limit, allow_negative_numbers = true)]
    rpm: Option<Value>,
    /// Requests per day
    #[arg(long, value_name = "N|none", value_parser = parse_limit, allow_negative_numbers = true)]
    rpd: Option<Value>,
    /// Tokens per minute
    #[arg(long, value_name = "N|none", value_parser = parse_limit, allow_negative_numbers = true)]
    tpm: Option<Value>,
    /// Tokens per day
    #[arg(long, value_name = "N|none", value_parser = parse_limit, allow_negative_numbers = true)]
    tpd: Option<Value>,
    /// Concurrent requests
    #[arg(long, value_name = "N|none", value_parser = parse_limit, allow_negative_numbers = true)]
    concurrency: Option<Value>,
    /// Share of a contended limit relative to other clients (default 1)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    weight: Option<i64>,
    /// A model or meta-model, or a pattern such as 'groq/*'; can be repeated
    #[arg(long = "model", value_name = "PATTERN")]
    pub models: Option<Vec<String>>,
    /// Whether requests may have `service_tier: "priority"`
    #[arg(long, value_name = "true|false")]
    priority: Option<bool>,
    /// Whether requests may use what costs money at a provider, such as `plugins` of OpenRouter
    #[arg(long, value_name = "true|false")]
    paid: Option<bool>,
    /// How long requests without a `Prefer: wait` header wait for room: 10s, 500ms, none
    #[arg(long, value_name = "SPAN|none", value_parser = parse_wait)]
    wait: Option<Value>,
    /// When the key expires: 90d, 2027-01-31, 2027-01-31T12:00:00Z, never
    #[arg(long, value_name = "WHEN", value_parser = parse_expiry)]
    expires: Option<Value>,
    /// A note, such as where the key is used
    #[arg(long)]
    note: Option<String>,
    /// Disable the key until it is enabled again
    #[arg(long)]
    disabled: bool,
}

#[derive(clap::Args)]
pub(super) struct CreateArgs {
    /// Name of the client
    pub name: String,
    #[command(flatten)]
    pub client: ClientArgs,
    /// Create a client even if another one has the same name
    #[arg(long)]
    pub force: bool,
    /// Store nothing: print the key, and its entry for the file of hashes (`clients.file`)
    #[arg(long)]
    pub print_hash: bool,
}

impl CreateArgs {
    pub(super) fn fields(&self) -> Map<String, Value> {
        let mut fields = self.client.fields();
        fields.insert("name".to_owned(), Value::from(self.name.as_str()));
        fields
    }
}

impl ClientArgs {
    /// The fields that are given. Null removes a value.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let given = |fields: &[(&str, Option<Value>)]| -> Map<String, Value> {
            fields.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?))).collect()
        };
        let limits = given(&[
            ("rpm", self.rpm.clone()),
            ("rpd", self.rpd.clone()),
            ("tpm", self.tpm.clone()),
            ("tpd", self.tpd.clone()),
            ("concurrency", self.concurrency.clone()),
        ]);
        given(&[
            ("limits", (!limits.is_empty()).then(|| limits.into())),
            ("weight", self.weight.map(Value::from)),
            ("models", self.models.as_ref().map(|models| json!(models))),
            ("priority", self.priority.map(Value::from)),
            ("paid", self.paid.map(Value::from)),
            ("wait_ms", self.wait.clone()),
            ("expires_at", self.expires.clone()),
            ("note", self.note.clone().map(Value::from)),
            ("disabled", self.disabled.then_some(Value::from(true))),
        ])
    }
}

fn parse_limit(text: &str) -> Result<Value, String> {
    if text == "none" {
        return Ok(Value::Null);
    }
    text.parse::<i64>().map(Value::from).map_err(|_| "expected a whole number, or none".to_owned())
}

fn parse_wait(text: &str) -> Result<Value, String> {
    if text == "none" {
        return Ok(Value::Null);
    }
    let ms = text.parse::<SignedDuration>().ok().and_then(|span| i64::try_from(span.as_millis()).ok());
    ms.map(Value::from).ok_or_else(|| "expected a span such as 10s or 500ms, or none".to_owned())
}

/// Seconds of `1h`, `2d`, `30m`.
pub(super) fn parse_span_s(text: &str) -> Result<i64, String> {
    let now = Timestamp::now();
    let then = later(now, text).ok_or_else(|| "expected a span such as 30m, 1h or 2d".to_owned())?;
    Ok(now.duration_until(then).as_secs())
}

fn later(now: Timestamp, span: &str) -> Option<Timestamp> {
    let span: Span = span.parse().ok()?;
    let then = now.to_zoned(TimeZone::UTC).checked_add(span).ok()?.timestamp();
    (then >= now).then_some(then)
}

fn parse_expiry(text: &str) -> Result<Value, String> {
    if matches!(text, "never" | "none") {
        return Ok(Value::Null);
    }
    let midnight = || {
        let date = text.parse::<jiff::civil::Date>().ok().filter(|_| !text.contains([':', 'T']))?;
        Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    let at = text.parse::<Timestamp>().ok().or_else(midnight).or_else(|| later(Timestamp::now(), text));
    let at = at.and_then(|at| Timestamp::from_millisecond(at.as_millisecond()).ok());
    at.map(|at| Value::from(at.to_string()))
        .ok_or_else(|| "expected a span such as 90d, a date such as 2027-01-31, an instant, or never".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_dates_and_instants_are_read() {
        assert_eq!(parse_expiry("never").unwrap(), Value::Null);
        assert_eq!(parse_expiry("2027-01-31").unwrap(), "2027-01-31T00:00:00Z");
        assert_eq!(parse_expiry("2027-01-31T12:00:00+02:00").unwrap(), "2027-01-31T10:00:00Z");
        let in_90_days: Timestamp = parse_expiry("90d").unwrap().as_str().unwrap().parse().unwrap();
        let hours = Timestamp::now().duration_until(in_90_days).as_hours();
        assert!((2_159..=2_160).contains(&hours), "{hours}");
        for wrong in ["", "soon", "90", "-5d"] {
            assert!(parse_expiry(wrong).is_err(), "{wrong}");
        }
        assert_eq!((parse_span_s("1h"), parse_span_s("2d")), (Ok(3_600), Ok(172_800)));
        assert_eq!((parse_wait("500ms").unwrap(), parse_wait("none").unwrap()), (Value::from(500), Value::Null));
        assert!(parse_span_s("-1h").is_err() && parse_wait("10").is_err() && parse_limit("1.5").is_err());
    }
}
