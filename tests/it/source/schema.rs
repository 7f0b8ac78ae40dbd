//! `tollfree.schema.json`, by which editors help with `tollfree.toml`, against what the program accepts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tollfree::config;

use super::tools::root;

pub(super) fn schema() -> Value {
    serde_json::from_slice(&std::fs::read(root().join("tollfree.schema.json")).unwrap()).unwrap()
}

/// The tables of the file in which names and values are checked, and their places in the schema.
fn tables(schema: &Value) -> Vec<(String, String)> {
    let open = ["providers", "models", "aliases", "prices"];
    let sections = schema["properties"].as_object().unwrap().keys().filter(|name| !open.contains(&name.as_str()));
    let sections = sections.map(|name| (format!("/{name}"), format!("/properties/{name}")));
    let others = [
        ("/providers/lab", "/definitions/provider"),
        ("/providers/lab/models/large", "/definitions/model"),
        ("/models/mine", "/definitions/meta_model"),
    ];
    sections.chain(others.map(|(table, place)| (table.to_owned(), place.to_owned()))).collect()
}

/// A file in which every table exists.
fn file(schema: &Value) -> Value {
    let mut file = json!({
        "providers": { "lab": { "base_url": "http://lab.example/v1", "models": { "large": {} } } },
        "models": { "mine": { "members": ["lab/*"] } },
    });
    for (table, _) in tables(schema) {
        let name = table.trim_start_matches('/');
        if !name.contains('/') {
            file[name] = json!({});
        }
    }
    file
}

fn resolved<'s>(schema: &'s Value, field: &'s Value) -> &'s Value {
    let reference = field["$ref"].as_str().or_else(|| field.pointer("/allOf/0/$ref")?.as_str());
    reference.map_or(field, |path| schema.pointer(path.trim_start_matches('#')).unwrap())
}

/// Values that the schema allows for a field.
fn allowed(field: &Value, definition: &Value) -> Vec<Value> {
    let examples = [field, definition].into_iter().filter_map(|field| field["examples"].as_array()).flatten();
    let names = definition["enum"].as_array().into_iter().flatten();
    let bounds = ["default", "minimum", "maximum"].iter().filter_map(|name| definition.get(name));
    let flags = [json!(true), json!(false)].into_iter().filter(|_| definition["type"] == "boolean");
    examples.chain(names).chain(bounds).cloned().chain(flags).collect()
}

/// Values that it does not.
fn refused(definition: &Value) -> Vec<Value> {
    let mut values = vec![if definition["type"] == "object" { json!(5) } else { json!({ "a": 1 }) }];
    if definition["type"] == "integer" {
        values.push(json!("many"));
        values.extend(definition["minimum"].as_i64().map(|bound| json!(bound - 1)));
        values.extend(definition["maximum"].as_i64().map(|bound| json!(bound + 1)));
    }
    if definition["enum"].is_array() {
        values.push(json!("neither"));
    }
    values
}

/// What types and bounds do not show.
const REFUSED_TEXTS: [(&str, &str, &str); 17] = [
    ("/server", "public_url", r#""gateway.example""#),
    ("/server", "host", r#""two words""#),
    ("/http", "allowed_origins", r#"["https://app.example.com/path"]"#),
    ("/http", "base_path", r#""/llm/""#),
    ("/http", "trusted_proxies", r#"["proxy"]"#),
    ("/http", "hosts", r#"["two words"]"#),
    ("/ledger", "pool", r#""two words""#),
    ("/ledger", "pool", r#""""#),
    ("/responses", "store", r#""7 weeks""#),
    ("/dashboard", "trace_link", r#""https://traces.example""#),
    ("/providers/lab", "base_url", r#""lab.example""#),
    ("/providers/lab", "accounts", r#"{ "main": [0] }"#),
    ("/providers/lab", "limits", r#"{ "neither": 1 }"#),
    ("/providers/lab", "limits", r#"{ "rpm": -1 }"#),
    ("/providers/lab", "limits", r#"{ "rpm": "many" }"#),
    ("/providers/lab", "window", r#"{ "rpm": "calendar" }"#),
    ("/providers/lab/models/large", "capabilities", r#"["neither"]"#),
];

/// Files with one value each: a title, the file, and whether it is right.
pub(super) fn samples() -> Vec<(String, Value, bool)> {
    let schema = schema();
    let base = file(&schema);
    let with = |table: &str, key: &str, value: &Value| {
        let mut file = base.clone();
        file.pointer_mut(table).unwrap()[key] = value.clone();
        file
    };
    let mut samples = Vec::new();
    for (table, place) in tables(&schema) {
        for (key, field) in schema.pointer(&place).unwrap()["properties"].as_object().unwrap() {
            let definition = resolved(&schema, field);
            let right = allowed(field, definition);
            assert!(!right.is_empty(), "{table}/{key} needs examples");
            let values = right.iter().map(|value| (value, true));
            let wrong = refused(definition);
            for (value, is_right) in values.chain(wrong.iter().map(|value| (value, false))) {
                samples.push((format!("{table}/{key} = {value}"), with(&table, key, value), is_right));
            }
        }
    }
    for (table, key, value) in REFUSED_TEXTS {
        let value: Value = serde_json::from_str(value).unwrap();
        samples.push((format!("{table}/{key} = {value}"), with(table, key, &value), false));
    }
    for (table, _) in tables(&schema) {
        samples.push((format!("{table}/{UNKNOWN}"), with(&table, UNKNOWN, &json!(1)), false));
    }
    samples.push((UNKNOWN.to_owned(), with("", UNKNOWN, &json!({})), false));
    samples
}

const UNKNOWN: &str = "zzzzzzzzzzzz";

/// What the program says about a file.
fn load(file: &Value) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tollfree.toml"), toml::to_string(file).unwrap()).unwrap();
    std::fs::write(folder.path().join("clients.toml"), "").unwrap();
    config::load(&BTreeMap::new(), folder.path()).map(drop).map_err(|error| error.to_string())
}

#[test]
fn the_program_accepts_what_the_schema_allows_and_nothing_else() {
    let mut wrong = Vec::new();
    for (title, file, is_right) in samples() {
        match (load(&file), is_right) {
            (Ok(()), false) => wrong.push(format!("{title}: accepted by the program only")),
            (Err(error), true) => wrong.push(format!("{title}: {error}")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The names after "expected" in a message about a wrong name.
fn expected_names(message: &str) -> BTreeSet<&str> {
    let names = message.split("expected ").last().unwrap().split(", got ").next().unwrap();
    let words = names.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    words.filter(|word| !["one", "of", "or"].contains(word)).collect()
}

#[test]
fn the_schema_has_every_name_that_the_program_knows() {
    let schema = schema();
    let base = file(&schema);
    let mut all: Vec<(String, String)> = tables(&schema);
    all.push((String::new(), String::new()));
    for (table, place) in all {
        let mut file = base.clone();
        file.pointer_mut(&table).unwrap()[UNKNOWN] = json!({});
        let error = load(&file).unwrap_err();
        let known = expected_names(&error);
        let written: BTreeSet<&str> = schema.pointer(&place).unwrap()["properties"]
            .as_object()
            .unwrap()
            .iter()
            // The program suggests no earlier names of settings.
            .filter(|(name, field)| field["deprecated"].is_null() || known.contains(name.as_str()))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(written, known, "{table}: {error}");
    }
}

#[test]
fn the_schema_has_every_choice_that_the_program_knows() {
    let schema = schema();
    let base = file(&schema);
    for (table, place) in tables(&schema) {
        for (key, field) in schema.pointer(&place).unwrap()["properties"].as_object().unwrap() {
            let (choices, value) = match (&field["enum"], field.pointer("/items/enum")) {
                (_, Some(choices)) => (choices, json!(["neither"])),
                (choices, None) => (choices, json!("neither")),
            };
            let Some(choices) = choices.as_array() else { continue };
            let mut file = base.clone();
            file.pointer_mut(&table).unwrap()[key] = value;
            let error = load(&file).unwrap_err();
            let choices: BTreeSet<&str> = choices.iter().map(|choice| choice.as_str().unwrap()).collect();
            assert_eq!(choices, expected_names(&error), "{table}/{key}: {error}");
        }
    }
}

#[test]
fn the_schema_has_every_default() {
    let schema = schema();
    for setting in config::SETTINGS.iter() {
        let (section, key) = setting.path.split_once('.').unwrap();
        let default = &schema["properties"][section]["properties"][key]["default"];
        let written = match default {
            Value::Null => "unset".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(written, setting.default, "{}", setting.path);
    }
}
