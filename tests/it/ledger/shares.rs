//! Fair shares: guaranteed by weight to active clients, lent to others meanwhile; a single client gets everything.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tollfree::ledger::engine::Reply;

use super::{
    cases,
    queue::{Caller, QueueSimulation},
    rig::{Admit, Cand, End, TestClient, TestLedger, cand, win},
};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60_000;

/// Request pattern of a client.
enum Pace {
    /// One request per interval (ms).
    Every(i64),
    /// This many concurrent callers, each sending its next request after a reply or refusal and a pause (ms).
    Loops(usize, i64),
}

struct Team {
    queue: QueueSimulation,
    cand: Cand,
    clients: Vec<(TestClient, Pace, i64, i64)>,
    /// The current callers of clients with [`Pace::Loops`].
    loops: Vec<(usize, String)>,
    mine: BTreeMap<usize, Vec<String>>,
    came: BTreeMap<usize, i64>,
}

impl Team {
    fn over(kind: char, limit: &str, max: i64) -> Self {
        Self {
            queue: QueueSimulation::new(),
            cand: cand("groq", &[win(limit, kind, max)]),
            clients: Vec::new(),
            loops: Vec::new(),
            mine: BTreeMap::new(),
            came: BTreeMap::new(),
        }
    }

    /// Adds a client whose requests need `units` and wait for up to `wait_ms`.
    fn client(mut self, client: TestClient, pace: Pace, units: i64, wait_ms: i64) -> Self {
        self.clients.push((client, pace, units, wait_ms));
        self
    }

    fn send(&mut self, i: usize, at: i64) -> String {
        let (client, _, units, wait_ms) = &self.clients[i];
        let caller = Caller { life_ms: 400, ..Caller::new(client, &[(&self.cand, &[*units])]).waiting(*wait_ms) };
        let id = self.queue.arrive(at, caller);
        self.mine.entry(i).or_default().push(id.clone());
        *self.came.entry(i).or_default() += 1;
        id
    }

    /// Sends all clients' requests for `ms`.
    fn run(&mut self, ms: i64) {
        let end = self.queue.ledger.now() + ms;
        for i in 0..self.clients.len() {
            match self.clients[i].1 {
                Pace::Every(every) => {
                    let mut at = i as i64 * 13;
                    while at < ms {
                        self.send(i, at);
                        at += every;
                    }
                }
                Pace::Loops(many, _) => {
                    while self.loops.iter().filter(|(owner, _)| *owner == i).count() < many {
                        let id = self.send(i, 0);
                        self.loops.push((i, id));
                    }
                }
            }
        }
        while self.queue.ledger.now() < end {
            self.queue.pass(20.min(end - self.queue.ledger.now()));
            for n in 0..self.loops.len() {
                let (i, id) = self.loops[n].clone();
                if self.queue.callers[&id].is_over() {
                    let Pace::Loops(_, pause) = self.clients[i].1 else { unreachable!() };
                    // After a refusal a caller pauses until the named time, within bounds.
                    let refused_for =
                        self.queue.callers[&id].refused.as_ref().map(|(at, no)| (no.opens - at).clamp(300, 1_000));
                    let pause = refused_for.unwrap_or(pause);
                    self.loops[n].1 = self.send(i, pause);
                }
            }
        }
    }

    /// Units that a client received within the last `within` ms.
    fn got(&self, i: usize, within: i64) -> i64 {
        let since = self.queue.ledger.now() - within;
        let units = self.clients[i].2;
        let went = self.mine[&i].iter().filter(|id| self.queue.callers[*id].went_ms.is_some_and(|at| at > since));
        i64::try_from(went.count()).unwrap() * units
    }
}

fn jain(shares: &[f64]) -> f64 {
    let (sum, squares): (f64, f64) = (shares.iter().sum(), shares.iter().map(|x| x * x).sum());
    sum * sum / (shares.len() as f64 * squares)
}

/// One client with fifty connections and four with one request a second each, at 600 a minute.
fn greedy_and_modest(kind: char, wait_ms: i64, pause: i64) -> Team {
    let team = Team::over(kind, "rpm", 600).client(TestClient::named("greedy"), Pace::Loops(50, pause), 1, wait_ms);
    (0..4).fold(team, |team, n| team.client(TestClient::named(&format!("modest{n}")), Pace::Every(SECOND), 1, wait_ms))
}

#[test]
fn modest_clients_get_their_demand_and_the_greedy_one_the_rest() {
    for (kind, wait_ms, pause) in [('b', 20_000, 0), ('b', 0, 50)] {
        let mut team = greedy_and_modest(kind, wait_ms, pause);
        team.run(MINUTE);
        team.run(2 * MINUTE);
        let modest: Vec<i64> = (1..5).map(|i| team.got(i, 2 * MINUTE)).collect();
        assert!(modest.iter().all(|got| *got >= 114), "of 120 each: {modest:?}, waiting {wait_ms}");
        let greedy = team.got(0, 2 * MINUTE);
        // 1200 units drain; the four clients' unused shares are lent.
        assert!(greedy + modest.iter().sum::<i64>() >= 1_200 * 97 / 100, "greedy {greedy}, modest {modest:?}");
        let satisfied: Vec<f64> = modest.iter().map(|got| *got as f64 / 120.0).chain([1.0]).collect();
        assert!(jain(&satisfied) >= 0.98, "{satisfied:?}");
        team.queue.assert_within_limits();
    }
}

#[test]
fn on_a_sliding_window_each_client_gets_its_share_from_the_second_span_on() {
    let mut team = greedy_and_modest('s', 55_000, 0);
    team.run(2 * MINUTE);
    team.run(3 * MINUTE);
    let modest: Vec<i64> = (1..5).map(|i| team.got(i, 3 * MINUTE)).collect();
    assert!(modest.iter().all(|got| *got >= 171), "of 180 each: {modest:?}");
    let all = team.got(0, 3 * MINUTE) + modest.iter().sum::<i64>();
    assert!(all >= 1_800 * 95 / 100, "{all} of 1800 used");
    team.queue.assert_within_limits();
}

#[test]
fn weights_of_three_to_one_give_three_to_one() {
    let mut team = Team::over('b', "rpm", 600)
        .client(TestClient::named("heavy").with_weight(3), Pace::Loops(30, 0), 1, 30_000)
        .client(TestClient::named("light"), Pace::Loops(30, 0), 1, 30_000);
    team.run(MINUTE);
    team.run(2 * MINUTE);
    let ratio = team.got(0, 2 * MINUTE) as f64 / team.got(1, 2 * MINUTE) as f64;
    assert!((2.85..=3.15).contains(&ratio), "3:1 became {ratio:.2}:1");

    // On a sliding window this holds while enough requests wait.
    let mut team = Team::over('s', "rpm", 40)
        .client(TestClient::named("heavy").with_weight(3), Pace::Loops(60, 0), 1, 10 * MINUTE)
        .client(TestClient::named("light"), Pace::Loops(60, 0), 1, 10 * MINUTE);
    team.run(2 * MINUTE);
    team.run(4 * MINUTE);
    let ratio = team.got(0, 4 * MINUTE) as f64 / team.got(1, 4 * MINUTE) as f64;
    assert!((2.85..=3.15).contains(&ratio), "3:1 became {ratio:.2}:1 on a sliding window");
    team.queue.assert_within_limits();
}

#[test]
fn a_single_client_gets_everything_and_regains_it_when_others_stop() {
    // A bucket's capacity and its drain; a sliding minute filled four times.
    for (kind, whole) in [('b', 600 + 10 * 182), ('s', 4 * 600)] {
        let mut team = Team::over(kind, "rpm", 600).client(TestClient::named("alone"), Pace::Loops(50, 0), 1, 30_000);
        team.run(182 * SECOND);
        let got = team.got(0, 182 * SECOND);
        assert!(got >= whole * 97 / 100, "{kind}: {got} of {whole}");
        team.queue.assert_within_limits();
    }
    let mut team = Team::over('b', "rpm", 600)
        .client(TestClient::named("stays"), Pace::Loops(50, 0), 1, 30_000)
        .client(TestClient::named("stops"), Pace::Loops(50, 0), 1, 30_000);
    team.run(2 * MINUTE);
    team.loops.retain(|(i, _)| *i == 0);
    team.clients[1].1 = Pace::Every(1 << 40);
    team.run(MINUTE);
    assert!(team.got(0, MINUTE) >= 600 * 85 / 100, "{} of 600 in the first span alone", team.got(0, MINUTE));
}

#[test]
fn a_request_larger_than_its_share_is_served() {
    for kind in ['b', 's'] {
        let mut team = Team::over(kind, "tpm", 8_000)
            .client(TestClient::named("small"), Pace::Loops(10, 500), 200, 20_000)
            .client(TestClient::named("other"), Pace::Loops(10, 500), 200, 20_000);
        team.run(90_000);
        let large = Caller::new(&TestClient::named("large"), &[(&team.cand, &[6_000])]).waiting(2 * MINUTE);
        let id = team.queue.arrive(0, large);
        team.run(2 * MINUTE);
        assert!(team.queue.callers[&id].went_ms.is_some(), "{kind}: starved");
        team.queue.assert_within_limits();
    }
}

#[test]
fn clients_with_large_and_small_requests_get_the_same_tokens() {
    let mut team = Team::over('b', "tpm", 24_000)
        .client(TestClient::named("large"), Pace::Loops(20, 0), 3_000, 60_000)
        .client(TestClient::named("small"), Pace::Loops(60, 0), 200, 60_000);
    team.run(2 * MINUTE);
    team.run(4 * MINUTE);
    let (large, small) = (team.got(0, 4 * MINUTE) as f64, team.got(1, 4 * MINUTE) as f64);
    assert!((0.9..=1.11).contains(&(large / small)), "{large} : {small} tokens");
    team.queue.assert_within_limits();
}

#[test]
fn from_the_second_span_on_a_greedy_client_takes_nothing_that_others_request_of_their_share() {
    for (kind, limit, units, wait_ms) in
        [('s', "rpm", 1, 0), ('s', "rpm", 1, 30_000), ('b', "rpm", 1, 5_000), ('s', "tpm", 200, 0)]
    {
        let greedy = TestClient::named("greedy");
        let team = Team::over(kind, limit, 120 * units).client(greedy, Pace::Loops(20, 50), units, wait_ms);
        let mut team = (0..4).fold(team, |team, n| {
            team.client(TestClient::named(&format!("modest{n}")), Pace::Every(3 * SECOND), units, wait_ms)
        });
        team.run(MINUTE);
        team.run(3 * MINUTE);
        let got: Vec<i64> = (0..5).map(|i| team.got(i, 3 * MINUTE) / units).collect();
        let what = format!("{kind} {limit}, waiting {wait_ms}: {got:?}");
        // Of 60 each. One that comes just before its last unit is free again comes 3 s later.
        assert!(got[1..].iter().all(|got| *got >= 54), "{what}");
        // One unit of each client is reserved before it is requested.
        assert!(got.iter().sum::<i64>() >= 360 * 95 / 100, "{what}");
        team.queue.assert_within_limits();
    }
}

#[test]
fn models_of_one_account_share_each_their_own_windows_whatever_their_names_contain() {
    let mut queue = QueueSimulation::new();
    let windows = [win("rpm", 's', 40).account_wide(), win("rpm", 's', 4)];
    let cands = ["qwen3:free", "llama|3;x:free"].map(|model| cand("router", &windows).with(model, "account"));
    let (ann, bob) = (TestClient::named("ann"), TestClient::named("bob"));
    for cand in &cands {
        let granted = |ledger: &mut TestLedger, client: &TestClient| {
            (0..4).filter(|_| matches!(ledger.admit(client, &[(cand, &[1, 1])]), Admit::Go(_))).count()
        };
        let ledger = &mut queue.ledger;
        assert_eq!((granted(ledger, &bob), granted(ledger, &ann)), (4, 0), "bob came first to {}", cand.model);
        ledger.pass(62 * SECOND);
        for _ in 0..3 {
            ledger.admit(&ann, &[(cand, &[1, 1])]);
        }
        assert!(granted(ledger, &bob) <= 2, "{}: ann has requested her half", cand.model);
    }
}

#[test]
fn a_client_whose_calls_were_not_sent_counts_once_among_those_that_share() {
    let (mut ledger, cand) = (TestLedger::new(), cand("groq", &[win("rpm", 's', 100)]));
    let (ann, bob) = (TestClient::named("ann"), TestClient::named("bob"));
    ledger.pass(600); // it holds
    let _open = ledger.admit(&ann, &[(&cand, &[1])]).go();
    for _ in 0..30 {
        let lease = ledger.admit(&bob, &[(&cand, &[1])]).go();
        ledger.close(&lease, &End::not_sent());
        ledger.pass(10);
    }
    let _open = ledger.admit(&bob, &[(&cand, &[1])]).go();
    let Reply::Bulk(sums) = ledger.eval("return redis.call('HGET', KEYS[1], '=')", &cand.shares_key()) else {
        panic!("no sums")
    };
    let sums = String::from_utf8(sums.to_vec()).unwrap();
    let fields: Vec<&str> = sums.split([';', ' ']).collect();
    assert_eq!((fields[0], fields[3], fields[4]), ("0|rpm", "2", "2"), "weights and clients in {sums}");
}

/// A client of the property below: its weight, and how often it requests (ms); `None`: always as many requests as its share has.
fn member() -> impl Strategy<Value = (i64, Option<i64>)> {
    (1..4_i64, prop::option::of(prop::sample::select(vec![2_000, 3_000, 4_000, 6_000, 12_000])))
}

proptest! {
    #![proptest_config(cases(10))]

    /// In each span from the second one on, each client gets its share, or what it requests if that is less.
    #[test]
    fn no_client_is_below_its_share_for_longer_than_a_span(
        kind in prop::sample::select(vec!['s', 'b']),
        wait_ms in prop::sample::select(vec![0, 5_000, 30_000]),
        members in prop::collection::vec(member(), 2..6),
        is_late in any::<bool>(),
    ) {
        const LIMIT: i64 = 60;
        // A sliding window is used once in its span, the slack and a part of the span.
        const SPAN: i64 = 62_000;
        let weights: i64 = members.iter().map(|(weight, _)| weight).sum();
        let share = |weight: i64| LIMIT * weight / weights;
        let mut team = members.iter().enumerate().fold(Team::over(kind, "rpm", LIMIT), |team, (n, (weight, every))| {
            let all = usize::try_from(share(*weight)).unwrap() + 2;
            let pace = every.map_or(Pace::Loops(all, 300), Pace::Every);
            team.client(TestClient::named(&format!("client{n}")).with_weight(*weight), pace, 1, wait_ms)
        });
        if is_late {
            let pace = std::mem::replace(&mut team.clients[0].1, Pace::Every(1 << 40));
            team.run(MINUTE);
            team.clients[0].1 = pace;
        }
        team.run(2 * SPAN);
        for _ in 0..10 {
            team.run(12 * SECOND);
            for (i, (weight, every)) in members.iter().enumerate() {
                let due = share(*weight).min(every.map_or(LIMIT, |every| SPAN / every));
                let got = team.got(i, SPAN);
                prop_assert!(got as f64 >= due as f64 * 0.95 - 2.0, "client {i} got {got} of {due}");
            }
        }
        team.queue.assert_within_limits();
    }
}
