//! Crush: a provider in `~/.config/crush/crush.json`, which newer versions read beside `crushrc`. Documented: the file, the
//! fields, that `$(…)` in a key runs a command and `$NAME` stands for a variable, and `CRUSH_GLOBAL_CONFIG`.

use super::{Start, Tool, key_file, no_notes};
use crate::setup::{
    Change, Format, Offer, ToolFile, new_text,
    target::{ENTRY, KEY_VARIABLE, Target},
    value::Value,
};

pub(super) const TOOL: Tool = Tool {
    id: "crush",
    name: "Crush",
    program: "crush",
    documentation: "https://github.com/charmbracelet/crush/tree/main/docs/config",
    is_tried: false,
    files,
    launch,
    notes: no_notes,
    overriding: &[],
};

/// Crush needs numbers.
const UNKNOWN_CONTEXT_TOKENS: i64 = 32_768;
const UNKNOWN_OUTPUT_TOKENS: i64 = 4_096;

fn files(target: &Target) -> Vec<ToolFile> {
    let changes = changes(target, format!("$({})", target.print_key()));
    let folder = target.places.var("CRUSH_GLOBAL_CONFIG").map_or_else(|| target.places.config("crush"), Into::into);
    vec![key_file(target), ToolFile::changes(folder.join("crush.json"), Format::Json, changes)]
}

fn changes(target: &Target, key: String) -> Vec<Change> {
    let models: Vec<Value> = target.listed().into_iter().map(model).collect();
    let provider = Value::map([
        ("name", Some("Tollfree".into())),
        ("type", Some("openai-compat".into())),
        ("base_url", Some(target.gateway.v1().into())),
        ("api_key", Some(key.into())),
        ("models", Some(models.into())),
    ]);
    let chosen =
        |offer: &Offer| Value::map([("provider", Some(ENTRY.into())), ("model", Some(offer.name.as_str().into()))]);
    vec![
        Change::new(&["providers", ENTRY], provider),
        Change::new(&["models", "large"], chosen(&target.model)),
        Change::new(&["models", "small"], chosen(&target.small)),
    ]
}

fn model(offer: &Offer) -> Value {
    Value::map([
        ("id", Some(offer.name.as_str().into())),
        ("name", Some(offer.name.as_str().into())),
        ("context_window", Some(offer.context_tokens.unwrap_or(UNKNOWN_CONTEXT_TOKENS).into())),
        ("default_max_tokens", Some(offer.output_tokens_max.unwrap_or(UNKNOWN_OUTPUT_TOKENS).into())),
        ("can_reason", Some(offer.can_reason.into())),
        ("supports_attachments", Some(offer.can_see.into())),
    ])
}

/// With a folder of settings of its own.
fn launch(target: &Target) -> Start {
    let folder = target.places.config("tollfree/crush");
    let text = new_text(Format::Json, &changes(target, format!("${KEY_VARIABLE}")));
    Start {
        env: vec![("CRUSH_GLOBAL_CONFIG", folder.display().to_string()), (KEY_VARIABLE, target.key().to_owned())],
        files: vec![ToolFile::own(folder.join("crush.json"), text)],
        ..Start::default()
    }
}
