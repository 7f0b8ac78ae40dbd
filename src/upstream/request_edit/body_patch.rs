//! Edits of a text by position. Everything else stays byte for byte.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;

/// Replacements, collected in any order and applied once.
#[derive(Debug, Default)]
pub(crate) struct BodyPatch {
    edits: Vec<(Range<usize>, Cow<'static, str>)>,
    removes: bool,
}

impl BodyPatch {
    pub(crate) fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Number of edits.
    pub(crate) fn len(&self) -> usize {
        self.edits.len()
    }

    pub(crate) fn replace(&mut self, range: Range<usize>, with: impl Into<Cow<'static, str>>) {
        self.edits.push((range, with.into()));
    }

    pub(crate) fn insert(&mut self, at: usize, text: impl Into<Cow<'static, str>>) {
        self.replace(at..at, text);
    }

    /// Marks the value that this patch edits as one to take out, together with its name.
    pub(crate) fn remove(&mut self) {
        self.removes = true;
    }

    pub(crate) fn is_removal(&self) -> bool {
        self.removes
    }

    pub(crate) fn append(&mut self, mut more: Self) {
        self.edits.append(&mut more.edits);
    }

    pub(crate) fn apply(mut self, source: &str) -> Bytes {
        // The sort is stable: of two edits at one position the first comes first.
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

/// The members of an object that is being read. Takes members out, each with its comma.
#[derive(Debug, Default)]
pub(crate) struct ObjectMembers {
    kept_end: Option<usize>,
    cut_from: Option<usize>,
    cut_end: usize,
}

impl ObjectMembers {
    /// Keeps a member. The range is from the opening quote of its name to the end of its value.
    pub(crate) fn keep(&mut self, member: Range<usize>, patch: &mut BodyPatch) {
        if let Some(from) = self.cut_from.take() {
            patch.replace(from..member.start, "");
        }
        self.kept_end = Some(member.end);
    }

    /// Takes a member out.
    pub(crate) fn cut(&mut self, member: Range<usize>) {
        self.cut_from.get_or_insert(member.start);
        self.cut_end = member.end;
    }

    /// Ends the object: adds members (`"a":1,"b":2`) behind the last that is kept, then takes out those at the end.
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
        /// Without some members the object is what it would be had they never been there.
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
