//! What providers of the catalogue get where their form of a call differs from OpenAI's: addresses, bodies and responses.

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    fake_upstream::{FakeUpstream, answer, whole},
    http::Answer,
    recording::{FORM, form, wav},
};

async fn post(app: &TestApp, path: &str, body: &Value) -> Answer {
    let answer = Answer::of(app.request("POST", path).json(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// A response with a vector of this length for each of `count` texts.
fn vectors(length: usize, count: usize) -> String {
    let data: Vec<Value> = (0..count).map(|index| json!({ "index": index, "embedding": vec![0.5; length] })).collect();
    json!({ "data": data, "usage": { "prompt_tokens": 4 } }).to_string()
}

#[tokio::test]
async fn cloudflares_whisper_gets_json_with_the_recording_in_base64() {
    let cloudflare = FakeUpstream::start().await;
    let app = TestApp::setup().played("cloudflare", &cloudflare).start().await;
    let result = json!({
        "text": "hi there",
        "segments": [{ "start": 0.0, "end": 2.5, "text": "hi there" }],
        "transcription_info": { "language": "en", "duration": 2.5 },
    });
    cloudflare.always(whole(200, &json!({ "result": result, "success": true, "errors": [] }).to_string()));
    let fields = [
        ("model", "whisper-large-v3-turbo"),
        ("language", "en"),
        ("prompt", "Names: \"Ann\""),
        ("response_format", "srt"),
    ];
    let answer = app.post_raw("/v1/audio/transcriptions", FORM, form(&fields, &wav(4))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.text().trim(), "1\n00:00:00,000 --> 00:00:02,500\nhi there");
    let seen = &cloudflare.seen()[0];
    // Beside the compatible API, whose address ends with `/v1`.
    assert_eq!(seen.path, "/run/@cf/openai/whisper-large-v3-turbo");
    let headers = ["content-type", "authorization"].map(|name| seen.headers[name].as_str());
    assert_eq!(headers, ["application/json", "Bearer key-of-cloudflare"]);
    let expected = json!({
        "audio": BASE64.encode(&wav(4)), "task": "transcribe", "language": "en", "initial_prompt": "Names: \"Ann\"",
    });
    assert_eq!(seen.json(), expected);
    assert_eq!(seen.headers["content-length"], seen.body.len().to_string());
}

#[tokio::test]
async fn hugging_faces_pipeline_takes_inputs_and_returns_bare_arrays() {
    let face = FakeUpstream::start().await;
    let app = TestApp::setup().played("huggingface", &face).env("HF_TOKEN", "key-of-face").start().await;
    face.always(whole(200, &json!([vec![0.25; 1_024], vec![0.5; 1_024]]).to_string()));
    let answer = post(&app, "/v1/embeddings", &json!({ "model": "bge-m3", "input": ["a", "b \"c\""] })).await;
    let body = answer.json();
    assert_eq!((&body["data"][0]["embedding"][0], &body["data"][1]["embedding"][1_023]), (&json!(0.25), &json!(0.5)));
    assert!(
        body["usage"]["prompt_tokens"].as_i64().unwrap() > 0,
        "estimated, since it is not counted: {}",
        body["usage"]
    );
    let seen = &face.seen()[0];
    assert_eq!(seen.path, "/hf-inference/models/BAAI/bge-m3/pipeline/feature-extraction");
    assert_eq!(
        (seen.json(), &*seen.headers["authorization"]),
        (json!({ "inputs": ["a", "b \"c\""] }), "Bearer key-of-face")
    );
}

#[tokio::test]
async fn nvidia_gets_the_type_of_the_texts() {
    let nvidia = FakeUpstream::start().await;
    let app = TestApp::setup().played("nvidia", &nvidia).start().await;
    nvidia.always(whole(200, &vectors(2_048, 1)));
    let ask = json!({ "model": "llama-nemotron-embed-1b-v2", "input": "a" });
    let mut query = ask.clone();
    query["input_type"] = "query".into();
    for body in [&ask, &query] {
        post(&app, "/v1/embeddings", body).await;
    }
    let sent = |input_type: &str| json!({ "model": "nvidia/llama-nemotron-embed-1b-v2", "input": ["a"], "input_type": input_type });
    let seen = nvidia.seen();
    assert_eq!([seen[0].json(), seen[1].json()], [sent("passage"), sent("query")]);
    assert_eq!(seen[0].path, "/v1/embeddings");
}

#[tokio::test]
async fn codestrals_own_host_fills_in_with_its_own_key() {
    let (studio, own) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let app = TestApp::setup().played("mistral", &studio).played("codestral", &own).start().await;
    own.always(whole(200, &answer("    return 1")));
    let body = json!({ "model": "codestral/codestral-latest", "prompt": "def f():", "suffix": "f()", "max_tokens": 9 });
    let text = post(&app, "/v1/completions", &body).await.json();
    assert_eq!(text["choices"][0]["text"], "    return 1");
    let seen = &own.seen()[0];
    assert_eq!((&*seen.path, &*seen.headers["authorization"]), ("/v1/fim/completions", "Bearer key-of-codestral"));
    let expected = json!({ "model": "codestral-latest", "prompt": "def f():", "suffix": "f()", "max_tokens": 9 });
    assert_eq!(seen.json(), expected);
    // By its name alone, a model is served by both hosts; each has limits of its own.
    studio.always(whole(500, "{}"));
    let answer =
        post(&app, "/v1/fim/completions", &json!({ "model": "codestral-latest", "prompt": "a", "suffix": "b" })).await;
    assert_eq!(answer.provider(), "codestral", "{}", answer.attempts());
}
