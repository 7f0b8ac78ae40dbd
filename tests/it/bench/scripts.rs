//! Time of each script inside Redis, from its slow log.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::Path,
    process::Command,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tollfree::{
    catalog::{Catalog, Current},
    config,
    domain::{Charge, Choice, Client, Health, Limit, Outcome, Tier, Usage, client::ClientKind},
    ledger::{Admission, AdmitRequest, Lease, Ledger, Rules, redis::RedisEngine, scripts::Script},
    shutdown::Tasks,
};

use super::process::median;
use crate::support::{eventually, redis_server::RedisServer};

/// Time in which the windows are filled gradually, so that their units are spread over many sub-buckets.
const FILLING: Duration = Duration::from_secs(62);
/// Calls of each kind.
const CALLS: usize = 1_000;
/// Alternating rounds, because the speed of a shared machine varies.
const ROUNDS: usize = 10;
const AT_ONCE: usize = 10;
/// Threshold of the slow log in µs. Every script takes longer. Most of its commands take less; logging them too would
/// add a third to the time.
const NOTED_FROM: &str = "5";
/// Clients that share every window.
const ACTIVE: usize = 100;
const CHARGE: Charge = Charge { requests: 1, input: 100, tokens: 200, audio: 0 };

struct Pool {
    ledger: Ledger,
    choices: Vec<Choice>,
    tasks: Tasks,
}

impl Pool {
    /// Ten candidates with the same four limits.
    async fn start(server: &RedisServer, name: &str, limits: &str) -> Self {
        let mut file = String::new();
        for number in 0..10 {
            writeln!(
                file,
                "[providers.w{number}]\nbase_url = \"http://127.0.0.1:1/v1\"\n[providers.w{number}.models.m]\nlimits = {limits}"
            )
            .unwrap();
        }
        let pool = Self::of(server, name, &file, &BTreeMap::new()).await;
        let choices = &pool.choices;
        assert!(choices.len() == 10 && choices.iter().all(|choice| choice.candidate.windows.len() == 4));
        pool
    }

    /// Every candidate of a file and an environment.
    async fn of(server: &RedisServer, name: &str, file: &str, env: &BTreeMap<String, String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tollfree.toml"), file).unwrap();
        let settings = config::load(env, Path::new(folder.path())).unwrap().settings;
        let catalog = Catalog::build(&settings, &BTreeMap::new()).unwrap();
        let choices: Vec<_> =
            catalog.candidates.iter().map(|c| Choice { candidate: c.clone(), charge: CHARGE }).collect();
        let catalog: Current = Arc::new(ArcSwap::from_pointee(catalog));
        let rules = Rules {
            pool: name.into(),
            slack_ms: 250,
            failure_threshold: 3,
            success_threshold: 2,
            open_ms: 30_000,
            outage_requests: 1_000,
        };
        let tasks = Tasks::new();
        let redis = RedisEngine::connect(server.url().parse().unwrap(), "default", &tasks);
        let ledger = Ledger::start(Arc::new(redis), &rules, catalog, tasks.clone());
        eventually(Duration::from_secs(5), "the ledger is ready", async || ledger.is_ready().then_some(())).await;
        Self { ledger, choices, tasks }
    }

    async fn admit(&self, client: &Client, choices: &[Choice]) -> Option<Lease> {
        match self
            .ledger
            .admit(AdmitRequest {
                client,
                choices,
                wait_ms: 0,
                tier: Tier::Standard,
                waited_us: &AtomicU64::new(0),
                ledger_wait_us: &AtomicU64::new(0),
            })
            .await
            .unwrap()
        {
            Admission::Granted(lease) => Some(lease),
            other => {
                assert!(matches!(other, Admission::Refused(_)), "{other:?}");
                None
            }
        }
    }

    /// The clients admit and settle, or are refused, in turn and several at a time, as in a busy pool. Returns the number
    /// of admissions, whose settlements may still be running.
    async fn run_clients(&self, clients: &[Client], choices: &[Choice]) -> usize {
        let (mut turns, mut admitted) = (clients.iter().cycle(), 0);
        for _ in 0..CALLS / ROUNDS / AT_ONCE {
            let some = turns.by_ref().take(AT_ONCE).map(|client| self.admit(client, choices));
            for lease in join_all(some).await.into_iter().flatten() {
                lease.mark_sent();
                lease.settle(typical_outcome());
                admitted += 1;
            }
        }
        admitted
    }
}

/// A typical outcome: slightly less than was charged.
fn typical_outcome() -> Outcome {
    let usage = Usage { sent: true, input: Some(90), total: Some(120), audio: None };
    Outcome { health: Health::Good, usage, first_token: Some(Duration::from_millis(200)), ..Outcome::unknown() }
}

/// A hundred clients, each with these limits.
fn clients(limits: &[(Limit, i64)]) -> Vec<Client> {
    (0..ACTIVE).map(|n| Client::new(format!("client-{n}"), ClientKind::Shared, limits)).collect()
}

/// The slow log of a server.
struct Log {
    connection: redis::Connection,
}

impl Log {
    fn of(server: &RedisServer) -> Self {
        // The callers share the cores with Redis and must not run while a script is measured.
        let first = Command::new("renice").args(["-n", "-19", "-p", &server.pid().to_string()]).output();
        if !first.is_ok_and(|renice| renice.status.success()) {
            println!("(only root can raise the priority of Redis: the times below include some of its callers' time)");
        }
        let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
        for (name, value) in [("slowlog-log-slower-than", NOTED_FROM), ("slowlog-max-len", "100000")] {
            redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut connection).unwrap();
        }
        Self { connection }
    }

    fn clear(&mut self) {
        redis::cmd("SLOWLOG").arg("RESET").exec(&mut self.connection).unwrap();
    }

    /// Waits for `count` settlements since the last [`Self::clear`].
    async fn settled(&mut self, count: usize) {
        eventually(Duration::from_secs(5), "all are settled", async || {
            (self.times(Script::Settle).len() >= count).then_some(())
        })
        .await;
    }

    /// Microseconds of every call of a script since the last [`Self::clear`].
    fn times(&mut self, script: Script) -> Vec<f64> {
        self.times_of(script.source())
    }

    /// Times of a script of twenty `HGET`, as a reference for the speed of this machine.
    fn yardstick(&mut self) -> Vec<f64> {
        let text = "local n = 0\nfor i = 1, 20 do n = n + tonumber(redis.call('HGET', KEYS[1], i) or 0) end\nreturn n";
        let script = redis::Script::new(text);
        for _ in 0..CALLS {
            script.key("{yardstick}").invoke::<i64>(&mut self.connection).unwrap();
        }
        self.times_of(text)
    }

    fn times_of(&mut self, source: &str) -> Vec<f64> {
        self.calls_of(source).into_iter().map(|(time, _)| time).collect()
    }

    /// Microseconds and words of every call: its first keys, after their number.
    fn calls_of(&mut self, source: &str) -> Vec<(f64, Vec<String>)> {
        type Entry = (i64, i64, i64, Vec<Vec<u8>>, String, String);
        let digest = redis::Script::new(source);
        let entries: Vec<Entry> = redis::cmd("SLOWLOG").arg("GET").arg(-1).query(&mut self.connection).unwrap();
        let ours = |entry: &&Entry| entry.3[0] == b"EVALSHA" && entry.3[1] == digest.get_hash().as_bytes();
        let words = |words: &[Vec<u8>]| words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        entries.iter().filter(ours).map(|entry| (entry.2 as f64, words(&entry.3[2..]))).collect()
    }
}

fn line(what: &str, times: &[f64], bar: &str) {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, median, high) = (sorted[sorted.len() / 10], median(times), sorted[sorted.len() * 9 / 10]);
    println!("{what:<58} {median:>6.0} µs   p10 {low:>5.0}   p90 {high:>5.0}{bar}");
}

pub(super) async fn print_times() {
    let server = RedisServer::with_aof().await;
    let mut log = Log::of(&server);
    let free = Pool::start(&server, "free", "{ rpm = 100000, rpd = 100000, tpm = 100000000, tpd = 100000000 }").await;
    // A minute of two requests a second and candidate fills these.
    let full = Pool::start(&server, "full", "{ rpm = 110, rpd = 100000, tpm = 22000, tpd = 100000000 }").await;
    let unlimited = clients(&[]);
    let limited =
        clients(&[(Limit::Rpm, 100_000), (Limit::Rpd, 100_000), (Limit::Tpm, 100_000_000), (Limit::Tpd, 100_000_000)]);

    let end = tokio::time::Instant::now() + FILLING;
    for client in unlimited.iter().cycle() {
        for number in 0..10 {
            for pool in [&free, &full] {
                if let Some(lease) = pool.admit(client, &pool.choices[number..=number]).await {
                    lease.mark_sent();
                    lease.settle(typical_outcome());
                }
            }
        }
        let same = limited.iter().find(|other| other.id == client.id).unwrap();
        drop(free.admit(same, &free.choices[..1]).await);
        if tokio::time::Instant::now() > end {
            break;
        }
        tokio::time::sleep(Duration::from_millis(450)).await;
    }
    for client in unlimited.iter().cycle() {
        let Some(lease) = full.admit(client, &full.choices).await else { break };
        lease.mark_sent();
        // Settled as charged.
        lease.settle(Outcome { health: Health::Good, ..Outcome::unknown() });
    }

    println!(
        "\n== time in Redis: four windows per candidate, filled over a minute by {ACTIVE} active clients; {CALLS} calls each =="
    );
    line("yardstick: a script of 20 HGET", &log.yardstick(), "");
    let (mut one, mut ten, mut settle, mut with_quota, mut full_ones) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        for (pool, clients, choices, times, limits) in [
            (&free, &unlimited, &free.choices[..1], &mut one, 0),
            (&free, &unlimited, &free.choices[..], &mut ten, 0),
            (&free, &limited, &free.choices[..], &mut with_quota, 4),
            (&full, &unlimited, &full.choices[..], &mut full_ones, 0),
        ] {
            log.clear();
            let admitted = pool.run_clients(clients, choices).await;
            log.settled(admitted).await;
            times.extend(log.times(Script::Admit));
            if limits == 0 {
                settle.extend(log.times(Script::Settle));
            }
        }
    }
    line("admit, 1 candidate", &one, "");
    line("admit, 10 candidates, the first is free", &ten, "   (bar: 60)");
    line("settle", &settle, "   (bar: 40)");
    line("admit, 10 candidates, the first is free, 4 client windows", &with_quota, "");
    println!("{:<58} {:>6.1} µs   (bar: 5)", "  each client window more", (median(&with_quota) - median(&ten)) / 4.0);
    // A refusal runs the script twice: for the first candidates, which is the cheaper half of the calls, and for all.
    full_ones.sort_by(f64::total_cmp);
    let (first, all) = full_ones.split_at(full_ones.len() / 2);
    line("admit, 10 candidates, all full: first, of some", first, "");
    line("  then, for all candidates", all, "   (bar: 400)");
    log.clear();
    tokio::time::sleep(Duration::from_secs(8)).await;
    line("snapshot of 10 candidates", &log.times(Script::Snapshot), "   (bar: 1000)");
    for pool in [free, full] {
        pool.tasks.drain(Duration::from_secs(1)).await;
    }
}

/// Models and keys of a pool that is larger than any known one.
const MODELS: usize = 500;
const KEYS: usize = 20;

/// Admissions of each kind.
const ADMISSIONS: usize = 250;

/// A pool of 500 models with 20 keys each, of which every window is in use: its memory in Redis, the time of the slices of its
/// snapshot, and of an admission whose plan has 500 candidates.
pub(super) async fn print_large_pool() {
    let server = RedisServer::with_aof().await;
    let mut log = Log::of(&server);
    let mut file = "[providers.big]\nbase_url = \"http://127.0.0.1:1/v1\"\n".to_owned();
    for model in 0..MODELS {
        writeln!(file, "[providers.big.models.model-{model}]\nlimits = {{ rpm = 30, rpd = 1000 }}").unwrap();
    }
    let keys: Vec<String> = (0..KEYS).map(|key| format!("key-{key}")).collect();
    let env = BTreeMap::from([("BIG_API_KEY".to_owned(), keys.join(","))]);
    let pool = Pool::of(&server, "big", &file, &env).await;
    assert_eq!(pool.choices.len(), MODELS * KEYS);
    let memory = |server: &RedisServer| -> f64 {
        let info = server.command(&["INFO", "memory"]);
        let bytes = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        bytes.trim().parse::<f64>().unwrap() / 1e6
    };
    let before = memory(&server);
    let client = &clients(&[])[0];
    for some in pool.choices.chunks(AT_ONCE) {
        let admitted = some.iter().map(|choice| pool.admit(client, std::slice::from_ref(choice)));
        for lease in join_all(admitted).await.into_iter().flatten() {
            lease.mark_sent();
            lease.settle(typical_outcome());
        }
    }
    // The marks of settled leases expire after five seconds.
    tokio::time::sleep(Duration::from_secs(8)).await;
    // The slow log stands in Redis's memory, too.
    log.clear();
    println!("\n== a pool of {MODELS} models with {KEYS} keys each, every window in use ==");
    line("yardstick: a script of 20 HGET", &log.yardstick(), "");
    println!("{:<58} {:>6.1} MB   (bar: 10)", "memory in Redis", memory(&server) - before);
    print_snapshot(&pool, &mut log).await;
    print_admissions(&pool, &mut log, client).await;
    pool.tasks.drain(Duration::from_secs(1)).await;
}

/// The time of each call, and of the whole.
async fn print_snapshot(pool: &Pool, log: &mut Log) {
    // Every model has failed once with one key, so that each has a breaker to read.
    let client = &clients(&[])[0];
    for some in pool.choices.iter().step_by(KEYS).collect::<Vec<_>>().chunks(AT_ONCE) {
        let admitted = some.iter().map(|choice| pool.admit(client, std::slice::from_ref(*choice)));
        for lease in join_all(admitted).await.into_iter().flatten() {
            lease.mark_sent();
            lease.settle(Outcome { health: Health::ModelFailed, ..Outcome::unknown() });
        }
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    log.clear();
    let taken = || pool.ledger.snapshot().taken_ms;
    let mut instants = vec![taken()];
    while instants.len() < 16 {
        eventually(Duration::from_secs(30), "the next snapshot", async || {
            (taken() != *instants.last().unwrap()).then_some(())
        })
        .await;
        instants.push(taken());
    }
    let calls = log.calls_of(Script::Snapshot.source());
    let of = |is_part: fn(&str) -> bool| -> Vec<f64> {
        let part = |words: &[String]| words[4].rsplit(':').next().is_some_and(is_part);
        calls.iter().filter(|(_, words)| part(words)).map(|(time, _)| *time).collect()
    };
    let parts = [of(|part| part == "h"), of(|part| part == "s"), of(|part| part.parse::<u32>().is_ok())];
    line("snapshot: health, with a breaker of each model", &parts[0], "   (bar: 1000)");
    line("snapshot: speed of each model", &parts[1], "   (bar: 1000)");
    line("snapshot: one slice of the windows", &parts[2], "   (bar: 1000)");
    let slowest = parts.iter().flatten().copied().fold(0.0, f64::max);
    println!("{:<58} {slowest:>6.0} µs   (of {} calls)", "snapshot: the slowest call", calls.len());
    let whole: Vec<f64> = instants.windows(2).skip(1).map(|two| (two[1] - two[0] - 1_000) as f64).collect();
    println!("{:<58} {:>6.0} ms", "snapshot: the whole", median(&whole));
}

/// Plans of 10 and of 500 candidates: the first one is free; the first two are full and the third is free.
async fn print_admissions(pool: &Pool, log: &mut Log, client: &Client) {
    let free: Vec<Choice> = pool.choices.iter().skip(2).step_by(KEYS).cloned().collect();
    let full: Vec<Choice> = pool.choices[..2].to_vec();
    for choice in &full {
        while let Some(lease) = pool.admit(client, std::slice::from_ref(choice)).await {
            lease.mark_sent();
            lease.settle(typical_outcome());
        }
    }
    let behind: Vec<Choice> = full.iter().chain(&free[..MODELS - 2]).cloned().collect();
    for (what, choices) in [
        ("admit, a plan of 10 candidates, the first is free", &free[..10]),
        ("admit, a plan of 500 candidates, the first is free", &free[..]),
        ("admit, a plan of 10 candidates, the third is free", &behind[..10]),
        ("admit, a plan of 500 candidates, the third is free", &behind[..]),
    ] {
        log.clear();
        let mut passed = Vec::new();
        for _ in 0..ADMISSIONS {
            let began = tokio::time::Instant::now();
            let lease = pool.admit(client, choices).await;
            passed.push(began.elapsed().as_secs_f64() * 1e6);
            drop(lease);
        }
        let calls = log.calls_of(Script::Admit.source());
        // Calls for more candidates have more keys.
        let mut by_keys: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for (time, words) in calls {
            by_keys.entry(words[0].parse().unwrap()).or_default().push(time);
        }
        line(what, &passed, "   (until its caller has it)");
        for (keys, times) in by_keys {
            line(&format!("  in Redis, a call with {keys} keys"), &times, "");
        }
    }
}
