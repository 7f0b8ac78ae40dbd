//! Follows the arguments of a tool call over its fragments, without keeping them, and mends those that are no object.

use serde_json::Value;

/// Knows whether the fragments so far are blank, or make a whole JSON object. Each byte is looked at once.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ArgumentsScan {
    depth: usize,
    in_string: bool,
    after_backslash: bool,
    state: State,
    /// The first character that is no white space opens an object.
    begins_an_object: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space.
    #[default]
    Blank,
    /// Inside an object.
    Object,
    /// One object has ended, and only white space follows it.
    Complete,
    /// Something else, or more than one object.
    Other,
}

impl ArgumentsScan {
    pub(crate) fn push(&mut self, fragment: &str) {
        for byte in fragment.bytes() {
            match self.state {
                State::Other => return,
                State::Object if self.in_string => match byte {
                    _ if std::mem::take(&mut self.after_backslash) => {}
                    b'\\' => self.after_backslash = true,
                    b'"' => self.in_string = false,
                    _ => {}
                },
                State::Object => match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth -= 1;
                        if self.depth == 0 {
                            self.state = State::Complete;
                        }
                    }
                    _ => {}
                },
                State::Blank | State::Complete if byte.is_ascii_whitespace() => {}
                State::Blank if byte == b'{' => {
                    (self.state, self.depth, self.begins_an_object) = (State::Object, 1, true);
                }
                State::Blank | State::Complete => self.state = State::Other,
            }
        }
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.state == State::Blank
    }

    /// Something has arrived, and it is not an object.
    pub(crate) fn is_no_object(&self) -> bool {
        !self.is_blank() && !self.begins_an_object
    }

    /// One whole object has arrived. Its inside is not checked.
    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }
}

/// The object that arguments mean which are none: `{}` for nothing, and the one inside a string. `None`: they stay as they are.
pub(crate) fn as_object(arguments: &str) -> Option<String> {
    let is_object = |text: &str| matches!(serde_json::from_str(text), Ok(Value::Object(_)));
    let nothing = || Some("{}".to_owned());
    let trimmed = arguments.trim();
    if trimmed.is_empty() {
        return nothing();
    }
    if trimmed.starts_with('{') {
        return None;
    }
    match serde_json::from_str(trimmed).ok()? {
        Value::Null | Value::Bool(false) => nothing(),
        Value::Array(items) if items.is_empty() => nothing(),
        Value::String(inner) if inner.trim().is_empty() => nothing(),
        Value::String(inner) if is_object(&inner) => Some(inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Wherever an object is cut, it is complete with its last byte and not before.
        #[test]
        fn an_object_is_complete_at_its_end(text in "[a-z\"\\\\{}\\[\\], ]{0,12}", number: i64, cut: usize) {
            let object = serde_json::json!({ "a": text, "b": [number, { "c": text }] }).to_string();
            let mut cut = cut % object.len();
            while !object.is_char_boundary(cut) {
                cut -= 1;
            }
            let mut scan = ArgumentsScan::default();
            scan.push(" ");
            prop_assert!(scan.is_blank());
            scan.push(&object[..cut]);
            prop_assert!(!scan.is_complete(), "{}", &object[..cut]);
            scan.push(&object[cut..]);
            scan.push("\n");
            prop_assert!(scan.is_complete(), "{object}");
            scan.push("{");
            prop_assert!(!scan.is_complete() && !scan.is_blank() && !scan.is_no_object());
        }
    }

    #[test]
    fn arguments_that_mean_an_object_become_one() {
        for (written, wanted) in [
            (r#""{\"city\": \"Rome\"}""#, Some(r#"{"city": "Rome"}"#)),
            ("", Some("{}")),
            (" null\n", Some("{}")),
            ("false", Some("{}")),
            ("[]", Some("{}")),
            ("\"\"", Some("{}")),
            (r#"{"city": 1.50}"#, None),
            (r#"{"city": "#, None),
            (r#"["Rome"]"#, None),
            (r#""Rome""#, None),
            ("Rome", None),
        ] {
            assert_eq!(as_object(written).as_deref(), wanted, "{written}");
            let mut scan = ArgumentsScan::default();
            scan.push(written);
            assert_eq!(scan.is_no_object(), !written.trim().is_empty() && !written.starts_with('{'), "{written}");
        }
    }
}
