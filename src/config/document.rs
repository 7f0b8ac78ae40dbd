//! A TOML file parsed once with spans, so that every mistake is reported with its line, its column and its name.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use crate::suggest::closest;

pub(super) struct Document<'i> {
    /// As messages show it: `tollfree.toml`.
    name: String,
    text: &'i str,
    root: Spanned<DeTable<'i>>,
}

impl<'i> Document<'i> {
    pub(super) fn parse(name: &str, text: &'i str) -> Result<Self, String> {
        let root = DeTable::parse(text).map_err(|error| {
            let place = error.span().map_or_else(String::new, |span| position(text, span.start));
            format!("{name}{place}: {}", one_line(error.message()))
        })?;
        Ok(Self { name: name.to_owned(), text, root })
    }

    pub(super) fn root(&self) -> &DeTable<'i> {
        self.root.get_ref()
    }

    /// `tollfree.toml:14:3: message`
    pub(super) fn error_at(&self, span: &Range<usize>, message: &str) -> String {
        format!("{}{}: {message}", self.name, position(self.text, span.start))
    }

    /// `tollfree.toml:14:3: providers.groq: message`, at as much of the path as the file contains.
    pub(super) fn error_for(&self, path: &[&str], message: &str) -> String {
        format!("{}: {}: {message}", self.place(path), dotted(path))
    }

    /// `tollfree.toml:14:3`, of as much of the path as the file contains.
    pub(super) fn place(&self, path: &[&str]) -> String {
        let mut offset = 0;
        let mut table = Some(self.root());
        for part in path {
            let Some((key, value)) = table.and_then(|table| table.get_key_value(*part)) else { break };
            offset = key.span().start;
            table = value.get_ref().as_table();
        }
        format!("{}{}", self.name, position(self.text, offset))
    }

    /// `tollfree.toml:14`
    pub(super) fn source(&self, span: &Range<usize>) -> String {
        format!("{}:{}", self.name, line_of(self.text, span.start))
    }

    /// The text of a place, on one line.
    pub(super) fn written(&self, span: &Range<usize>) -> String {
        one_line(self.text.get(span.clone()).unwrap_or_default())
    }

    /// Reads a value of the file into `T`.
    pub(super) fn read<T: DeserializeOwned>(&self, value: Spanned<DeValue<'i>>) -> Result<T, String> {
        T::deserialize(ValueDeserializer::from(value)).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let message = with_value(&explain(error.message()), &self.written(&span));
            self.error_at(&span, &format!("{}: {message}", dotted(&self.path_at(span.start))))
        })
    }

    /// Every value below a section: its path, its source and its text.
    pub(super) fn leaves(&self, section: &str) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        if let Some(table) = self.root().get(section).and_then(|value| value.get_ref().as_table()) {
            self.collect(table, &mut vec![section], &mut found);
        }
        found
    }

    fn collect<'t>(&self, table: &'t DeTable<'i>, path: &mut Vec<&'t str>, found: &mut Vec<(String, String, String)>) {
        for (key, value) in table {
            path.push(key.get_ref());
            match value.get_ref().as_table() {
                Some(inner) => self.collect(inner, path, found),
                None => found.push((dotted(path), self.source(&key.span()), self.written(&value.span()))),
            }
            path.pop();
        }
    }

    /// The names of the tables and of the key around a place.
    fn path_at(&self, offset: usize) -> Vec<&str> {
        fn descend<'t>(table: &'t DeTable<'_>, offset: usize, path: &mut Vec<&'t str>) -> bool {
            for (key, value) in table {
                path.push(key.get_ref().as_ref());
                let inside = value.get_ref().as_table().is_some_and(|inner| descend(inner, offset, path));
                if inside || key.span().contains(&offset) || value.span().contains(&offset) {
                    return true;
                }
                path.pop();
            }
            false
        }
        let mut path = Vec::new();
        descend(self.root(), offset, &mut path);
        path
    }
}

/// `:14:3`
fn position(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    format!(":{}:{column}", line_of(text, offset))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or(text).matches('\n').count() + 1
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `providers.groq.models."openai/gpt-oss-120b"`, as it would be written.
pub(super) fn dotted<S: AsRef<str>>(path: &[S]) -> String {
    let is_bare = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let parts = path.iter().map(AsRef::as_ref).map(|p| if is_bare(p) { p.to_owned() } else { format!("\"{p}\"") });
    parts.collect::<Vec<_>>().join(".")
}

/// Rephrases serde's messages about unknown names. Lists of keys are long, so the closest key is named instead.
pub(super) fn explain(message: &str) -> String {
    let message = one_line(message);
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match (quoted.split_first(), message.split_once(", expected ")) {
        (Some((wrong, keys)), _) if message.starts_with("unknown field") => unknown_key(wrong, keys),
        (_, Some((_, names))) if message.starts_with("unknown variant") => format!("expected {names}"),
        _ => message,
    }
}

/// Adds the value to a message that says only what was expected.
pub(super) fn with_value(message: &str, value: &str) -> String {
    let is_bare = message.starts_with("expected ") && !message.contains(", got ");
    if is_bare { format!("{message}, got `{value}`") } else { message.to_owned() }
}

/// "unknown key `limts`: did you mean `limits`?"
pub(super) fn unknown_key(wrong: &str, known: &[&str]) -> String {
    const SECRETS: [&str; 10] =
        ["api_key", "apikey", "key", "keys", "api_keys", "admin_key", "secret", "token", "password", "redis_url"];
    if SECRETS.contains(&wrong) {
        return format!("unknown key `{wrong}`: secrets are read from the environment only, see .env.example");
    }
    match closest(wrong, known.iter().copied()).first() {
        Some(name) => format!("unknown key `{wrong}`: did you mean `{name}`?"),
        None => format!("unknown key `{wrong}`, expected one of {}", known.join(", ")),
    }
}
