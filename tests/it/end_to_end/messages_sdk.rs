//! The official Anthropic SDKs over the five simulated dialects.

use super::dialects::Dialects;

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_of_anthropic_works_over_every_dialect() {
    Dialects::start().await.pass((".venv/bin/python", "tests/sdk/python_messages.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_of_anthropic_works_over_every_dialect() {
    Dialects::start().await.pass(("node", "tests/sdk/node_messages.mjs")).await;
}
