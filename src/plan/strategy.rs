//! Who is asked first.
//!
//! Three things come before any rule: local models last (but where the operator has listed them in order), then what the snapshot shows as shut, open or full behind what has
//! room (kept, since `admit` knows better), then who would refuse so large a `max_tokens`.
//!
//! The rule of `headroom` (and so of `free`): the least share left over all windows, times plenty. Plenty is how many requests
//! like this one a whole day holds, D, as D ÷ (D + 100): 20 a day start at a sixth, 1000 at nine tenths, no daily limit at 1.
//! So scarce days are kept for those who ask for such a model, yet none lies idle once the plentiful ones are used up.

use std::{cmp::Ordering, sync::Arc};

use super::{candidates::Eligible, estimate::PlanSeed};
use crate::domain::{
    BreakerState, ChatRequest, Choice, PoolSnapshot, RoutingStrategy, SubjectSnapshot, WindowKind, time::DAY_MS,
};

/// Requests a day at which a model counts as half plentiful.
const PLENTY_HALF: f64 = 100.0;
/// How old a snapshot may be.
const LOOK_EVERY_MS: i64 = 1_000;
/// Below this share ties are no longer weighed against each other.
const LITTLE: f64 = 1e-3;

/// Who shall be asked first stands first.
pub fn arrange(
    able: Vec<Eligible<'_>>,
    rule: RoutingStrategy,
    snapshot: &PoolSnapshot,
    turn: PlanSeed,
    request: &ChatRequest,
) -> Vec<Choice> {
    let rounds = if rule == RoutingStrategy::RoundRobin { rounds(&able, turn.number) } else { Vec::new() };
    let mut ranked: Vec<(Rank, Choice)> = Vec::with_capacity(able.len());
    for (i, Eligible { choice, seen }) in able.into_iter().enumerate() {
        let share = share_left(&choice, seen);
        let chance = chance(turn, i);
        let by_rule = match rule {
            RoutingStrategy::Fast => first_token_ms(&choice, seen),
            RoutingStrategy::Smart => -f64::from(choice.candidate.model.quality),
            RoutingStrategy::Headroom => -(share * plenty(&choice)),
            RoutingStrategy::Listed => i as f64,
            RoutingStrategy::RoundRobin => rounds[i],
            RoutingStrategy::Random => chance,
        };
        let rank = Rank {
            local: choice.candidate.provider.local && rule != RoutingStrategy::Listed,
            shut: share <= 0.0 || is_shut(&choice, snapshot, seen),
            over_output: request.max_tokens.is_some_and(|most| most > choice.candidate.model.max_output),
            by_rule,
            tie: -chance.ln() / share.max(LITTLE),
        };
        ranked.push((rank, choice));
    }
    ranked.sort_by(|(a, _), (b, _)| a.compare(b));
    ranked.into_iter().map(|(_, choice)| choice).collect()
}

/// Smaller is sooner.
struct Rank {
    local: bool,
    shut: bool,
    over_output: bool,
    by_rule: f64,
    /// Ties: by chance, weighted by headroom, so that accounts of one model fill up together over all replicas.
    tie: f64,
}

impl Rank {
    fn compare(&self, other: &Self) -> Ordering {
        (self.local, self.shut, self.over_output)
            .cmp(&(other.local, other.shut, other.over_output))
            .then(self.by_rule.total_cmp(&other.by_rule))
            .then(self.tie.total_cmp(&other.tie))
    }
}

/// Smallest share left over all windows after this request: 1 when nothing is known, 0 when it would not fit.
fn share_left(choice: &Choice, subject: Option<&SubjectSnapshot>) -> f64 {
    let Some(subject) = subject else { return 1.0 };
    let mut least = 1.0_f64;
    for level in &subject.levels {
        let window = choice.candidate.windows.iter().find(|w| w.limit == level.limit);
        let left = level.max - level.used - window.map_or(0, |w| choice.charge.units(w));
        if left < 0 || level.max <= 0 {
            return 0.0;
        }
        // The last unit still counts as room.
        least = least.min((left + 1) as f64 / (level.max + 1) as f64);
    }
    least
}

/// How plentiful the days are: 0 … 1, see the head of this file.
fn plenty(choice: &Choice) -> f64 {
    let a_day = choice.candidate.windows.iter().filter_map(|window| {
        let units = choice.charge.units(window);
        let daily = window.span_ms >= DAY_MS || window.kind == WindowKind::Calendar;
        let days = (window.limit.span_ms().max(DAY_MS) / DAY_MS) as f64;
        (daily && units > 0).then(|| window.max as f64 / units as f64 / days)
    });
    a_day.map(|requests| requests / (requests + PLENTY_HALF)).fold(1.0, f64::min)
}

/// Measured by all replicas; until then as the catalogue has it.
fn first_token_ms(choice: &Choice, subject: Option<&SubjectSnapshot>) -> f64 {
    subject.and_then(|s| s.first_token_ms).unwrap_or_else(|| f64::from(choice.candidate.model.first_token_ms))
}

fn is_shut(choice: &Choice, snapshot: &PoolSnapshot, subject: Option<&SubjectSnapshot>) -> bool {
    let candidate = &choice.candidate;
    // What opens before the next look may be open by now: `admit` knows.
    let later = |until_ms: i64| until_ms > snapshot.taken_ms + LOOK_EVERY_MS;
    let open = |name: &str| match snapshot.breakers.get(name) {
        Some(BreakerState::Open { until_ms }) => later(*until_ms),
        _ => false,
    };
    let key_shut = || {
        let key = format!("{}/{}", candidate.provider.id, candidate.key.id);
        snapshot.key_cooldowns.get(&key).is_some_and(|(until_ms, _)| later(*until_ms))
    };
    subject.and_then(|s| s.cooldown.as_ref()).is_some_and(|(until_ms, _)| later(*until_ms))
        || (!snapshot.breakers.is_empty() && (open(&candidate.provider.id) || open(&candidate.name)))
        || (!snapshot.key_cooldowns.is_empty() && key_shut())
}

/// Each turn begins at the next provider, and at each provider with its next candidate once all providers had a turn.
fn rounds(able: &[Eligible<'_>], turn: u64) -> Vec<f64> {
    let mut providers: Vec<(&Arc<str>, u64)> = Vec::new();
    let mut seats = Vec::with_capacity(able.len());
    for Eligible { choice, .. } in able {
        let id = &choice.candidate.provider.id;
        let at = providers.iter().position(|(known, _)| *known == id).unwrap_or_else(|| {
            providers.push((id, 0));
            providers.len() - 1
        });
        seats.push((at as u64, providers[at].1));
        providers[at].1 += 1;
    }
    let count = providers.len() as u64;
    seats
        .into_iter()
        .map(|(at, seat)| {
            let members = providers[usize::try_from(at).unwrap_or_default()].1;
            let provider = (at + count - turn % count) % count;
            let member = (seat + members - turn / count % members) % members;
            (member * count + provider) as f64
        })
        .collect()
}

/// A random number in (0, 1], the same for the same turn and seat.
fn chance(turn: PlanSeed, seat: usize) -> f64 {
    let seed = turn.seed ^ turn.number.rotate_left(20) ^ (seat as u64 + 1).rotate_left(40);
    1.0 - fastrand::Rng::with_seed(seed).f64()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        domain::{Candidate, Limit, TokenCharge},
        plan::{
            Estimates,
            test_support::{candidate, names, question, set_used},
        },
    };

    fn arrange_all(
        candidates: &[Arc<Candidate>],
        rule: RoutingStrategy,
        snapshot: &PoolSnapshot,
        turn: PlanSeed,
        request: &ChatRequest,
    ) -> Vec<Choice> {
        let learned = Estimates::default();
        let able = candidates.iter().map(|c| Eligible {
            choice: Choice { candidate: c.clone(), charge: learned.charge(c, request) },
            seen: snapshot.subject(c),
        });
        arrange(able.collect(), rule, snapshot, turn, request)
    }

    fn arranged(
        candidates: &[Arc<Candidate>],
        rule: RoutingStrategy,
        snapshot: &PoolSnapshot,
        number: u64,
    ) -> Vec<String> {
        let choices = arrange_all(candidates, rule, snapshot, PlanSeed { number, seed: 7 }, &question());
        names(&choices).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn headroom_prefers_what_has_more_left_of_its_scarcest_window() {
        let used = candidate("a/used").limits(&[(Limit::Rpm, 10), (Limit::Tpm, 100_000)]).build();
        let fresh = candidate("b/fresh").limits(&[(Limit::Rpm, 10)]).build();
        let mut snapshot = PoolSnapshot::default();
        set_used(&mut snapshot, &used, &[5, 0]);
        set_used(&mut snapshot, &fresh, &[1]);
        assert_eq!(arranged(&[used, fresh], RoutingStrategy::Headroom, &snapshot, 0), ["b/fresh", "a/used"]);
    }

    #[test]
    fn headroom_keeps_a_scarce_day_until_the_plentiful_are_used_up() {
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
    fn what_is_full_shut_or_open_goes_behind_but_stays() {
        let limits = [(Limit::Rpm, 2)];
        let make = |name| candidate(name).limits(&limits).build();
        let (full, shut, open, key) = (make("a/full"), make("b/shut"), make("c/open"), make("d/key"));
        let room = make("f/room");
        let mut snapshot = PoolSnapshot::default();
        for c in [&shut, &open, &key, &room] {
            set_used(&mut snapshot, c, &[0]);
        }
        set_used(&mut snapshot, &full, &[2]);
        snapshot.subjects.get_mut(&*shut.subject).unwrap().cooldown = Some((9_000, "429_rpd".into()));
        snapshot.breakers.insert("c".into(), BreakerState::Open { until_ms: 9_000 });
        snapshot.key_cooldowns.insert("d/main".into(), (9_000, "401".into()));
        let order = arranged(&[full, shut, open, key, room], RoutingStrategy::Listed, &snapshot, 0);
        assert_eq!(order, ["f/room", "a/full", "b/shut", "c/open", "d/key"]);
    }

    #[test]
    fn local_models_come_last_unless_the_operator_listed_them_in_order() {
        let (local, far) = (candidate("a/local").provider(|p| p.local = true).build(), candidate("b/far").build());
        for rule in [
            RoutingStrategy::Fast,
            RoutingStrategy::Smart,
            RoutingStrategy::Headroom,
            RoutingStrategy::RoundRobin,
            RoutingStrategy::Random,
        ] {
            let order = arranged(&[local.clone(), far.clone()], rule, &PoolSnapshot::default(), 0);
            assert_eq!(order, ["b/far", "a/local"], "{rule:?}");
        }
        assert_eq!(arranged(&[local, far], RoutingStrategy::Listed, &PoolSnapshot::default(), 0), ["a/local", "b/far"]);
    }

    #[test]
    fn a_cool_down_that_may_be_over_by_now_does_not_count() {
        let (was_shut, other) = (candidate("a/x").build(), candidate("b/y").build());
        let mut snapshot = PoolSnapshot::default();
        set_used(&mut snapshot, &was_shut, &[]);
        snapshot.subjects.get_mut(&*was_shut.subject).unwrap().cooldown = Some((1_900, "429".into()));
        snapshot.breakers.insert("a".into(), BreakerState::Open { until_ms: 2_000 });
        assert_eq!(arranged(&[was_shut, other], RoutingStrategy::Listed, &snapshot, 0), ["a/x", "b/y"]);
    }

    #[test]
    fn fast_trusts_measurements_over_the_catalogue() {
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
    fn smart_goes_by_quality() {
        let [low, high] = [("a/low", 20), ("b/high", 70)].map(|(n, q)| candidate(n).model(|m| m.quality = q).build());
        assert_eq!(arranged(&[low, high], RoutingStrategy::Smart, &PoolSnapshot::default(), 0), ["b/high", "a/low"]);
    }

    #[test]
    fn round_robin_takes_every_provider_in_turn_and_then_their_next_model() {
        let all = ["a/1", "a/2", "b/1", "b/2", "c/1"].map(|n| candidate(n).build());
        let first = |turn| arranged(&all, RoutingStrategy::RoundRobin, &PoolSnapshot::default(), turn).remove(0);
        let firsts: Vec<String> = (0..6).map(first).collect();
        assert_eq!(firsts, ["a/1", "b/1", "c/1", "a/2", "b/2", "c/1"]);
        let second = arranged(&all, RoutingStrategy::RoundRobin, &PoolSnapshot::default(), 0).remove(1);
        assert_eq!(second, "b/1", "the fallback is another provider");
    }

    #[test]
    fn random_begins_with_anyone() {
        let all = ["a/1", "b/1", "c/1", "d/1"].map(|n| candidate(n).build());
        let mut firsts: Vec<String> = (0..100)
            .map(|turn| arranged(&all, RoutingStrategy::Random, &PoolSnapshot::default(), turn).remove(0))
            .collect();
        firsts.sort();
        firsts.dedup();
        assert_eq!(firsts.len(), 4);
    }

    #[test]
    fn accounts_of_one_model_are_chosen_about_as_often_as_they_have_headroom() {
        let [much, little] = [("much", 0), ("little", 80)]
            .map(|(account, used)| (candidate("groq/gpt").account(account).limits(&[(Limit::Rpm, 99)]).build(), used));
        let mut snapshot = PoolSnapshot::default();
        set_used(&mut snapshot, &much.0, &[much.1]);
        set_used(&mut snapshot, &little.0, &[little.1]);
        let times = (0..1_000).filter(|number| {
            let (both, turn) = ([much.0.clone(), little.0.clone()], PlanSeed { number: *number, seed: 1 });
            let choices = arrange_all(&both, RoutingStrategy::Smart, &snapshot, turn, &question());
            &*choices[0].candidate.account.id == "little"
        });
        let times = times.count();
        assert!((100..230).contains(&times), "a fifth of the headroom, a sixth of the turns: {times} of 1000");
    }

    #[test]
    fn who_would_refuse_so_many_tokens_is_asked_later() {
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
        /// Whatever is seen, no candidate is lost or doubled, and who has room stands before who has none.
        #[test]
        fn arranging_keeps_everyone_and_puts_room_first(
            used in proptest::collection::vec(0..12_i64, 2..12),
            rule in proptest::sample::select(RoutingStrategy::NAMES.map(|(_, o)| o).to_vec()),
            number in any::<u64>(),
        ) {
            let all: Vec<Arc<Candidate>> =
                (0..used.len()).map(|i| candidate(&format!("p{}/{i}", i % 3)).limits(&[(Limit::Rpm, 10)]).build()).collect();
            let mut snapshot = PoolSnapshot::default();
            for (candidate, used) in all.iter().zip(&used) {
                set_used(&mut snapshot, candidate, &[*used]);
            }
            let order = arranged(&all, rule, &snapshot, number);
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
