//! The official OpenAI SDKs with the demo and with a gateway that has provider keys.

use std::{path::Path, time::Duration};

use serde_json::json;

use crate::support::{app::TestApp, eventually, process::Process, simulator::Simulator};

const MISTRAL: (&str, u32, u32) = ("mistral-embed", 128, 1024);
/// Cohere refuses calls of more texts.
const COHERE: (&str, u32, u32) = ("embed-v4.0", 96, 1536);
const PYTHON: (&str, &str) = (".venv/bin/python", "tests/sdk/python_sdk.py");
const NODE: (&str, &str) = ("node", "tests/sdk/node_sdk.mjs");
pub(super) const OPENAI_EMBEDDINGS: (&str, &str) = (".venv/bin/python", "tests/sdk/openai_embeddings.py");
pub(super) const LANGCHAIN: (&str, &str) = (".venv/bin/python", "tests/sdk/langchain_embeddings.py");
pub(super) const LLAMAINDEX: (&str, &str) = (".sdk/llamaindex/bin/python", "tests/sdk/llamaindex_embeddings.py");

/// Model names for the checks, which every simulated setup has. `many`: an embedding model, the texts that its provider takes in
/// one call, and the length of its vectors.
fn models((many, takes, length): (&str, u32, u32)) -> String {
    json!({
        "any": "free",
        "tools": ["groq/openai/gpt-oss-20b", "gemini/gemini-3.5-flash-lite", "mistral/mistral-medium-2604", "free"],
        "schema": "groq/openai/gpt-oss-120b",
        "vision": "gemini/gemini-3.5-flash-lite",
        "several": "gemini/gemini-3.1-flash-lite",
        "loose": "ollama/llama3.2",
        "metered": "groq/qwen/qwen3.8-27b",
        "embedding": "gemini-embedding-001",
        "many": many,
        "takes": takes,
        "length": length,
        "fim": "codestral-latest",
        "whisper": "whisper-large-v3-turbo",
    })
    .to_string()
}

/// Runs a script against a gateway until it has passed all its checks.
pub(super) async fn run((program, script): (&str, &str), app: &TestApp, models: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = if program.contains('/') { root.join(program) } else { program.into() };
    assert!(
        program.exists() || program.components().count() == 1,
        "{} is missing: run `make setup`",
        program.display()
    );
    let log = app.folder.path().join("sdk.log");
    let (script, url) = (root.join(script), app.url("/v1"));
    let args = [script.to_str().unwrap(), &url, models];
    let none: [(&str, &str); 0] = [];
    let mut process = Process::start("SDK", &program, &args, none, root, &log);
    let status = eventually(Duration::from_mins(4), "the SDK's checks end", async || process.ended()).await;
    let output = process.log();
    eprintln!("{output}");
    assert!(status.success() && output.contains("all checks passed"), "{output}");
}

/// The demo, as `make run` starts it on a new machine without keys and Redis.
async fn demo() -> TestApp {
    TestApp::setup().command(&["demo"]).without_env("OLLAMA_BASE_URL").start().await
}

/// A gateway with keys in its environment, which does not know that its providers are simulated.
async fn with_keys(simulator: &Simulator) -> TestApp {
    let providers = ["groq", "gemini", "mistral", "ollama", "cohere"];
    // Its 20 requests a minute are left to embeddings.
    let chats = ["command-a-plus-05-2026", "command-a-03-2025", "command-r7b-12-2024"];
    let off = chats.map(|id| format!("[providers.cohere.models.{id}]\nenabled = false\n"));
    let app = TestApp::setup().file(&off.concat());
    providers.iter().fold(app, |app, provider| app.simulated(simulator, provider)).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_works_with_the_demo() {
    run(PYTHON, &demo().await, &models(MISTRAL)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_works_with_the_demo() {
    run(NODE, &demo().await, &models(MISTRAL)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_works_with_keys_in_the_environment() {
    let simulator = Simulator::start().await;
    run(PYTHON, &with_keys(&simulator).await, &models(COHERE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_works_with_keys_in_the_environment() {
    let simulator = Simulator::start().await;
    run(NODE, &with_keys(&simulator).await, &models(COHERE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedding_classes_of_langchain_and_llamaindex_work() {
    let simulator = Simulator::start().await;
    let app = with_keys(&simulator).await;
    run(LANGCHAIN, &app, &models(COHERE)).await;
    run(LLAMAINDEX, &app, &models(COHERE)).await;
}
