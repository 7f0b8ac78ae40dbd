//! Names of members: repeated ones, and ones that another reader could take for others.

use std::{borrow::Cow, collections::HashSet};

use smallvec::SmallVec;

use super::{Json, JsonError, Kind, Text};

pub(super) const REPEATED_NAME: &str = "a name stands twice in one object";
pub(super) const DISGUISED_NAME: &str = "a name that readers understand differently";

/// The names of a protocol.
#[derive(Debug)]
pub(crate) struct Names {
    /// Names at any depth that every reader must understand in the same way.
    pub known: &'static [&'static [&'static str]],
    /// Members whose values have names of the caller's own: schemas, arguments, metadata.
    pub free_form: &'static [&'static str],
}

/// Longer names in a path are cut.
const MAX_NAME_CHARS: usize = 64;

/// The names of one object's members, to find repeated ones. The cost is linear, whatever the names are.
#[derive(Debug, Default)]
pub(crate) struct NameSet<'a> {
    few: SmallVec<[Cow<'a, str>; 12]>,
    many: Option<HashSet<Cow<'a, str>>>,
}

impl<'a> NameSet<'a> {
    /// Adds a name. Returns whether it is new.
    pub(crate) fn insert(&mut self, name: impl Into<Cow<'a, str>>) -> bool {
        let name = name.into();
        if self.few.contains(&name) {
            return false;
        }
        if self.few.len() < self.few.inline_size() {
            self.few.push(name);
            return true;
        }
        self.many.get_or_insert_default().insert(name)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.few.iter().any(|known| known == name) || self.many.as_ref().is_some_and(|many| many.contains(name))
    }
}

/// Whether a reader that ignores the case of letters (as that of Go), or one that does not decode escapes, takes this name for
/// another one than we do.
pub(super) fn is_disguised(name: &Text<'_>, known: &[&[&str]]) -> bool {
    let is_plain = |b: u8| b.is_ascii() && !b.is_ascii_uppercase();
    if !name.escaped && name.raw.bytes().all(is_plain) {
        return false;
    }
    let decoded = name.decode();
    // Two letters outside of ASCII fold to letters inside of it.
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212A}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    known
        .iter()
        .copied()
        .flatten()
        .any(|known| known.chars().eq(decoded.chars().map(fold)) && (name.escaped || *known != decoded))
}

/// The path of the member whose name starts at this position: `messages[0].content`.
#[cold]
pub(crate) fn path_of(text: &str, name_at: usize) -> String {
    let mut path = String::new();
    // The text was read up to this position before, so that an error can only come behind it.
    let _ = find(&mut Json::new(text), name_at, &mut path);
    path
}

/// Whether the member is inside of the value at the cursor. `path` is then extended by its path.
fn find(json: &mut Json<'_>, name_at: usize, path: &mut String) -> Result<bool, JsonError> {
    let mut found = false;
    match json.peek()? {
        Kind::Object => json.object(|name, json| {
            if found || name.at > name_at {
                return json.skip();
            }
            let length = path.len();
            if length > 0 {
                path.push('.');
            }
            path.extend(name.decode().chars().take(MAX_NAME_CHARS));
            if name.at == name_at {
                found = true;
                return json.skip();
            }
            found = find(json, name_at, path)?;
            if !found {
                path.truncate(length);
            }
            Ok::<_, JsonError>(())
        })?,
        Kind::Array => json.array(|index, json| {
            if found || json.at() > name_at {
                return json.skip();
            }
            let length = path.len();
            path.extend(["[", &index.to_string(), "]"]);
            found = find(json, name_at, path)?;
            if !found {
                path.truncate(length);
            }
            Ok::<_, JsonError>(())
        })?,
        _ => json.skip()?,
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repeated_names_are_found_among_few_and_among_many() {
        let names: Vec<String> = (0..1_000).map(|i| format!("n{i}")).collect();
        let mut set = NameSet::default();
        assert!(names.iter().all(|name| set.insert(name.as_str())));
        assert!(names.iter().all(|name| !set.insert(name.as_str()) && set.contains(name)));
        assert!(!set.contains("n1000"));
    }

    static NAMES: Names =
        Names { known: &[&["model", "messages", "content", "key"]], free_form: &["parameters", "metadata"] };

    fn check(text: &str) -> Result<(), (&'static str, String)> {
        let mut json = Json::unambiguous(text, &NAMES);
        json.skip().and_then(|()| json.end()).map_err(|e| (e.what, path_of(text, e.at)))
    }

    #[test]
    fn a_name_that_readers_understand_differently_is_refused_with_its_path() {
        for (text, path) in [
            (r#"{"model":1,"Model":2}"#, "Model"),
            (r#"{"a":[{"b":0},{"me\u017F\u017Fages":1}]}"#, "a[1].meſſages"),
            (r#"{"messages":[{"CONTENT":1}]}"#, "messages[0].CONTENT"),
            (r#"{"messages":[[],[{"x":{"cont\u0065nt":1}}]]}"#, "messages[1][0].x.content"),
            ("{\"\u{212A}ey\":1}", "\u{212A}ey"),
        ] {
            assert_eq!(check(text), Err((DISGUISED_NAME, path.to_owned())), "{text}");
        }
        for (text, path) in [
            (r#"{"a":1,"b":{"c":1,"\u0063":2}}"#, "b.c"),
            (r#"{"parameters":{"Model":1,"Model":2}}"#, "parameters.Model"),
            (r#"{"mod\u0065l":1,"model":2,"model":3}"#, "model"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.1 == path, "{text}: {error:?}");
        }
    }

    #[test]
    fn names_of_the_callers_own_are_free() {
        for text in [
            r#"{"model":1,"tools":[{"parameters":{"properties":{"Model":{},"model":{},"MESSAGES":{}}}}]}"#,
            r#"{"metadata":{"Content":1},"content":2}"#,
            r#"{"Modelling":1,"key2":2,"Größe":3}"#,
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        assert!(check(r#"{"parameters":{"Model":1},"Model":2}"#).is_err(), "free form ends with its value");
    }

    /// As Go's reader does: without regard to case, and with the letters that fold into ASCII.
    fn folded(name: &str) -> String {
        name.chars().flat_map(char::to_lowercase).map(|c| if c == 'ſ' { 's' } else { c }).collect()
    }

    /// The known names that a case-folding reader finds in an object that is named otherwise.
    fn misread(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(members) => {
                for (name, value) in members {
                    if NAMES.free_form.contains(&&**name) {
                        continue;
                    }
                    let folded = folded(name);
                    if NAMES.known[0].contains(&&*folded) && folded != *name {
                        found.push(name.clone());
                    }
                    misread(value, found);
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| misread(item, found)),
            _ => {}
        }
    }

    fn document() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            "(m|M|\\\\u006d)(o|O|\\\\u006f)(d|D)(e|\\\\u0065)(l|L)",
            "(me|ME)(s|S|ſ|\\\\u017f)(s|ſ)(ages|AGES)",
            "(k|K|\u{212A}|\\\\u212a)(ey|EY)",
            "(content|Content|metadata|parameters|a|b)",
        ];
        let leaf = prop_oneof![Just("1".to_owned()), Just("\"x\"".to_owned())];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            let member = (name.clone(), inner.clone()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
            prop_oneof![
                proptest::collection::vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(","))),
                proptest::collection::vec(inner, 0..3).prop_map(|items| format!("[{}]", items.join(","))),
            ]
        })
    }

    proptest! {
        /// What is accepted has one reading: a reader that ignores case finds no other members, and one that takes the first or
        /// the last of two of one name has no choice.
        #[test]
        fn a_reader_that_folds_case_finds_the_same_members(text in document()) {
            if check(&text).is_ok() {
                let value: serde_json::Value = serde_json::from_str(&text).unwrap();
                let mut found = Vec::new();
                misread(&value, &mut found);
                prop_assert!(found.is_empty(), "{found:?} in {text}");
                let colons = text.matches("\":").count();
                prop_assert_eq!(members(&value), colons, "a name stands twice in {}", text);
            }
        }
    }

    fn members(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Object(all) => all.len() + all.values().map(members).sum::<usize>(),
            serde_json::Value::Array(items) => items.iter().map(members).sum(),
            _ => 0,
        }
    }

    #[test]
    fn very_many_names_cost_linear_time() {
        let names: Vec<String> = (0..200_000).map(|i| format!("\"Model{i}\":1")).collect();
        let begun = tokio::time::Instant::now();
        assert_eq!(check(&format!("{{{}}}", names.join(","))), Ok(()));
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
}
