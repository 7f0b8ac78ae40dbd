//! How a conversation opens: what stays the same in each of its requests.

use crate::{
    domain::KeyDigest,
    json::{Json, JsonError, Kind},
};

/// Digest of the messages of a decoded request up to the first one of the user. `None`: the user has said nothing.
pub fn opening(body: &[u8]) -> Option<KeyDigest> {
    let text = std::str::from_utf8(body).ok()?;
    let mut start = None;
    let read = Json::new(text).object(|name, json| match (name.raw, json.peek()?) {
        ("messages", Kind::Array) => json.array(|_, json| {
            json.peek()?;
            let start = *start.get_or_insert(json.at());
            if is_of_user(json)? { Err(Stop::At(start, json.at())) } else { Ok(()) }
        }),
        _ => Ok(json.skip()?),
    });
    match read {
        Err(Stop::At(start, end)) => Some(KeyDigest::of(&text[start..end])),
        Ok(()) | Err(Stop::Malformed) => None,
    }
}

/// Why reading ended before the end of the body.
enum Stop {
    /// The bytes of the opening.
    At(usize, usize),
    Malformed,
}

impl From<JsonError> for Stop {
    fn from(_: JsonError) -> Self {
        Self::Malformed
    }
}

fn is_of_user(json: &mut Json<'_>) -> Result<bool, JsonError> {
    let mut is_of_user = false;
    json.object(|name, json| {
        if name.raw == "role" && json.peek()? == Kind::String {
            is_of_user = json.string()?.decode() == "user";
            return Ok(());
        }
        json.skip()
    })?;
    Ok(is_of_user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(messages: &str) -> Option<String> {
        opening(format!(r#"{{"model":"free","messages":[{messages}],"stream":true}}"#).as_bytes()).map(|d| d.hex())
    }

    #[test]
    fn the_opening_stays_the_same_while_the_conversation_goes_on() {
        let (system, first) = (r#"{"role":"system","content":"Be brief."}"#, r#"{"content":"hi","role":"user"}"#);
        let begun = of(&format!("{system},{first}")).unwrap();
        let later = of(&format!("{system},{first},{},{}", r#"{"role":"assistant","content":"ok"}"#, first));
        assert_eq!(later, Some(begun.clone()));
        assert_ne!(of(first).unwrap(), begun, "another system prompt");
        assert_ne!(of(&format!("{system},{}", r#"{"role":"user","content":"ho"}"#)), Some(begun));
        assert_eq!(of(system), None);
    }
}
