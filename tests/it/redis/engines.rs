//! The Redis host through outages, and the embedded one through a kill: what a caller of a script is told, and how soon.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tollfree::{
    ledger::{
        embedded::EmbeddedEngine,
        engine::{EngineError, Reply, ScriptCall, ScriptEngine},
        redis::RedisEngine,
        scripts::Script,
    },
    shutdown::Tasks,
};

use crate::support::{eventually, process::Process, redis_server::RedisServer};

const TOLD_WITHIN: Duration = Duration::from_millis(150);
const BACK_WITHIN: Duration = Duration::from_secs(1);
const COUNT: &str = "return redis.call('INCR', KEYS[1])";

struct Host {
    redis: RedisEngine,
    _tasks: Tasks,
}

impl Host {
    fn new(url: &str) -> Self {
        let tasks = Tasks::new();
        Self { redis: RedisEngine::connect(url.parse().unwrap(), &tasks), _tasks: tasks }
    }

    async fn ready(url: &str) -> Self {
        let host = Self::new(url);
        host.until_back().await;
        host
    }

    async fn count(&self) -> Result<Reply, EngineError> {
        self.redis.run_text(COUNT, &["{t}n".into()], &[]).await
    }

    async fn until_back(&self) -> Duration {
        let start = Instant::now();
        eventually(Duration::from_secs(20), "calls flow again", async || self.count().await.ok()).await;
        start.elapsed()
    }

    /// Calls fail, and soon; returns the last one's words.
    async fn is_away(&self) -> String {
        let mut words = String::new();
        for _ in 0..10 {
            let start = Instant::now();
            let Err(EngineError::Unreachable(why)) = self.count().await else { panic!("an outage is told as one") };
            assert!(start.elapsed() < TOLD_WITHIN, "{:?}: {why}", start.elapsed());
            words = why;
        }
        words
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_redis_is_told_at_once_and_back_within_a_second() {
    let server = RedisServer::start().await;
    let host = Host::ready(&server.url()).await;
    for pause in [0, 700, 2500] {
        server.stop();
        host.is_away().await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.cont();
        let took = host.until_back().await;
        assert!(took < BACK_WITHIN, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_redis_is_back_within_a_second_of_its_restart() {
    let mut server = RedisServer::with_aof().await;
    let host = Host::ready(&server.url()).await;
    for _ in 0..2 {
        server.kill();
        let why = host.is_away().await;
        assert!(why.contains("refused"), "{why}");
        server.restart().await;
        let took = host.until_back().await;
        assert!(took < BACK_WITHIN, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_the_line_and_none_waits_for_an_outage() {
    let server = RedisServer::start().await;
    let host = Host::ready(&server.url()).await;
    server.stop();
    let start = Instant::now();
    let calls = futures_util::future::join_all((0..200).map(|_| host.count())).await;
    assert!(start.elapsed() < TOLD_WITHIN, "{:?}", start.elapsed());
    assert!(calls.iter().all(|call| matches!(call, Err(EngineError::Unreachable(_)))));
    server.cont();
    assert!(host.until_back().await < BACK_WITHIN);
    let calls = futures_util::future::join_all((0..200).map(|_| host.count())).await;
    assert!(calls.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_thread_gets_a_connection_of_its_own_and_loses_it_with_the_line() {
    let mut server = RedisServer::with_aof().await;
    let host = Arc::new(Host::ready(&server.url()).await);
    let over = Arc::new(AtomicBool::new(false));
    let (caller, until) = (host.clone(), over.clone());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            while !until.load(Ordering::Relaxed) {
                caller.until_back().await;
            }
        });
    });
    for _ in 0..2 {
        let are = async |count: usize| {
            let lines = server.command(&["CLIENT", "LIST"]).matches("cmd=eval ").count();
            (lines == count).then_some(())
        };
        eventually(Duration::from_secs(10), "it has its own beside the shared one", async || are(2).await).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.restart().await;
        assert!(host.until_back().await < BACK_WITHIN);
    }
    over.store(true, Ordering::Relaxed);
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_is_not_there_is_told_as_fresh_and_loaded_when_asked() {
    let server = RedisServer::start().await;
    let host = Host::ready(&server.url()).await.redis;
    let call = ScriptCall { script: Script::Journal, keys: vec!["{t}j".into(), "{t}k".into()], args: vec!["1".into()] };
    for _ in 0..2 {
        assert!(matches!(host.run(&call, false).await, Err(EngineError::NoScript)));
        let (one, other) = host.run_both(&call, &call).await;
        assert!(matches!((one, other), (Err(EngineError::NoScript), Err(EngineError::NoScript))));
        assert!(!matches!(host.run(&call, true).await, Err(EngineError::NoScript | EngineError::Unreachable(_))));
        assert!(!matches!(host.run(&call, false).await, Err(EngineError::NoScript | EngineError::Unreachable(_))));
        server.command(&["SCRIPT", "FLUSH"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_a_script_is_no_outage() {
    let server = RedisServer::start().await;
    let host = Host::ready(&server.url()).await;
    for text in
        ["return redis.call('NOSUCH')", "error('own')", "return nosuch()", "return redis.error_reply('OWN word')"]
    {
        let told = host.redis.run_text(text, &["{t}".into()], &[]).await;
        assert!(matches!(told, Err(EngineError::Script { .. })), "{text}: {told:?}");
        assert!(host.count().await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_write_is_an_outage_until_it_can() {
    let server = RedisServer::start().await;
    let host = Host::ready(&server.url()).await;
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    let why = host.is_away().await;
    assert!(why.contains("READONLY") || why.contains("MASTERDOWN"), "{why}");
    server.command(&["REPLICAOF", "NO", "ONE"]);
    assert!(host.until_back().await < BACK_WITHIN);

    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let why = host.is_away().await;
    assert!(why.contains("OOM"), "{why}");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(host.until_back().await < BACK_WITHIN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_given_and_never_told() {
    let server = RedisServer::start().await;
    server.command(&["CONFIG", "SET", "requirepass", "tr0ub4dor"]);
    let at = format!("127.0.0.1:{}", server.port());
    for wrong in ["", ":hunter2@", "joe:hunter2@"] {
        let host = Host::new(&format!("redis://{wrong}{at}"));
        let why = eventually(Duration::from_secs(5), "the refusal is known", async || match host.count().await {
            Err(EngineError::Unreachable(why)) if !why.contains("connecting") && !why.contains("no answer") => {
                Some(why)
            }
            _ => None,
        })
        .await;
        assert!(!why.contains("hunter2"), "{why}");
        assert!(["NOAUTH", "WRONGPASS", "assword"].iter().any(|word| why.contains(word)), "{why}");
    }
    Host::ready(&format!("redis://:tr0ub4dor@{at}/3")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_told_as_such() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = Host::new(&format!("rediss://{}", server.local_addr().unwrap()));
    std::thread::spawn(move || {
        for caller in server.incoming() {
            let _ = caller.and_then(|mut caller| caller.write_all(b"-ERR not understood\r\n"));
        }
    });
    let why = eventually(Duration::from_secs(5), "the handshake failed", async || match host.count().await {
        Err(EngineError::Unreachable(why)) if !why.contains("connecting") && !why.contains("no answer") => Some(why),
        _ => None,
    })
    .await;
    assert!(why.contains("corrupt message"), "{why}");
}

/// What the kill test's child runs; a test of its own only in name.
#[test]
#[ignore = "the child of the test below"]
fn child_that_counts_in_a_directory() {
    let Some(directory) = std::env::var_os("COUNT_IN") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks = Tasks::new();
        let embedded = EmbeddedEngine::open(directory.as_ref(), &tasks).unwrap();
        // One script writes two keys: either both are there afterwards or none.
        let text = "redis.call('HINCRBY', KEYS[2], 'n', 1) return redis.call('INCR', KEYS[1])";
        let keys = ["n".into(), "h".into()];
        loop {
            let Ok(Reply::Int(n)) = embedded.run_text(text, &keys, &[]) else { panic!("not counted") };
            let mut out = std::io::stdout();
            writeln!(out, "answered {n}").unwrap();
            out.flush().unwrap();
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_nothing_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut answered = 0;
    for round in 0..4_u64 {
        let log = folder.path().join(format!("out{round}"));
        let this = std::env::current_exe().unwrap();
        let args = ["--ignored", "--nocapture", "--exact", "redis::engines::child_that_counts_in_a_directory"];
        let state = folder.path().join("state");
        let mut child = Process::start("counter", &this, &args, [("COUNT_IN", &state)], folder.path(), &log);
        let last = || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let whole = &text[..text.rfind('\n').unwrap_or(0)];
            whole.lines().rev().find_map(|line| line.split("answered ").nth(1)?.parse::<i64>().ok())
        };
        let enough = answered + 300;
        eventually(Duration::from_secs(30), "it counts", async || last().filter(|n| *n > enough)).await;
        tokio::time::sleep(Duration::from_millis(13 * round)).await;
        child.kill();
        answered = last().unwrap();
        let tasks = Tasks::new();
        let embedded = EmbeddedEngine::open(&state, &tasks).unwrap();
        let read = "return {tonumber(redis.call('GET', 'n')), tonumber(redis.call('HGET', 'h', 'n'))}";
        let Reply::List(kept) = embedded.run_text(read, &[], &[]).unwrap() else { panic!("two numbers") };
        let [Reply::Int(n), Reply::Int(h)] = kept[..] else { panic!("two numbers: {kept:?}") };
        assert!(n >= answered, "{answered} were answered, {n} are kept");
        assert_eq!(n, h, "all of a script or none");
        answered = n;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_serves_one_process_and_must_be_writable() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let first = EmbeddedEngine::open(&folder.path().join("state"), &tasks).unwrap();
    let second = EmbeddedEngine::open(&folder.path().join("state"), &tasks).err().unwrap().to_string();
    assert!(second.contains("another process") && second.contains("TOLLFREE_DATA_DIR"), "{second}");
    let read = "return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')";
    let name = first.run_text(read, &[], &[]).unwrap();
    drop(first);
    let again = EmbeddedEngine::open(&folder.path().join("state"), &tasks).unwrap();
    assert_eq!(again.run_text(read, &[], &[]).unwrap(), name, "the state keeps its name");

    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = EmbeddedEngine::open(&file.join("state"), &tasks).err().unwrap().to_string();
    assert!(error.contains("cannot write") && error.contains("TOLLFREE_DATA_DIR"), "{error}");
}
