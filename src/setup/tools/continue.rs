//! Continue: entries of `models` in `~/.continue/config.yaml`, the key in `~/.continue/.env`. Documented: both files, the
//! fields of a model, `${{ secrets.… }}`, and `cn --config`. Observed: `cn` takes secrets from the environment, too.

use super::{Start, Tool, no_notes};
use crate::setup::{
    Change, Format, Offer, ToolFile, new_text,
    target::{KEY_VARIABLE, Target},
    value::Value,
};

pub(super) const TOOL: Tool = Tool {
    id: "continue",
    name: "Continue",
    program: "cn",
    documentation: "https://docs.continue.dev/reference",
    is_tried: true,
    files,
    launch,
    notes: no_notes,
    overriding: &[],
};

fn files(target: &Target) -> Vec<ToolFile> {
    let folder = target.places.folder("CONTINUE_GLOBAL_DIR", ".continue");
    vec![
        ToolFile::changes(folder.join(".env"), Format::Dotenv, vec![Change::new(&[KEY_VARIABLE], target.key())])
            .secret(),
        ToolFile::changes(folder.join("config.yaml"), Format::Yaml, models(target)),
    ]
}

fn models(target: &Target) -> Vec<Change> {
    let mut listed = target.listed();
    // Continue takes the first model of the file.
    listed.sort_by_key(|offer| offer.name != target.model.name);
    let entry = |offer: &Offer| Change::entry(&["models"], "name", &title(offer), model(target, offer));
    let head = [("name", "Local Config"), ("version", "1.0.0"), ("schema", "v1")];
    let head = head.map(|(field, value)| Change::new(&[field], value).unless_set());
    head.into_iter().chain(listed.into_iter().map(entry)).collect()
}

fn title(offer: &Offer) -> String {
    format!("Tollfree {}", offer.name)
}

fn model(target: &Target, offer: &Offer) -> Value {
    let abilities = [("tool_use", offer.can_call_tools), ("image_input", offer.can_see)];
    let abilities: Vec<Value> = abilities.iter().filter(|(_, can)| *can).map(|(name, _)| (*name).into()).collect();
    let sizes = Value::map([
        ("contextLength", offer.context_tokens.map(Value::from)),
        ("maxTokens", offer.output_tokens_max.map(Value::from)),
    ]);
    let has_sizes = offer.context_tokens.is_some() || offer.output_tokens_max.is_some();
    Value::map([
        ("name", Some(title(offer).into())),
        ("provider", Some("openai".into())),
        ("model", Some(offer.name.as_str().into())),
        ("apiBase", Some(target.gateway.v1().into())),
        ("apiKey", Some(format!("${{{{ secrets.{KEY_VARIABLE} }}}}").into())),
        ("capabilities", (!abilities.is_empty()).then(|| abilities.into())),
        ("defaultCompletionOptions", has_sizes.then_some(sizes)),
    ])
}

/// The program of the terminal; editors start the extension themselves.
fn launch(target: &Target) -> Start {
    let config = target.places.config("tollfree/continue.yaml");
    let text = new_text(Format::Yaml, &models(target));
    Start {
        env: vec![(KEY_VARIABLE, target.key().to_owned())],
        args: vec!["--config".to_owned(), config.display().to_string()],
        files: vec![ToolFile::own(config, text)],
    }
}
