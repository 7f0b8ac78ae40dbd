//! The Redis engine during outages, and the embedded engine when its process is killed.

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

use crate::support::{eventually, process::Process, redis_server::RedisServer, scaled};

/// Bound on the time until a caller receives an error once the connection is known to be dead.
const FAILS_WITHIN: Duration = Duration::from_millis(150);
/// The same for a connection that does not answer.
const SILENT_FAILS_WITHIN: Duration = Duration::from_millis(1_200);
/// Bound on the outage after Redis is up again.
const RECOVERY: Duration = Duration::from_secs(1);
const COUNT: &str = "return redis.call('INCR', KEYS[1])";

struct Engine {
    redis: RedisEngine,
    _tasks: Tasks,
}

impl Engine {
    fn new(url: &str) -> Self {
        let tasks = Tasks::new();
        Self { redis: RedisEngine::connect(url.parse().unwrap(), "t", &tasks), _tasks: tasks }
    }

    async fn ready(url: &str) -> Self {
        let engine = Self::new(url);
        engine.until_up().await;
        engine
    }

    async fn count(&self) -> Result<Reply, EngineError> {
        self.redis.run_text(COUNT, &["{t}n".into()], &[]).await
    }

    async fn until_up(&self) -> Duration {
        let start = Instant::now();
        eventually(Duration::from_secs(20), "calls succeed again", async || self.count().await.ok()).await;
        start.elapsed()
    }

    /// Checks that calls fail fast, the first of them after a second of silence at most. Returns the last error.
    async fn fails_fast(&self) -> String {
        let mut last = String::new();
        let start = Instant::now();
        assert!(self.count().await.is_err());
        assert!(start.elapsed() < scaled(SILENT_FAILS_WITHIN), "{:?}", start.elapsed());
        for _ in 0..10 {
            let start = Instant::now();
            let Err(EngineError::Unreachable(why)) = self.count().await else { panic!("not an outage") };
            assert!(start.elapsed() < scaled(FAILS_WITHIN), "{:?}: {why}", start.elapsed());
            last = why;
        }
        last
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_a_suspended_redis_fail_fast_and_succeed_soon_after_it_continues() {
    let server = RedisServer::start().await;
    let engine = Engine::ready(&server.url()).await;
    for pause in [0, 700, 2500] {
        server.stop();
        engine.fails_fast().await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.cont();
        let took = engine.until_up().await;
        assert!(took < scaled(RECOVERY), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_during_a_stall_are_answered_late_and_none_fails() {
    let server = RedisServer::start().await;
    let engine = Engine::ready(&server.url()).await;
    for stall in [150, 700] {
        server.stop();
        let calls = futures_util::future::join_all((0..200).map(|_| engine.count()));
        let stalled = async {
            tokio::time::sleep(Duration::from_millis(stall)).await;
            server.cont();
        };
        let (calls, ()) = tokio::join!(calls, stalled);
        assert!(calls.iter().all(Result::is_ok), "{:?}", calls.iter().find(|call| call.is_err()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_succeed_soon_after_the_restart_of_a_killed_redis() {
    let mut server = RedisServer::with_aof().await;
    let engine = Engine::ready(&server.url()).await;
    for _ in 0..2 {
        server.kill();
        let why = engine.fails_fast().await;
        assert!(why.contains("refused"), "{why}");
        server.restart().await;
        let took = engine.until_up().await;
        assert!(took < scaled(RECOVERY), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_concurrent_callers_share_one_connection_and_fail_together() {
    let server = RedisServer::start().await;
    let engine = Engine::ready(&server.url()).await;
    server.stop();
    let start = Instant::now();
    let calls = futures_util::future::join_all((0..200).map(|_| engine.count())).await;
    assert!(start.elapsed() < scaled(SILENT_FAILS_WITHIN), "{:?}", start.elapsed());
    assert!(calls.iter().all(|call| matches!(call, Err(EngineError::Unreachable(_)))));
    server.cont();
    assert!(engine.until_up().await < scaled(RECOVERY));
    let calls = futures_util::future::join_all((0..200).map(|_| engine.count())).await;
    assert!(calls.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_thread_gets_a_dedicated_connection_that_ends_with_the_shared_one() {
    let mut server = RedisServer::with_aof().await;
    let engine = Arc::new(Engine::ready(&server.url()).await);
    let over = Arc::new(AtomicBool::new(false));
    let (caller, until) = (engine.clone(), over.clone());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            while !until.load(Ordering::Relaxed) {
                caller.until_up().await;
            }
        });
    });
    for _ in 0..2 {
        let two_connections =
            async || (server.command(&["CLIENT", "LIST"]).matches("cmd=eval ").count() == 2).then_some(());
        eventually(Duration::from_secs(10), "a shared and a dedicated connection", two_connections).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.restart().await;
        assert!(engine.until_up().await < scaled(RECOVERY));
    }
    over.store(true, Ordering::Relaxed);
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_run_on_pooled_connections_that_are_replaced_when_they_break() {
    let server = RedisServer::start().await;
    let engine = Engine::ready(&server.url()).await;
    let call = journal_call();
    let connections = || -> Vec<u64> {
        let clients = server.command(&["CLIENT", "LIST"]);
        let others = clients.lines().filter(|line| line.starts_with("id=") && !line.contains("cmd=client"));
        others.map(|line| line.split(['=', ' ']).nth(1).unwrap().parse().unwrap()).collect()
    };
    // A report that gets no pooled connection in time runs on the shared one, so a busy machine may need several.
    let pooled_beside = async |shared: u64| {
        eventually(Duration::from_secs(5), "a pooled connection", async || {
            assert!(!matches!(engine.redis.run(&call, true).await, Err(EngineError::Unreachable(_))));
            let [first, second] = connections()[..] else { return None };
            (first == shared).then_some(second)
        })
        .await
    };
    let shared = connections()[0];
    let pooled = pooled_beside(shared).await;
    assert_eq!(pooled_beside(shared).await, pooled, "the pooled connection is used again");
    server.command(&["CLIENT", "KILL", "ID", &pooled.to_string()]);
    assert_ne!(pooled_beside(shared).await, pooled);
}

fn journal_call() -> ScriptCall {
    ScriptCall { script: Script::Journal, keys: vec!["{t}j".into(), "{t}k".into()], args: vec!["1".into()] }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_script_is_reported_and_loaded_on_request() {
    let server = RedisServer::start().await;
    let engine = Engine::ready(&server.url()).await.redis;
    let call = journal_call();
    for _ in 0..2 {
        assert!(matches!(engine.run(&call, false).await, Err(EngineError::NoScript)));
        let (one, other) = engine.run_both(&call, &call).await;
        assert!(matches!((one, other), (Err(EngineError::NoScript), Err(EngineError::NoScript))));
        assert!(!matches!(engine.run(&call, true).await, Err(EngineError::NoScript | EngineError::Unreachable(_))));
        assert!(!matches!(engine.run(&call, false).await, Err(EngineError::NoScript | EngineError::Unreachable(_))));
        server.command(&["SCRIPT", "FLUSH"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_a_script_is_not_an_outage() {
    let server = RedisServer::start().await;
    let engine = Engine::ready(&server.url()).await;
    for text in ["return redis.call('NOSUCH')", "error('own')", "return nosuch()", "return {err = 'OWN text'}"] {
        let result = engine.redis.run_text(text, &["{t}".into()], &[]).await;
        assert!(matches!(result, Err(EngineError::Script { .. })), "{text}: {result:?}");
        assert!(engine.count().await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_rejects_writes_is_an_outage() {
    let server = RedisServer::start().await;
    let engine = Engine::ready(&server.url()).await;
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    let why = engine.fails_fast().await;
    assert!(why.contains("READONLY") || why.contains("MASTERDOWN"), "{why}");
    server.command(&["REPLICAOF", "NO", "ONE"]);
    assert!(engine.until_up().await < scaled(RECOVERY));

    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let why = engine.fails_fast().await;
    assert!(why.contains("OOM"), "{why}");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(engine.until_up().await < scaled(RECOVERY));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_sent_and_never_shown() {
    let server = RedisServer::start().await;
    server.command(&["CONFIG", "SET", "requirepass", "tr0ub4dor"]);
    let at = format!("127.0.0.1:{}", server.port());
    for wrong in ["", ":hunter2@", "joe:hunter2@"] {
        let engine = Engine::new(&format!("redis://{wrong}{at}"));
        let why = eventually(Duration::from_secs(5), "the password is rejected", async || match engine.count().await {
            Err(EngineError::Unreachable(why)) if !why.contains("connecting") && !why.contains("no answer") => {
                Some(why)
            }
            _ => None,
        })
        .await;
        assert!(!why.contains("hunter2"), "{why}");
        assert!(["NOAUTH", "WRONGPASS", "assword"].iter().any(|word| why.contains(word)), "{why}");
    }
    Engine::ready(&format!("redis://:tr0ub4dor@{at}/3")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_fails_the_handshake() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let engine = Engine::new(&format!("rediss://{}", server.local_addr().unwrap()));
    std::thread::spawn(move || {
        for caller in server.incoming() {
            let _ = caller.and_then(|mut caller| caller.write_all(b"-ERR not understood\r\n"));
        }
    });
    let why = eventually(Duration::from_secs(5), "the handshake failed", async || match engine.count().await {
        Err(EngineError::Unreachable(why)) if !why.contains("connecting") && !why.contains("no answer") => Some(why),
        _ => None,
    })
    .await;
    assert!(why.contains("corrupt message"), "{why}");
}

/// The child process of the test below.
#[test]
#[ignore = "runs only as a child process of the next test"]
fn child_process_that_counts() {
    let Some(directory) = std::env::var_os("COUNT_IN") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks = Tasks::new();
        let embedded = EmbeddedEngine::open(directory.as_ref(), &tasks).unwrap();
        // The script writes two keys: after a kill either both changes are there or none.
        let text = "redis.call('HINCRBY', KEYS[1], 'n', 1) return redis.call('HINCRBY', KEYS[2], 'n', 1)";
        let keys = ["a".into(), "b".into()];
        loop {
            let Ok(Reply::Int(n)) = embedded.run_text(text, &keys, &[]) else { panic!("the script failed") };
            let mut out = std::io::stdout();
            writeln!(out, "count {n}").unwrap();
            out.flush().unwrap();
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_no_acknowledged_change() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..4_u64 {
        let log = folder.path().join(format!("out{round}"));
        let this = std::env::current_exe().unwrap();
        let args = ["--ignored", "--nocapture", "--exact", "redis::engines::child_process_that_counts"];
        let state = folder.path().join("state");
        let mut child = Process::start("counter", &this, &args, [("COUNT_IN", &state)], folder.path(), &log);
        let last = || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let whole = &text[..text.rfind('\n').unwrap_or(0)];
            whole.lines().rev().find_map(|line| line.split("count ").nth(1)?.parse::<i64>().ok())
        };
        let enough = acknowledged + 300;
        eventually(Duration::from_secs(30), "the child counts", async || last().filter(|n| *n > enough)).await;
        tokio::time::sleep(Duration::from_millis(13 * round)).await;
        child.kill();
        acknowledged = last().unwrap();
        let tasks = Tasks::new();
        let embedded = EmbeddedEngine::open(&state, &tasks).unwrap();
        let read = "return {tonumber(redis.call('HGET', 'a', 'n')), tonumber(redis.call('HGET', 'b', 'n'))}";
        let Reply::List(kept) = embedded.run_text(read, &[], &[]).unwrap() else { panic!("two numbers") };
        let [Reply::Int(a), Reply::Int(b)] = kept[..] else { panic!("two numbers: {kept:?}") };
        assert!(a >= acknowledged, "{acknowledged} were acknowledged, {a} are stored");
        assert_eq!(a, b, "either all changes of a script are stored or none");
        acknowledged = a;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_serves_one_process_and_must_be_writable() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let first = EmbeddedEngine::open(&folder.path().join("state"), &tasks).unwrap();
    let second = EmbeddedEngine::open(&folder.path().join("state"), &tasks).err().unwrap().to_string();
    assert!(second.contains("another process") && second.contains("TOLLFREE_DATA_DIR"), "{second}");
    let read = "return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')";
    let run_id = first.run_text(read, &[], &[]).unwrap();
    drop(first);
    let again = EmbeddedEngine::open(&folder.path().join("state"), &tasks).unwrap();
    assert_eq!(again.run_text(read, &[], &[]).unwrap(), run_id, "the run id belongs to the state");

    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = EmbeddedEngine::open(&file.join("state"), &tasks).err().unwrap().to_string();
    assert!(error.contains("cannot write") && error.contains("TOLLFREE_DATA_DIR"), "{error}");
}
