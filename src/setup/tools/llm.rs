//! `llm`: entries of `extra-openai-models.yaml`, the key in `keys.json`, the model in `default_model.txt`. Documented: the
//! first two and `LLM_USER_PATH`. Observed: `default_model.txt`, which `llm models default` writes; and that a model whose key is
//! not in `keys.json` takes `OPENAI_API_KEY`.

use super::{Start, Tool, no_notes};
use crate::setup::{
    Change, Format, Offer, ToolFile, new_text,
    target::{ENTRY, System, Target},
    value::Value,
};

pub(super) const TOOL: Tool = Tool {
    id: "llm",
    name: "llm",
    program: "llm",
    documentation: "https://llm.datasette.io/en/stable/other-models.html",
    is_tried: true,
    files,
    launch,
    notes: no_notes,
    overriding: &["LLM_MODEL"],
};

const MODELS: &str = "extra-openai-models.yaml";

fn files(target: &Target) -> Vec<ToolFile> {
    let default = match target.places.system() {
        System::Linux => target.places.config("io.datasette.llm"),
        System::Mac => target.places.home("Library/Application Support/io.datasette.llm"),
        System::Windows => target.places.app_data("io.datasette.llm"),
    };
    let folder = target.places.var("LLM_USER_PATH").map_or(default, Into::into);
    let key = vec![Change::new(&[ENTRY], target.key())];
    vec![
        ToolFile::changes(folder.join("keys.json"), Format::Json, key).secret(),
        ToolFile::changes(folder.join(MODELS), Format::Yaml, models(target)),
        ToolFile::whole(folder.join("default_model.txt"), model_id(&target.model)),
    ]
}

fn models(target: &Target) -> Vec<Change> {
    let entry = |offer: &Offer| Change::entry(&[], "model_id", &model_id(offer), model(target, offer));
    target.listed().into_iter().map(entry).collect()
}

/// A name of its own, because `llm` has models of other servers, too.
fn model_id(offer: &Offer) -> String {
    format!("{ENTRY}/{}", offer.name)
}

fn model(target: &Target, offer: &Offer) -> Value {
    Value::map([
        ("model_id", Some(model_id(offer).into())),
        ("model_name", Some(offer.name.as_str().into())),
        ("api_base", Some(target.gateway.v1().into())),
        ("api_key_name", Some(ENTRY.into())),
        ("supports_tools", Some(offer.can_call_tools.into())),
        ("supports_schema", Some(offer.can_keep_schema.into())),
        ("vision", Some(offer.can_see.into())),
    ])
}

/// In a folder of its own: a key in the person's `keys.json` would win over the environment.
fn launch(target: &Target) -> Start {
    let folder = target.places.config("tollfree/llm");
    let text = new_text(Format::Yaml, &models(target));
    Start {
        env: vec![
            ("LLM_USER_PATH", folder.display().to_string()),
            ("LLM_MODEL", model_id(&target.model)),
            ("OPENAI_API_KEY", target.key().to_owned()),
        ],
        files: vec![ToolFile::own(folder.join(MODELS), text)],
        ..Start::default()
    }
}
