//! The order of candidates.
//!
//! Four properties come before any strategy: local models last (except where the operator listed them in order), then candidates
//! that the snapshot shows in cooldown, with an open breaker or full, then models below the quality floor (with the same
//! exception), then those that would reject this `max_tokens`. All of them stay in the plan, since `admit` has newer data.
//!
//! `headroom` (the strategy of `free`) orders by the smallest share left over all windows, times plenty. With D requests of this
//! size per day, plenty is D ÷ (D + 100): 20 a day score 1/6, 1000 score 9/10, and no daily limit scores 1. Scarce daily budgets
//! are thus kept for requests that name such a model, and are still used once the plentiful ones are exhausted.
//!
//! A session stays where it was served last, before any strategy, because that provider has cached its prompt. It also stays first
//! where the snapshot shows no room: `admit` knows better, and takes the next candidate if there is none.

use std::{cmp::Ordering, sync::Arc};

use super::{candidates::Eligible, estimate::PlanSeed};
use crate::domain::{
    BreakerState, Candidate, ChatRequest, Choice, PoolSnapshot, RoutingStrategy, SubjectSnapshot, WindowKind,
    time::DAY_MS,
};

/// Requests per day at which plenty is one half.
const PLENTY_HALF: f64 = 100.0;
/// Maximum age of a snapshot.
const SNAPSHOT_MAX_AGE_MS: i64 = 1_000;
/// Smallest share left that weights a tie.
const MIN_SHARE: f64 = 1e-3;

/// Orders the candidates, the first to be tried first. `quality_floor`: models of less quality come after the others that have
/// room. `stays_at`: the subject that served the request's session last.
pub(crate) fn arrange(
    eligible: Vec<Eligible<'_>>,
    strategy: RoutingStrategy,
    quality_floor: u32,
    snapshot: &PoolSnapshot,
    seed: PlanSeed,
    request: &ChatRequest,
    stays_at: Option<&str>,
) -> Vec<Choice> {
    let mut rng = fastrand::Rng::with_seed(seed.seed);
    let rounds = if strategy == RoutingStrategy::RoundRobin { rounds(&eligible, seed.number) } else { Vec::new() };
    let mut ranked: Vec<(Rank, Choice)> = Vec::with_capacity(eligible.len());
    for (i, Eligible { choice, seen }) in eligible.into_iter().enumerate() {
        let share = share_left(&choice, seen);
        let chance = 1.0 - rng.f64(); // in (0, 1], for the logarithm below
        let by_strategy = match strategy {
            RoutingStrategy::Fast => first_token_ms(&choice, seen),
            RoutingStrategy::Smart => -f64::from(choice.candidate.model.quality),
            RoutingStrategy::Headroom => -(share * plenty(&choice)),
            RoutingStrategy::Listed => i as f64,
            RoutingStrategy::RoundRobin => rounds[i],
            RoutingStrategy::Random => chance,
        };
        let is_session = stays_at == Some(&*choice.candidate.subject);
        let rank = Rank {
            local: choice.candidate.provider.local && strategy != RoutingStrategy::Listed,
            unavailable: share <= 0.0 && !is_session || is_unavailable(&choice, snapshot, seen),
            below_floor: is_below_floor(&choice.candidate, strategy, quality_floor),
            over_output: request.max_tokens.is_some_and(|most| most > choice.candidate.model.max_output),
            elsewhere: !is_session,
            by_strategy,
            tie: -chance.ln() / share.max(MIN_SHARE),
        };
        ranked.push((rank, choice));
    }
    ranked.sort_by(|(a, _), (b, _)| a.compare(b));
    ranked.into_iter().map(|(_, choice)| choice).collect()
}

/// Sort key; smaller comes first.
struct Rank {
    local: bool,
    unavailable: bool,
    below_floor: bool,
    over_output: bool,
    /// Not where the session was served last.
    elsewhere: bool,
    by_strategy: f64,
    /// Random, weighted by headroom, so that the accounts of one model fill up evenly over all replicas.
    tie: f64,
}

impl Rank {
    fn compare(&self, other: &Self) -> Ordering {
        let first = |rank: &Self| (rank.local, rank.unavailable, rank.below_floor, rank.over_output, rank.elsewhere);
        first(self)
            .cmp(&first(other))
            .then(self.by_strategy.total_cmp(&other.by_strategy))
            .then(self.tie.total_cmp(&other.tie))
    }
}

/// Whether the quality floor moves the candidate back. The operator's own order stays as it is.
pub(crate) fn is_below_floor(candidate: &Candidate, strategy: RoutingStrategy, quality_floor: u32) -> bool {
    candidate.model.quality < quality_floor && strategy != RoutingStrategy::Listed
}

/// Smallest share left over all windows after this request: 1 if nothing is known, 0 if the request does not fit.
fn share_left(choice: &Choice, subject: Option<&SubjectSnapshot>) -> f64 {
    let Some(subject) = subject else { return 1.0 };
    let mut least = 1.0_f64;
    for level in &subject.levels {
        let window = choice.candidate.windows.iter().find(|w| w.limit == level.limit);
        let left = level.max - level.used - window.map_or(0, |w| choice.charge.units(w));
        if left < 0 || level.max <= 0 {
            return 0.0;
        }
        // Plus one, so that the last unit still counts as room.
        least = least.min((left + 1) as f64 / (level.max + 1) as f64);
    }
    least
}

/// How plentiful the daily budgets are, from 0 to 1; see the module's documentation.
fn plenty(choice: &Choice) -> f64 {
    let requests_per_day = choice.candidate.windows.iter().filter_map(|window| {
        let units = choice.charge.units(window);
        let daily = window.span_ms >= DAY_MS || window.kind == WindowKind::Calendar;
        let days = (window.limit.span_ms().max(DAY_MS) / DAY_MS) as f64;
        (daily && units > 0).then(|| window.max as f64 / units as f64 / days)
    });
    requests_per_day.map(|requests| requests / (requests + PLENTY_HALF)).fold(1.0, f64::min)
}

/// The average measured by all replicas, or the catalogue's value before the first measurement.
fn first_token_ms(choice: &Choice, subject: Option<&SubjectSnapshot>) -> f64 {
    subject.and_then(|s| s.first_token_ms).unwrap_or_else(|| f64::from(choice.candidate.model.first_token_ms))
}

fn is_unavailable(choice: &Choice, snapshot: &PoolSnapshot, subject: Option<&SubjectSnapshot>) -> bool {
    let candidate = &choice.candidate;
    // A cooldown that ends before the next snapshot may have ended by now.
    let later = |until_ms: i64| until_ms > snapshot.taken_ms + SNAPSHOT_MAX_AGE_MS;
    let open = |name: &str| match snapshot.breakers.get(name) {
        Some(BreakerState::Open { until_ms }) => later(*until_ms),
        _ => false,
    };
    let key_in_cooldown = || {
        let key = format!("{}/{}", candidate.provider.id, candidate.key.id);
        snapshot.key_cooldowns.get(&key).is_some_and(|(until_ms, _)| later(*until_ms))
    };
    subject.and_then(|s| s.cooldown.as_ref()).is_some_and(|(until_ms, _)| later(*until_ms))
        || (!snapshot.breakers.is_empty() && (open(&candidate.provider.id) || open(&candidate.name)))
        || (!snapshot.key_cooldowns.is_empty() && key_in_cooldown())
}

/// Round-robin positions: each request starts at the next provider, and after each full round at the providers' next candidates.
fn rounds(eligible: &[Eligible<'_>], number: u64) -> Vec<f64> {
    let mut providers: Vec<(&Arc<str>, u64)> = Vec::new();
    let mut slots = Vec::with_capacity(eligible.len());
    for Eligible { choice, .. } in eligible {
        let id = &choice.candidate.provider.id;
        let at = providers.iter().position(|(known, _)| *known == id).unwrap_or_else(|| {
            providers.push((id, 0));
            providers.len() - 1
        });
        slots.push((at as u64, providers[at].1));
        providers[at].1 += 1;
    }
    let count = providers.len() as u64;
    slots
        .into_iter()
        .map(|(at, slot)| {
            let members = providers[usize::try_from(at).unwrap_or_default()].1;
            let provider = (at + count - number % count) % count;
            let member = (slot + members - number / count % members) % members;
            (member * count + provider) as f64
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        domain::{Limit, TokenCharge},
        plan::{
            Estimates,
            test_support::{candidate, names, question, set_used},
        },
    };

    const FLOOR: u32 = 20;

    fn arrange_all(
        candidates: &[Arc<Candidate>],
        strategy: RoutingStrategy,
        snapshot: &PoolSnapshot,
        seed: PlanSeed,
        request: &ChatRequest,
    ) -> Vec<Choice> {
        let learned = Estimates::default();
        let able = candidates.iter().map(|c| Eligible {
            choice: Choice { candidate: c.clone(), charge: learned.charge(c, request) },
            seen: snapshot.subject(c),
        });
        arrange(able.collect(), strategy, FLOOR, snapshot, seed, request, None)
    }

    /// A different, reproducible seed for each number.
    fn seed(number: u64) -> PlanSeed {
        PlanSeed { number, seed: fastrand::Rng::with_seed(number).u64(..) }
    }

    fn arranged(
        candidates: &[Arc<Candidate>],
        strategy: RoutingStrategy,
        snapshot: &PoolSnapshot,
        number: u64,
    ) -> Vec<String> {
        let choices = arrange_all(candidates, strategy, snapshot, seed(number), &question());
        names(&choices).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn headroom_prefers_the_larger_share_of_the_scarcest_window() {
        let used = candidate("a/used").limits(&[(Limit::Rpm, 10), (Limit::Tpm, 100_000)]).build();
        let fresh = candidate("b/fresh").limits(&[(Limit::Rpm, 10)]).build();
        let mut snapshot = PoolSnapshot::default();
        set_used(&mut snapshot, &used, &[5, 0]);
        set_used(&mut snapshot, &fresh, &[1]);
        assert_eq!(arranged(&[used, fresh], RoutingStrategy::Headroom, &snapshot, 0), ["b/fresh", "a/used"]);
    }

    #[test]
    fn headroom_keeps_scarce_days_until_plentiful_ones_are_used_up() {
        let scarce = candidate("gemini/flash").limits(&[(Limit::Rpm, 5), (Limit::Rpd, 20)]).build();
        let plenty = candidate("groq/gpt").limits(&[(Limit::Rpm, 30), (Limit::Rpd, 1_000)]).build();
        let both = [scarce.clone(), plenty.clone()];
        assert_eq!(
            arranged(&both, RoutingStrategy::Headroom, &PoolSnapshot::default(), 0),
            ["groq/gpt", "gemini/flash"]
        );
        let mut snapshot = PoolSnapshot::default();
        set_used(&mut snapshot, &plenty, &[27, 27]);
        assert_eq!(arranged(&both, RoutingStrategy::Headroom, &snapshot, 0), ["gemini/flash", "groq/gpt"]);
    }

    #[test]
    fn a_day_of_few_tokens_is_scarce_too() {
        let tokens = candidate("a/tokens").charged_by(TokenCharge::Reserve).limits(&[(Limit::Tpd, 20_000)]).build();
        let requests = candidate("b/requests").limits(&[(Limit::Rpd, 1_000)]).build();
        assert_eq!(
            arranged(&[tokens, requests], RoutingStrategy::Headroom, &PoolSnapshot::default(), 0),
            ["b/requests", "a/tokens"]
        );
    }

    #[test]
    fn full_and_unavailable_candidates_move_behind_but_stay() {
        let limits = [(Limit::Rpm, 2)];
        let make = |name| candidate(name).limits(&limits).build();
        let (full, cooling, open, key) = (make("a/full"), make("b/cooling"), make("c/open"), make("d/key"));
        let room = make("f/room");
        let mut snapshot = PoolSnapshot::default();
        for c in [&cooling, &open, &key, &room] {
            set_used(&mut snapshot, c, &[0]);
        }
        set_used(&mut snapshot, &full, &[2]);
        snapshot.subjects.get_mut(&*cooling.subject).unwrap().cooldown = Some((9_000, "429_rpd".into()));
        snapshot.breakers.insert("c".into(), BreakerState::Open { until_ms: 9_000 });
        snapshot.key_cooldowns.insert("d/main".into(), (9_000, "401".into()));
        let order = arranged(&[full, cooling, open, key, room], RoutingStrategy::Listed, &snapshot, 0);
        assert_eq!(order, ["f/room", "a/full", "b/cooling", "c/open", "d/key"]);
    }

    #[test]
    fn local_models_come_last_unless_the_operator_listed_them_in_order() {
        let (local, far) = (candidate("a/local").provider(|p| p.local = true).build(), candidate("b/far").build());
        for strategy in [
            RoutingStrategy::Fast,
            RoutingStrategy::Smart,
            RoutingStrategy::Headroom,
            RoutingStrategy::RoundRobin,
            RoutingStrategy::Random,
        ] {
            let order = arranged(&[local.clone(), far.clone()], strategy, &PoolSnapshot::default(), 0);
            assert_eq!(order, ["b/far", "a/local"], "{strategy:?}");
        }
        assert_eq!(arranged(&[local, far], RoutingStrategy::Listed, &PoolSnapshot::default(), 0), ["a/local", "b/far"]);
    }

    #[test]
    fn models_below_the_quality_floor_come_last_while_others_have_room() {
        let limits = [(Limit::Rpm, 10)];
        let small = candidate("a/small").model(|m| (m.quality, m.first_token_ms) = (FLOOR - 1, 1)).build();
        let able = candidate("b/able").limits(&limits).model(|m| m.quality = FLOOR).build();
        let both = [small, able.clone()];
        let mut snapshot = PoolSnapshot::default();
        set_used(&mut snapshot, &able, &[9]);
        for strategy in [RoutingStrategy::Fast, RoutingStrategy::Headroom, RoutingStrategy::RoundRobin] {
            assert_eq!(arranged(&both, strategy, &snapshot, 0), ["b/able", "a/small"], "{strategy:?}");
        }
        assert_eq!(arranged(&both, RoutingStrategy::Listed, &snapshot, 0), ["a/small", "b/able"]);
        set_used(&mut snapshot, &able, &[10]);
        assert_eq!(arranged(&both, RoutingStrategy::Headroom, &snapshot, 0), ["a/small", "b/able"]);
    }

    #[test]
    fn a_cooldown_that_may_have_ended_does_not_count() {
        let (cooling, other) = (candidate("a/x").build(), candidate("b/y").build());
        let mut snapshot = PoolSnapshot::default();
        set_used(&mut snapshot, &cooling, &[]);
        snapshot.subjects.get_mut(&*cooling.subject).unwrap().cooldown = Some((1_900, "429".into()));
        snapshot.breakers.insert("a".into(), BreakerState::Open { until_ms: 2_000 });
        assert_eq!(arranged(&[cooling, other], RoutingStrategy::Listed, &snapshot, 0), ["a/x", "b/y"]);
    }

    #[test]
    fn fast_prefers_measurements_to_the_catalogue() {
        let published = candidate("a/published").model(|m| m.first_token_ms = 200).build();
        let measured = candidate("b/measured").model(|m| m.first_token_ms = 900).build();
        let slow = candidate("c/slow").model(|m| m.first_token_ms = 50).build();
        let mut snapshot = PoolSnapshot::default();
        for (candidate, ms) in [(&measured, 90.0), (&slow, 4_000.0)] {
            set_used(&mut snapshot, candidate, &[]);
            snapshot.subjects.get_mut(&*candidate.subject).unwrap().first_token_ms = Some(ms);
        }
        let order = arranged(&[slow, published, measured], RoutingStrategy::Fast, &snapshot, 0);
        assert_eq!(order, ["b/measured", "a/published", "c/slow"]);
    }

    #[test]
    fn smart_orders_by_quality() {
        let [low, high] = [("a/low", 20), ("b/high", 70)].map(|(n, q)| candidate(n).model(|m| m.quality = q).build());
        assert_eq!(arranged(&[low, high], RoutingStrategy::Smart, &PoolSnapshot::default(), 0), ["b/high", "a/low"]);
    }

    #[test]
    fn round_robin_rotates_providers_and_then_their_models() {
        let all = ["a/1", "a/2", "b/1", "b/2", "c/1"].map(|n| candidate(n).build());
        let first = |number| arranged(&all, RoutingStrategy::RoundRobin, &PoolSnapshot::default(), number).remove(0);
        let firsts: Vec<String> = (0..6).map(first).collect();
        assert_eq!(firsts, ["a/1", "b/1", "c/1", "a/2", "b/2", "c/1"]);
        let second = arranged(&all, RoutingStrategy::RoundRobin, &PoolSnapshot::default(), 0).remove(1);
        assert_eq!(second, "b/1", "the fallback is another provider");
    }

    #[test]
    fn random_starts_with_any_candidate() {
        let all = ["a/1", "b/1", "c/1", "d/1"].map(|n| candidate(n).build());
        let mut firsts: Vec<String> = (0..100)
            .map(|number| arranged(&all, RoutingStrategy::Random, &PoolSnapshot::default(), number).remove(0))
            .collect();
        firsts.sort();
        firsts.dedup();
        assert_eq!(firsts.len(), 4);
    }

    #[test]
    fn accounts_of_one_model_are_chosen_in_proportion_to_their_headroom() {
        let [much, little] = [("much", 0), ("little", 80)]
            .map(|(account, used)| (candidate("groq/gpt").account(account).limits(&[(Limit::Rpm, 99)]).build(), used));
        let mut snapshot = PoolSnapshot::default();
        set_used(&mut snapshot, &much.0, &[much.1]);
        set_used(&mut snapshot, &little.0, &[little.1]);
        let times = (0..1_000).filter(|number| {
            let (both, seed) = ([much.0.clone(), little.0.clone()], seed(*number));
            let choices = arrange_all(&both, RoutingStrategy::Smart, &snapshot, seed, &question());
            &*choices[0].candidate.account.id == "little"
        });
        let times = times.count();
        assert!((100..230).contains(&times), "expected one in six: {times} of 1000");
    }

    #[test]
    fn a_session_stays_where_it_was_served_until_that_is_unavailable() {
        let make = |name, account| candidate(name).account(account).limits(&[(Limit::Rpm, 10)]).build();
        let all = [make("a/x", "one"), make("a/x", "two"), make("b/y", "one")];
        let order = |snapshot: &PoolSnapshot| {
            let (learned, request) = (Estimates::default(), question());
            let able = all.iter().map(|c| Eligible {
                choice: Choice { candidate: c.clone(), charge: learned.charge(c, &request) },
                seen: snapshot.subject(c),
            });
            let strategy = RoutingStrategy::Headroom;
            let choices = arrange(able.collect(), strategy, FLOOR, snapshot, seed(0), &request, Some("a/two/x"));
            choices.iter().map(|c| c.candidate.subject.to_string()).collect::<Vec<_>>()
        };
        let mut snapshot = PoolSnapshot::default();
        for (candidate, used) in all.iter().zip([0, 10, 1]) {
            set_used(&mut snapshot, candidate, &[used]);
        }
        assert_eq!(order(&snapshot), ["a/two/x", "a/one/x", "b/one/y"], "full as it seems");
        snapshot.subjects.get_mut("a/two/x").unwrap().cooldown = Some((9_000, "429_rpd".into()));
        assert_eq!(order(&snapshot), ["a/one/x", "b/one/y", "a/two/x"]);
    }

    #[test]
    fn candidates_below_max_tokens_come_later() {
        let small = candidate("a/small").model(|m| m.max_output = 1_000).build();
        let (both, request) =
            ([small, candidate("b/large").build()], ChatRequest { max_tokens: Some(1_001), ..question() });
        let choices = arrange_all(
            &both,
            RoutingStrategy::Listed,
            &PoolSnapshot::default(),
            PlanSeed { number: 0, seed: 0 },
            &request,
        );
        assert_eq!(names(&choices), ["b/large", "a/small"]);
    }

    proptest! {
        /// For any snapshot, no candidate is lost or doubled, and candidates with room come first.
        #[test]
        fn arranging_keeps_all_candidates_and_puts_those_with_room_first(
            used in proptest::collection::vec(0..12_i64, 2..12),
            strategy in proptest::sample::select(RoutingStrategy::NAMES.map(|(_, o)| o).to_vec()),
            number in any::<u64>(),
        ) {
            let all: Vec<Arc<Candidate>> =
                (0..used.len()).map(|i| candidate(&format!("p{}/{i}", i % 3)).limits(&[(Limit::Rpm, 10)]).build()).collect();
            let mut snapshot = PoolSnapshot::default();
            for (candidate, used) in all.iter().zip(&used) {
                set_used(&mut snapshot, candidate, &[*used]);
            }
            let order = arranged(&all, strategy, &snapshot, number);
            let mut sorted = order.clone();
            sorted.sort();
            let mut expected: Vec<String> = all.iter().map(|c| c.name.to_string()).collect();
            expected.sort();
            prop_assert_eq!(sorted, expected);
            let full: Vec<bool> = order.iter().map(|n| used[n[3..].parse::<usize>().unwrap()] >= 10).collect();
            prop_assert!(full.is_sorted(), "{:?}", full);
        }
    }
}
