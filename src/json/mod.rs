//! A strict JSON cursor over text, which checks the grammar, reports positions and copies nothing.
//!
//! All other JSON uses `serde_json`. Here positions matter: errors have line and column, and bodies are edited in place so that
//! every other byte stays as it is.

mod names;

use std::borrow::Cow;

use self::names::{DISGUISED_NAME, REPEATED_NAME, is_disguised};
pub(crate) use self::names::{NameSet, Names, path_of};

/// Maximum nesting, which is also that of most providers.
pub(crate) const DEPTH_MAX: u32 = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    /// Name with its article, for messages.
    pub(crate) fn named(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }
}

/// An error and its byte position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JsonError {
    pub at: usize,
    pub what: &'static str,
}

impl JsonError {
    /// The error is about the name of a member, at whose position it stands.
    pub(crate) fn is_about_a_name(&self) -> bool {
        self.what == REPEATED_NAME || self.what == DISGUISED_NAME
    }

    pub(crate) fn is_repeated_name(&self) -> bool {
        self.what == REPEATED_NAME
    }

    /// Line and column, both from 1; the column counts characters.
    pub(crate) fn line_and_column(&self, text: &str) -> (usize, usize) {
        let before = &text.as_bytes()[..self.at.min(text.len())];
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |i| i + 1);
        let continuation = |b: &&u8| (**b & 0b1100_0000) != 0b1000_0000;
        (memchr::memchr_iter(b'\n', before).count() + 1, before[line_start..].iter().filter(continuation).count() + 1)
    }
}

/// A string literal without its quotes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a> {
    pub raw: &'a str,
    /// Byte position of the opening quote.
    pub at: usize,
    pub escaped: bool,
}

impl<'a> Text<'a> {
    /// The decoded string. A literal with a lone surrogate, which no string can contain, is returned as it is.
    pub(crate) fn decode(&self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        serde_json::from_str(&format!("\"{}\"", self.raw)).map_or(Cow::Borrowed(self.raw), Cow::Owned)
    }

    /// Byte position after the closing quote.
    pub(crate) fn end(&self) -> usize {
        self.at + self.raw.len() + 2
    }
}

/// A position in the text. A method that fails leaves the cursor at the error.
#[derive(Debug)]
pub(crate) struct Json<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    /// `None`: names are not checked.
    names: Option<&'static Names>,
    /// Depth of the object whose member has names of the caller's own; 0 outside such a value.
    free_form_at: u32,
}

impl<'a> Json<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, names: None, free_form_at: 0 }
    }

    /// A cursor for text that others will read, too. A name that stands twice in an object is an error, as is one that other
    /// readers could take for a known one: by an escape in it, or by the case of its letters.
    pub(crate) fn unambiguous(text: &'a str, names: &'static Names) -> Self {
        Self { names: Some(names), ..Self::new(text) }
    }

    /// A cursor at the byte position of a value.
    pub(crate) fn at_byte(text: &'a str, at: usize) -> Self {
        Self { at, ..Self::new(text) }
    }

    /// Byte position of the next token (after [`Json::peek`]), or of the end of the last value.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    fn error(&self, what: &'static str) -> JsonError {
        JsonError { at: self.at, what }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: u8) -> bool {
        self.space();
        let found = self.byte() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Kind of the next value.
    pub(crate) fn peek(&mut self) -> Result<Kind, JsonError> {
        self.space();
        match self.byte() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("the text ends where a value was expected")),
        }
    }

    /// Checks that only white space follows.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.error("trailing characters after the value")) }
    }

    pub(crate) fn string(&mut self) -> Result<Text<'a>, JsonError> {
        if !self.take(b'"') {
            return Err(self.error("expected a string"));
        }
        let (start, mut escaped) = (self.at, false);
        loop {
            self.at += plain_prefix(&self.text.as_bytes()[self.at..]);
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.error("control character in a string; write it as an escape")),
                None => return Err(self.error("the text ends inside a string")),
            }
        }
        let raw = &self.text[start..self.at];
        self.at += 1;
        Ok(Text { raw, at: start - 1, escaped })
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let rest = &self.text.as_bytes()[self.at + 1..];
        self.at += match rest.first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') if rest.len() >= 5 && rest[1..5].iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return Err(self.error("invalid escape in a string")),
        };
        Ok(())
    }

    /// A number literal.
    pub(crate) fn number(&mut self) -> Result<&'a str, JsonError> {
        self.space();
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        if let Some(b'0'..=b'9') = self.byte() {
            return Err(self.error("invalid number: a leading zero"));
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        if self.at == start { Err(self.error("invalid number: expected a digit")) } else { Ok(()) }
    }

    /// `true`, `false` (`Some`) or `null` (`None`).
    pub(crate) fn literal(&mut self) -> Result<Option<bool>, JsonError> {
        self.space();
        for (word, value) in [("true", Some(true)), ("false", Some(false)), ("null", None)] {
            if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.error("expected a value"))
    }

    /// Calls `member` with each name and the cursor before its value, which it must consume.
    pub(crate) fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(Text<'a>, &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'{', "expected an object")?;
        let (mut first, mut names) = (true, NameSet::default());
        while !self.take(b'}') {
            self.between(&mut first, "expected `,` or `}` after a member")?;
            let name = self.name()?;
            if let Some(rules) = self.names {
                self.check_name(&name, rules, &mut names)?;
            }
            member(name, self)?;
            if self.free_form_at == self.depth {
                self.free_form_at = 0;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Calls `item` with each index and the cursor before the value, which it must consume.
    pub(crate) fn array<E: From<JsonError>>(
        &mut self,
        mut item: impl FnMut(usize, &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'[', "expected an array")?;
        let (mut first, mut index) = (true, 0);
        while !self.take(b']') {
            self.between(&mut first, "expected `,` or `]` after an item")?;
            item(index, self)?;
            index += 1;
        }
        self.depth -= 1;
        Ok(())
    }

    fn check_name(&mut self, name: &Text<'a>, rules: &Names, names: &mut NameSet<'a>) -> Result<(), JsonError> {
        if !names.insert(name.decode()) {
            return Err(JsonError { at: name.at, what: REPEATED_NAME });
        }
        if self.free_form_at == 0 {
            if is_disguised(name, rules.known) {
                return Err(JsonError { at: name.at, what: DISGUISED_NAME });
            }
            if rules.free_form.contains(&name.raw) {
                self.free_form_at = self.depth;
            }
        }
        Ok(())
    }

    fn open(&mut self, bracket: u8, expected: &'static str) -> Result<(), JsonError> {
        if !self.take(bracket) {
            return Err(self.error(expected));
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.error("nested deeper than 128 levels")) } else { Ok(()) }
    }

    fn between(&mut self, first: &mut bool, expected: &'static str) -> Result<(), JsonError> {
        if std::mem::take(first) || self.take(b',') {
            return Ok(());
        }
        Err(if self.at == self.text.len() { self.error("the text ends inside a value") } else { self.error(expected) })
    }

    fn name(&mut self) -> Result<Text<'a>, JsonError> {
        self.space();
        if self.byte() != Some(b'"') {
            return Err(self.error("expected a member's name in double quotes"));
        }
        let name = self.string()?;
        if self.take(b':') { Ok(name) } else { Err(self.error("expected `:` after a member's name")) }
    }

    /// Checks and skips a value.
    pub(crate) fn skip(&mut self) -> Result<(), JsonError> {
        match self.peek()? {
            Kind::String => self.string().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::Bool | Kind::Null => self.literal().map(drop),
            Kind::Array => self.array(|_, json| json.skip()),
            Kind::Object => self.object(|_, json| json.skip()),
        }
    }
}

/// Number of bytes before the next quote, backslash or control character, searched eight at a time.
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let mut at = 0;
    while let Some(eight) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        let zero_in = |x: u64| x.wrapping_sub(ONES) & !x;
        let quote = zero_in(word ^ (ONES * u64::from(b'"')));
        let backslash = zero_in(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        // The lowest flagged byte is exact; borrows can only affect bytes above it.
        let found = (quote | backslash | control) & HIGH;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + bytes[at..].iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..0x20)).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> Result<(), JsonError> {
        let mut json = Json::new(text);
        json.skip()?;
        json.end()
    }

    #[test]
    fn an_error_has_line_and_column_in_characters() {
        let text = "{\"a\": \"é\",\n \"ö\": tru}";
        assert_eq!(check(text).unwrap_err().line_and_column(text), (2, 7));
        let text = "{\"é\" 1}";
        assert_eq!(check(text).unwrap_err().line_and_column(text), (1, 6));
    }

    #[test]
    fn depth_128_passes_and_129_does_not() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(check(&nested(128)).is_ok());
        assert!(check(&nested(129)).unwrap_err().what.contains("128"));
    }

    #[test]
    fn a_name_with_escapes_is_decoded() {
        let mut names = Vec::new();
        let read = Json::new("{\"mod\\u0065l\":1}").object(|name, json| {
            names.push(name.decode().into_owned());
            json.skip()
        });
        assert!(read.is_ok());
        assert_eq!(names, ["model"]);
    }

    proptest! {
        /// Accepts exactly what `serde_json` accepts (which rejects lone surrogates only in strings that it decodes).
        #[test]
        fn the_grammar_is_that_of_serde_json(text in "[\\[\\]{},:\"\\\\a0-9.eE+\\- tfnul\u{1}\u{e9}/]{0,24}") {
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(text.trim_matches([' ', '\n']));
            prop_assert_eq!(check(&text).is_ok(), theirs.is_ok(), "{}", text);
        }

        #[test]
        fn the_prefix_equals_a_bytewise_search(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let slow = bytes.iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..0x20)).count();
            prop_assert_eq!(plain_prefix(&bytes), slow);
        }

        #[test]
        fn output_of_serde_json_is_accepted(value in any_json()) {
            prop_assert!(check(&value.to_string()).is_ok());
            prop_assert!(check(&serde_json::to_string_pretty(&value).unwrap()).is_ok());
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                proptest::collection::hash_map(any::<String>(), inner, 0..5)
                    .prop_map(|m| m.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }
}
