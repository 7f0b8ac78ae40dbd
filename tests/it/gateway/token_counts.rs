//! `count_tokens` against the counts of four real tokenisers, on prompts with tools (`tests/prompts`): those of a coding agent, and others
//! with tables, style sheets and other scripts. The constants of the estimate were fitted to both; the counts are of prompts from which
//! nothing was learned.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    fake_upstream::{FakeUpstream, whole},
    http::Answer,
};

/// Answers of a model after which its counts must be right, within this share.
const LEARNED_FROM: usize = 10;
const TOLERANCE: f64 = 0.1;

#[derive(Deserialize)]
struct Fixture {
    tools: Vec<Value>,
    pieces: BTreeMap<String, String>,
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    /// How many of the tools it has.
    tools: usize,
    /// What was read, a piece in each turn.
    pieces: Vec<String>,
    /// Tokens that each model counts.
    tokens: BTreeMap<String, i64>,
}

impl Fixture {
    fn fitted() -> Self {
        serde_json::from_str(include_str!("../../prompts/prompts.json")).unwrap()
    }

    fn unseen() -> Self {
        serde_json::from_str(include_str!("../../prompts/unseen.json")).unwrap()
    }

    /// The prompt as a request for a message.
    fn message(&self, prompt: &Prompt, model: &str) -> Value {
        let piece = |name: &str| self.pieces[name].as_str();
        let first = format!("{}\n\n{}", piece("reminder"), piece("german"));
        let mut messages = vec![json!({ "role": "user", "content": first })];
        for (at, name) in prompt.pieces.iter().enumerate() {
            let input = json!({ "file_path": format!("/home/project/{name}"), "limit": 400 });
            messages.push(json!({ "role": "assistant", "content": [
                { "type": "text", "text": format!("I read {name} next.") },
                { "type": "tool_use", "id": format!("toolu_{at}"), "name": "Read", "input": input },
            ] }));
            let result = json!({ "type": "tool_result", "tool_use_id": format!("toolu_{at}"), "content": piece(name) });
            messages.push(json!({ "role": "user", "content": [result] }));
        }
        json!({ "model": format!("lab/{model}"), "max_tokens": 100, "system": piece("system"), "messages": messages,
            "tools": self.tools[..prompt.tools] })
    }
}

#[tokio::test]
async fn counts_are_within_a_tenth_of_the_providers_after_ten_answers() {
    let errors = errors(&Fixture::fitted()).await;
    let wrong: Vec<_> = errors.iter().filter(|(_, error)| error.abs() > TOLERANCE).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Of each kind only one or two answers are learned from: nine in ten are within a tenth, and none is far from it.
#[tokio::test]
async fn counts_of_other_kinds_of_prompts_are_seldom_wrong_and_never_by_much() {
    let errors = errors(&Fixture::unseen()).await;
    let wrong: Vec<_> = errors.iter().filter(|(_, error)| error.abs() > TOLERANCE).collect();
    assert!(wrong.len() * 10 <= errors.len(), "{wrong:#?}");
    assert!(errors.iter().all(|(_, error)| error.abs() < 0.15), "{wrong:#?}");
}

/// By which share each count of the last prompts differs from the truth, after answers to the first ones.
async fn errors(prompts: &Fixture) -> Vec<(String, f64)> {
    let upstream = FakeUpstream::start().await;
    let models: Vec<&String> = prompts.prompts[0].tokens.keys().collect();
    let tables: Vec<String> =
        models.iter().map(|model| format!("[providers.lab.models.{model}]\ncontext = 131072\n")).collect();
    let table = tables.concat();
    let file = format!("[providers.lab]\nbase_url = \"{}\"\n{table}", upstream.base_url());
    let app = TestApp::setup().file(&file).start().await;
    let (learned, counted) = prompts.prompts.split_at(LEARNED_FROM);
    let mut errors = Vec::new();
    for model in models {
        for prompt in learned {
            let tokens = prompt.tokens[model];
            let mut reply: Value = serde_json::from_str(&crate::support::fake_upstream::answer("I see.")).unwrap();
            reply["usage"] = json!({ "prompt_tokens": tokens, "completion_tokens": 3, "total_tokens": tokens + 3 });
            upstream.then(whole(200, &reply.to_string()));
            let answer = Answer::of(app.request("POST", "/v1/messages").json(&prompts.message(prompt, model))).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        for prompt in counted {
            let body = prompts.message(prompt, model);
            let answer = Answer::of(app.request("POST", "/v1/messages/count_tokens").json(&body)).await;
            let (count, truth) = (answer.json()["input_tokens"].as_f64().unwrap(), prompt.tokens[model] as f64);
            let named = format!("{model}, {} tools, {:?}: {count} for {truth}", prompt.tools, prompt.pieces);
            errors.push((named, count / truth - 1.0));
        }
    }
    errors
}
