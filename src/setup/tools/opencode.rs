//! opencode: a provider in `~/.config/opencode/opencode.json`. Documented: the file, providers of `@ai-sdk/openai-compatible`,
//! their limits, and the variables `{file:…}` and `{env:…}`.

use super::{Start, Tool, key_file, no_notes};
use crate::setup::{
    Change, Format, Offer, ToolFile, new_text,
    target::{ENTRY, KEY_VARIABLE, Target},
    value::Value,
};

pub(super) const TOOL: Tool = Tool {
    id: "opencode",
    name: "opencode",
    program: "opencode",
    documentation: "https://opencode.ai/docs/providers",
    is_tried: true,
    files,
    launch,
    notes: no_notes,
    overriding: &["OPENCODE_CONFIG_CONTENT"],
};

/// What opencode assumes of a model without limits would be wrong, so that a cautious size is written.
const UNKNOWN_CONTEXT_TOKENS: i64 = 32_768;
const UNKNOWN_OUTPUT_TOKENS: i64 = 4_096;

fn files(target: &Target) -> Vec<ToolFile> {
    let file = target.places.config("opencode/opencode.json");
    let key = format!("{{file:{}}}", target.places.short(&target.key_file()));
    vec![key_file(target), ToolFile::changes(file, Format::Json, changes(target, key))]
}

fn changes(target: &Target, key: String) -> Vec<Change> {
    let models = target.listed().into_iter().map(|offer| (offer.name.clone(), model(offer))).collect();
    let options = Value::map([("baseURL", Some(target.gateway.v1().into())), ("apiKey", Some(key.into()))]);
    let provider = Value::map([
        ("npm", Some("@ai-sdk/openai-compatible".into())),
        ("name", Some("Tollfree".into())),
        ("options", Some(options)),
        ("models", Some(Value::Map(models))),
    ]);
    vec![
        Change::new(&["provider", ENTRY], provider),
        Change::new(&["model"], format!("{ENTRY}/{}", target.model.name)),
        Change::new(&["small_model"], format!("{ENTRY}/{}", target.small.name)),
    ]
}

fn model(offer: &Offer) -> Value {
    let limit = Value::map([
        ("context", Some(offer.context_tokens.unwrap_or(UNKNOWN_CONTEXT_TOKENS).into())),
        ("output", Some(offer.output_tokens_max.unwrap_or(UNKNOWN_OUTPUT_TOKENS).into())),
    ]);
    Value::map([
        ("name", Some(offer.name.as_str().into())),
        ("tool_call", Some(offer.can_call_tools.into())),
        ("attachment", Some(offer.can_see.into())),
        ("reasoning", Some(offer.can_reason.into())),
        ("limit", Some(limit)),
    ])
}

fn launch(target: &Target) -> Start {
    let config = new_text(Format::Json, &changes(target, format!("{{env:{KEY_VARIABLE}}}")));
    Start {
        env: vec![("OPENCODE_CONFIG_CONTENT", config), (KEY_VARIABLE, target.key().to_owned())],
        ..Start::default()
    }
}
