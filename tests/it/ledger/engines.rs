//! Engines that run the scripts in these tests: the embedded store with a simulated clock, or a real redis-server.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::FutureExt;
use tollfree::ledger::{
    embedded::EmbeddedEngine,
    engine::{Reply, ScriptCall, ScriptEngine},
    keys::{Key, Keys},
    scripts::Script,
};

/// `lib/time.lua` with its call of TIME replaced by a key that only the test writes.
fn stepped_clock() -> String {
    let real = include_str!("../../../lua/lib/time.lua");
    assert_eq!(real.matches("redis.call('TIME')").count(), 1, "lib/time.lua is the only reader of TIME");
    real.replace("redis.call('TIME')", "redis.call('HMGET', '{judge}:clock', 's', 'us')")
}

/// Runs scripts at instants that the test chooses.
pub(super) trait Bench {
    fn run(&self, script: Script, keys: &[Key], args: &[Bytes]) -> Reply;
    /// Runs a script of the test's own, to inspect the state.
    fn eval(&self, text: &str, keys: &[Key], args: &[Bytes]) -> Reply;
    fn set_clock(&self, us: i64);
    /// Deletes everything, as FLUSHALL does.
    fn flush(&self);
    /// Messages published since the last call, if the engine records them.
    fn published(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The embedded store on a clock that only the test moves. Keys expire by this clock too.
pub(super) struct Simulated {
    store: RefCell<EmbeddedEngine>,
    clock: Arc<AtomicI64>,
    heard: Arc<Mutex<Vec<String>>>,
}

fn store(clock: &Arc<AtomicI64>) -> EmbeddedEngine {
    let clock = clock.clone();
    EmbeddedEngine::with_clock(Arc::new(move || clock.load(Ordering::Relaxed)))
}

fn listening(store: EmbeddedEngine, heard: &Arc<Mutex<Vec<String>>>) -> EmbeddedEngine {
    let heard = heard.clone();
    let [channel, ..] = Keys::new("judge").queue();
    store.subscribe(&channel, Arc::new(move |message| heard.lock().unwrap().push(message.to_owned())));
    store
}

impl Simulated {
    pub(super) fn new() -> Self {
        let clock = Arc::new(AtomicI64::new(0));
        let heard = Arc::default();
        Self { store: RefCell::new(listening(store(&clock), &heard)), clock, heard }
    }
}

impl Bench for Simulated {
    fn run(&self, script: Script, keys: &[Key], args: &[Bytes]) -> Reply {
        let call = ScriptCall { script, keys: keys.to_vec(), args: args.to_vec() };
        self.store.borrow().run(&call, true).now_or_never().expect("the embedded store is never pending").unwrap()
    }

    fn eval(&self, text: &str, keys: &[Key], args: &[Bytes]) -> Reply {
        self.store.borrow().run_text(text, keys, args).unwrap()
    }

    fn set_clock(&self, us: i64) {
        self.clock.store(us, Ordering::Relaxed);
    }

    fn flush(&self) {
        *self.store.borrow_mut() = listening(store(&self.clock), &self.heard);
    }

    fn published(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

/// The embedded store with a simulated clock for the scripts and the real clock for expiry, as in [`RealRedis`].
pub(super) struct SteppedEmbedded {
    store: RefCell<EmbeddedEngine>,
    texts: HashMap<&'static str, String>,
}

fn texts() -> HashMap<&'static str, String> {
    Script::ALL
        .into_iter()
        .map(|script| (script.name(), script.source_with(&[("lib/time", &stepped_clock())])))
        .collect()
}

impl SteppedEmbedded {
    pub(super) fn new() -> Self {
        Self { store: RefCell::new(EmbeddedEngine::in_memory()), texts: texts() }
    }

    /// Keys expire by a second clock (µs) that the test moves.
    pub(super) fn beside(clock: &Arc<AtomicI64>) -> Self {
        Self { store: RefCell::new(store(clock)), texts: texts() }
    }
}

fn time_words(us: i64) -> [Bytes; 2] {
    [us / 1_000_000, us % 1_000_000].map(|n| Bytes::from(n.to_string()))
}

const SET_CLOCK: &str = "return redis.call('HSET', '{judge}:clock', 's', ARGV[1], 'us', ARGV[2])";

impl Bench for SteppedEmbedded {
    fn run(&self, script: Script, keys: &[Key], args: &[Bytes]) -> Reply {
        self.store.borrow().run_text(&self.texts[script.name()], keys, args).unwrap()
    }

    fn eval(&self, text: &str, keys: &[Key], args: &[Bytes]) -> Reply {
        self.store.borrow().run_text(text, keys, args).unwrap()
    }

    fn set_clock(&self, us: i64) {
        self.eval(SET_CLOCK, &[], &time_words(us));
    }

    fn flush(&self) {
        *self.store.borrow_mut() = EmbeddedEngine::in_memory();
    }
}

/// A real redis-server with a simulated clock for the scripts. Keys expire by the server's own clock.
pub(super) struct RealRedis {
    connection: RefCell<redis::Connection>,
    digests: HashMap<&'static str, String>,
}

impl RealRedis {
    pub(super) fn connect(url: &str) -> Self {
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        let load = |(name, text): (&'static str, String)| {
            let digest: String = redis::cmd("SCRIPT").arg("LOAD").arg(text).query(&mut connection).unwrap();
            (name, digest)
        };
        let digests = texts().into_iter().map(load).collect();
        Self { connection: RefCell::new(connection), digests }
    }

    /// Executes any command.
    pub(super) fn command(&self, words: &[&str]) -> redis::Value {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut self.connection.borrow_mut()).unwrap()
    }

    fn call(&self, command: &str, script: &str, keys: &[Key], args: &[Bytes]) -> Reply {
        let mut command = redis::cmd(command);
        command.arg(script).arg(keys.len());
        for key in keys {
            command.arg(&**key);
        }
        for arg in args {
            command.arg(&arg[..]);
        }
        reply(command.query(&mut self.connection.borrow_mut()).unwrap())
    }
}

fn reply(value: redis::Value) -> Reply {
    match value {
        redis::Value::Nil => Reply::Nil,
        redis::Value::Int(n) => Reply::Int(n),
        redis::Value::BulkString(text) => Reply::Bulk(text.into()),
        redis::Value::SimpleString(text) => Reply::Bulk(text.into()),
        redis::Value::Okay => Reply::Bulk(Bytes::from_static(b"OK")),
        redis::Value::Array(items) => Reply::List(items.into_iter().map(reply).collect()),
        other => panic!("unexpected type of reply: {other:?}"),
    }
}

impl Bench for RealRedis {
    fn run(&self, script: Script, keys: &[Key], args: &[Bytes]) -> Reply {
        self.call("EVALSHA", &self.digests[script.name()], keys, args)
    }

    fn eval(&self, text: &str, keys: &[Key], args: &[Bytes]) -> Reply {
        self.call("EVAL", text, keys, args)
    }

    fn set_clock(&self, us: i64) {
        self.eval(SET_CLOCK, &[], &time_words(us));
    }

    fn flush(&self) {
        self.command(&["FLUSHALL"]);
    }
}
