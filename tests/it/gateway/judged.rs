//! Ranking of documents, and moderation of texts.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    eventually,
    fake_upstream::{FakeUpstream, answer as upstream_answer, whole},
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

/// Whether each text is flagged, and the categories of the last one.
fn flags(answer: &Answer) -> (Vec<bool>, Vec<String>) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let results = body["results"].as_array().unwrap();
    let last = results.last().unwrap()["categories"].as_object().unwrap();
    let names = last.iter().filter(|(_, is_true)| **is_true == true).map(|(name, _)| name.clone()).collect();
    (results.iter().map(|result| result["flagged"].as_bool().unwrap()).collect(), names)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_moderates_through_a_chat_by_a_policy() {
    let simulator = Simulator::with(json!({ "base": "unlimited" })).await;
    let app = TestApp::setup().simulated(&simulator, "groq").start().await;
    // Without a model: the only provider that moderates is one with a guard.
    let answer = post(&app, "/v1/moderations", &json!({ "input": ["fine", "a hate and violence text"] })).await;
    assert_eq!(flags(&answer), (vec![false, true], vec!["hate".to_owned(), "violence".to_owned()]));
    let body = answer.json();
    assert_eq!(body["model"], "groq/openai/gpt-oss-safeguard-20b");
    assert_eq!(
        (&body["results"][1]["category_scores"]["hate"], &body["results"][1]["category_scores"]["sexual"]),
        (&json!(1.0), &json!(0.0))
    );
    let chat = app.chat("groq/openai/gpt-oss-safeguard-20b").await;
    assert!(chat.status == 200 && chat.content().contains("You said"), "it chats as before: {}", chat.text());
    let plain = post(&app, "/v1/moderations", &json!({ "model": "groq/openai/gpt-oss-20b", "input": "fine" })).await;
    assert_eq!(plain.status, 400, "a model that is no guard is not called");
    let many = post(&app, "/v1/moderations", &json!({ "input": vec!["fine"; 33] })).await;
    assert!(many.status == 400 && many.message().contains("that many texts"), "{}", many.text());
}

#[tokio::test]
async fn a_verdict_that_is_not_clear_goes_to_the_next_guard() {
    let (vague, clear) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let guard = |name: &str, upstream: &FakeUpstream| {
        let url = upstream.base_url();
        format!("[providers.{name}]\nbase_url = \"{url}\"\n[providers.{name}.models.\"llama-guard3:8b\"]\n")
    };
    let order = "[models.guards]\nmembers = [\"a/llama-guard3:8b\", \"b/llama-guard3:8b\"]\nstrategy = \"listed\"\n";
    let app = TestApp::setup().file(&guard("a", &vague)).file(&guard("b", &clear)).file(order).start().await;
    vague.always(whole(200, &upstream_answer("It seems safe to me.")));
    clear.always(whole(200, &upstream_answer("unsafe\nS10,S6")));
    let answer = post(&app, "/v1/moderations", &json!({ "model": "guards", "input": "some text" })).await;
    assert_eq!(flags(&answer), (vec![true], vec!["hate".to_owned(), "specialized_advice".to_owned()]));
    assert_eq!((vague.seen().len(), clear.seen().len()), (1, 1));
    let sent = clear.seen()[0].json();
    assert_eq!(sent["messages"], json!([{ "role": "user", "content": "some text" }]));
    clear.always(whole(200, &upstream_answer("unsafe\nS13")));
    let answer = post(&app, "/v1/moderations", &json!({ "model": "b/llama-guard3:8b", "input": "some text" })).await;
    assert_eq!(flags(&answer), (vec![false], vec!["elections".to_owned()]), "what OpenAI does not have flags nothing");
    clear.always(whole(200, &upstream_answer("safe")));
    let answer = post(&app, "/v1/moderations", &json!({ "model": "b/llama-guard3:8b", "input": "some text" })).await;
    assert_eq!(flags(&answer).0, [false]);
    let unclear = post(&app, "/v1/moderations", &json!({ "model": "a/llama-guard3:8b", "input": "some text" })).await;
    assert_eq!(unclear.status, 502, "nothing is guessed: {}", unclear.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_providers_rank_in_coheres_form_and_in_jinas() {
    let reranker = json!({ "can": ["rerank"], "context": 8_192 });
    let providers = json!({
        "cohere": { "limits": { "rpmonth": 3 } },
        "ollama": { "models": { "jina-reranker-v2": reranker } },
    });
    let simulator = Simulator::with(json!({ "base": "unlimited", "providers": providers })).await;
    let jina = format!(
        "[providers.jina]\nbase_url = \"{}\"\n[providers.jina.models.jina-reranker-v2]\n",
        simulator.base_url("ollama")
    );
    let month = "[providers.cohere]\nlimits = { rpm = \"none\", rpmonth = 3 }\n";
    let app = TestApp::setup()
        .simulated(&simulator, "cohere")
        .file(&jina)
        .file(month)
        .env("TOLLFREE_ADMIN_KEY", "the-admin-key")
        .start()
        .await;
    let ask = async |model: &str, top_n: u32| {
        let documents = ["no word of it", "a red boat", "red"];
        let body = json!({ "model": model, "query": "red boat", "documents": documents, "top_n": top_n });
        post(&app, "/v1/rerank", &body).await
    };
    for model in ["rerank-v3.5", "jina/jina-reranker-v2"] {
        let ranked = ask(model, 2).await;
        assert_eq!(ranked.status, 200, "{}", ranked.text());
        let results = ranked.json()["results"].clone();
        let order: Vec<&Value> = results.as_array().unwrap().iter().map(|result| &result["index"]).collect();
        assert_eq!(order, [&json!(2), &json!(1)], "{model}: {results}");
    }
    // A model with an address of its own is no news where the list has it.
    let looked = eventually(Duration::from_secs(10), "the list is looked at", async || {
        let call = app.request("GET", "/admin/v1/providers").bearer_auth("the-admin-key");
        let all = Answer::of(call).await.json()["data"].clone();
        let cohere = all.as_array().unwrap().iter().find(|provider| provider["id"] == "cohere").unwrap();
        (!cohere["list"].is_null()).then(|| cohere["list"].clone())
    })
    .await;
    assert_eq!((&looked["new"], &looked["gone"]), (&json!([]), &json!([])), "{looked}");
    // One month for everything that Cohere is called for: nothing reaches it beyond that.
    assert_eq!(app.chat("cohere/command-a").await.status, 200);
    let texts = post(&app, "/v1/embeddings", &json!({ "model": "embed-v4.0", "input": "a" })).await;
    assert_eq!(texts.status, 200, "{}", texts.text());
    for refused in [ask("rerank-v3.5", 1).await, app.chat("cohere/command-a").await] {
        let (status, _, code) = refused.error();
        assert_eq!((status, &*code), (429, "budget_exhausted"));
    }
    let audit = simulator.audit().await["providers"]["cohere"].clone();
    let tallies = audit["accounts"]["main"].as_object().unwrap().values().map(|model| &model["tally"]);
    let admitted: i64 = tallies.clone().map(|tally| tally["admitted"].as_i64().unwrap()).sum();
    assert!(admitted == 3 && tallies.clone().all(|tally| tally["refused"] == json!({})), "{audit}");
}
