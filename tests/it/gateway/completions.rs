//! Completions of prompts: over simulated providers with an endpoint for them, and over models that only chat.

use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    fake_upstream::{FakeUpstream, stream, whole},
    http::{Answer, Finished, Stream},
    simulator::Simulator,
};

async fn complete(app: &TestApp, path: &str, body: &Value) -> Answer {
    Answer::of(app.request("POST", path).json(body)).await
}

async fn streamed(app: &TestApp, path: &str, mut body: Value) -> Finished {
    body["stream"] = true.into();
    Stream::of(app.request("POST", path).json(&body)).await.rest().await
}

/// The texts of a stream's choices.
fn texts(finished: &Finished) -> String {
    let chunks = finished.chunks();
    let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
    choices.map(|choice| choice["text"].as_str().unwrap()).collect()
}

async fn simulated() -> (Simulator, TestApp) {
    let simulator = Simulator::with(json!({ "base": "unlimited" })).await;
    let providers = ["mistral", "ollama", "groq"];
    let setup = providers.iter().fold(TestApp::setup(), |app, provider| app.simulated(&simulator, provider));
    let app = setup.start().await;
    (simulator, app)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_and_a_suffix_are_completed_in_both_forms() {
    let (simulator, app) = simulated().await;
    let body = json!({ "model": "codestral-latest", "prompt": "def f(n):", "suffix": "return n", "max_tokens": 40 });
    let text = complete(&app, "/v1/completions", &body).await;
    assert_eq!(text.status, 200, "{}", text.text());
    let whole = text.json();
    assert_eq!((&whole["object"], text.provider()), (&json!("text_completion"), "mistral"));
    let content = whole["choices"][0]["text"].as_str().unwrap().to_owned();
    assert!(!content.is_empty() && whole["usage"]["total_tokens"].as_i64().unwrap() > 0, "{whole}");
    let fim = complete(&app, "/v1/fim/completions", &body).await.json();
    assert_eq!(fim["choices"][0]["message"]["content"], json!(content));

    let finished = streamed(&app, "/v1/completions", body.clone()).await;
    assert_eq!((texts(&finished), finished.is_done()), (content.clone(), true), "{finished:?}");
    let finished = streamed(&app, "/v1/fim/completions", body).await;
    assert_eq!((finished.content(), finished.is_done()), (content, true), "{finished:?}");
    let audit = simulator.audit().await;
    let tally = &audit["providers"]["mistral"]["accounts"]["main"]["codestral-2508"]["tally"];
    assert_eq!(tally["admitted"], 4, "{tally}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_model_answers_a_prompt_and_refuses_a_suffix() {
    let (_simulator, app) = simulated().await;
    let body = json!({ "model": "groq/openai/gpt-oss-20b", "prompt": "say it [[tokens=9]]", "echo": true });
    let answer = complete(&app, "/v1/completions", &body).await;
    let text = answer.json()["choices"][0]["text"].as_str().unwrap_or_default().to_owned();
    assert!(text.starts_with("say it [[tokens=9]]") && text.len() > 20, "{}", answer.text());
    let finished = streamed(&app, "/v1/completions", body).await;
    assert_eq!(texts(&finished), text);
    let between = json!({ "model": "groq/openai/gpt-oss-20b", "prompt": "a", "suffix": "b" });
    let refused = complete(&app, "/v1/completions", &between).await;
    let (status, _, code) = refused.error();
    assert_eq!((status, &*code, &refused.json()["error"]["param"]), (400, "unsupported_by_models", &json!("suffix")));
    let wrong = complete(&app, "/v1/completions", &json!({ "model": "free", "prompt": [1, 2] })).await;
    assert_eq!((wrong.status, &wrong.json()["error"]["param"]), (400, &json!("prompt")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_texts_in_its_choices_gets_the_prompt_itself() {
    let (_simulator, app) = simulated().await;
    let body = json!({ "model": "ollama/llama3.2", "prompt": "go on [[tokens=5]]" });
    let answer = complete(&app, "/v1/completions", &body).await;
    let text = answer.json()["choices"][0]["text"].as_str().unwrap_or_default().to_owned();
    assert!(!text.is_empty(), "{}", answer.text());
    assert_eq!(texts(&streamed(&app, "/v1/completions", body).await), text);

    let lab = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &lab).start().await;
    lab.then(whole(200, r#"{"id":"c","choices":[{"index":0,"text":"x = 1","finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":3}}"#));
    let body =
        json!({ "model": "lab/m", "prompt": "<PRE> a <SUF> b <MID>", "suffix": "end", "stop": ["\n"], "top_k": 4 });
    let answer = complete(&app, "/v1/completions", &body).await.json();
    assert_eq!((&answer["choices"][0]["text"], &answer["usage"]["total_tokens"]), (&json!("x = 1"), &json!(5)));
    let sent = lab.seen()[0].json();
    let expected =
        json!({ "model": "m", "prompt": "<PRE> a <SUF> b <MID>", "suffix": "end", "stop": ["\n"], "top_k": 4 });
    assert_eq!(sent, expected);
    let events = [
        "data: {\"choices\":[{\"index\":0,\"text\":\"x =\",\"finish_reason\":null}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"text\":\" 1\",\"finish_reason\":\"stop\"}]}\n\n",
        "data: [DONE]\n\n",
    ];
    lab.then(stream(events.map(str::to_owned)));
    assert_eq!(texts(&streamed(&app, "/v1/completions", body).await), "x = 1");
}
