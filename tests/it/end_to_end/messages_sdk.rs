//! The official Anthropic SDKs over the five simulated dialects.

use serde_json::json;

use super::sdk::run;
use crate::support::{
    app::TestApp,
    fake_upstream::{FakeUpstream, Step, content, role, stream_head},
    simulator::Simulator,
};

async fn passes(program: (&str, &str)) {
    let simulator = Simulator::start().await;
    let providers = ["groq", "gemini", "cerebras", "mistral", "ollama"];
    let setup = providers.iter().fold(TestApp::setup(), |app, provider| app.simulated(&simulator, provider));
    let cut = FakeUpstream::start().await;
    cut.always(vec![stream_head(), Step::Bytes(role().into()), Step::Bytes(content("half").into())]);
    let url = cut.base_url();
    // With a context of its own, so that it takes no prompt that is too long for the others.
    let cut = format!("[providers.cut]\nbase_url = \"{url}\"\n[providers.cut.models.m]\ncontext = 32768\n");
    // The dialects' minutes are short: a dialogue waits for its next turn.
    let app = setup.file(&cut).env("TOLLFREE__QUEUE__MAX_WAIT_MS", "60000").start().await;
    let models = json!({
        "any": "free",
        "dialects": [
            "groq/openai/gpt-oss-20b", "gemini/gemini-3.5-flash-lite", "cerebras/gpt-oss-120b", "mistral/mistral-medium-2604",
            "ollama/llama3.2",
        ],
        "thinks": "groq/openai/gpt-oss-120b",
        "vision": "gemini/gemini-3.5-flash-lite",
        "metered": "groq/qwen/qwen3.8-27b",
        "cut": "cut/m",
    });
    run(program, &app, &models.to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_of_anthropic_works_over_every_dialect() {
    passes((".venv/bin/python", "tests/sdk/python_messages.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_of_anthropic_works_over_every_dialect() {
    passes(("node", "tests/sdk/node_messages.mjs")).await;
}
