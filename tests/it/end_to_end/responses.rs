//! The Responses of the official OpenAI SDKs, and the Open Responses templates, over every dialect of the providers.

use serde_json::json;

use super::sdk::run;
use crate::support::{
    app::{Setup, TestApp},
    fake_upstream::{FakeUpstream, Step, content, role, stream_head},
    simulator::Simulator,
};

const PYTHON: (&str, &str) = (".venv/bin/python", "tests/sdk/python_responses.py");
const NODE: (&str, &str) = ("node", "tests/sdk/node_responses.mjs");
const TEMPLATES: (&str, &str) = (".venv/bin/python", "tests/sdk/open_responses.py");

/// Model names for the checks: one model of each simulated provider, and one whose streams are always cut.
fn models() -> String {
    json!({
        "each": [
            "groq/openai/gpt-oss-20b",
            "gemini/gemini-3.5-flash-lite",
            "mistral/mistral-medium-2604",
            "cerebras/gpt-oss-120b",
            "ollama/llama3.2",
        ],
        "schema": [
            "groq/openai/gpt-oss-120b",
            "gemini/gemini-3.5-flash-lite",
            "mistral/mistral-medium-2604",
            "cerebras/gpt-oss-120b",
        ],
        "vision": ["gemini/gemini-3.5-flash-lite", "mistral/mistral-medium-2604"],
        "reasoning": "groq/openai/gpt-oss-120b",
        "loose": "ollama/llama3.2",
        "cut": "cut/m",
    })
    .to_string()
}

/// Models that run into their limits during the checks, which are about other things.
const UNLIMITED: [(&str, &str); 5] = [
    ("groq", "openai/gpt-oss-20b"),
    ("groq", "openai/gpt-oss-120b"),
    ("gemini", "gemini-3.5-flash-lite"),
    ("mistral", "mistral-medium-2604"),
    ("cerebras", "gpt-oss-120b"),
];

/// A gateway with keys of all simulated providers.
fn gateway(simulator: &Simulator) -> Setup {
    let providers = ["groq", "gemini", "mistral", "cerebras", "ollama"];
    let setup = TestApp::setup().env("TOLLFREE__RESPONSES__STORE", "1h");
    let setup = providers.iter().fold(setup, |app, provider| app.simulated(simulator, provider));
    UNLIMITED.iter().fold(setup, |app, (provider, model)| {
        let limits = ["rpm", "rph", "rpd", "tpm", "tph", "tpd"].map(|name| format!("{name} = \"none\"")).join(", ");
        app.file(&format!("[providers.{provider}.models.\"{model}\"]\nlimits = {{ {limits} }}"))
    })
}

async fn check(script: (&str, &str)) {
    let simulator = Simulator::with(json!({ "base": "unlimited" })).await;
    let cut = FakeUpstream::start().await;
    cut.always(vec![stream_head(), Step::Bytes(role().into()), Step::Bytes(content("half").into())]);
    run(script, &gateway(&simulator).lab("cut", &cut).start().await, &models()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_gets_responses_from_every_dialect() {
    check(PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_gets_responses_from_every_dialect() {
    check(NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_templates_of_open_responses_pass() {
    let simulator = Simulator::with(json!({ "base": "unlimited" })).await;
    let app = gateway(&simulator).start().await;
    for model in ["free", "gemini/gemini-3.5-flash-lite", "mistral/mistral-medium-2604"] {
        run(TEMPLATES, &app, model).await;
    }
}
