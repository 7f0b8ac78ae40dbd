//! Tool calls of a request's history that lack the thought signature they came with.

use std::ops::Range;

use bytes::Bytes;

use crate::json::{Json, JsonError, Kind};

/// A call without a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsignedCall {
    pub id: String,
    /// Where its signature goes: the value of a void `extra_content`, or the place before the brace that closes the call.
    at: Range<usize>,
}

/// The calls without a signature, in order. The body is that of a decoded request.
pub fn unsigned_calls(body: &[u8]) -> Vec<UnsignedCall> {
    let mut calls = Vec::new();
    if let Ok(text) = std::str::from_utf8(body) {
        // The body has been decoded before, so that this cannot fail.
        let _ = Json::new(text).object(|name, json| match (name.raw, json.peek()?) {
            ("messages", Kind::Array) => json.array(|_, json| message(json, &mut calls)),
            _ => json.skip(),
        });
    }
    calls
}

fn message(json: &mut Json<'_>, calls: &mut Vec<UnsignedCall>) -> Result<(), JsonError> {
    if json.peek()? != Kind::Object {
        return json.skip();
    }
    json.object(|name, json| match (name.raw, json.peek()?) {
        ("tool_calls", Kind::Array) => json.array(|_, json| call(json, calls)),
        _ => json.skip(),
    })
}

fn call(json: &mut Json<'_>, calls: &mut Vec<UnsignedCall>) -> Result<(), JsonError> {
    if json.peek()? != Kind::Object {
        return json.skip();
    }
    let (mut id, mut is_signed, mut void) = (None, false, None);
    json.object(|name, json| {
        match (name.raw, json.peek()?) {
            ("id", Kind::String) => id = Some(json.string()?.decode().into_owned()),
            ("extra_content", _) => {
                let start = json.at();
                json.skip()?;
                let value = &json.text()[start..json.at()];
                // SDKs write it back as null where they have lost it.
                let is_void = matches!(value, "null" | "{}");
                is_signed |= !is_void;
                void = is_void.then_some(start..json.at());
            }
            _ => json.skip()?,
        }
        Ok::<_, JsonError>(())
    })?;
    if let Some(id) = id.filter(|_| !is_signed) {
        let end = json.at() - 1;
        calls.push(UnsignedCall { id, at: void.unwrap_or(end..end) });
    }
    Ok(())
}

/// The body with signatures at calls that lack them.
pub fn sign<'a>(body: &[u8], signatures: impl IntoIterator<Item = (&'a UnsignedCall, &'a str)>) -> Bytes {
    let (mut signed, mut at) = (Vec::with_capacity(body.len() + 512), 0);
    for (call, signature) in signatures {
        signed.extend_from_slice(&body[at..call.at.start]);
        let extra = serde_json::json!({ "google": { "thought_signature": signature } });
        let name = if call.at.is_empty() { ",\"extra_content\":" } else { "" };
        signed.extend_from_slice(format!("{name}{extra}").as_bytes());
        at = call.at.end;
    }
    signed.extend_from_slice(&body[at..]);
    signed.into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn signatures_stand_at_their_calls_and_every_other_byte_stays() {
        let extra = json!({ "google": { "thought_signature": "own" } });
        let body = format!(
            r#"{{"messages":[{{"role":"assistant","tool_calls":[{{"id":"a\u0031","function":{{"name":"f","arguments":"{{}}"}} }},{{"id":"b","extra_content":{extra}}}]}},
            {{"role":"assistant","tool_calls":[{{"id":"c"}}]}}],"n":1.50}}"#
        );
        let calls = unsigned_calls(body.as_bytes());
        assert_eq!(calls.iter().map(|call| call.id.as_str()).collect::<Vec<_>>(), ["a1", "c"]);
        let signed = sign(body.as_bytes(), [(&calls[0], "s1"), (&calls[1], "s\"2")]);
        let json: Value = serde_json::from_slice(&signed).unwrap();
        let signature = |message: usize, call: usize| {
            let call = &json["messages"][message]["tool_calls"][call];
            call["extra_content"]["google"]["thought_signature"].as_str().unwrap().to_owned()
        };
        assert_eq!([signature(0, 0), signature(0, 1), signature(1, 0)], ["s1", "own", "s\"2"]);
        assert!(signed.ends_with(b"\"n\":1.50}"));
        assert_eq!(sign(body.as_bytes(), []), body.as_bytes());
    }

    #[test]
    fn a_void_signature_is_replaced() {
        for void in ["null", "{}"] {
            let body = format!(
                r#"{{"messages":[{{"role":"assistant","tool_calls":[{{"extra_content":{void},"id":"a"}},{{"id":"b","extra_content":{void}}}]}}]}}"#
            );
            let calls = unsigned_calls(body.as_bytes());
            let signed = sign(body.as_bytes(), [(&calls[0], "s1"), (&calls[1], "s2")]);
            let wanted = body.replacen(void, r#"{"google":{"thought_signature":"s1"}}"#, 1);
            let wanted = wanted.replacen(void, r#"{"google":{"thought_signature":"s2"}}"#, 1);
            assert_eq!(signed, wanted);
        }
    }
}
