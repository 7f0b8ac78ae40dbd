//! Taking members out by path: `store`, `messages[].name`, `tools[].function.strict`, `tools=[]`.

use crate::{
    json::{Json, JsonError, Kind},
    upstream::request_edit::body_patch::{BodyPatch, ObjectMembers},
};

/// Whether a rule takes this member out as a whole.
pub(super) fn drops(rule: &str, name: &str, value: &str) -> bool {
    match rule.strip_prefix(name) {
        Some("") => true,
        // Only with that value.
        Some(rest) => rest
            .strip_prefix('=')
            .is_some_and(|wanted| value.bytes().filter(|b| !b.is_ascii_whitespace()).eq(wanted.bytes())),
        None => false,
    }
}

/// What is left of each rule below a member of this name; `true` where it goes through the items of an array.
fn below<'r>(rules: &[&'r str], name: &str) -> (Vec<&'r str>, Vec<&'r str>) {
    let rest = |rule: &&'r str| rule.strip_prefix(name);
    let items = rules.iter().filter_map(rest).filter_map(|r| r.strip_prefix("[].")).collect();
    let members = rules.iter().filter_map(rest).filter_map(|r| r.strip_prefix('.')).collect();
    (items, members)
}

/// Takes out what the rules name below the member `name`, whose value stands at `at`.
pub(super) fn inside(
    text: &str,
    name: &str,
    at: usize,
    rules: &[&str],
    patch: &mut BodyPatch,
) -> Result<(), JsonError> {
    let below = below(rules, name);
    if below.0.is_empty() && below.1.is_empty() {
        return Ok(());
    }
    descend(&mut Json::at_byte(text, at), &below, patch)
}

fn descend(
    json: &mut Json<'_>,
    (items, members): &(Vec<&str>, Vec<&str>),
    patch: &mut BodyPatch,
) -> Result<(), JsonError> {
    match json.peek()? {
        Kind::Array if !items.is_empty() => json.array(|_, json| match json.peek()? {
            Kind::Object => object(json, items, patch),
            _ => json.skip(),
        }),
        Kind::Object if !members.is_empty() => object(json, members, patch),
        _ => json.skip(),
    }
}

fn object(json: &mut Json<'_>, rules: &[&str], patch: &mut BodyPatch) -> Result<(), JsonError> {
    let start = json.at();
    let mut members = ObjectMembers::default();
    json.object(|name, json| {
        json.peek()?;
        let value_at = json.at();
        let below = below(rules, name.raw);
        let mut inner = BodyPatch::default();
        if below.0.is_empty() && below.1.is_empty() {
            json.skip()?;
        } else {
            descend(json, &below, &mut inner)?;
        }
        let value = &json.text()[value_at..json.at()];
        if rules.iter().any(|rule| drops(rule, name.raw, value)) {
            members.cut(name.at..json.at());
        } else {
            members.keep(name.at..json.at(), patch);
            patch.append(inner);
        }
        Ok::<_, JsonError>(())
    })?;
    members.close("", start, patch);
    Ok(())
}

/// Takes schema keywords out, at any depth. Below `properties` (and its kin) names are the caller's, not keywords.
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
                // What stands in these is data or names, not a schema.
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
