//! Codex: a provider in `~/.codex/config.toml`, and the catalogue of models in Codex's own form beside it. Documented:
//! `model_providers`, its `auth.command`, and `model_catalog_json`. Observed: the form of the catalogue.

use super::{Start, Tool, key_file, no_notes};
use crate::setup::{
    Change, Format, ToolFile,
    target::{ENTRY, KEY_VARIABLE, System, Target},
    value::Value,
};

pub(super) const TOOL: Tool = Tool {
    id: "codex",
    name: "Codex",
    program: "codex",
    documentation: "https://developers.openai.com/codex/config-advanced",
    is_tried: true,
    files,
    launch,
    notes: no_notes,
    overriding: &[],
};

/// The file of the key is read again after this time, so that a replaced key is found.
const KEY_REFRESH_MS: i64 = 300_000;

fn files(target: &Target) -> Vec<ToolFile> {
    let home = target.places.folder("CODEX_HOME", ".codex");
    let catalogue = home.join("tollfree-models.json");
    let (shell, option) = match target.places.system() {
        System::Windows => ("cmd", "/c"),
        _ => ("sh", "-c"),
    };
    let auth = Value::map([
        ("command", Some(shell.into())),
        ("args", Some(vec![option.into(), target.print_key().into()].into())),
        ("refresh_interval_ms", Some(KEY_REFRESH_MS.into())),
    ]);
    let changes = vec![
        Change::new(&["model"], target.model.name.as_str()),
        Change::new(&["model_provider"], ENTRY),
        Change::new(&["model_catalog_json"], catalogue.display().to_string()),
        Change::new(&["model_providers", ENTRY], provider(target, ("auth", auth))),
    ];
    vec![
        key_file(target),
        ToolFile::own(catalogue, models(target)),
        ToolFile::changes(home.join("config.toml"), Format::Toml, changes),
    ]
}

fn provider(target: &Target, key: (&str, Value)) -> Value {
    Value::map([
        ("name", Some("Tollfree".into())),
        ("base_url", Some(target.gateway.v1().into())),
        ("wire_api", Some("responses".into())),
        (key.0, Some(key.1)),
    ])
}

fn models(target: &Target) -> String {
    format!("{:#}\n", target.gateway.codex_models)
}

fn launch(target: &Target) -> Start {
    let catalogue = target.places.config("tollfree/codex-models.json");
    let settings = [
        ("model", toml(&target.model.name)),
        ("model_provider", toml(ENTRY)),
        ("model_catalog_json", toml(&catalogue.display().to_string())),
        ("model_providers.tollfree.name", toml("Tollfree")),
        ("model_providers.tollfree.base_url", toml(&target.gateway.v1())),
        ("model_providers.tollfree.wire_api", toml("responses")),
        ("model_providers.tollfree.env_key", toml(KEY_VARIABLE)),
    ];
    Start {
        env: vec![(KEY_VARIABLE, target.key().to_owned())],
        args: settings.into_iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]).collect(),
        files: vec![ToolFile::own(catalogue, models(target))],
    }
}

fn toml(text: &str) -> String {
    toml::Value::from(text).to_string()
}
