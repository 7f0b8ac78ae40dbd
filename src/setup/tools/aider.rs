//! aider: `~/.aider.conf.yml` and the sizes of models in `~/.aider.model.metadata.json`. Documented: both files, and that the
//! key of an OpenAI-compatible server may be in the former.

use super::{Start, Tool, no_notes};
use crate::setup::{Change, Format, Offer, ToolFile, target::Target, value::Value};

pub(super) const TOOL: Tool = Tool {
    id: "aider",
    name: "aider",
    program: "aider",
    documentation: "https://aider.chat/docs/llms/openai-compat.html",
    is_tried: true,
    files,
    launch,
    notes: no_notes,
    overriding: &["AIDER_MODEL", "AIDER_OPENAI_API_BASE", "AIDER_OPENAI_API_KEY"],
};

fn files(target: &Target) -> Vec<ToolFile> {
    let settings = vec![
        Change::new(&["model"], model_name(&target.model)),
        Change::new(&["weak-model"], model_name(&target.small)),
        Change::new(&["openai-api-base"], target.gateway.v1()),
        Change::new(&["openai-api-key"], target.key()),
    ];
    let sizes = target.listed().into_iter().map(|offer| Change::new(&[&model_name(offer)], size(offer))).collect();
    vec![
        ToolFile::changes(target.places.home(".aider.model.metadata.json"), Format::Json, sizes),
        ToolFile::changes(target.places.home(".aider.conf.yml"), Format::Yaml, settings).secret(),
    ]
}

/// The prefix chooses the OpenAI client.
fn model_name(offer: &Offer) -> String {
    format!("openai/{}", offer.name)
}

fn size(offer: &Offer) -> Value {
    Value::map([
        ("max_input_tokens", offer.context_tokens.map(Value::from)),
        ("max_output_tokens", offer.output_tokens_max.map(Value::from)),
        ("max_tokens", offer.output_tokens_max.map(Value::from)),
        ("input_cost_per_token", Some(0_i64.into())),
        ("output_cost_per_token", Some(0_i64.into())),
        ("supports_vision", Some(offer.can_see.into())),
        ("litellm_provider", Some("openai".into())),
        ("mode", Some("chat".into())),
    ])
}

fn launch(target: &Target) -> Start {
    let env = vec![
        ("AIDER_MODEL", model_name(&target.model)),
        ("AIDER_WEAK_MODEL", model_name(&target.small)),
        ("AIDER_OPENAI_API_BASE", target.gateway.v1()),
        ("AIDER_OPENAI_API_KEY", target.key().to_owned()),
    ];
    Start { env, ..Start::default() }
}
