//! `GET /v1/models?client_version=…`: the models in the form that Codex reads as its catalogue.

use std::{collections::HashSet, sync::Arc};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    catalog::{Catalog, MetaModel},
    domain::{Candidate, Capabilities, Client, ModelKind, PoolSnapshot},
};

/// What Codex sends as the instructions of a model that it does not know.
const INSTRUCTIONS: &str = include_str!("codex_instructions.md");
/// The efforts that Codex knows, each with the text that it shows.
const EFFORTS: [(&str, &str); 6] = [
    ("none", "No reasoning"),
    ("minimal", "Hardly any reasoning"),
    ("low", "Little reasoning, fast answers"),
    ("medium", "Balanced"),
    ("high", "Much reasoning, slower answers"),
    ("xhigh", "As much reasoning as the model can"),
];
/// The efforts of models that state none of their own. Other models get the nearest that they know.
const COMMON_EFFORTS: [&str; 3] = ["low", "medium", "high"];
/// Share of the window at which Codex compacts a conversation. The rest is for the answer and for tools.
const COMPACT_PERCENT: i64 = 80;
/// Context of a model of which none is known.
const UNKNOWN_CONTEXT: i64 = 32_768;
/// Tokens of a tool's output that Codex keeps.
const TOOL_OUTPUT_TOKENS: i64 = 10_000;

#[derive(Serialize)]
pub(crate) struct CodexModels {
    models: Vec<Value>,
}

/// A model as far as an agent needs to know it.
struct Offer {
    name: String,
    description: String,
    context: i64,
    sees: bool,
    efforts: Vec<&'static str>,
}

/// The models that this client may use and that can call tools: meta-models first.
pub(crate) fn list(catalog: &Catalog, snapshot: &PoolSnapshot, client: &Client) -> CodexModels {
    let metas = catalog.metas.iter().filter_map(|meta| meta_offer(meta, snapshot, client));
    let mut seen = HashSet::new();
    let candidates = catalog.candidates.iter().filter(|c| client.may_use(c) && snapshot.is_enabled(c) && can_act(c));
    let models = candidates.filter(|c| seen.insert(&*c.name)).map(|c| offer(&c.name, "", &[c], snapshot));
    CodexModels { models: metas.chain(models).enumerate().map(|(at, offer)| entry(at, &offer)).collect() }
}

fn can_act(candidate: &Candidate) -> bool {
    candidate.model.kind == ModelKind::Chat && candidate.model.may_do().has(Capabilities::TOOLS)
}

/// `None` if no member that this client may use can call tools.
fn meta_offer(meta: &MetaModel, snapshot: &PoolSnapshot, client: &Client) -> Option<Offer> {
    let allows_all = client.allows(&meta.name);
    let usable = |c: &&Arc<Candidate>| (allows_all || client.may_use(c)) && snapshot.is_enabled(c) && can_act(c);
    let members: Vec<&Arc<Candidate>> = meta.members.iter().filter(usable).collect();
    let models = members.iter().map(|c| &*c.name).collect::<HashSet<_>>().len();
    let about = format!("{models} {} on the shared budget. ", if models == 1 { "model" } else { "models" });
    (!members.is_empty()).then(|| offer(&meta.name, &about, &members, snapshot))
}

/// What all members can do together: a conversation must fit into the smallest window, since any of them may continue it.
fn offer(name: &str, about: &str, members: &[&Arc<Candidate>], snapshot: &PoolSnapshot) -> Offer {
    let left = members.iter().map(|c| snapshot.headroom(c)).fold(0.0, f64::max);
    #[expect(clippy::cast_possible_truncation, reason = "a share of a hundred")]
    let left = (left * 100.0).floor() as i64;
    let can = |capability| members.iter().any(|c| c.model.capabilities.has(capability));
    let mut efforts = Vec::new();
    if can(Capabilities::REASONING) {
        let own: &[String] = if let [only] = members { &only.model.reasoning_efforts } else { &[] };
        let known = EFFORTS.iter().map(|(effort, _)| *effort);
        efforts = known.filter(|effort| own.iter().any(|own| own == effort)).collect();
        if efforts.is_empty() {
            efforts = COMMON_EFFORTS.to_vec();
        }
    }
    Offer {
        name: name.to_owned(),
        description: format!("{about}{left} % of the budget left."),
        context: members
            .iter()
            .map(|c| c.model.context)
            .filter(|context| *context > 0)
            .min()
            .unwrap_or(UNKNOWN_CONTEXT),
        sees: can(Capabilities::VISION) || can(Capabilities::VISION_BASE64),
        efforts,
    }
}

fn entry(priority: usize, offer: &Offer) -> Value {
    let Offer { name, description, context, sees, efforts } = offer;
    let reasons = !efforts.is_empty();
    let default = if efforts.contains(&"medium") { Some("medium") } else { efforts.last().copied() };
    let levels = EFFORTS.iter().filter(|(effort, _)| efforts.contains(effort));
    let levels: Vec<Value> =
        levels.map(|(effort, description)| json!({ "effort": effort, "description": description })).collect();
    json!({
        "slug": name,
        "display_name": name,
        "description": description,
        "context_window": context,
        "max_context_window": context,
        "effective_context_window_percent": 95,
        "auto_compact_token_limit": context * COMPACT_PERCENT / 100,
        "default_reasoning_level": default,
        "supported_reasoning_levels": levels,
        "supports_reasoning_summaries": reasons,
        "supports_reasoning_summary_parameter": reasons,
        "default_reasoning_summary": if reasons { "auto" } else { "none" },
        "shell_type": "unified_exec",
        "visibility": "list",
        "supported_in_api": true,
        "priority": priority,
        "base_instructions": INSTRUCTIONS,
        "model_messages": null,
        "apply_patch_tool_type": "freeform",
        "web_search_tool_type": "text",
        "truncation_policy": { "mode": "tokens", "limit": TOOL_OUTPUT_TOKENS },
        "supports_parallel_tool_calls": true,
        "input_modalities": if *sees { vec!["text", "image"] } else { vec!["text"] },
        "supports_image_detail_original": false,
        "support_verbosity": false,
        "default_verbosity": null,
        "supports_search_tool": false,
        "experimental_supported_tools": [],
        "use_responses_lite": false,
        "tool_mode": null,
        "service_tiers": [],
        "default_service_tier": null,
        "additional_speed_tiers": [],
        "multi_agent_version": null,
        "auto_review_model_override": null,
        "availability_nux": null,
        "upgrade": null,
        "comp_hash": null,
    })
}
