//! TOML, with its comments.

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike};

use super::{Change, EditError, Step, name, position};
use crate::setup::value::Value;

pub(super) fn read(text: &str) -> Result<serde_json::Value, EditError> {
    let table = text.parse::<toml::Table>().map_err(|error| broken(text, error.span(), error.message()))?;
    serde_json::to_value(table).map_err(|error| broken(text, None, &error.to_string()))
}

fn broken(text: &str, span: Option<std::ops::Range<usize>>, message: &str) -> EditError {
    let (line, column) = position(text, span.map_or(0, |span| span.start));
    EditError::Broken { line, column, message: message.to_owned() }
}

pub(super) fn apply(text: &str, changes: &[&Change]) -> Result<String, EditError> {
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| broken(text, error.span(), error.message()))?;
    let had_settings = !document.as_table().is_empty();
    for change in changes {
        set(document.as_table_mut(), &change.path, change)?;
    }
    let edited = document.to_string();
    // A comment above the first section stays with it, one line below the settings that were added above both.
    Ok(if had_settings { edited } else { edited.trim_start_matches('\n').to_owned() })
}

fn set(table: &mut dyn TableLike, path: &[Step], change: &Change) -> Result<(), EditError> {
    let Some((Step::Key(key), rest)) = path.split_first() else { return Err(EditError::Unsafe(change.name())) };
    if !rest.is_empty() {
        if !table.contains_key(key) {
            let mut inner = Table::new();
            // Only its own sections are written, not a header for the table that holds them.
            inner.set_implicit(true);
            table.insert(key, Item::Table(inner));
        }
        let shape = || EditError::Shape(name(&change.path[..change.path.len() - rest.len()]), "a table");
        let inner = table.get_mut(key).and_then(Item::as_table_like_mut).ok_or_else(shape)?;
        return set(inner, rest, change);
    }
    match (table.get_mut(key), &change.value) {
        (Some(Item::Value(old)), value) if !matches!(value, Value::Map(_)) => {
            let mut new = inline(value);
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        (Some(old), Value::Map(map)) if old.is_table() => {
            let Some(old) = old.as_table_mut() else { return Err(EditError::Unsafe(change.name())) };
            let mut new = section(map);
            *new.decor_mut() = old.decor().clone();
            if let Some(position) = old.position() {
                new.set_position(Some(position));
            }
            *old = new;
        }
        (_, Value::Map(map)) => {
            table.insert(key, Item::Table(section(map)));
        }
        (_, value) => {
            table.insert(key, Item::Value(inline(value)));
        }
    }
    Ok(())
}

/// A table with a header of its own.
fn section(map: &[(String, Value)]) -> Table {
    let mut table = Table::new();
    for (key, value) in map {
        let item = match value {
            Value::Map(inner) => Item::Table(section(inner)),
            other => Item::Value(inline(other)),
        };
        table.insert(key, item);
    }
    table
}

fn inline(value: &Value) -> toml_edit::Value {
    match value {
        Value::Text(text) => text.as_str().into(),
        Value::Number(number) => (*number).into(),
        Value::Flag(flag) => (*flag).into(),
        Value::List(list) => list.iter().map(inline).collect::<Array>().into(),
        Value::Map(map) => map.iter().map(|(key, value)| (key.as_str(), inline(value))).collect::<InlineTable>().into(),
    }
}
