//! The token counts of a response: read within the bounds of what can be true, and completed for the client.

use std::borrow::Cow;

use super::sse_event::TokenUsage;
use crate::{
    json::{Json, JsonError, Kind},
    upstream::request_edit::body_patch::{BodyPatch, ObjectMembers},
};

const NAMES: [&str; 3] = ["prompt_tokens", "completion_tokens", "total_tokens"];
/// The names that newer protocols have, as some servers write them in chat completions too.
const OTHER_NAMES: [&str; 2] = ["input_tokens", "output_tokens"];
/// Typed clients read an object or nothing here.
const DETAILS: [&str; 2] = ["prompt_tokens_details", "completion_tokens_details"];

/// Reads the usage object at the cursor, or `None` where it counts neither side. Larger counts than `max`, of the prompt and of
/// the output, are cut to it: they are damage, and a window must not be charged for them.
pub(super) fn read(json: &mut Json<'_>, max: (i64, i64)) -> Result<Option<TokenUsage>, JsonError> {
    let (mut counts, mut others, mut cached) = ([None; 3], [None; 2], None);
    json.object(|name, json| {
        let name = name.decode();
        let at = NAMES.iter().position(|known| *known == name);
        match (at, json.peek()?) {
            (Some(at), Kind::Number) if counts[at].is_none() => counts[at] = count(json.number()?),
            (Some(at), Kind::String) if counts[at].is_none() => counts[at] = count(json.string()?.raw.trim()),
            (None, Kind::Number) if OTHER_NAMES.contains(&&*name) => {
                others[usize::from(name == OTHER_NAMES[1])] = count(json.number()?);
            }
            (None, Kind::Object) if name == "prompt_tokens_details" => cached = cached_tokens(json)?.or(cached),
            // DeepSeek's name.
            (None, Kind::Number) if name == "prompt_cache_hit_tokens" => cached = cached.or(count(json.number()?)),
            _ => json.skip()?,
        }
        Ok::<_, JsonError>(())
    })?;
    let [input, output, total] = counts;
    let (input, output) = (input.or(others[0]), output.or(others[1]));
    if input.is_none() && output.is_none() {
        return Ok(None);
    }
    let (input, output) = (input.unwrap_or(0), output.unwrap_or(0));
    // Gemini counts thinking only in the total.
    let output = total.unwrap_or(0).max(input.saturating_add(output)) - input;
    let (input, output) = (input.min(max.0), output.min(max.1));
    let cached = cached.unwrap_or(0).min(input);
    Ok(Some(TokenUsage { input, output, total: input.saturating_add(output), cached }))
}

fn cached_tokens(json: &mut Json<'_>) -> Result<Option<i64>, JsonError> {
    let mut cached = None;
    json.object(|name, json| {
        if name.raw == "cached_tokens" && json.peek()? == Kind::Number {
            cached = count(json.number()?);
            return Ok(());
        }
        json.skip()
    })?;
    Ok(cached)
}

/// A count of tokens. Some servers write it as a floating-point number.
fn count(number: &str) -> Option<i64> {
    number
        .parse()
        .ok()
        .or_else(|| {
            let count = number.parse::<f64>().ok()?.trunc();
            #[expect(clippy::cast_possible_truncation, reason = "a larger number becomes the largest integer")]
            Some(count as i64)
        })
        .filter(|count| *count >= 0)
}

/// The usage object for the client: as `written`, with those of the three counts that are missing, no counts, or too large.
pub(super) fn completed(written: &str, usage: TokenUsage) -> Cow<'_, str> {
    let (mut patch, mut kept, mut seen) = (BodyPatch::default(), ObjectMembers::default(), [false; 3]);
    let read = Json::new(written).object(|name, json| {
        json.peek()?;
        let start = json.at();
        json.skip()?;
        let (member, value) = (name.at..json.at(), start..json.at());
        if DETAILS.contains(&&*name.decode()) && !written[value.clone()].starts_with(['{', 'n']) {
            kept.cut(member);
            return Ok(());
        }
        if let Some(at) = NAMES.iter().position(|known| *known == name.decode()) {
            if std::mem::replace(&mut seen[at], true) {
                kept.cut(member);
                return Ok(());
            }
            let (wanted, count) = (of(usage, at), written[value.clone()].parse::<i64>().ok());
            // A provider may count less output than it adds to the total.
            let is_right = count.is_some_and(|count| count == wanted || at == 1 && (0..wanted).contains(&count));
            if !is_right {
                patch.replace(value, wanted.to_string());
            }
        }
        kept.keep(member, &mut patch);
        Ok::<_, JsonError>(())
    });
    let missing = (0..3).filter(|at| !seen[*at]).map(|at| format!("\"{}\":{}", NAMES[at], of(usage, at)));
    let start = written.find('{').unwrap_or(0);
    kept.close(&missing.collect::<Vec<_>>().join(","), start, &mut patch);
    match read {
        Ok(()) if patch.is_empty() => Cow::Borrowed(written),
        Ok(()) => Cow::Owned(String::from_utf8_lossy(&patch.apply(written)).into_owned()),
        Err(_) => Cow::Owned("null".to_owned()),
    }
}

fn of(usage: TokenUsage, at: usize) -> i64 {
    [usage.input, usage.output, usage.total][at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_are_none_are_replaced_and_all_else_stays() {
        let usage = TokenUsage { input: 3, output: 4, total: 7, cached: 0 };
        for (written, wanted) in [
            (r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"x":1.50}"#, None),
            (r#"{"prompt_tokens":3,"completion_tokens":1,"total_tokens":7}"#, None),
            (
                r#"{"prompt_tokens":null,"completion_tokens":4.0,"total_tokens":7,"x":{"y":1}}"#,
                Some(r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"x":{"y":1}}"#),
            ),
            (
                r#"{"prompt_tokens":3,"prompt_tokens":9,"completion_tokens":-1}"#,
                Some(r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#),
            ),
            ("{}", Some(r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#)),
            (
                r#"{"prompt_tokens":"3","completion_tokens":4,"total_tokens":7,"prompt_tokens_details":"x"}"#,
                Some(r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#),
            ),
        ] {
            assert_eq!(completed(written, usage), wanted.unwrap_or(written), "{written}");
        }
    }

    #[test]
    fn what_was_cached_is_a_part_of_the_prompt() {
        let read = |text: &str| read(&mut Json::new(text), (100, 200)).unwrap().map(|u| (u.input, u.cached));
        let details = |cached: &str| format!(r#"{{"prompt_tokens":50,"prompt_tokens_details":{cached}}}"#);
        assert_eq!(read(&details(r#"{"audio_tokens":1,"cached_tokens":48}"#)), Some((50, 48)));
        assert_eq!(read(&details(r#"{"cached_tokens":99}"#)), Some((50, 50)));
        assert_eq!(read(&details("null")), Some((50, 0)));
        assert_eq!(read(r#"{"prompt_cache_hit_tokens":7,"prompt_tokens":50}"#), Some((50, 7)));
    }

    #[test]
    fn absurd_counts_are_cut() {
        let read = |text: &str| read(&mut Json::new(text), (100, 200)).unwrap().map(|u| (u.input, u.output, u.total));
        assert_eq!(
            read(r#"{"prompt_tokens":9223372036854775807,"completion_tokens":9223372036854775807}"#),
            Some((100, 0, 100))
        );
        assert_eq!(read(r#"{"prompt_tokens":1e30,"completion_tokens":3.7}"#), Some((100, 0, 100)));
        assert_eq!(read(r#"{"prompt_tokens":12.0,"completion_tokens":3.7}"#), Some((12, 3, 15)));
        assert_eq!(read(r#"{"prompt_tokens":5,"total_tokens":1e19}"#), Some((5, 200, 205)));
        assert_eq!(read(r#"{"prompt_tokens":-5,"completion_tokens":null}"#), None);
        assert_eq!(read(r#"{"completion_tokens":7}"#), Some((0, 7, 7)));
        assert_eq!(read(r#"{"prompt_tokens":" 5","completion_tokens":"7","total_tokens":"n/a"}"#), Some((5, 7, 12)));
        assert_eq!(read(r#"{"prompt_tokens":"NaN","completion_tokens":7}"#), Some((0, 7, 7)));
        assert_eq!(read(r#"{"input_tokens":5,"output_tokens":7}"#), Some((5, 7, 12)));
    }
}
