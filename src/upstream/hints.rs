//! Reads limits, remainders and resets from response headers, by the provider's table ([`Wire::hints`]). Pure.

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::header::HeaderMap;

use crate::domain::{
    Hint, Limit, Scope,
    provider::{HintField, HintHeader, HintValue, Wire},
};

/// The limits and the remaining units. Headers of any limit (`*`) belong to `refused`, the limit that was exceeded.
pub(crate) fn from_headers(wire: &Wire, headers: &HeaderMap, refused: Option<Limit>) -> Vec<Hint> {
    let mut hints: Vec<Hint> = Vec::new();
    for header in &wire.hints {
        let (HintField::Limit | HintField::Remaining, Some(limit)) = (header.field, header.limit.or(refused)) else {
            continue;
        };
        let Some(value) = header_text(headers, &header.name).and_then(units) else { continue };
        let scope = header.scope;
        let at = hints.iter().position(|h| (h.limit, h.scope) == (limit, scope)).unwrap_or_else(|| {
            hints.push(Hint { limit, scope, max: None, remaining: None });
            hints.len() - 1
        });
        match header.field {
            HintField::Limit => hints[at].max = Some(value),
            _ => hints[at].remaining = Some(value),
        }
    }
    // A limit of 0 means that the model is not on the plan, which the error response reports.
    hints.retain(|hint| hint.max != Some(0));
    hints
}

/// Some header has a limit of 0, so the model is not on the plan.
pub(crate) fn has_zero_limit(wire: &Wire, headers: &HeaderMap) -> bool {
    let limits = wire.hints.iter().filter(|header| header.field == HintField::Limit);
    limits.filter_map(|header| header_text(headers, &header.name)).any(|value| units(value) == Some(0))
}

/// Time until the window of a limit and a scope resets, in ms, if a header states it.
pub(crate) fn reset_in_ms(
    wire: &Wire,
    headers: &HeaderMap,
    (limit, scope): (Limit, Scope),
    now_ms: i64,
) -> Option<i64> {
    let speaks = |h: &&HintHeader| {
        let is_reset = matches!(h.field, HintField::Reset | HintField::ResetAt);
        is_reset && h.limit.is_none_or(|l| l == limit) && h.scope == scope
    };
    wire.hints.iter().filter(speaks).find_map(|h| {
        let value = header_text(headers, &h.name)?;
        let ms = match h.value {
            HintValue::GoDuration => duration_ms(value)?,
            HintValue::FloatSeconds | HintValue::IntSeconds | HintValue::Int => seconds_ms(value)?,
            HintValue::EpochMs => within_a_year(value.parse::<i64>().ok()?.checked_sub(now_ms)?)?,
        };
        (ms > 0).then_some(ms)
    })
}

/// The provider's clock (`date`), or ours where it sends none.
pub(crate) fn now_ms(headers: &HeaderMap) -> i64 {
    header_text(headers, "date").and_then(http_date_ms).unwrap_or_else(|| Timestamp::now().as_millisecond())
}

/// Parses a duration in the notation of Go (`1h4m48s`, `2m59.56s`, `922.5ms`, `0s`) or protobuf (`45.8s`).
pub(crate) fn duration_ms(text: &str) -> Option<i64> {
    let (mut rest, mut ms) = (text.trim(), 0.0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..number].parse().ok()?;
        let unit = &rest[number..];
        let unit = &unit[..unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len())];
        ms += value
            * match unit {
                "h" => 3_600_000.0,
                "m" => 60_000.0,
                "s" => 1_000.0,
                "ms" => 1.0,
                "us" | "µs" => 1e-3,
                "ns" => 1e-6,
                _ => return None,
            };
        rest = &rest[number + unit.len()..];
    }
    whole_ms(ms)
}

pub(super) fn seconds_ms(text: &str) -> Option<i64> {
    whole_ms(text.parse::<f64>().ok()? * 1_000.0)
}

const YEAR_MS: i64 = 366 * 86_400_000;

/// Rounds up, since a hint that is too short causes another refusal. More than a year is ignored.
pub(super) fn whole_ms(ms: f64) -> Option<i64> {
    // The last digits of a floating-point product are noise.
    let up = (ms - 1e-6).ceil();
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and is compared")]
    (up >= 0.0).then_some(up as i64).and_then(within_a_year)
}

pub(super) fn within_a_year(ms: i64) -> Option<i64> {
    (ms <= YEAR_MS).then_some(ms)
}

pub(super) fn http_date_ms(text: &str) -> Option<i64> {
    rfc2822::parse(text).ok().map(|at| at.timestamp().as_millisecond())
}

/// Parses a count. Some servers write `29470.0`.
fn units(text: &str) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "bounded on the line itself")]
    text.parse::<i64>()
        .ok()
        .or_else(|| text.parse::<f64>().ok().filter(|f| (0.0..1e15).contains(f)).map(|f| f as i64))
        // More than scripts can count is no count.
        .filter(|n| (0..1_000_000_000_000_000).contains(n))
}

pub(super) fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::retry_after;

    /// Numbers at the edges of what can be counted, durations, dates, and rubbish.
    fn header_value() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_map(|n| n.to_string()),
            "-?[0-9]{1,30}(\\.[0-9]{0,9})?(e[0-9]{1,3})?",
            "([0-9]{1,12}(\\.[0-9]{0,6})?(h|m|s|ms|us|µs|ns|x)?){1,4}",
            "(Mon|Fri), [0-9]{1,2} (Jan|Dec) [0-9]{1,5} [0-9]{2}:[0-9]{2}:[0-9]{2} (GMT|[+-][0-9]{4})",
            "[ -~]{0,20}",
        ]
    }

    proptest! {
        #[test]
        fn no_header_makes_a_hint_that_scripts_cannot_count(
            values in proptest::collection::vec(header_value(), 40), now_ms in -YEAR_MS..100 * YEAR_MS,
        ) {
            for provider in ["groq", "gemini", "cerebras", "mistral", "openrouter", "nvidia", "custom"] {
                let wire = &crate::upstream::test_support::candidate(provider).provider.wire;
                let mut headers = HeaderMap::new();
                let names = wire.hints.iter().map(|hint| &*hint.name).chain(["retry-after", "retry-after-ms", "date"]);
                for (name, value) in names.zip(&values) {
                    if let (Ok(name), Ok(value)) = (name.parse::<reqwest::header::HeaderName>(), value.parse()) {
                        headers.insert(name, value);
                    }
                }
                for hint in from_headers(wire, &headers, Some(Limit::Rpm)) {
                    for count in [hint.max, hint.remaining].into_iter().flatten() {
                        prop_assert!((0..1_i64 << 53).contains(&count), "{count}");
                    }
                }
                let windows = [Limit::Rpm, Limit::Rpd, Limit::Tpm].map(|limit| [(limit, Scope::Model), (limit, Scope::Account)]);
                let resets = windows.concat().into_iter().map(|window| reset_in_ms(wire, &headers, window, now_ms));
                for ms in resets.chain([retry_after::of_headers(&headers, now_ms)]).flatten() {
                    prop_assert!((0..=YEAR_MS).contains(&ms), "{ms}");
                }
                now_ms_of(&headers);
                has_zero_limit(wire, &headers);
            }
        }

        #[test]
        fn no_text_is_a_duration_beyond_a_year(text in "[0-9.hmsuµn \u{e9}-]{0,40}") {
            prop_assert!(duration_ms(&text).is_none_or(|ms| (0..=YEAR_MS).contains(&ms)));
        }
    }

    fn now_ms_of(headers: &HeaderMap) -> i64 {
        now_ms(headers)
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn go_durations_are_rounded_up_to_ms() {
        for (written, ms) in [
            ("1h4m48s", 3_888_000),
            ("2m59.56s", 179_560),
            ("922.5ms", 923),
            ("7.66s", 7_660),
            ("0s", 0),
            ("24h0m0s", 86_400_000),
            ("45.837906927s", 45_838),
            ("40085s", 40_085_000),
            ("3.405s", 3_405),
            ("150µs", 1),
        ] {
            assert_eq!(duration_ms(written), Some(ms), "{written}");
        }
        for wrong in ["", "12", "s", "1x", "-3s", "99999h"] {
            assert_eq!(duration_ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_star_header_belongs_to_the_exceeded_limit() {
        let star = |name: &str, field, value| HintHeader {
            name: name.into(),
            limit: None,
            scope: Scope::Account,
            field,
            value,
        };
        let wire = Wire {
            hints: vec![
                star("x-ratelimit-limit", HintField::Limit, HintValue::Int),
                star("x-ratelimit-remaining", HintField::Remaining, HintValue::Int),
                star("x-ratelimit-reset", HintField::ResetAt, HintValue::EpochMs),
            ],
            ..Wire::default()
        };
        let h = headers(&[("x-ratelimit-limit", "50"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1500")]);
        assert_eq!(from_headers(&wire, &h, None), []);
        let hint = Hint { limit: Limit::Rpd, scope: Scope::Account, max: Some(50), remaining: Some(0) };
        assert_eq!(from_headers(&wire, &h, Some(Limit::Rpd)), [hint]);
        let none = headers(&[("x-ratelimit-limit", "0"), ("x-ratelimit-remaining", "0")]);
        assert_eq!(from_headers(&wire, &none, Some(Limit::Rpd)), [], "not on this plan");
        assert!(has_zero_limit(&wire, &none) && !has_zero_limit(&wire, &h));
        assert_eq!(reset_in_ms(&wire, &h, (Limit::Rpd, Scope::Account), 1_000), Some(500));
        assert_eq!(reset_in_ms(&wire, &h, (Limit::Rpd, Scope::Account), 2_000), None);
        assert_eq!(reset_in_ms(&wire, &h, (Limit::Rpd, Scope::Model), 1_000), None);
    }

    #[test]
    fn a_reset_belongs_to_the_window_of_its_scope() {
        let row = |name: &str, scope| HintHeader {
            name: name.into(),
            limit: Some(Limit::Rpd),
            scope,
            field: HintField::Reset,
            value: HintValue::GoDuration,
        };
        let (model, account) = (row("x-reset-model", Scope::Model), row("x-reset-account", Scope::Account));
        let h = headers(&[("x-reset-model", "9h"), ("x-reset-account", "20s")]);
        for hints in [vec![model.clone(), account.clone()], vec![account, model]] {
            let wire = Wire { hints, ..Wire::default() };
            assert_eq!(reset_in_ms(&wire, &h, (Limit::Rpd, Scope::Model), 0), Some(32_400_000));
            assert_eq!(reset_in_ms(&wire, &h, (Limit::Rpd, Scope::Account), 0), Some(20_000));
            assert_eq!(reset_in_ms(&wire, &h, (Limit::Rpm, Scope::Account), 0), None);
        }
    }
}
