//! Embeddings over simulated and scripted providers: splitting, repeating, families, formats, and mistakes.

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    fake_upstream::{FakeUpstream, whole},
    http::Answer,
    simulator::Simulator,
};

async fn embed(app: &TestApp, body: &Value) -> Answer {
    Answer::of(app.request("POST", "/v1/embeddings").json(body)).await
}

/// Message and parameter of a refusal.
fn refusal(answer: &Answer) -> (u16, String, Value) {
    let body = answer.json();
    (answer.status, body["error"]["message"].as_str().unwrap_or_default().to_owned(), body["error"]["param"].clone())
}

fn vectors(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let data = body["data"].as_array().unwrap();
    assert!(data.iter().enumerate().all(|(at, item)| item["index"] == at), "{body}");
    data.iter().map(|item| item["embedding"].clone()).collect()
}

/// A provider's response with one vector of these numbers for each of `count` texts.
fn of(number: f64, length: usize, count: usize) -> String {
    let data: Vec<Value> =
        (0..count).map(|index| json!({ "index": index, "embedding": vec![number; length] })).collect();
    json!({ "object": "list", "data": data, "usage": { "prompt_tokens": 5, "total_tokens": 5 } }).to_string()
}

/// Two servers with the same model, each with its own scripted provider, and a meta-model of both if they are of one family.
async fn twins(file: &str) -> (TestApp, FakeUpstream, FakeUpstream) {
    let (a, b) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let setup = [("a", &a), ("b", &b)].into_iter().fold(TestApp::setup(), |setup, (name, upstream)| {
        let url = upstream.base_url();
        setup.file(&format!("[providers.{name}]\nbase_url = \"{url}\"\n[providers.{name}.models.e-embed]\n{file}\n"))
    });
    let order = "[models.both]\nmembers = [\"a/e-embed\", \"b/e-embed\"]\nstrategy = \"listed\"\n";
    let setup = if file.contains("family") { setup.file(order) } else { setup };
    (setup.start().await, a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_split_and_come_back_in_order_with_their_usage() {
    let simulator = Simulator::with(json!({ "base": "unlimited" })).await;
    let app = TestApp::setup().simulated(&simulator, "gemini").simulated(&simulator, "mistral").start().await;
    let texts: Vec<String> = (0..250).map(|n| format!("text number {n}")).collect();
    let model = "gemini-embedding-001";
    let answer = embed(&app, &json!({ "model": model, "input": texts, "dimensions": 128 })).await;
    let all = vectors(&answer);
    assert_eq!((all.len(), all[0].as_array().unwrap().len()), (250, 128));
    let tokens: usize = texts.iter().map(|text| text.len().div_ceil(4)).sum();
    let body = answer.json();
    assert_eq!(
        (&body["usage"]["prompt_tokens"], &body["model"]),
        (&json!(tokens), &json!("gemini/gemini-embedding-001"))
    );
    let attempts = answer.header("x-tollfree-attempts").unwrap();
    assert_eq!(attempts.matches("gemini/gemini-embedding-001;ok").count(), 3, "{attempts}");
    // A text has the vector that it has alone.
    let alone = embed(&app, &json!({ "model": model, "input": texts[249], "dimensions": 128 })).await;
    assert_eq!(vectors(&alone)[0], all[249]);
    let audit = simulator.audit().await;
    let tally = &audit["providers"]["gemini"]["accounts"]["main"][model]["tally"];
    assert_eq!(tally["admitted"], 4, "{audit}");

    let base64 =
        embed(&app, &json!({ "model": model, "input": texts[0], "dimensions": 128, "encoding_format": "base64" }))
            .await;
    let bytes = BASE64.decode(vectors(&base64)[0].as_str().unwrap().as_bytes()).unwrap();
    let numbers: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect();
    let expected: Vec<f32> = serde_json::from_value(all[0].clone()).unwrap();
    assert_eq!(numbers, expected);

    let cut = embed(&app, &json!({ "model": "mistral-embed", "input": "a", "dimensions": 512 })).await;
    let (status, message, param) = refusal(&cut);
    assert!(status == 400 && param == "dimensions" && message.contains("1024 dimensions, and not 512"), "{message}");
    assert_eq!(vectors(&embed(&app, &json!({ "model": "mistral-embed", "input": ["a"] })).await).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_are_never_mixed() {
    let simulator = Simulator::with(json!({ "base": "unlimited" })).await;
    let app = TestApp::setup().simulated(&simulator, "gemini").simulated(&simulator, "ollama").start().await;
    let (status, message, _) = refusal(&app.chat("gemini/gemini-embedding-001").await);
    assert!(status == 400 && message.contains("an embedding model: use `POST /v1/embeddings`"), "{message}");
    for chat in ["free", "gemini/gemini-3.5-flash-lite"] {
        let (status, message, _) = refusal(&embed(&app, &json!({ "model": chat, "input": "a" })).await);
        assert!(status == 400 && message.contains("a chat model: use `POST /v1/chat/completions`"), "{message}");
    }
    let found = embed(&app, &json!({ "model": "nomic-embed-text", "input": "a" })).await;
    assert_eq!(vectors(&found)[0].as_array().unwrap().len(), 768, "discovered from the server's list of models");
    let (status, message, param) =
        refusal(&embed(&app, &json!({ "model": "nomic-embed-text", "input": [[1, 2]] })).await);
    assert!(status == 400 && param == "input" && message.contains("tokens"), "{message}");
    let cards = app.get("/v1/models").await.json();
    let kind = |id: &str| {
        let cards = cards["data"].as_array().unwrap();
        cards.iter().find(|card| card["id"] == id).unwrap_or_else(|| panic!("no {id}"))["kind"].clone()
    };
    assert_eq!((kind("gemini/gemini-embedding-001"), kind("free")), (json!("embedding"), json!("chat")));
}

#[tokio::test]
async fn a_part_that_fails_is_repeated_alone_at_a_model_of_the_same_family() {
    let (app, a, b) = twins("family = \"e\"\ndimensions = 2\nmax_inputs = 2").await;
    // The first call of two works at `a`, whichever of them that is.
    a.then(whole(200, &of(0.25, 2, 2)));
    a.always(whole(500, "{}"));
    b.always(whole(200, &of(0.5, 2, 2)));
    let answer = embed(&app, &json!({ "model": "both", "input": ["1", "2", "3", "4"] })).await;
    let vectors = vectors(&answer);
    let inputs = |upstream: &FakeUpstream| -> Vec<Value> {
        upstream.seen().iter().map(|seen| seen.json()["input"].clone()).collect()
    };
    let (at_a, at_b) = (inputs(&a), inputs(&b));
    assert_eq!((at_a.len(), at_b.len()), (2, 1), "{at_a:?} {at_b:?}");
    assert_eq!(at_b[0], at_a[1], "only what failed is sent again");
    let mut parts = at_a.clone();
    parts.sort_by_key(Value::to_string);
    assert_eq!(parts, [json!(["1", "2"]), json!(["3", "4"])]);
    let (kept, moved) = (json!([0.25, 0.25]), json!([0.5, 0.5]));
    let expected = if at_a[0] == parts[0] { [&kept, &kept, &moved, &moved] } else { [&moved, &moved, &kept, &kept] };
    assert_eq!(vectors.iter().collect::<Vec<_>>(), expected);
    assert_eq!(answer.json()["usage"]["prompt_tokens"], 10);
}

#[tokio::test]
async fn a_server_that_changes_its_length_between_two_calls_gives_no_vectors() {
    let lab = FakeUpstream::start().await;
    let url = lab.base_url();
    let file = format!("[providers.a]\nbase_url = \"{url}\"\n[providers.a.models.e-embed]\nmax_inputs = 1\n");
    let app = TestApp::setup().file(&file).start().await;
    lab.then(whole(200, &of(0.5, 2, 1))).then(whole(200, &of(0.5, 3, 1)));
    let answer = embed(&app, &json!({ "model": "e-embed", "input": ["1", "2"] })).await;
    assert_eq!((answer.status, lab.seen().len()), (502, 2));
    assert!(answer.text().contains("different lengths"), "{}", answer.text());
    lab.always(whole(200, &of(0.5, 3, 1)));
    assert_eq!(vectors(&embed(&app, &json!({ "model": "e-embed", "input": ["1", "2"] })).await).len(), 2);
}

#[tokio::test]
async fn models_that_are_not_known_to_be_the_same_are_never_crossed() {
    let (app, a, b) = twins("").await;
    let (status, message, param) = refusal(&embed(&app, &json!({ "model": "e-embed", "input": "x" })).await);
    assert!(status == 400 && param == "model" && message.contains("`a/e-embed`, `b/e-embed`"), "{message}");
    a.always(whole(500, "{}"));
    b.always(whole(200, &of(0.5, 2, 1)));
    let answer = embed(&app, &json!({ "model": "a/e-embed", "input": "x" })).await;
    assert_eq!((answer.status, b.seen().len()), (502, 0));
}

#[tokio::test]
async fn a_vector_of_another_length_is_a_failure_of_its_provider() {
    let (app, a, b) = twins("family = \"e\"\ndimensions = 2").await;
    for upstream in [&a, &b] {
        upstream.always(whole(200, &of(0.5, 3, 1)));
    }
    let answer = embed(&app, &json!({ "model": "e-embed", "input": "x" })).await;
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("vectors of 3 numbers in place of 2"), "{}", answer.text());
}
