//! When a provider says to come back, in the many spellings of headers and bodies. Pure.

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::hints::{duration_ms, header_text, http_date_ms, seconds_ms, whole_ms, within_a_year};

/// Numbers from here on are times and no spans: seconds, then milliseconds, since 1970.
const EPOCH_SECONDS: f64 = 1e9;
const EPOCH_MS: f64 = 1e12;

/// Headers with the time until some limit resets, and those with what is left of it where they have a partner.
const RESETS: [(&str, &str); 8] = [
    ("ratelimit-reset", "ratelimit-remaining"),
    ("x-ratelimit-reset", "x-ratelimit-remaining"),
    ("x-ratelimit-reset-after", "x-ratelimit-remaining"),
    ("x-rate-limit-reset", "x-rate-limit-remaining"),
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
    ("anthropic-ratelimit-requests-reset", "anthropic-ratelimit-requests-remaining"),
    ("anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-tokens-remaining"),
];

/// `retry-after-ms`, or `retry-after`. A date is compared with the response's `date`.
pub(crate) fn of_headers(headers: &HeaderMap, now_ms: i64) -> Option<i64> {
    if let Some(ms) = header_text(headers, "retry-after-ms").and_then(|v| v.parse::<f64>().ok()) {
        return whole_ms(ms);
    }
    of_text(header_text(headers, "retry-after")?, now_ms)
}

/// The longest time that a header names for the reset of a limit. One with something left is not the cause of a refusal.
pub(crate) fn of_resets(headers: &HeaderMap, now_ms: i64) -> Option<i64> {
    let has_left = |name: &str| {
        let left = header_text(headers, name).and_then(|left| left.parse::<f64>().ok());
        left.is_some_and(|left| left > 0.0)
    };
    let resets = RESETS.iter().filter(|(_, remaining)| !has_left(remaining));
    let named = resets.filter_map(|(reset, _)| of_text(header_text(headers, reset)?, now_ms));
    // `RateLimit: "default";r=0;t=20`
    let listed = header_text(headers, "ratelimit").and_then(|value| {
        let member = value.split([';', ',']).find_map(|member| member.trim().strip_prefix("t="))?;
        seconds_ms(member)
    });
    named.chain(listed).max()
}

/// A member of an error that states a time: `retry_after`, `retryAfter`, Google's `retryDelay`, or the headers that a router has
/// copied into its error.
pub(crate) fn of_body(body: &Value, now_ms: i64) -> Option<i64> {
    let value = |value: &Value| match value {
        Value::Number(number) => of_text(&number.to_string(), now_ms),
        Value::String(text) => of_text(text, now_ms),
        _ => None,
    };
    if let Some(ms) = ["retry_after_ms", "retryAfterMs"].iter().find_map(|name| body[*name].as_f64()) {
        return whole_ms(ms);
    }
    ["retry_after", "retryAfter", "retry_after_seconds", "retryDelay", "retry-after", "Retry-After"]
        .iter()
        .find_map(|name| value(&body[*name]))
        .or_else(|| body["details"].as_array()?.iter().find_map(|detail| value(&detail["retryDelay"])))
        .or_else(|| match &body["metadata"] {
            Value::Object(metadata) => {
                let headers = metadata.get("headers").map(|headers| of_body(headers, now_ms));
                headers.flatten().or_else(|| value(metadata.get("retry_after")?))
            }
            _ => None,
        })
}

/// Seconds, a duration, a date, or a time since 1970.
fn of_text(text: &str, now_ms: i64) -> Option<i64> {
    let text = text.trim().trim_matches(['"', '\'']).trim();
    let until = |at_ms: i64| within_a_year(at_ms.saturating_sub(now_ms).max(0));
    if let Ok(number) = text.parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is compared")]
        return match number {
            _ if number >= EPOCH_MS => until(number as i64),
            _ if number >= EPOCH_SECONDS => until((number * 1_000.0) as i64),
            _ => seconds_ms(text),
        };
    }
    let date = || http_date_ms(text).or_else(|| Some(text.parse::<Timestamp>().ok()?.as_millisecond()));
    duration_ms(text).or_else(|| of_words(text)).or_else(|| until(date()?))
}

/// `20 seconds`, `2 min`, `1 day, 2 hours and 30 minutes`
pub(crate) fn of_words(text: &str) -> Option<i64> {
    let words = text.split_whitespace().map(|word| word.trim_end_matches(['.', ',', ';', ')']));
    let mut words = words.filter(|word| !word.eq_ignore_ascii_case("and"));
    let (mut ms, mut is_time) = (0.0, false);
    while let Some(number) = words.next().and_then(|word| word.parse::<f64>().ok()).filter(|number| *number >= 0.0) {
        let Some(unit) = words.next().and_then(unit_ms) else { break };
        (ms, is_time) = (ms + number * unit, true);
    }
    if is_time { whole_ms(ms) } else { None }
}

fn unit_ms(word: &str) -> Option<f64> {
    Some(match word.to_ascii_lowercase().as_str() {
        unit if unit.starts_with("ms") || unit.starts_with("millisecond") => 1.0,
        unit if unit.starts_with("sec") || unit == "s" => 1_000.0,
        unit if unit.starts_with("min") || unit == "m" => 60_000.0,
        unit if unit.starts_with("hour") || unit == "h" => 3_600_000.0,
        unit if unit.starts_with("day") || unit == "d" => 86_400_000.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW_MS: i64 = 1_796_000_000_000;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_time_is_read_in_every_spelling() {
        for (written, ms) in [
            ("20", 20_000),
            (" 1.5", 1_500),
            ("\"20\"", 20_000),
            ("20s", 20_000),
            ("1m30s", 90_000),
            ("20000ms", 20_000),
            ("20 seconds", 20_000),
            ("2 Min.", 120_000),
            ("1 minute 30 seconds", 90_000),
            ("1 day, 2 hours and 30 minutes.", 95_400_000),
            ("30 seconds or 5 tokens", 30_000),
            ("1796000020", 20_000),
            ("1796000020000", 20_000),
            ("2026-11-30T00:53:40Z", 20_000),
            ("Mon, 30 Nov 2026 00:53:40 GMT", 20_000),
            ("1796000000", 0),
            ("Mon, 30 Nov 2026 00:53:00 GMT", 0),
        ] {
            assert_eq!(of_headers(&headers(&[("retry-after", written)]), NOW_MS), Some(ms), "{written}");
        }
        for wrong in ["", "soon", "-5", "nan", "99999999999", "20 parsecs"] {
            assert_eq!(of_headers(&headers(&[("retry-after", wrong)]), NOW_MS), None, "{wrong}");
        }
    }

    #[test]
    fn a_reset_with_something_left_is_not_the_cause() {
        let of = |pairs: &[(&'static str, &str)]| of_resets(&headers(pairs), NOW_MS);
        assert_eq!(of(&[("x-ratelimit-reset", "1796000020")]), Some(20_000));
        let both = [("x-ratelimit-reset-requests", "20s"), ("x-ratelimit-reset-tokens", "1h")];
        assert_eq!(of(&both), Some(3_600_000));
        assert_eq!(of(&[both[0], both[1], ("x-ratelimit-remaining-tokens", "500")]), Some(20_000));
        assert_eq!(of(&[("ratelimit", "\"default\";r=0;t=20")]), Some(20_000));
        assert_eq!(of(&[("ratelimit", "limit=5, remaining=0")]), None);
    }

    #[test]
    fn the_body_may_state_it() {
        for body in [
            json!({ "retry_after": 20 }),
            json!({ "retryAfter": "20" }),
            json!({ "retry_after_ms": 20_000 }),
            json!({ "metadata": { "headers": { "Retry-After": "20" } } }),
            json!({ "metadata": { "retry_after": "20s" } }),
            json!({ "details": [{ "reason": "x" }, { "retryDelay": "20s" }] }),
        ] {
            assert_eq!(of_body(&body, NOW_MS), Some(20_000), "{body}");
        }
        for body in [json!(null), json!({ "retry_after": null }), json!({ "metadata": [] }), json!({ "details": "x" })]
        {
            assert_eq!(of_body(&body, NOW_MS), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_time_beyond_a_year(text in "[0-9a-zA-Z.,:+ \"-]{0,30}") {
            prop_assert!(of_text(&text, NOW_MS).is_none_or(|ms| (0..=366 * 86_400_000).contains(&ms)));
        }
    }
}
