//! Writes the vectors for the client, in the form that it requested.

use std::fmt::Write as _;

use bytes::Bytes;
use data_encoding::BASE64;
use serde_json::value::RawValue;

use super::request::Format;
use crate::protocol::Failure;

/// The response: one vector for each text, in their order. `prompt_tokens` counts all of them.
pub fn encode<'v>(
    vectors: impl Iterator<Item = &'v RawValue>,
    model: &str,
    prompt_tokens: i64,
    format: Format,
) -> Result<Bytes, Failure> {
    let mut out = String::from("{\"object\":\"list\",\"data\":[");
    for (at, vector) in vectors.enumerate() {
        let comma = if at > 0 { "," } else { "" };
        // Writing to a `String` cannot fail.
        let _ = write!(out, "{comma}{{\"object\":\"embedding\",\"index\":{at},\"embedding\":");
        push(&mut out, vector.get(), format).ok_or_else(|| Failure::upstream("An embedding has no numbers."))?;
        out.push('}');
    }
    let model = serde_json::Value::from(model);
    let _ = write!(
        out,
        "],\"model\":{model},\"usage\":{{\"prompt_tokens\":{prompt_tokens},\"total_tokens\":{prompt_tokens}}}}}"
    );
    Ok(out.into())
}

/// Appends one vector. What already has the requested form passes as it is.
fn push(out: &mut String, vector: &str, format: Format) -> Option<()> {
    match (format, vector.starts_with('"')) {
        (Format::Float, false) | (Format::Base64, true) => out.push_str(vector),
        (Format::Base64, false) => {
            let numbers: Vec<f32> = serde_json::from_str(vector).ok()?;
            let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
            out.push('"');
            BASE64.encode_append(&bytes, out);
            out.push('"');
        }
        (Format::Float, true) => {
            let bytes = BASE64.decode(vector.trim_matches('"').as_bytes()).ok()?;
            let (numbers, rest) = bytes.as_chunks::<4>();
            let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
            let is_whole = rest.is_empty() && numbers.iter().all(|number| number.is_finite());
            out.push_str(&serde_json::to_string(&numbers).ok().filter(|_| is_whole)?);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn written(vector: &str, format: Format) -> Value {
        let raw: Box<RawValue> = serde_json::from_str(vector).unwrap();
        let body = encode(std::iter::once(&*raw), "p/m", 7, format).unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()["data"][0]["embedding"].take()
    }

    #[test]
    fn the_response_is_openais_and_numbers_pass_as_they_came() {
        let raws: Vec<Box<RawValue>> = ["[0.1,-2e-3]", "[1,2]"].map(|v| serde_json::from_str(v).unwrap()).into();
        let body = encode(raws.iter().map(AsRef::as_ref), "p/m", 7, Format::Float).unwrap();
        assert_eq!(
            body,
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2e-3]},{"object":"embedding","index":1,"embedding":[1,2]}],"model":"p/m","usage":{"prompt_tokens":7,"total_tokens":7}}"#
        );
        assert_eq!(written("[1.0, 2.0]", Format::Base64), "AACAPwAAAEA=");
        assert_eq!(written("\"AACAPwAAAEA=\"", Format::Float), serde_json::json!([1.0, 2.0]));
    }

    proptest! {
        /// Through base64 and back every number stays the same `f32`.
        #[test]
        fn base64_keeps_every_number(numbers in proptest::collection::vec(-1e6_f32..1e6, 1..40)) {
            let encoded = written(&serde_json::to_string(&numbers).unwrap(), Format::Base64);
            let back = written(&encoded.to_string(), Format::Float);
            let back: Vec<f32> = serde_json::from_value(back).unwrap();
            prop_assert_eq!(back, numbers);
        }
    }
}
