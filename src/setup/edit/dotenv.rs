//! `NAME=value` lines.

use super::{Change, Step};
use crate::setup::value::Value;

/// The last value of each name, as the tools read them: quotes around a value are not part of it.
pub(super) fn read(text: &str) -> serde_json::Value {
    let pair = |line: &str| {
        let (name, value) = assignment(line)?;
        Some((name.to_owned(), value.trim().trim_matches(['"', '\'']).into()))
    };
    serde_json::Value::Object(text.lines().filter_map(pair).collect())
}

pub(super) fn apply(text: &str, changes: &[&Change]) -> String {
    let mut text = text.to_owned();
    for change in changes {
        let ([Step::Key(name)], Value::Text(value)) = (&change.path[..], &change.value) else { continue };
        let line = format!("{name}={value}");
        let is_it = |line: &str| assignment(line).is_some_and(|(other, _)| other == name);
        if text.lines().any(is_it) {
            text = text
                .split_inclusive('\n')
                .map(|old| if is_it(old) { format!("{line}\n") } else { old.to_owned() })
                .collect();
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.trim().split_once('=')?;
    let name = name.strip_prefix("export ").unwrap_or(name).trim();
    (!name.starts_with('#') && !name.is_empty()).then_some((name, value))
}
