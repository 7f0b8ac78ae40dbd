//! The free text of a custom tool's call, taken out of the JSON arguments in which providers stream it.

use serde_json::Value;

use super::tools::CUSTOM_INPUT;

/// Decodes the value of `input` from fragments of `{"input":"…"}`, split anywhere.
#[derive(Debug, Default)]
pub(super) struct InputReader {
    state: State,
    /// The decoded input so far.
    text: String,
    /// The member whose value is read.
    key: String,
    /// Hexadecimal digits of an escape.
    digits: String,
    /// The first half of a surrogate pair.
    high: Option<u32>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    BeforeKey,
    InKey,
    AfterKey,
    InInput,
    Escape,
    Unicode,
    End,
    /// Not the expected form: the arguments are read once they are complete.
    Unexpected,
}

impl InputReader {
    /// Reads a fragment and returns what it adds to the input.
    pub(super) fn push(&mut self, fragment: &str) -> &str {
        let before = self.text.len();
        for c in fragment.chars() {
            self.state = self.next(c);
        }
        &self.text[before..]
    }

    fn next(&mut self, c: char) -> State {
        match (self.state, c) {
            (State::Start | State::BeforeKey | State::AfterKey, ' ' | '\t' | '\n' | '\r')
            | (State::BeforeKey, ',')
            | (State::AfterKey, ':') => self.state,
            (State::Start, '{') => State::BeforeKey,
            (State::BeforeKey, '"') => {
                self.key.clear();
                State::InKey
            }
            (State::InKey, '"') => State::AfterKey,
            (State::InKey, c) => {
                self.key.push(c);
                State::InKey
            }
            (State::AfterKey, '"') if self.key == CUSTOM_INPUT => State::InInput,
            (State::InInput, '"') => {
                self.end_surrogate();
                State::End
            }
            (State::InInput, '\\') => State::Escape,
            (State::InInput, c) => {
                self.end_surrogate();
                self.text.push(c);
                State::InInput
            }
            (State::Escape, 'u') => {
                self.digits.clear();
                State::Unicode
            }
            (State::Escape, c) => {
                self.end_surrogate();
                self.text.push(match c {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    other => other,
                });
                State::InInput
            }
            (State::Unicode, c) => {
                self.digits.push(c);
                if self.digits.len() < 4 {
                    return State::Unicode;
                }
                self.unicode();
                State::InInput
            }
            (State::End, _) => State::End,
            _ => State::Unexpected,
        }
    }

    fn unicode(&mut self) {
        let unit = u32::from_str_radix(&self.digits, 16).unwrap_or(0xFFFD);
        match (self.high, unit) {
            (Some(high), 0xDC00..0xE000) => {
                self.high = None;
                let code = 0x1_0000 + ((high - 0xD800) << 10) + (unit - 0xDC00);
                self.text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (_, 0xD800..0xDC00) => {
                self.end_surrogate();
                self.high = Some(unit);
            }
            _ => {
                self.end_surrogate();
                self.text.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
    }

    /// A first half without a second one is no character.
    fn end_surrogate(&mut self) {
        if self.high.take().is_some() {
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// The input of a call whose arguments are complete, and what of it no fragment has added yet.
    pub(super) fn finish(mut self, arguments: &str) -> (String, String) {
        let is_expected = matches!(self.state, State::InInput | State::Escape | State::Unicode | State::End);
        if is_expected {
            return (self.text, String::new());
        }
        // A surrogate that was cut leaves nothing.
        self.high = None;
        let input = unwrapped(arguments);
        (input.clone(), input)
    }
}

/// The input in arguments of another form than the declared one: some models write another name, or the bare text.
fn unwrapped(arguments: &str) -> String {
    match serde_json::from_str(arguments) {
        Ok(Value::String(text)) => text,
        Ok(Value::Object(members)) => {
            let only = if members.len() == 1 { members.values().next() } else { None };
            let text = members.get(CUSTOM_INPUT).or(only).and_then(Value::as_str);
            match text {
                Some(text) => text.to_owned(),
                None if members.is_empty() => String::new(),
                None => arguments.to_owned(),
            }
        }
        _ => arguments.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(fragments: &[&str]) -> (String, String) {
        let mut reader = InputReader::default();
        let mut streamed = String::new();
        for fragment in fragments {
            streamed.push_str(reader.push(fragment));
        }
        let (input, rest) = reader.finish(&fragments.concat());
        (streamed + &rest, input)
    }

    #[test]
    fn other_forms_are_read_once_they_are_complete() {
        for (arguments, input) in [
            (r#"{"patch":"text"}"#, "text"),
            (r#""text""#, "text"),
            ("*** Begin Patch", "*** Begin Patch"),
            (r#"{"a":"b","input":"text"}"#, "text"),
            (r#"{"input":["a"]}"#, r#"{"input":["a"]}"#),
            ("{}", ""),
            (r#"{"input":"cut \ud83d"#, "cut "),
        ] {
            assert_eq!(read(&[arguments]).1, input, "{arguments}");
        }
    }

    proptest! {
        #[test]
        fn the_streamed_text_is_the_input_wherever_it_is_split(
            input in any::<String>(),
            escaped in any::<bool>(),
            cuts in proptest::collection::vec(0..200usize, 0..6),
        ) {
            let value = if escaped { escape(&input) } else { json!(&input).to_string() };
            let arguments = format!("{{\"input\":{value}}}");
            let chars: Vec<char> = arguments.chars().collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(chars.len())).collect();
            cuts.extend([0, chars.len()]);
            cuts.sort_unstable();
            let parts: Vec<String> = cuts.windows(2).map(|pair| chars[pair[0]..pair[1]].iter().collect()).collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            prop_assert_eq!(read(&parts), (input.clone(), input));
        }
    }

    /// A string with every character as an escape.
    fn escape(text: &str) -> String {
        let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
        format!("\"{}\"", units.collect::<String>())
    }
}
