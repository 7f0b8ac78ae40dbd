//! The Responses of the official OpenAI SDKs, and the Open Responses templates, over every dialect of the providers.

use serde_json::json;

use super::{
    dialects::{Dialects, gateway},
    sdk::run,
};
use crate::support::simulator::Simulator;

const TEMPLATES: (&str, &str) = (".venv/bin/python", "tests/sdk/open_responses.py");

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_gets_responses_from_every_dialect() {
    Dialects::start().await.pass((".venv/bin/python", "tests/sdk/python_responses.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_gets_responses_from_every_dialect() {
    Dialects::start().await.pass(("node", "tests/sdk/node_responses.mjs")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_templates_of_open_responses_pass() {
    let simulator = Simulator::with(json!({ "base": "unlimited" })).await;
    let app = gateway(&simulator).start().await;
    for model in ["free", "gemini/gemini-3.5-flash-lite", "mistral/mistral-medium-2604"] {
        run(TEMPLATES, &app, model).await;
    }
}
