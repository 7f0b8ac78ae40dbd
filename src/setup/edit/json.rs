//! JSON with comments and trailing commas.

use jsonc_parser::{
    ParseOptions,
    cst::{CstArray, CstInputValue, CstNode, CstObject, CstRootNode},
    errors::ParseError,
};

use super::{Change, EditError, Step, name};
use crate::setup::value::Value;

/// What the tools accept beyond JSON.
const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

pub(super) fn read(text: &str) -> Result<serde_json::Value, EditError> {
    let root = CstRootNode::parse(text, &OPTIONS).map_err(|error| broken(&error))?;
    Ok(root.to_serde_value().unwrap_or_default())
}

fn broken(error: &ParseError) -> EditError {
    EditError::Broken { line: error.line_display(), column: error.column_display(), message: error.kind().to_string() }
}

pub(super) fn apply(text: &str, changes: &[&Change]) -> Result<String, EditError> {
    let root = CstRootNode::parse(text, &OPTIONS).map_err(|error| broken(&error))?;
    for change in changes {
        let object = root.object_value_or_create().ok_or_else(|| EditError::Shape(String::new(), "a map"))?;
        set(&object, &change.path, change)?;
    }
    Ok(root.to_string())
}

fn set(object: &CstObject, path: &[Step], change: &Change) -> Result<(), EditError> {
    let shape = |rest: &[Step], what| EditError::Shape(name(&change.path[..change.path.len() - rest.len()]), what);
    match path {
        [Step::Key(key)] => {
            match object.get(key) {
                Some(property) => property.set_value(input(&change.value)),
                None => {
                    object.append(key, input(&change.value));
                }
            }
            Ok(())
        }
        [Step::Key(key), rest @ ..] if matches!(rest[0], Step::Key(_)) => {
            let inner = object.object_value_or_create(key).ok_or_else(|| shape(rest, "a map"))?;
            set(&inner, rest, change)
        }
        [Step::Key(key), rest @ ..] => {
            let list = object.array_value_or_create(key).ok_or_else(|| shape(rest, "a list"))?;
            set_entry(&list, rest, change)
        }
        _ => Err(EditError::Unsafe(change.name())),
    }
}

fn set_entry(list: &CstArray, path: &[Step], change: &Change) -> Result<(), EditError> {
    let [Step::Entry { field, is }] = path else { return Err(EditError::Unsafe(change.name())) };
    let has_it = |entry: &CstNode| entry.to_serde_value().is_some_and(|value| value[field] == **is);
    if let Some(entry) = list.elements().into_iter().find(has_it).and_then(|entry| entry.as_object()) {
        entry.replace_with(input(&change.value));
    } else {
        list.ensure_multiline();
        list.append(input(&change.value));
    }
    Ok(())
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Text(text) => CstInputValue::String(text.clone()),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::Flag(flag) => CstInputValue::Bool(*flag),
        Value::List(list) => CstInputValue::Array(list.iter().map(input).collect()),
        Value::Map(map) => {
            CstInputValue::Object(map.iter().map(|(name, value)| (name.clone(), input(value))).collect())
        }
    }
}
