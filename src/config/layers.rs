//! Defaults < file < environment for every setting of a section, layered by the `config` crate.

use std::collections::{BTreeMap, HashMap};

use config::{Config, ConfigError, Value};
use toml::{
    Spanned,
    de::{DeString, DeValue},
};

use super::{
    Findings, Settings,
    document::{Document, explain, unknown_key, with_value},
    environment::Environment,
    setting_names::{SETTINGS, Setting},
};

/// Lays the environment over the sections of the file. Each value is checked alone, so that every mistake is found and
/// belongs to its place. The settings hold only if there is none.
pub(super) fn merge(document: Option<&Document<'_>>, env: &Environment, findings: &mut Findings) -> Settings {
    let file = document.map(|document| sections(document, findings)).unwrap_or_default();
    let mut variables = HashMap::new();
    for setting in SETTINGS.iter() {
        if let Some(found) = env.first(&setting.variables) {
            let variable = (setting.variables[0].clone(), found.value.clone());
            if let Err(error) = layered(&BTreeMap::new(), HashMap::from([variable.clone()])) {
                findings.errors.push(format!("{}: {}", found.source, with_value(&reason(&error), &found.value)));
            }
            variables.extend([variable]);
            findings.source(&setting.path, found.source, found.value);
        } else if let Some(value) = file.get(&*setting.path) {
            findings.source(&setting.path, value.source.clone(), value.text.clone());
        } else {
            findings.source(&setting.path, "default".to_owned(), setting.default.clone());
        }
    }
    layered(&file, variables).unwrap_or_else(|error| {
        if findings.errors.is_empty() {
            findings.errors.push(error.to_string());
        }
        Settings::default()
    })
}

struct InFile {
    value: Value,
    source: String,
    text: String,
}

/// The values of the file's sections by path, in today's spelling.
fn sections(document: &Document<'_>, findings: &mut Findings) -> BTreeMap<&'static str, InFile> {
    let mut known: Vec<&str> = SETTINGS.iter().filter_map(|setting| setting.path.split('.').next()).collect();
    known.dedup();
    known.extend(["providers", "models", "aliases", "prices"]);
    let mut file = BTreeMap::new();
    for (key, value) in document.root() {
        let section = key.get_ref().as_ref();
        match value.get_ref().as_table() {
            _ if !known.contains(&section) => {
                findings.errors.push(document.error_at(&key.span(), &unknown_key(section, &known)));
            }
            None => {
                let message = format!("{section}: expected a table, [{section}]");
                findings.errors.push(document.error_at(&key.span(), &message));
            }
            Some(_) if matches!(section, "providers" | "models" | "aliases" | "prices") => {}
            Some(table) => {
                for (key, value) in table {
                    let found = in_file(document, section, key, value);
                    file.extend(findings.take(found));
                }
            }
        }
    }
    file
}

fn in_file<'i>(
    document: &Document<'i>,
    section: &str,
    key: &Spanned<DeString<'i>>,
    value: &Spanned<DeValue<'i>>,
) -> Result<(&'static str, InFile), String> {
    let path = format!("{section}.{}", key.get_ref());
    let setting = SETTINGS.iter().find(|setting| setting.path == path || setting.earlier_path == Some(&*path));
    let Some(Setting { path: name, .. }) = setting else {
        let keys = SETTINGS.iter().filter_map(|setting| setting.path.strip_prefix(section)?.strip_prefix('.'));
        let message = unknown_key(key.get_ref(), &keys.collect::<Vec<_>>());
        return Err(document.error_at(&key.span(), &format!("{section}: {message}")));
    };
    let (source, text) = (document.source(&key.span()), document.written(&value.span()));
    let found = InFile { value: document.read(value.clone())?, source, text };
    let alone = BTreeMap::from([(name.as_str(), found)]);
    layered(&alone, HashMap::new()).map_err(|error| {
        let message = with_value(&reason(&error), &document.written(&value.span()));
        document.error_at(&value.span(), &format!("{path}: {message}"))
    })?;
    alone.into_iter().next().ok_or_else(String::new)
}

fn layered(file: &BTreeMap<&'static str, InFile>, variables: HashMap<String, String>) -> Result<Settings, ConfigError> {
    let mut sections = Config::builder();
    for (path, found) in file {
        sections = sections.set_override(path, found.value.clone())?;
    }
    let environment = config::Environment::with_prefix("TOLLFREE").prefix_separator("__").separator("__");
    Config::builder()
        .add_source(Config::try_from(&Settings::default())?)
        .add_source(sections.build()?)
        .add_source(environment.source(Some(variables)))
        .build()?
        .try_deserialize()
}

/// The innermost error, without the path that `config` adds.
fn reason(error: &ConfigError) -> String {
    match error {
        ConfigError::At { error, .. } => reason(error),
        ConfigError::Type { expected, .. } => format!("expected {expected}"),
        other => explain(&other.to_string()),
    }
}
