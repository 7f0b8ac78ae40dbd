//! Provider keys as text.

use serde_json::Value;

/// A field as text; nothing where it is missing.
fn text<'a>(key: &'a Value, field: &str) -> &'a str {
    key[field].as_str().unwrap_or_default()
}

pub(super) fn key_name(key: &Value) -> String {
    match text(key, "label") {
        "" => text(key, "id").to_owned(),
        label => format!("{} ({label})", text(key, "id")),
    }
}

pub(super) fn added(key: &Value) -> String {
    let test = match text(key, "test") {
        "accepted" => "The provider accepts it.",
        "unverified" => {
            "Nothing is proven: the provider answers without a key as well, or has not said whether it takes this one."
        }
        _ => "It was not tried.",
    };
    format!("Added {}. {test} Every replica uses it within a second.", key_name(key))
}

pub(super) fn tested(key: &Value) -> String {
    match text(key, "test") {
        "accepted" => format!("{}: ok", key_name(key)),
        "unverified" => {
            let why = "the provider answers without a key as well, or has not said whether it takes this one";
            format!("{}: nothing is proven: {why}", key_name(key))
        }
        other => format!("{}: {other}: {}", key_name(key), text(key, "test_detail")),
    }
}

pub(super) fn table(keys: &[Value]) -> String {
    if keys.is_empty() {
        return "There are no provider keys: add one with `tollfree providers keys add`.".to_owned();
    }
    let header = ["ID", "PROVIDER", "ACCOUNT", "ENDS IN", "STATE", "SOURCE", "LABEL"].map(str::to_owned);
    let rows: Vec<[String; 7]> = keys.iter().map(row).collect();
    let width = |column: usize| {
        [&header].into_iter().chain(&rows).map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let lines = [&header].into_iter().chain(&rows).map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What the lists of models have shown, one provider a line.
pub(super) fn lists(providers: &[Value]) -> String {
    let lines = providers.iter().filter(|provider| provider["list"].is_object()).map(|provider| {
        let list = &provider["list"];
        let models = |field: &str| list[field].as_array().cloned().unwrap_or_default();
        let (new, gone) = (models("new"), models("gone"));
        let mut line = format!("{:<16} {} new, {} gone", text(provider, "id"), new.len(), gone.len());
        for model in &gone {
            let since = text(model, "since").split('T').next().unwrap_or_default();
            line = format!("{line}\n  gone: {} since {since}: {}", text(model, "id"), text(model, "why"));
        }
        for model in &new {
            let state = match (text(model, "not_served"), &model["on_trial"]) {
                ("", Value::Bool(true)) => "on trial",
                ("", _) => "served",
                (why, _) => why,
            };
            line = format!("{line}\n  new: {}: {state}", text(model, "id"));
        }
        match list["problem"].as_str() {
            Some(problem) => format!("{line}\n  {problem}"),
            None => line,
        }
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    if text.is_empty() { "No provider with a list of models is configured.".to_owned() } else { text }
}

fn row(key: &Value) -> [String; 7] {
    let state = match (text(key, "state"), text(&key["cooldown"], "cause")) {
        ("active", cause) if !cause.is_empty() => format!("refused: {cause}"),
        (state, _) => state.to_owned(),
    };
    let last = match text(key, "last_four") {
        "" => String::new(),
        last => format!("…{last}"),
    };
    let of = |field| text(key, field).to_owned();
    [of("id"), of("provider"), of("account"), last, state, of("source"), of("label")]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_shows_each_key_with_its_state() {
        let keys = [
            json!({ "id": "groq-1a2b3c4d", "provider": "groq", "account": "acme", "last_four": "wxyz", "state": "active",
                    "source": "store", "label": "ann's", "cooldown": { "cause": "401" } }),
            json!({ "id": "gemini-00000000", "provider": "gemini", "account": "00000000", "last_four": "",
                    "state": "unreadable", "source": "store", "label": "" }),
        ];
        let text = table(&keys);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines[1].contains("…wxyz") && lines[1].contains("refused: 401") && lines[1].ends_with("ann's"),
            "{text}"
        );
        assert!(lines[2].contains("unreadable") && lines[2].ends_with("store"), "{text}");
    }
}
