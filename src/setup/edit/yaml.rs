//! YAML, with its comments.

use std::{collections::HashMap, str::FromStr};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};
use serde_json::Value as Json;
use yaml_edit::{Document, Mapping, MappingBuilder, Sequence, SequenceBuilder};

use super::{Change, EditError, Step, find};
use crate::setup::value::Value;

/// Deeper files are refused. Those of tools have four levels.
const DEPTH_MAX: usize = 64;

pub(super) fn apply(text: &str, changes: &[&Change]) -> Result<String, EditError> {
    let mut text = text.to_owned();
    for change in changes {
        text = apply_one(text, change)?;
    }
    Ok(text)
}

fn apply_one(mut text: String, change: &Change) -> Result<String, EditError> {
    let values = read(&text)?;
    if values.is_null() {
        // Nothing, or only comments.
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&fresh(&change.path, &change.value));
        return Ok(text);
    }
    let document = Document::from_str(&text).map_err(|error| EditError::Broken {
        line: 1,
        column: 1,
        message: error.to_string(),
    })?;
    let done = match document.as_mapping() {
        Some(map) => set_in_map(&map, &change.path, &values, change),
        None => document.as_sequence().and_then(|list| set_entry(&list, &change.path, &values, change)),
    };
    done.ok_or_else(|| EditError::Unsafe(change.name()))?;
    Ok(document.to_string())
}

/// `None` if the editor does not find what the parser found.
fn set_in_map(map: &Mapping, path: &[Step], values: &Json, change: &Change) -> Option<()> {
    let (Step::Key(key), rest) = path.split_first()? else { return None };
    let inner = values.get(key).filter(|inner| !inner.is_null());
    match (rest.first(), inner) {
        (Some(Step::Key(_)), Some(inner)) => set_in_map(&map.get_mapping(key.as_str())?, rest, inner, change),
        (Some(Step::Entry { .. }), Some(inner)) => set_entry(&map.get_sequence(key.as_str())?, rest, inner, change),
        (Some(_), None) => {
            let document = Document::from_str(&fresh(rest, &change.value)).ok()?;
            match document.as_mapping() {
                Some(inner) => map.set(key.as_str(), &inner),
                None => map.set(key.as_str(), &document.as_sequence()?),
            }
            Some(())
        }
        (None, _) => put(map, key, &change.value),
    }
}

fn set_entry(list: &Sequence, path: &[Step], values: &Json, change: &Change) -> Option<()> {
    let ([step @ Step::Entry { .. }], Value::Map(map)) = (path, &change.value) else { return None };
    let entry = mapping(map).build_document().as_mapping()?;
    if let Some(old) = find(values, std::slice::from_ref(step)) {
        let at = values.as_array()?.iter().position(|entry| std::ptr::eq(entry, old))?;
        return list.set(at, &entry).then_some(());
    }
    list.push(&entry);
    Some(())
}

fn put(map: &Mapping, key: &str, value: &Value) -> Option<()> {
    match value {
        Value::Text(text) => map.set(key, text.as_str()),
        Value::Number(number) => map.set(key, *number),
        Value::Flag(flag) => map.set(key, *flag),
        Value::List(list) => map.set(key, &sequence(list).build_document().as_sequence()?),
        Value::Map(inner) => map.set(key, &mapping(inner).build_document().as_mapping()?),
    }
    Some(())
}

/// The text of the value below the rest of its path.
fn fresh(path: &[Step], value: &Value) -> String {
    match (path.split_first(), value) {
        (Some((Step::Key(key), [])), _) => mapping(&[(key.clone(), value.clone())]).build_document().to_string(),
        (Some((Step::Key(key), rest)), _) => {
            let lines = fresh(rest, value);
            let lines = lines.lines().map(|line| format!("  {line}\n"));
            // The key may need quotes.
            let head = mapping(&[(key.clone(), Value::Flag(true))]).build_document().to_string();
            format!("{}\n{}", head.trim_end().trim_end_matches(" true"), lines.collect::<String>())
        }
        (Some((Step::Entry { .. }, rest)), _) => {
            let lines = fresh(rest, value);
            let lines =
                lines.lines().enumerate().map(|(at, line)| format!("{}{line}\n", if at == 0 { "- " } else { "  " }));
            lines.collect()
        }
        (None, Value::Map(map)) => mapping(map).build_document().to_string(),
        (None, other) => sequence(std::slice::from_ref(other)).build_document().to_string(),
    }
}

fn mapping(map: &[(String, Value)]) -> MappingBuilder {
    map.iter().fold(MappingBuilder::new(), |builder, (key, value)| match value {
        Value::Text(text) => builder.pair(key, text.as_str()),
        Value::Number(number) => builder.pair(key, *number),
        Value::Flag(flag) => builder.pair(key, *flag),
        Value::List(list) => builder.insert_sequence(key, sequence(list)),
        Value::Map(inner) => builder.insert_mapping(key, mapping(inner)),
    })
}

fn sequence(list: &[Value]) -> SequenceBuilder {
    list.iter().fold(SequenceBuilder::new(), |builder, value| match value {
        Value::Text(text) => builder.item(text.as_str()),
        Value::Number(number) => builder.item(*number),
        Value::Flag(flag) => builder.item(*flag),
        Value::List(list) => builder.insert_sequence(sequence(list)),
        Value::Map(map) => builder.insert_mapping(mapping(map)),
    })
}

/// The values of a file of one document. Null for an empty one.
pub(super) fn read(text: &str) -> Result<Json, EditError> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: HashMap::new() };
    let mut found = Json::Null;
    let mut documents = 0;
    loop {
        match reader.next()? {
            Event::DocumentStart(_) => {
                documents += 1;
                let event = reader.next()?;
                found = reader.value(event, 0)?;
            }
            Event::StreamEnd => break,
            _ => {}
        }
    }
    if documents > 1 {
        return Err(EditError::Broken {
            line: 1,
            column: 1,
            message: "the file has several YAML documents".to_owned(),
        });
    }
    Ok(found)
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Json>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, EditError> {
        match self.parser.next_event() {
            Some(event) => Ok(event.map_err(|error| broken(&error))?.0),
            None => Ok(Event::StreamEnd),
        }
    }

    fn value(&mut self, event: Event<'a>, depth: usize) -> Result<Json, EditError> {
        if depth > DEPTH_MAX {
            return Err(EditError::Broken { line: 1, column: 1, message: "the file is nested too deeply".to_owned() });
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => (scalar(&text, style), anchor),
            Event::SequenceStart(anchor, _) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break,
                        event => list.push(self.value(event, depth + 1)?),
                    }
                }
                (list.into(), anchor)
            }
            Event::MappingStart(anchor, _) => (self.map(depth)?, anchor),
            Event::Alias(id) => (self.anchors.get(&id).cloned().unwrap_or_default(), 0),
            _ => (Json::Null, 0),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn map(&mut self, depth: usize) -> Result<Json, EditError> {
        let mut map = serde_json::Map::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(map.into()),
                event => self.value(event, depth + 1)?,
            };
            let event = self.next()?;
            let value = self.value(event, depth + 1)?;
            let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            if map.contains_key(&key) {
                let mark =
                    self.parser.peek().and_then(Result::ok).map(|(_, span)| (span.start.line(), span.start.col() + 1));
                let (line, column) = mark.unwrap_or((1, 1));
                return Err(EditError::Broken { line, column, message: format!("`{key}` is set twice") });
            }
            map.insert(key, value);
        }
    }
}

fn broken(error: &ScanError) -> EditError {
    let mark = error.marker();
    EditError::Broken { line: mark.line(), column: mark.col() + 1, message: error.info().to_owned() }
}

/// A scalar by the core schema, as far as settings of tools use it.
fn scalar(text: &str, style: ScalarStyle) -> Json {
    if style != ScalarStyle::Plain {
        return text.into();
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Json::Null,
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        _ => {
            let whole = text.parse::<i64>().ok().map(Json::from);
            let number =
                || text.starts_with(|c: char| "+-.0123456789".contains(c)).then(|| text.parse::<f64>().ok()).flatten();
            whole.or_else(|| number().map(Json::from)).unwrap_or_else(|| text.into())
        }
    }
}
