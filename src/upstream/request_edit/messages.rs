//! The dialogue as one provider takes it: roles, null contents, the ids of tool calls.

use sha2::{Digest, Sha256};

use crate::{
    domain::{Candidate, provider::DialectName},
    json::{Json, JsonError, Kind, Text},
    upstream::request_edit::body_patch::BodyPatch,
};

/// Ids of tool calls must have exactly so many characters where they must be short.
const SHORT_ID_CHARS: usize = 9;

pub(super) fn edit(text: &str, at: usize, candidate: &Candidate, patch: &mut BodyPatch) -> Result<(), JsonError> {
    let wire = &candidate.provider.wire;
    let rules = Rules {
        // `system` is known everywhere, `developer` only to some.
        plain_roles: wire.dialect != DialectName::Openrouter,
        short_ids: wire.short_tool_ids,
        no_null_content: wire.dialect == DialectName::Mistral,
    };
    Json::at_byte(text, at).array(|_, json| match json.peek()? {
        Kind::Object => rules.message(json, patch),
        _ => json.skip(),
    })
}

struct Rules {
    plain_roles: bool,
    short_ids: bool,
    no_null_content: bool,
}

impl Rules {
    fn message(&self, json: &mut Json<'_>, patch: &mut BodyPatch) -> Result<(), JsonError> {
        json.object(|name, json| match (name.raw, json.peek()?) {
            ("role", Kind::String) => {
                let role = json.string()?;
                if self.plain_roles && role.raw == "developer" {
                    patch.replace(role.at..role.end(), "\"system\"");
                }
                Ok(())
            }
            ("content", Kind::Null) if self.no_null_content => {
                let at = json.at();
                json.literal()?;
                patch.replace(at..json.at(), "\"\"");
                Ok(())
            }
            ("tool_call_id", Kind::String) if self.short_ids => {
                shorten(json.string()?, patch);
                Ok(())
            }
            ("tool_calls", Kind::Array) if self.short_ids => json.array(|_, json| match json.peek()? {
                Kind::Object => json.object(|name, json| match (name.raw, json.peek()?) {
                    ("id", Kind::String) => {
                        shorten(json.string()?, patch);
                        Ok(())
                    }
                    _ => json.skip(),
                }),
                _ => json.skip(),
            }),
            _ => json.skip(),
        })
    }
}

fn shorten(id: Text<'_>, patch: &mut BodyPatch) {
    let said = id.decode();
    if said.len() != SHORT_ID_CHARS || !said.bytes().all(|b| b.is_ascii_alphanumeric()) {
        patch.replace(id.at..id.end(), format!("\"{}\"", short_id(&said)));
    }
}

/// Nine of `[0-9A-Za-z]`, always the same ones for an id: call and result meet again, now and in later turns.
fn short_id(id: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digest = Sha256::digest(id.as_bytes());
    let mut number = digest.iter().take(8).fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    (0..SHORT_ID_CHARS)
        .map(|_| {
            let digit = DIGITS[usize::try_from(number % 62).unwrap_or(0)];
            number /= 62;
            char::from(digit)
        })
        .collect()
}
