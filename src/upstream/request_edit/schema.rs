//! Takes keywords out of JSON schemas, for models that refuse them.

use bytes::Bytes;

use super::body_patch::{BodyPatch, ObjectMembers};
use crate::json::{Json, JsonError, Kind};

/// The body of a request without the keywords in its tools and in the form of its answer.
pub(super) fn sanitised(body: Bytes, keywords: &[String]) -> Bytes {
    let Ok(text) = std::str::from_utf8(&body) else { return body };
    let mut patch = BodyPatch::default();
    let read = Json::new(text).object(|name, json| match name.raw {
        "tools" | "response_format" => sanitise(json, keywords, false, &mut patch),
        _ => json.skip(),
    });
    if read.is_err() || patch.is_empty() {
        return body;
    }
    patch.apply(text)
}

/// Takes keywords out at any depth. Below `properties` and the like, names are the client's and no keywords: `names`.
fn sanitise(json: &mut Json<'_>, keywords: &[String], names: bool, patch: &mut BodyPatch) -> Result<(), JsonError> {
    match json.peek()? {
        Kind::Array => json.array(|_, json| sanitise(json, keywords, false, patch)),
        Kind::Object => {
            let start = json.at();
            let mut members = ObjectMembers::default();
            json.object(|name, json| {
                if !names && keywords.iter().any(|k| k == name.raw) {
                    json.skip()?;
                    members.cut(name.at..json.at());
                    return Ok(());
                }
                // These contain data or names, not schemas.
                let opaque = !names && matches!(name.raw, "enum" | "required" | "name" | "description");
                let names_follow = !names && matches!(name.raw, "properties" | "patternProperties" | "$defs");
                let mut inner = BodyPatch::default();
                if opaque {
                    json.skip()?;
                } else {
                    sanitise(json, keywords, names_follow, &mut inner)?;
                }
                members.keep(name.at..json.at(), patch);
                patch.append(inner);
                Ok::<_, JsonError>(())
            })?;
            members.close("", start, patch);
            Ok(())
        }
        _ => json.skip(),
    }
}
