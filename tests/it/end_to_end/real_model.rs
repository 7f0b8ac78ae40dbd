//! A real model server, llama.cpp with a tiny model of random weights, as a provider.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::sdk;
use crate::support::{app::TestApp, eventually, http::Answer, process::Process};

struct ModelServer {
    process: Process,
    url: String,
    _folder: tempfile::TempDir,
}

impl ModelServer {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(more: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (python, script) = (root.join(".venv/bin/python"), root.join("tests/real_model/server.py"));
        assert!(python.exists(), "{} is missing: run `make setup`", python.display());
        let folder = tempfile::tempdir().unwrap();
        let mut args = vec![script.to_str().unwrap(), folder.path().to_str().unwrap()];
        args.extend(more);
        let none: [(&str, &str); 0] = [];
        let log = folder.path().join("model.log");
        let mut process = Process::start("model server", &python, &args, none, folder.path(), &log);
        let ready = eventually(Duration::from_mins(1), "the model server answers", async || {
            assert!(process.ended().is_none(), "it ended:\n{}", process.log());
            let log = process.log();
            log.lines().find_map(|line| serde_json::from_str::<Value>(line).ok())
        })
        .await;
        Self { process, url: ready["base_url"].as_str().unwrap().to_owned(), _folder: folder }
    }
}

/// Checks the form of a chat and a stream. The content of a model with random weights is arbitrary.
async fn talks(app: &TestApp, model: &str, provider: &str) {
    let body = json!({
        "model": model, "max_tokens": 12, "temperature": 0.7, "seed": 7,
        "messages": [{ "role": "system", "content": "be brief" }, { "role": "user", "content": "hi" }],
    });
    let answer = app.chat_with(&body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.provider(), provider);
    let json = answer.json();
    assert!(json["choices"][0]["message"]["content"].is_string(), "{json}");
    assert!(json["usage"]["completion_tokens"].as_i64().unwrap() <= 12);

    let finished = app.stream_with(body.clone()).await.rest().await;
    assert_eq!(finished.status, 200);
    assert!(!finished.content().is_empty() && finished.is_done() && finished.error().is_none(), "{finished:?}");
    assert!(finished.chunks().iter().all(|chunk| chunk["choices"] != json!([])), "usage was not requested");

    let mut asking = body;
    asking["stream_options"] = json!({ "include_usage": true });
    let finished = app.stream_with(asking).await.rest().await;
    let usage = finished.chunks().last().unwrap()["usage"].clone();
    assert!(
        usage["prompt_tokens"].as_i64().unwrap() > 0 && usage["completion_tokens"].as_i64().unwrap() > 0,
        "{usage}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_works_as_ollama() {
    let server = ModelServer::start().await;
    let app = TestApp::setup().env("OLLAMA_BASE_URL", &server.url).start().await;
    talks(&app, "ollama/random", "ollama").await;
    assert_eq!(app.chat("free").await.provider(), "ollama", "discovered from the server's list of models");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_works_as_a_provider_of_the_file() {
    let mut server = ModelServer::start().await;
    let file = format!(
        "[providers.lab]\nbase_url = \"{}/v1\"\n[providers.lab.models.random]\nlimits = {{ rpm = 50 }}\n\
         capabilities = [\"json_schema\", \"tools\"]\n",
        server.url
    );
    let app = TestApp::setup().file(&file).start().await;
    talks(&app, "lab/random", "lab").await;

    // The server's grammar enforces the schema even with random weights.
    let schema = json!({ "type": "object", "required": ["ok"], "additionalProperties": false,
        "properties": { "ok": { "type": "boolean" } } });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "strict": true, "schema": schema } });
    let body = json!({ "model": "lab/random", "max_tokens": 200, "response_format": format,
        "messages": [{ "role": "user", "content": "yes or no?" }] });
    let content: Value = serde_json::from_str(&app.chat_with(&body).await.content()).unwrap();
    assert!(content["ok"].is_boolean(), "{content}");

    let long = json!({ "model": "lab/random", "max_tokens": 10,
        "messages": [{ "role": "user", "content": "word ".repeat(2_000) }] });
    let refused = app.chat_with(&long).await;
    assert_eq!((refused.status, refused.error().2.as_str()), (400, "context_length_exceeded"), "{}", refused.text());

    server.process.kill();
    let gone = app.chat("lab/random").await;
    assert_eq!(gone.error().2, "upstream_error");
    assert!(gone.attempts().contains("connect"), "{}", gone.attempts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_embeds_and_completes() {
    let server = ModelServer::with(&["embed"]).await;
    let lab = |kind: &str| {
        let url = &server.url;
        format!(
            "[providers.{kind}]\nbase_url = \"{url}/v1\"\n[providers.{kind}.models.random-embed]\nkind = \"{kind}\"\nmax_inputs = 3\n"
        )
    };
    let app = TestApp::setup()
        .env("OLLAMA_BASE_URL", &server.url)
        .file(&lab("embedding"))
        .file(&lab("completion"))
        .start()
        .await;
    let embed = async |model: &str, more: Value| {
        let mut body = json!({ "model": model, "input": ["one", "two", "three", "four", "one"] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = Answer::of(app.request("POST", "/v1/embeddings").json(&body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let floats = embed("embedding/random-embed", json!({})).await;
    let vector = |at: usize| -> Vec<f64> { serde_json::from_value(floats["data"][at]["embedding"].clone()).unwrap() };
    assert_eq!(vector(0).len(), 64);
    let distance = |a: Vec<f64>, b: Vec<f64>| a.into_iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    // The fifth text is in the second call of three.
    assert!(distance(vector(0), vector(4)) < 1e-3 && distance(vector(0), vector(1)) > 1e-2, "{floats}");
    assert!(floats["usage"]["prompt_tokens"].as_i64().unwrap() > 10, "{}", floats["usage"]);
    let base64 = embed("ollama/random-embed", json!({ "encoding_format": "base64" })).await;
    assert_eq!(base64["data"][4]["embedding"].as_str().unwrap().len(), (64_usize * 4).div_ceil(3) * 4);

    // Texts are embedded as real clients do it, three in a call.
    let models = json!({ "many": "embedding/random-embed", "length": 64 }).to_string();
    for script in [sdk::OPENAI_EMBEDDINGS, sdk::LANGCHAIN, sdk::LLAMAINDEX] {
        sdk::run(script, &app, &models).await;
    }

    let body = json!({ "model": "completion/random-embed", "prompt": "hello", "max_tokens": 4 });
    let answer = Answer::of(app.request("POST", "/v1/completions").json(&body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!((&answer["object"], &answer["usage"]["completion_tokens"]), (&json!("text_completion"), &json!(4)));
}
