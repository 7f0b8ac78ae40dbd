//! How a meta-model's members stand now, and why: for people. A request may change it by what it needs.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;

use super::{Estimates, FREE, candidates, estimate::PlanSeed, strategy};
use crate::{
    catalog::MetaModel,
    domain::{Candidate, Capabilities, ChatRequest, PoolSnapshot, PromptSize, RoutingStrategy, Sampling, Tier},
};

/// One member.
#[derive(Debug, Clone)]
pub struct Ranked {
    pub candidate: Arc<Candidate>,
    pub why: String,
}

/// The rule in force.
pub fn rule(meta: &MetaModel, snapshot: &PoolSnapshot) -> RoutingStrategy {
    if meta.name == FREE { snapshot.strategy.unwrap_or(meta.strategy) } else { meta.strategy }
}

/// Every member once, by the best of its accounts and keys, in the order a short question would find them in.
pub fn ranking(meta: &MetaModel, snapshot: &PoolSnapshot, learned: &Estimates) -> Vec<Ranked> {
    let rule = rule(meta, snapshot);
    let able = candidates::eligible(&meta.members, snapshot, learned, &short_question()).unwrap_or_default();
    // Not a turn of its own: looking must not move round robin on.
    let first = strategy::arrange(able, rule, snapshot, PlanSeed { number: 0, seed: 0 }, &short_question());
    let first = first.into_iter().map(|choice| choice.candidate);
    let mut seen = HashSet::new();
    let once = first.chain(meta.members.iter().cloned()).filter(|c| seen.insert(c.name.clone()));
    let ranked = once.enumerate().map(|(at, candidate)| {
        let why = why(&candidate, rule, snapshot, at);
        Ranked { candidate, why }
    });
    ranked.collect()
}

fn why(candidate: &Candidate, rule: RoutingStrategy, snapshot: &PoolSnapshot, at: usize) -> String {
    if !snapshot.is_enabled(candidate) {
        return "switched off".to_owned();
    }
    let subject = snapshot.subject(candidate);
    if let Some((_, cause)) = subject.and_then(|s| s.cooldown.as_ref()) {
        return format!("left alone after {cause}");
    }
    #[expect(clippy::cast_possible_truncation, reason = "a share of a hundred")]
    let left = (snapshot.headroom(candidate) * 100.0).floor() as i64;
    if left == 0 {
        return "no room now".to_owned();
    }
    match rule {
        RoutingStrategy::Headroom if at == 0 => format!("most headroom left ({left} %)"),
        RoutingStrategy::Headroom => format!("{left} % headroom left"),
        RoutingStrategy::Fast => match subject.and_then(|s| s.first_token_ms) {
            Some(ms) => format!("{ms:.0} ms to the first token, measured"),
            None => format!("{} ms to the first token, as published", candidate.model.first_token_ms),
        },
        RoutingStrategy::Smart => format!("quality {}", candidate.model.quality),
        RoutingStrategy::Listed => format!("listed as number {}", at + 1),
        RoutingStrategy::RoundRobin => "by turns".to_owned(),
        RoutingStrategy::Random => "by chance".to_owned(),
    }
}

fn short_question() -> ChatRequest {
    ChatRequest {
        body: Bytes::new(),
        model: String::new(),
        stream: false,
        include_usage: false,
        max_tokens: None,
        n: 1,
        needs: Capabilities::default(),
        remote_images: false,
        images: 0,
        tools: 0,
        stops: 0,
        reasoning_effort: None,
        sampling: Sampling::default(),
        tier: Tier::Standard,
        parameters: Vec::new(),
        size: PromptSize { messages: 1, ascii_chars: 400, ..PromptSize::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Limit,
        plan::test_support::{candidate, set_used},
    };

    #[test]
    fn members_stand_once_in_their_order_and_say_why() {
        let [a, twin] =
            ["x", "y"].map(|account| candidate("a/used").account(account).limits(&[(Limit::Rpm, 1_000)]).build());
        let b = candidate("b/fresh").limits(&[(Limit::Rpm, 1_000)]).build();
        let c = candidate("c/off").build();
        let mut snapshot = PoolSnapshot { disabled: vec!["c".to_owned()], ..PoolSnapshot::default() };
        set_used(&mut snapshot, &a, &[400]);
        set_used(&mut snapshot, &twin, &[1_000]);
        set_used(&mut snapshot, &b, &[0]);
        let meta =
            MetaModel { name: "mine".to_owned(), strategy: RoutingStrategy::Headroom, members: vec![a, twin, b, c] };
        let told: Vec<(String, String)> = ranking(&meta, &snapshot, &Estimates::default())
            .into_iter()
            .map(|ranked| (ranked.candidate.name.to_string(), ranked.why))
            .collect();
        let expected =
            [("b/fresh", "most headroom left (100 %)"), ("a/used", "60 % headroom left"), ("c/off", "switched off")];
        assert_eq!(told, expected.map(|(name, why)| (name.to_owned(), why.to_owned())));
    }
}
