//! The walk below the top level of a request: takes out the fields that the provider does not take.

use super::body_patch::{BodyPatch, ObjectMembers};
use crate::{
    domain::Candidate,
    json::{Json, JsonError, Kind, Text},
};

/// Whether a drop rule (`store`, `tools=[]`) takes out the top-level field `name`.
pub(super) fn drops(rule: &str, name: &str, value: &str) -> bool {
    rule.strip_prefix(name).is_some_and(|rest| matches(rest, value))
}

/// The end of a rule behind the name: nothing, or the only value that is taken out.
fn matches(rest: &str, value: &str) -> bool {
    let plain = |wanted: &str| value.bytes().filter(|b| !b.is_ascii_whitespace()).eq(wanted.bytes());
    rest.is_empty() || rest.strip_prefix('=').is_some_and(plain)
}

pub(super) struct Walker<'c> {
    pub candidate: &'c Candidate,
}

impl Walker<'_> {
    /// Walks the value of the top-level field `name` at the cursor.
    pub(crate) fn field(&self, name: &str, json: &mut Json<'_>, patch: &mut BodyPatch) -> Result<(), JsonError> {
        let wire = &self.candidate.provider.wire;
        let below = |rule: &str| rule.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '[']));
        let is_listed = wire.allowed_fields.iter().any(|(pattern, _)| pattern == name || below(pattern));
        if !is_listed && !wire.drop.iter().any(|rule| below(rule)) {
            return json.skip();
        }
        self.value(name, json, patch)
    }

    fn value(&self, pattern: &str, json: &mut Json<'_>, patch: &mut BodyPatch) -> Result<(), JsonError> {
        match json.peek()? {
            Kind::Array => {
                let items = format!("{pattern}[]");
                json.array(|_, json| self.value(&items, json, patch))
            }
            Kind::Object => self.object(pattern, "", json, patch, &|| "", |_, _, _| Ok(false)),
            _ => json.skip(),
        }
    }

    /// Whether a rule speaks of the field `name` of the object at a path, or of something inside of it.
    fn has_rules_at(&self, pattern: &str, name: &str) -> bool {
        let wire = &self.candidate.provider.wire;
        let concerns = |rule: &str| {
            let rest = rule.strip_prefix(pattern).and_then(|rest| rest.strip_prefix('.')?.strip_prefix(name));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', ':']))
        };
        wire.allowed_fields.iter().any(|(rule, _)| concerns(rule)) || wire.drop.iter().any(|rule| concerns(rule))
    }

    /// Walks an object. `edit` reads and patches a value that it handles, and returns whether it did. `added` is called at the
    /// end for fields to add.
    pub(crate) fn object<'a, 't>(
        &self,
        pattern: &str,
        role: &str,
        json: &mut Json<'t>,
        patch: &mut BodyPatch,
        added: &dyn Fn() -> &'a str,
        mut edit: impl FnMut(Text<'t>, &mut Json<'t>, &mut BodyPatch) -> Result<bool, JsonError>,
    ) -> Result<(), JsonError> {
        json.peek()?;
        let start = json.at();
        let wire = &self.candidate.provider.wire;
        let allowed = wire.allowed(pattern, role);
        let mut kept = ObjectMembers::default();
        json.object(|name, json| {
            let kind = json.peek()?;
            let value_at = json.at();
            let is_allowed = allowed.is_none_or(|names| names.iter().any(|allowed| allowed == name.raw));
            let mut inner = BodyPatch::default();
            if !is_allowed {
                json.skip()?;
            } else if !edit(name, json, &mut inner)? {
                match kind {
                    // SDKs write the void fields of a response as null, which says nothing, and which Gemini refuses.
                    Kind::Null if pattern.starts_with("messages[]") => {
                        json.skip()?;
                        inner.remove();
                    }
                    Kind::Array | Kind::Object if self.has_rules_at(pattern, name.raw) => {
                        self.value(&format!("{pattern}.{}", name.raw), json, &mut inner)?;
                    }
                    _ => json.skip()?,
                }
            }
            let value = &json.text()[value_at..json.at()];
            let drops = |rule: &String| {
                let rest = rule.strip_prefix(pattern).and_then(|rest| rest.strip_prefix('.'));
                rest.and_then(|rest| rest.strip_prefix(name.raw)).is_some_and(|rest| matches(rest, value))
            };
            if !is_allowed || inner.is_removal() || wire.drop.iter().any(drops) {
                kept.cut(name.at..json.at());
            } else {
                kept.keep(name.at..json.at(), patch);
                patch.append(inner);
            }
            Ok::<_, JsonError>(())
        })?;
        kept.close(added(), start, patch);
        Ok(())
    }
}
