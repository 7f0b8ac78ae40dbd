//! goose: a provider file in `~/.config/goose/custom_providers/`, and the choice of it in `config.yaml`. Documented: both, and
//! that keys come from the environment or from the keyring, never from these files.

use super::{Start, Tool};
use crate::setup::{
    Change, Format, Offer, ToolFile,
    target::{ENTRY, KEY_VARIABLE, System, Target},
    value::Value,
};

pub(super) const TOOL: Tool = Tool {
    id: "goose",
    name: "goose",
    program: "goose",
    documentation: "https://goose-docs.ai/docs/guides/config-files",
    is_tried: false,
    files,
    launch,
    notes,
    overriding: &["GOOSE_PROVIDER", "GOOSE_MODEL"],
};

fn files(target: &Target) -> Vec<ToolFile> {
    let folder = match target.places.system() {
        System::Windows => target.places.app_data("Block/goose/config"),
        _ => target.places.config("goose"),
    };
    let models: Vec<Value> = target.listed().into_iter().map(model).collect();
    let provider = Value::map([
        ("name", Some(ENTRY.into())),
        ("engine", Some("openai".into())),
        ("display_name", Some("Tollfree".into())),
        ("description", Some("The shared gateway".into())),
        ("api_key_env", Some(KEY_VARIABLE.into())),
        ("base_url", Some(format!("{}/chat/completions", target.gateway.v1()).into())),
        ("models", Some(models.into())),
        ("supports_streaming", Some(true.into())),
    ]);
    let chosen = Value::map([
        ("enabled", Some(true.into())),
        ("model", Some(target.model.name.as_str().into())),
        ("configured", Some(true.into())),
    ]);
    let Value::Map(provider) = provider else { return Vec::new() };
    let provider = provider.into_iter().map(|(name, value)| Change::new(&[&name], value)).collect();
    vec![
        ToolFile::changes(folder.join("custom_providers/tollfree.json"), Format::Json, provider),
        ToolFile::changes(
            folder.join("config.yaml"),
            Format::Yaml,
            vec![Change::new(&["active_provider"], ENTRY), Change::new(&["providers", ENTRY], chosen)],
        ),
    ]
}

fn model(offer: &Offer) -> Value {
    Value::map([
        ("name", Some(offer.name.as_str().into())),
        ("context_limit", Some(offer.context_tokens.unwrap_or(UNKNOWN_CONTEXT_TOKENS).into())),
    ])
}

/// goose needs a number.
const UNKNOWN_CONTEXT_TOKENS: i64 = 32_768;

fn launch(target: &Target) -> Start {
    let mut env = vec![
        ("GOOSE_PROVIDER", "openai".to_owned()),
        ("GOOSE_MODEL", target.model.name.clone()),
        ("OPENAI_HOST", target.gateway.url.clone()),
        ("OPENAI_BASE_PATH", "v1/chat/completions".to_owned()),
        ("OPENAI_API_KEY", target.key().to_owned()),
    ];
    env.extend(target.model.context_tokens.map(|tokens| ("GOOSE_CONTEXT_LIMIT", tokens.to_string())));
    Start { env, ..Start::default() }
}

fn notes(_: &Target) -> Vec<String> {
    vec![format!(
        "goose takes keys from the keyring or the environment only: set {KEY_VARIABLE} in the shell that starts it, or start it \
         with `tollfree launch goose`"
    )]
}
