//! Qwen Code: models of the provider `openai` in `~/.qwen/settings.json`, with the key in its `env`. Documented: all of it.

use super::{Start, Tool, no_notes};
use crate::setup::{
    Change, Format, Offer, ToolFile,
    target::{KEY_VARIABLE, Target},
    value::Value,
};

pub(super) const TOOL: Tool = Tool {
    id: "qwen-code",
    name: "Qwen Code",
    program: "qwen",
    documentation: "https://qwenlm.github.io/qwen-code-docs/en/users/configuration/model-providers",
    is_tried: true,
    files,
    launch,
    notes: no_notes,
    overriding: &["OPENAI_MODEL"],
};

fn files(target: &Target) -> Vec<ToolFile> {
    let entry = |offer: &Offer| Change::entry(&["modelProviders", "openai"], "id", &offer.name, model(target, offer));
    let mut changes: Vec<Change> = target.listed().into_iter().map(entry).collect();
    changes.extend([
        Change::new(&["security", "auth", "selectedType"], "openai"),
        Change::new(&["model", "name"], target.model.name.as_str()),
        Change::new(&["env", KEY_VARIABLE], target.key()),
    ]);
    vec![
        ToolFile::changes(target.places.folder("QWEN_HOME", ".qwen").join("settings.json"), Format::Json, changes)
            .secret(),
    ]
}

fn model(target: &Target, offer: &Offer) -> Value {
    let sampling = offer.output_tokens_max.map(|tokens| Value::map([("max_tokens", Some(tokens.into()))]));
    let modalities = offer.can_see.then(|| Value::map([("image", Some(true.into()))]));
    let generation = Value::map([
        ("contextWindowSize", offer.context_tokens.map(Value::from)),
        ("modalities", modalities),
        ("samplingParams", sampling),
    ]);
    Value::map([
        ("id", Some(offer.name.as_str().into())),
        ("name", Some(format!("Tollfree {}", offer.name).into())),
        ("envKey", Some(KEY_VARIABLE.into())),
        ("baseUrl", Some(target.gateway.v1().into())),
        ("generationConfig", Some(generation)),
    ])
}

fn launch(target: &Target) -> Start {
    Start {
        env: vec![
            ("OPENAI_BASE_URL", target.gateway.v1()),
            ("OPENAI_API_KEY", target.key().to_owned()),
            ("OPENAI_MODEL", target.model.name.clone()),
        ],
        args: vec!["--auth-type".to_owned(), "openai".to_owned()],
        ..Start::default()
    }
}
