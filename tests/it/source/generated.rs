//! Pages that are written from what they describe. `make docs` writes them again.

use std::fmt::Write;

use indexmap::IndexMap;
use serde::Deserialize;
use tollfree::config;

use super::tools::root;

/// Compares a file with what it should be, or writes it.
pub(super) fn check(path: &str, expected: &str) {
    if std::env::var("INSTA_UPDATE").is_ok_and(|how| how == "always") {
        std::fs::write(root().join(path), expected).unwrap();
    }
    let written = std::fs::read_to_string(root().join(path)).unwrap_or_default();
    assert!(written == expected, "{path} is outdated: run `make docs`");
}

/// Replaces what stands between the marks of a part.
fn with_part(text: &str, part: &str, content: &str) -> String {
    let (begin, end) = (format!("<!-- {part}: written by `make docs` -->\n"), format!("<!-- end of {part} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
    format!("{before}{begin}\n{content}\n{end}{after}")
}

/// A cell of a table.
pub(super) fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[derive(Deserialize)]
struct Schema {
    properties: IndexMap<String, Field>,
    definitions: IndexMap<String, Field>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Field {
    description: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "enum")]
    choices: Vec<String>,
    #[serde(rename = "oneOf")]
    forms: Vec<Field>,
    properties: IndexMap<String, Field>,
    deprecated: bool,
}

impl Field {
    fn in_use(&self) -> impl Iterator<Item = (&String, &Field)> {
        self.properties.iter().filter(|(_, field)| !field.deprecated)
    }

    /// What may be written, unless the description lists it.
    fn values(&self) -> String {
        let choices: Vec<String> = self.choices.iter().map(|choice| format!("`{choice}`")).collect();
        match &*self.kind {
            "integer" => "number".to_owned(),
            "boolean" => "`true` or `false`".to_owned(),
            "string" => "text".to_owned(),
            "array" => "list".to_owned(),
            _ if !self.forms.is_empty() => "name, table or list".to_owned(),
            _ if choices.is_empty() => "table".to_owned(),
            _ if choices.iter().all(|choice| self.description.contains(choice)) => "name".to_owned(),
            _ => choices.join(", "),
        }
    }
}

/// Every setting of a section, in the order of the schema.
fn settings(schema: &Schema) -> String {
    let mut table = "| setting | variable | default | meaning |\n|---|---|---|---|\n".to_owned();
    for (section, fields) in &schema.properties {
        for (key, field) in fields.in_use() {
            let path = format!("{section}.{key}");
            let setting = config::SETTINGS.iter().find(|setting| setting.path == path).unwrap();
            let short = setting.variables.iter().find(|name| !name.starts_with("TOLLFREE__"));
            let variable = short.map_or_else(String::new, |name| format!("`{name}`"));
            let default = Some(&setting.default).filter(|value| *value != "unset").map(|value| format!("`{value}`"));
            let (default, meaning) = (default.unwrap_or_default(), cell(&field.description));
            writeln!(table, "| `{path}` | {variable} | {default} | {meaning} |").unwrap();
        }
    }
    table
}

fn fields(of: &Field) -> String {
    let mut table = "| field | value | meaning |\n|---|---|---|\n".to_owned();
    for (key, field) in of.in_use() {
        writeln!(table, "| `{key}` | {} | {} |", field.values(), cell(&field.description)).unwrap();
    }
    table
}

#[test]
fn the_configuration_page_describes_every_setting() {
    let schema = std::fs::read_to_string(root().join("tollfree.schema.json")).unwrap();
    let schema: Schema = serde_json::from_str(&schema).unwrap();
    let path = "docs/configuration.md";
    let mut page = std::fs::read_to_string(root().join(path)).unwrap();
    page = with_part(&page, "settings", &settings(&schema));
    page = with_part(&page, "fields of a provider", &fields(&schema.definitions["provider"]));
    page = with_part(&page, "fields of a model", &fields(&schema.definitions["model"]));
    check(path, &page);
}
