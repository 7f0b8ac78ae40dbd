//! The operator's file, read once with spans: so that every mistake has a line, a column and a name.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::suggest::closest;

/// A parsed file. Its words are kept only as long as it is checked.
pub(super) struct Document<'i> {
    /// As shown in messages: `tollfree.toml`.
    name: String,
    text: &'i str,
    root: Spanned<DeTable<'i>>,
}

/// One value that is no table: `["queue", "max_wait_ms"]`, its place and its text.
pub(super) struct Leaf {
    pub path: Vec<String>,
    pub line: usize,
    pub text: String,
}

impl<'i> Document<'i> {
    pub fn parse(name: &str, text: &'i str) -> Result<Self, String> {
        let root = DeTable::parse(text).map_err(|error| {
            let place = error.span().map_or_else(String::new, |span| position(text, span.start));
            format!("{name}{place}: {}", sentence(error.message()))
        })?;
        Ok(Self { name: name.to_owned(), text, root })
    }

    pub fn text(&self) -> &'i str {
        self.text
    }

    /// The top-level keys and their values.
    pub fn sections(&self) -> impl Iterator<Item = (&str, Range<usize>, &DeValue<'i>)> {
        self.root.get_ref().iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value.get_ref()))
    }

    /// `tollfree.toml:14:3: what`, for a place in the text.
    pub fn error_at(&self, span: &Range<usize>, what: &str) -> String {
        format!("{}{}: {what}", self.name, position(self.text, span.start))
    }

    /// The same, for a key: as much of its path as stands in the file.
    pub fn error_for(&self, path: &[&str], what: &str) -> String {
        format!("{}: {}: {what}", self.place(path), dotted(path))
    }

    /// `tollfree.toml:14:3`, of as much of the path as stands in the file.
    pub fn place(&self, path: &[&str]) -> String {
        let mut place = 0;
        let mut table = Some(self.root.get_ref());
        for part in path {
            let entry = table.and_then(|t| t.iter().find(|(key, _)| key.get_ref().as_ref() == *part));
            let Some((key, value)) = entry else { break };
            place = key.span().start;
            table = value.get_ref().as_table();
        }
        format!("{}{}", self.name, position(self.text, place))
    }

    /// `tollfree.toml:14`
    pub fn source(&self, line: usize) -> String {
        format!("{}:{line}", self.name)
    }

    /// Reads the file into `T`; an unknown key is answered with its nearest neighbour.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        toml::from_str(self.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let path = self.path_at(span.start);
            let name = if path.is_empty() { String::new() } else { format!("{}: ", dotted(&path)) };
            self.error_at(&span, &format!("{name}{}", explain(error.message())))
        })
    }

    /// Every value below the sections, in the order of the file.
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut found = Vec::new();
        self.collect(self.root.get_ref(), &mut Vec::new(), &mut found);
        found
    }

    fn collect(&self, table: &DeTable<'i>, path: &mut Vec<String>, found: &mut Vec<Leaf>) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            if let Some(inner) = value.get_ref().as_table() {
                self.collect(inner, path, found);
            } else {
                let line = line_of(self.text, key.span().start);
                let text =
                    self.text.get(value.span()).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
                found.push(Leaf { path: path.clone(), line, text });
            }
            path.pop();
        }
    }

    /// Names of the tables and of the key around a place.
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
        descend(self.root.get_ref(), offset, &mut path);
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

/// `providers.groq.models."openai/gpt-oss-120b"`, as it would be written.
pub(super) fn dotted<S: AsRef<str>>(path: &[S]) -> String {
    let bare = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let parts = path.iter().map(AsRef::as_ref).map(|p| if bare(p) { p.to_owned() } else { format!("\"{p}\"") });
    parts.collect::<Vec<_>>().join(".")
}

fn sentence(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// serde's "unknown field `limts`, expected one of `name`, `limits`" in our words. The lists are long: the nearest names are enough.
fn explain(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((wrong, expected)) if message.starts_with("unknown field") => unknown_key(wrong, expected),
        _ => sentence(message),
    }
}

/// "unknown key `limts`: did you mean `limits`?"
pub(super) fn unknown_key(wrong: &str, expected: &[&str]) -> String {
    const SECRETS: [&str; 10] =
        ["api_key", "apikey", "key", "keys", "api_keys", "admin_key", "secret", "token", "password", "redis_url"];
    if SECRETS.contains(&wrong) {
        return format!("unknown key `{wrong}`: secrets are read from the environment only, see .env.example");
    }
    match closest(wrong, expected.iter().copied()).first() {
        Some(name) => format!("unknown key `{wrong}`: did you mean `{name}`?"),
        None => format!("unknown key `{wrong}`, expected one of {}", expected.join(", ")),
    }
}
