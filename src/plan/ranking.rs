//! The current ranking of a meta-model's members, with reasons for display. A request can get another order by its needs.

use std::{collections::HashSet, sync::Arc};

use super::{Estimates, FREE, candidates, estimate::PlanSeed, strategy};
use crate::{
    catalog::MetaModel,
    domain::{Candidate, ChatRequest, PoolSnapshot, PromptSize, RoutingStrategy},
};

/// One member.
#[derive(Debug, Clone)]
pub(crate) struct Ranked {
    pub candidate: Arc<Candidate>,
    pub why: String,
}

/// The strategy in force.
pub(crate) fn strategy_of(meta: &MetaModel, snapshot: &PoolSnapshot) -> RoutingStrategy {
    if meta.name == FREE { snapshot.strategy.unwrap_or(meta.strategy) } else { meta.strategy }
}

/// Every member once, at the rank of its best account and key, in the order for a short request.
pub(crate) fn ranking(meta: &MetaModel, snapshot: &PoolSnapshot, learned: &Estimates) -> Vec<Ranked> {
    let strategy = strategy_of(meta, snapshot);
    let eligible = candidates::eligible(&meta.members, snapshot, learned, &short_request()).unwrap_or_default();
    // A fixed seed, so that this does not advance round robin.
    let first = strategy::arrange(
        eligible,
        strategy,
        meta.quality_floor,
        snapshot,
        PlanSeed { number: 0, seed: 0 },
        &short_request(),
        None,
    );
    let first = first.into_iter().map(|choice| choice.candidate);
    let mut seen = HashSet::new();
    let once = first.chain(meta.members.iter().cloned()).filter(|c| seen.insert(c.name.clone()));
    let ranked = once.enumerate().map(|(at, candidate)| {
        let why = why(&candidate, strategy, meta.quality_floor, snapshot, at);
        Ranked { candidate, why }
    });
    ranked.collect()
}

fn why(
    candidate: &Candidate,
    strategy: RoutingStrategy,
    quality_floor: u32,
    snapshot: &PoolSnapshot,
    at: usize,
) -> String {
    if !snapshot.is_enabled(candidate) {
        return "disabled".to_owned();
    }
    let subject = snapshot.subject(candidate);
    if let Some((_, cause)) = subject.and_then(|s| s.cooldown.as_ref()) {
        return format!("in cooldown after {cause}");
    }
    #[expect(clippy::cast_possible_truncation, reason = "a share of a hundred")]
    let left = (snapshot.headroom(candidate) * 100.0).floor() as i64;
    if left == 0 {
        return "no room now".to_owned();
    }
    let quality = candidate.model.quality;
    if strategy::is_below_floor(candidate, strategy, quality_floor) {
        return format!("quality {quality}, below the floor of {quality_floor}");
    }
    match strategy {
        RoutingStrategy::Headroom if at == 0 => format!("most headroom left ({left} %)"),
        RoutingStrategy::Headroom => format!("{left} % headroom left"),
        RoutingStrategy::Fast => match subject.and_then(|s| s.first_token_ms) {
            Some(ms) => format!("{ms:.0} ms to the first token, measured"),
            None => format!("{} ms to the first token, as published", candidate.model.first_token_ms),
        },
        RoutingStrategy::Smart => format!("quality {quality}"),
        RoutingStrategy::Listed => format!("listed as number {}", at + 1),
        RoutingStrategy::RoundRobin => "round robin".to_owned(),
        RoutingStrategy::Random => "random".to_owned(),
    }
}

fn short_request() -> ChatRequest {
    ChatRequest {
        size: PromptSize { messages: 1, ascii_chars: 400, ..PromptSize::default() },
        ..ChatRequest::default()
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
    fn members_are_ranked_once_with_a_reason() {
        let [a, twin] =
            ["x", "y"].map(|account| candidate("a/used").account(account).limits(&[(Limit::Rpm, 1_000)]).build());
        let b = candidate("b/fresh").limits(&[(Limit::Rpm, 1_000)]).build();
        let c = candidate("c/off").build();
        let tiny = candidate("b/tiny").model(|m| m.quality = 8).build();
        let mut snapshot = PoolSnapshot { disabled: vec!["c".to_owned()], ..PoolSnapshot::default() };
        set_used(&mut snapshot, &a, &[400]);
        set_used(&mut snapshot, &twin, &[1_000]);
        set_used(&mut snapshot, &b, &[0]);
        let meta = MetaModel {
            name: "mine".to_owned(),
            strategy: RoutingStrategy::Headroom,
            quality_floor: 25,
            members: vec![tiny, a, twin, b, c],
        };
        let ranked: Vec<(String, String)> = ranking(&meta, &snapshot, &Estimates::default())
            .into_iter()
            .map(|ranked| (ranked.candidate.name.to_string(), ranked.why))
            .collect();
        let expected = [
            ("b/fresh", "most headroom left (100 %)"),
            ("a/used", "60 % headroom left"),
            ("b/tiny", "quality 8, below the floor of 25"),
            ("c/off", "disabled"),
        ];
        assert_eq!(ranked, expected.map(|(name, why)| (name.to_owned(), why.to_owned())));
    }
}
