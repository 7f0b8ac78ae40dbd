//! Changes of settings in a text that keep everything else in it: comments, order, indentation.
//!
//! Each format has an editor that keeps the text. Because an editor may have faults, its result is read again and compared
//! with the changes made to the values themselves; a text that would say anything else is never written.

mod dotenv;
mod json;
mod toml;
mod yaml;

use super::value::Value;

/// One setting to write. Everything below its path is replaced.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub path: Vec<Step>,
    pub value: Value,
    /// Another value is left as it is.
    keeps_other: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    /// The entry of a list whose field has this value; added at the end if there is none.
    Entry {
        field: &'static str,
        is: String,
    },
}

impl Change {
    pub(crate) fn new(path: &[&str], value: impl Into<Value>) -> Self {
        let path = path.iter().map(|key| Step::Key((*key).to_owned())).collect();
        Self { path, value: value.into(), keeps_other: false }
    }

    /// Only where the file has no such setting.
    pub(crate) fn unless_set(self) -> Self {
        Self { keeps_other: true, ..self }
    }

    /// An entry of the list at `path`, found by one of its fields.
    pub(crate) fn entry(path: &[&str], field: &'static str, is: &str, value: Value) -> Self {
        let mut change = Self::new(path, value);
        change.path.push(Step::Entry { field, is: is.to_owned() });
        change
    }

    /// `models.providers.tollfree`
    pub(crate) fn name(&self) -> String {
        name(&self.path)
    }
}

fn name(path: &[Step]) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Key(key) => key.clone(),
        Step::Entry { is, .. } => format!("[{is}]"),
    });
    steps.collect::<Vec<_>>().join(".")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// With comments and trailing commas, as most tools accept them.
    Json,
    Toml,
    Yaml,
    /// `NAME=value` in each line.
    Dotenv,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EditError {
    #[error("line {line}, column {column}: {message}")]
    Broken { line: usize, column: usize, message: String },
    /// The file is valid, but a setting has another shape than the tool documents.
    #[error("`{0}` is not {1}")]
    Shape(String, &'static str),
    #[error("`{0}` cannot be set without changing other settings: write it by hand")]
    Unsafe(String),
}

/// A new text that has nothing but the changes.
pub(crate) fn new_text(format: Format, changes: &[Change]) -> String {
    // Only a text that is there already can be in the way.
    apply(format, "", changes).unwrap_or_default()
}

/// The text with the changes. Equal to `text` if it has them already.
pub(crate) fn apply(format: Format, text: &str, changes: &[Change]) -> Result<String, EditError> {
    let before = read(format, text)?;
    let missing: Vec<&Change> = changes.iter().filter(|change| !is_set(&before, change)).collect();
    if missing.is_empty() && !text.trim().is_empty() {
        return Ok(text.to_owned());
    }
    let mut expected = before;
    for change in &missing {
        set(&mut expected, &change.path, change)?;
    }
    let mut edited = match format {
        Format::Json => json::apply(text, &missing)?,
        Format::Toml => toml::apply(text, &missing)?,
        Format::Yaml => yaml::apply(text, &missing)?,
        Format::Dotenv => dotenv::apply(text, &missing),
    };
    if !edited.ends_with('\n') && (text.is_empty() || text.ends_with('\n')) {
        edited.push('\n');
    }
    if read(format, &edited).ok() != Some(expected) {
        let names: Vec<String> = missing.iter().map(|change| change.name()).collect();
        return Err(EditError::Unsafe(names.join("`, `")));
    }
    Ok(edited)
}

/// The values of a text. An empty text is an empty map, or an empty list where the first change needs one.
pub(crate) fn read(format: Format, text: &str) -> Result<serde_json::Value, EditError> {
    match format {
        Format::Json => json::read(text),
        Format::Toml => toml::read(text),
        Format::Yaml => yaml::read(text),
        Format::Dotenv => Ok(dotenv::read(text)),
    }
}

/// The value at a path, if there is one.
pub(crate) fn find<'a>(values: &'a serde_json::Value, path: &[Step]) -> Option<&'a serde_json::Value> {
    path.iter().try_fold(values, |at, step| match step {
        Step::Key(key) => at.get(key),
        Step::Entry { field, is } => at.as_array()?.iter().find(|entry| entry[field] == **is),
    })
}

/// Whether a text with these values has the setting already.
pub(crate) fn is_set(values: &serde_json::Value, change: &Change) -> bool {
    find(values, &change.path).is_some_and(|value| change.keeps_other || *value == change.value.to_json())
}

/// Makes the change in the values.
fn set(values: &mut serde_json::Value, path: &[Step], change: &Change) -> Result<(), EditError> {
    let Some((step, rest)) = path.split_first() else {
        *values = change.value.to_json();
        return Ok(());
    };
    let shape = |what| EditError::Shape(name(&change.path[..change.path.len() - path.len()]), what);
    match step {
        Step::Key(key) => {
            if values.is_null() {
                *values = serde_json::Value::Object(serde_json::Map::new());
            }
            let map = values.as_object_mut().ok_or_else(|| shape("a map"))?;
            set(map.entry(key.clone()).or_insert(serde_json::Value::Null), rest, change)
        }
        Step::Entry { field, is } => {
            if values.is_null() {
                *values = serde_json::Value::Array(Vec::new());
            }
            let list = values.as_array_mut().ok_or_else(|| shape("a list"))?;
            let at = list.iter().position(|entry| entry[field] == **is).unwrap_or(list.len());
            if at == list.len() {
                list.push(serde_json::Value::Null);
            }
            set(&mut list[at], rest, change)
        }
    }
}

/// Line and column of a byte, both from 1. Columns are characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(byte)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
