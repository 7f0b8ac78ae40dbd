//! Ranking of documents, and moderation of texts.

use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    fake_upstream::{FakeUpstream, whole},
    http::Answer,
    simulator::Simulator,
};

async fn post(app: &TestApp, path: &str, body: &Value) -> Answer {
    Answer::of(app.request("POST", path).json(body)).await
}

#[tokio::test]
async fn documents_are_ranked_at_cohere_within_its_month() {
    let cohere = FakeUpstream::start().await;
    let app =
        TestApp::setup().played("cohere", &cohere).file("[providers.cohere]\nlimits = { rpmonth = 2 }\n").start().await;
    let results = r#"{"id":"x","results":[{"index":1,"relevance_score":0.9},{"index":0,"relevance_score":0.2}],"meta":{"billed_units":{"search_units":1}}}"#;
    cohere.always(whole(200, results));
    let body =
        json!({ "model": "rerank-v3.5", "query": "q", "documents": ["a", { "text": "b" }], "return_documents": true });
    let answer = post(&app, "/v1/rerank", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ranked = answer.json();
    let first = json!({ "index": 1, "relevance_score": 0.9, "document": { "text": "b" } });
    assert_eq!((&ranked["results"][0], &ranked["model"]), (&first, &json!("cohere/rerank-v3.5")));
    assert_eq!(cohere.seen()[0].json(), json!({ "model": "rerank-v3.5", "query": "q", "documents": ["a", "b"] }));
    let chat = app.chat("cohere/command-a-03-2025").await;
    assert_ne!(chat.status, 429, "one month for all endpoints");
    let (status, _, code) = post(&app, "/v1/rerank", &body).await.error();
    assert_eq!((status, &*code), (429, "budget_exhausted"));
    let wrong = app.chat("rerank-v3.5").await;
    assert!(wrong.status == 400 && wrong.text().contains("`POST /v1/rerank`"), "{}", wrong.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_moderated_in_openais_form() {
    let simulator = Simulator::with(json!({ "base": "unlimited" })).await;
    let app = TestApp::setup().simulated(&simulator, "mistral").start().await;
    let answer =
        post(&app, "/v1/moderations", &json!({ "input": ["fine", "some violence_and_threats here", "law"] })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let results = body["results"].as_array().unwrap();
    let flags: Vec<bool> = results.iter().map(|result| result["flagged"].as_bool().unwrap()).collect();
    assert_eq!(flags, [false, true, false]);
    assert_eq!((&results[1]["categories"]["violence"], &results[2]["categories"]["law"]), (&json!(true), &json!(true)));
    let named = post(&app, "/v1/moderations", &json!({ "model": "mistral-moderation-2411", "input": "fine" })).await;
    assert_eq!((named.status, named.provider()), (200, "mistral"));
    let wrong = post(&app, "/v1/moderations", &json!({ "model": "mistral-embed", "input": "fine" })).await;
    assert!(wrong.status == 400 && wrong.text().contains("`POST /v1/embeddings`"), "{}", wrong.text());
}
