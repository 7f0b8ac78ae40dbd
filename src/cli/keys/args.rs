//! What is wished for on the command line, as the admin API would be told it.

use jiff::{SignedDuration, Span, Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};

/// What a key may do.
#[derive(clap::Args)]
pub struct ClientArgs {
    /// Requests in any minute; `none` takes the limit away
    #[arg(long, value_name = "N|none", value_parser = parse_limit, allow_negative_numbers = true)]
    rpm: Option<Value>,
    /// Requests in any day
    #[arg(long, value_name = "N|none", value_parser = parse_limit, allow_negative_numbers = true)]
    rpd: Option<Value>,
    /// Tokens in any minute
    #[arg(long, value_name = "N|none", value_parser = parse_limit, allow_negative_numbers = true)]
    tpm: Option<Value>,
    /// Tokens in any day
    #[arg(long, value_name = "N|none", value_parser = parse_limit, allow_negative_numbers = true)]
    tpd: Option<Value>,
    /// Requests at a time
    #[arg(long, value_name = "N|none", value_parser = parse_limit, allow_negative_numbers = true)]
    concurrency: Option<Value>,
    /// Its part of a contended limit against others' (usually 1)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    weight: Option<i64>,
    /// A model or meta-model it may ask for, or a pattern: free, 'groq/*'; again for more
    #[arg(long = "model", value_name = "PATTERN")]
    pub models: Option<Vec<String>>,
    /// Whether it may ask for `service_tier: "priority"`
    #[arg(long, value_name = "true|false")]
    priority: Option<bool>,
    /// How long its requests wait for a slot where they do not say: 10s, 500ms, none
    #[arg(long, value_name = "SPAN|none", value_parser = parse_wait)]
    wait: Option<Value>,
    /// When it ends: 90d, 2027-01-31, 2027-01-31T12:00:00Z, never
    #[arg(long, value_name = "WHEN", value_parser = parse_expiry)]
    expires: Option<Value>,
    /// A word for yourself
    #[arg(long)]
    note: Option<String>,
    /// Switched off until it is switched on
    #[arg(long)]
    disabled: bool,
}

/// A new key's.
#[derive(clap::Args)]
pub struct CreateArgs {
    /// Whom it is for
    name: String,
    #[command(flatten)]
    client: ClientArgs,
    /// Store nothing: print the key and its line for the file of hashes (`clients.file`)
    #[arg(long)]
    pub print_hash: bool,
}

impl CreateArgs {
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = self.client.fields();
        fields.insert("name".to_owned(), Value::from(self.name.as_str()));
        fields
    }
}

impl ClientArgs {
    /// What was wished for and nothing else, as JSON.
    pub fn fields(&self) -> Map<String, Value> {
        let limits = [
            ("rpm", &self.rpm),
            ("rpd", &self.rpd),
            ("tpm", &self.tpm),
            ("tpd", &self.tpd),
            ("concurrency", &self.concurrency),
        ];
        let limits: Map<String, Value> =
            limits.into_iter().filter_map(|(name, max)| Some((name.to_owned(), max.clone()?))).collect();
        let all = [
            ("limits", (!limits.is_empty()).then(|| Value::from(limits))),
            ("weight", self.weight.map(Value::from)),
            ("models", self.models.as_ref().map(|models| json!(models))),
            ("priority", self.priority.map(Value::from)),
            ("wait_ms", self.wait.clone()),
            ("expires_at", self.expires.clone()),
            ("note", self.note.as_deref().map(Value::from)),
            ("disabled", self.disabled.then(|| Value::from(true))),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

fn parse_limit(text: &str) -> Result<Value, String> {
    match text {
        "none" => Ok(Value::Null),
        text => text.parse::<i64>().map(Value::from).map_err(|_| "expected a whole number, or none".to_owned()),
    }
}

fn parse_wait(text: &str) -> Result<Value, String> {
    let words = "expected a span such as 10s or 500ms, or none";
    match text {
        "none" => Ok(Value::Null),
        text => {
            let span: SignedDuration = text.parse().map_err(|_| words.to_owned())?;
            i64::try_from(span.as_millis()).map(Value::from).map_err(|_| words.to_owned())
        }
    }
}

/// Seconds of `1h`, `2d`, `30m`.
pub fn parse_span_s(text: &str) -> Result<i64, String> {
    let words = || "expected a span such as 30m, 1h or 2d".to_owned();
    let now = Timestamp::now();
    let then = later(now, text).ok_or_else(words)?;
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
    let date = text.parse::<jiff::civil::Date>().ok().filter(|_| !text.contains([':', 'T']));
    let at = text.parse::<Timestamp>().ok().or_else(|| date?.to_zoned(TimeZone::UTC).ok().map(|day| day.timestamp()));
    let at = at.or_else(|| later(Timestamp::now(), text));
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
