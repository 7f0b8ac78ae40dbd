//! Moderation by chat models: what they are sent, and the strict reading of their verdicts. Anything but a clear verdict about each
//! text makes a response unusable: nothing is guessed.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{embeddings::Unusable, response::sse_event::TokenUsage};
use crate::domain::{
    Candidate, ModeratedText, Moderation, ModerationInputs,
    guard::{CATEGORIES, Guard, hazard},
    provider::Capabilities,
};

/// The chat that requests the verdict of a guard.
pub(super) fn body(inputs: &ModerationInputs, guard: Guard, candidate: &Candidate) -> Bytes {
    let text = match guard {
        Guard::Policy => Value::from(format!("[{}]", inputs.texts.join(","))).to_string(),
        Guard::LlamaGuard => inputs.texts.first().cloned().unwrap_or_default(),
    };
    let mut messages = Vec::new();
    if let Some(policy) = guard.policy() {
        messages.push(json!({ "role": "system", "content": policy }).to_string());
    }
    messages.push(format!("{{\"role\":\"user\",\"content\":{text}}}"));
    let wire = &candidate.provider.wire;
    let mut fields = Map::new();
    fields.insert("temperature".into(), 0.into());
    fields.insert(wire.renamed("max_tokens").to_owned(), guard.max_output(inputs.texts.len()).into());
    if guard == Guard::Policy && candidate.model.capabilities.has(Capabilities::JSON_OBJECT) {
        fields.insert("response_format".into(), json!({ "type": "json_object" }));
    }
    let rest = Value::Object(fields).to_string();
    let model = Value::from(&*candidate.model.id);
    format!("{{\"model\":{model},\"messages\":[{}],{}", messages.join(","), &rest[1..]).into()
}

#[derive(Deserialize)]
struct Completion<'a> {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: i64,
    #[serde(default)]
    completion_tokens: i64,
}

/// What a verdict by policy has to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdict {
    results: Vec<Vec<String>>,
}

/// One result for each text.
pub(super) fn read(
    text: &str,
    inputs: &ModerationInputs,
    guard: Guard,
) -> Result<(Moderation, Option<TokenUsage>), Unusable> {
    let malformed = |why: String| Unusable::Malformed(format!("the verdict of the guard is not clear: {why}"));
    let completion: Completion<'_> = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let Completion { choices, usage, error } = completion;
    let Some(choice) = choices.into_iter().next() else {
        let is_error = error.is_some_and(|error| error.get() != "null");
        return Err(if is_error { Unusable::Error } else { malformed("it is empty".to_owned()) });
    };
    if choice.finish_reason.as_deref().is_some_and(|reason| reason != "stop") {
        return Err(malformed("it was cut".to_owned()));
    }
    let verdict = choice.message.content.unwrap_or_default();
    let results = match guard {
        Guard::Policy => by_policy(&verdict, inputs.texts.len()),
        Guard::LlamaGuard => by_hazards(&verdict).map(|categories| vec![categories]),
    };
    let results = results.map_err(malformed)?.into_iter().map(moderated).collect();
    let usage = usage.filter(|usage| usage.prompt_tokens > 0).map(|usage| TokenUsage {
        input: usage.prompt_tokens,
        output: usage.completion_tokens,
        total: usage.prompt_tokens.saturating_add(usage.completion_tokens),
        cached: 0,
    });
    Ok((Moderation { results }, usage))
}

fn by_policy(verdict: &str, texts: usize) -> Result<Vec<BTreeSet<&'static str>>, String> {
    let Verdict { results } = serde_json::from_str(verdict.trim()).map_err(|error| error.to_string())?;
    if results.len() != texts {
        return Err(format!("it has {} results for {texts} texts", results.len()));
    }
    let known = |name: &String| {
        let known = CATEGORIES.iter().find(|(known, _)| known == name);
        known.map(|(known, _)| *known).ok_or_else(|| "it names a category that does not exist".to_owned())
    };
    results.iter().map(|names| names.iter().map(known).collect()).collect()
}

/// `safe`, or `unsafe` and a line of hazards.
fn by_hazards(verdict: &str) -> Result<BTreeSet<&'static str>, String> {
    let unclear = || "it is neither `safe` nor `unsafe` with hazards".to_owned();
    match verdict.trim().split_once('\n') {
        None if verdict.trim() == "safe" => Ok(BTreeSet::new()),
        Some(("unsafe", hazards)) => {
            let hazards: Option<Vec<_>> = hazards.split(',').map(|name| hazard(name.trim())).collect();
            Ok(hazards.ok_or_else(unclear)?.into_iter().flatten().copied().collect())
        }
        _ => Err(unclear()),
    }
}

/// A guard says yes or no: the score is 1 or 0.
fn moderated(categories: BTreeSet<&'static str>) -> ModeratedText {
    let scores = categories.iter().map(|name| ((*name).to_owned(), 1.0.into()));
    let category_scores = scores.collect();
    let categories = categories.into_iter().map(|name| (name.to_owned(), true.into())).collect();
    ModeratedText { flagged: None, categories, category_scores }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::test_support::candidate;

    fn inputs(texts: &[&str]) -> ModerationInputs {
        ModerationInputs { texts: texts.iter().map(|text| Value::from(*text).to_string()).collect() }
    }

    fn verdict(guard: Guard, content: &str, finish: &str) -> Result<Vec<Vec<String>>, Unusable> {
        let message = json!({ "message": { "content": content }, "finish_reason": finish });
        let body = json!({ "choices": [message], "usage": { "prompt_tokens": 9, "completion_tokens": 2 } }).to_string();
        let texts: &[&str] = if guard == Guard::Policy { &["a", "b"] } else { &["a"] };
        let (moderation, usage) = read(&body, &inputs(texts), guard)?;
        assert_eq!(usage.map(|usage| (usage.input, usage.total)), Some((9, 11)));
        Ok(moderation
            .results
            .into_iter()
            .map(|text| text.categories.into_iter().map(|(name, _)| name).collect())
            .collect())
    }

    #[test]
    fn only_a_clear_verdict_is_read() {
        let policy = |content: &str| verdict(Guard::Policy, content, "stop");
        let none: Vec<String> = Vec::new();
        assert_eq!(
            policy(r#"{"results":[[],["hate","violence"]]}"#).unwrap(),
            [none.clone(), vec!["hate".into(), "violence".into()]]
        );
        for unclear in [
            "",
            "safe",
            r#"{"results":[[]]}"#,
            r#"{"results":[[],["rude"]]}"#,
            r#"{"results":[[],[1]]}"#,
            r#"{"results":[[],[]],"note":"x"}"#,
            r#"Here: {"results":[[],[]]}"#,
        ] {
            assert!(matches!(policy(unclear), Err(Unusable::Malformed(_))), "{unclear}");
        }
        assert!(verdict(Guard::Policy, r#"{"results":[[],[]]}"#, "length").is_err(), "it may have been cut");
        let guard = |content: &str| verdict(Guard::LlamaGuard, content, "stop");
        assert_eq!(guard("\n\nsafe").unwrap(), [none]);
        assert_eq!(guard("unsafe\nS1,S10").unwrap(), [["hate", "illicit/violent", "violence"]]);
        for unclear in ["unsafe", "unsafe\n", "unsafe\nS99", "Safe", "I think it is safe", "unsafe S1", "safe\nS1"] {
            assert!(matches!(guard(unclear), Err(Unusable::Malformed(_))), "{unclear}");
        }
        let error = r#"{"error":{"message":"no"}}"#;
        assert_eq!(read(error, &inputs(&["a"]), Guard::Policy).unwrap_err(), Unusable::Error);
    }

    #[test]
    fn texts_are_sent_as_data() {
        let one = candidate("p/guard").can(Capabilities::JSON_OBJECT).build();
        let read = |guard| -> Value { serde_json::from_slice(&body(&inputs(&["a\"b", "ü"]), guard, &one)).unwrap() };
        let policy = read(Guard::Policy);
        assert_eq!(
            (&policy["model"], &policy["messages"][1]["content"]),
            (&json!("guard"), &json!("[\"a\\\"b\",\"ü\"]"))
        );
        assert!(policy["messages"][0]["content"].as_str().unwrap().contains("self-harm/intent"));
        assert_eq!((&policy["temperature"], &policy["response_format"]["type"]), (&json!(0), &json!("json_object")));
        let guard = read(Guard::LlamaGuard);
        assert_eq!(guard["messages"], json!([{ "role": "user", "content": "a\"b" }]));
        assert_eq!(guard["max_tokens"], 64);
    }
}
