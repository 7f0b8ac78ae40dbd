//! Takes keywords out of JSON schemas, for models that refuse them.

use super::body_patch::{BodyPatch, ObjectMembers};
use crate::json::{Json, JsonError, Kind};

/// Takes keywords out at any depth. Below `properties` and the like, names are the client's and no keywords: `names`.
pub(super) fn sanitise(
    json: &mut Json<'_>,
    keywords: &[String],
    names: bool,
    patch: &mut BodyPatch,
) -> Result<(), JsonError> {
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
