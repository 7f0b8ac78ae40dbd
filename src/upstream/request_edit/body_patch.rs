//! Edits of a text in place: what is not named stays byte for byte.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;

/// Replacements, gathered in any order, applied once.
#[derive(Debug, Default)]
pub(crate) struct BodyPatch {
    edits: Vec<(Range<usize>, Cow<'static, str>)>,
}

impl BodyPatch {
    pub(crate) fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    pub(crate) fn replace(&mut self, range: Range<usize>, with: impl Into<Cow<'static, str>>) {
        self.edits.push((range, with.into()));
    }

    pub(crate) fn insert(&mut self, at: usize, text: impl Into<Cow<'static, str>>) {
        self.replace(at..at, text);
    }

    pub(crate) fn append(&mut self, mut more: Self) {
        self.edits.append(&mut more.edits);
    }

    pub(crate) fn apply(mut self, source: &str) -> Bytes {
        // Stable: of two edits at one place the first comes first.
        self.edits.sort_by_key(|(range, _)| range.start);
        let grown: usize = self.edits.iter().map(|(_, with)| with.len()).sum();
        let mut out = Vec::with_capacity(source.len() + grown);
        let mut at = 0;
        for (range, with) in &self.edits {
            debug_assert!(range.start >= at, "edits overlap at byte {at}");
            out.extend_from_slice(&source.as_bytes()[at..range.start.max(at)]);
            out.extend_from_slice(with.as_bytes());
            at = range.end.max(at);
        }
        out.extend_from_slice(&source.as_bytes()[at..]);
        out.into()
    }
}

/// The members of one object while it is read: takes some out, together with the comma that belongs to them.
#[derive(Debug, Default)]
pub(crate) struct ObjectMembers {
    kept_end: Option<usize>,
    cut_from: Option<usize>,
    cut_end: usize,
}

impl ObjectMembers {
    /// A member that stays: from its name's opening quote to its value's end.
    pub(crate) fn keep(&mut self, member: Range<usize>, patch: &mut BodyPatch) {
        if let Some(from) = self.cut_from.take() {
            patch.replace(from..member.start, "");
        }
        self.kept_end = Some(member.end);
    }

    /// A member that goes.
    pub(crate) fn cut(&mut self, member: Range<usize>) {
        self.cut_from.get_or_insert(member.start);
        self.cut_end = member.end;
    }

    /// At the object's end: adds `members` (`"a":1,"b":2`) behind the last that stays, then takes a cut tail out.
    pub(crate) fn close(self, added: &str, object_start: usize, patch: &mut BodyPatch) {
        match (self.kept_end, added.is_empty()) {
            (Some(end), false) => patch.insert(end, format!(",{added}")),
            (None, false) => patch.insert(object_start + 1, added.to_owned()),
            (_, true) => {}
        }
        if let Some(from) = self.cut_from {
            patch.replace(self.kept_end.unwrap_or(from)..self.cut_end, "");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;
    use crate::json::{Json, JsonError};

    proptest! {
        /// Whichever members go, the rest is the object one would have written without them.
        #[test]
        fn any_members_can_go(kept in prop::collection::vec(any::<bool>(), 0..7), add: bool) {
            let mut wanted = Map::new();
            let text: Vec<String> = kept.iter().enumerate().map(|(i, _)| format!(" \"k{i}\" : {i} ")).collect();
            let text = format!("{{{}}}", text.join(","));
            let (mut members, mut patch, mut i) = (ObjectMembers::default(), BodyPatch::default(), 0);
            let mut json = Json::new(&text);
            json.object(|name, json| {
                json.skip()?;
                if kept[i] {
                    wanted.insert(name.raw.to_owned(), i.into());
                    members.keep(name.at..json.at(), &mut patch);
                } else {
                    members.cut(name.at..json.at());
                }
                i += 1;
                Ok::<_, JsonError>(())
            }).unwrap();
            members.close(if add { "\"x\":9" } else { "" }, 0, &mut patch);
            if add {
                wanted.insert("x".into(), 9.into());
            }
            let out = patch.apply(&text);
            prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), Value::Object(wanted), "{:?}", out);
        }
    }
}
