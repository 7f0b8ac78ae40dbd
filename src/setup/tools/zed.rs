//! Zed: a provider of `language_models.openai_compatible` in its `settings.json`. Documented: the fields, and that keys come
//! from the keychain or from a variable named after the provider, never from this file.

use super::{Start, Tool};
use crate::setup::{
    Change, Format, Offer, ToolFile,
    target::{System, Target},
    value::Value,
};

pub(super) const TOOL: Tool = Tool {
    id: "zed",
    name: "Zed",
    program: "zed",
    documentation: "https://zed.dev/docs/ai/use-api-access",
    is_tried: false,
    files,
    launch,
    notes,
    overriding: &[],
};

/// Not `tollfree`: its variable would be the gateway's own `TOLLFREE_API_KEY`.
const PROVIDER: &str = "tollfree-gateway";
const VARIABLE: &str = "TOLLFREE_GATEWAY_API_KEY";
/// Zed needs a number.
const UNKNOWN_CONTEXT_TOKENS: i64 = 32_768;

fn files(target: &Target) -> Vec<ToolFile> {
    let file = match target.places.system() {
        System::Windows => target.places.app_data("Zed/settings.json"),
        _ => target.places.config("zed/settings.json"),
    };
    let models: Vec<Value> = target.listed().into_iter().map(model).collect();
    let provider =
        Value::map([("api_url", Some(target.gateway.v1().into())), ("available_models", Some(models.into()))]);
    let chosen = Value::map([("provider", Some(PROVIDER.into())), ("model", Some(target.model.name.as_str().into()))]);
    let changes = vec![
        Change::new(&["language_models", "openai_compatible", PROVIDER], provider),
        Change::new(&["agent", "default_model"], chosen),
    ];
    vec![ToolFile::changes(file, Format::Json, changes)]
}

fn model(offer: &Offer) -> Value {
    let capabilities = Value::map([
        ("tools", Some(offer.can_call_tools.into())),
        ("images", Some(offer.can_see.into())),
        ("parallel_tool_calls", Some(false.into())),
        ("prompt_cache_key", Some(false.into())),
        ("chat_completions", Some(true.into())),
    ]);
    Value::map([
        ("name", Some(offer.name.as_str().into())),
        ("display_name", Some(format!("Tollfree {}", offer.name).into())),
        ("max_tokens", Some(offer.context_tokens.unwrap_or(UNKNOWN_CONTEXT_TOKENS).into())),
        ("max_output_tokens", offer.output_tokens_max.map(Value::from)),
        ("capabilities", Some(capabilities)),
    ])
}

/// The files hold no secret, so that starting Zed may write them.
fn launch(target: &Target) -> Start {
    Start { env: vec![(VARIABLE, target.key().to_owned())], args: Vec::new(), files: files(target) }
}

fn notes(_: &Target) -> Vec<String> {
    vec![format!(
        "Zed takes keys from the keychain or the environment only: enter the key in Settings → AI → LLM Providers, or start it \
         with `tollfree launch zed`, which sets {VARIABLE}"
    )]
}
