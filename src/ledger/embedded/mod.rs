//! Runs the same script files in this process: one Lua VM behind one lock, as atomic as Redis's single thread.

mod keyspace;
mod vm;

use std::{
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use tracing::error;

use self::{
    keyspace::{Keyspace, PersistError, Store},
    vm::Vm,
};
use super::{
    engine::{EngineError, OnMessage, Reply, ScriptCall, ScriptEngine},
    keys::Key,
};
use crate::shutdown::Tasks;

/// Microseconds since the epoch; what `TIME` answers.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Why embedded state could not be opened; its reader is the operator.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error(transparent)]
    Open(#[from] PersistError),
}

impl EmbeddedError {
    /// Another process, most likely a running gateway, holds the directory.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Open(PersistError::InUse(_)))
    }
}

/// The budget of a single replica, kept in this process and in its data directory. Cheap to clone.
#[derive(Clone)]
pub struct EmbeddedEngine {
    machine: Arc<Mutex<Machine>>,
}

struct Machine {
    vm: Vm,
    clock: Clock,
    store: Option<Arc<Store>>,
    /// Why nothing is answered any more: what was answered could be forgotten.
    lost: Option<String>,
    /// Scripts run so far.
    runs: u64,
    /// Who is told of what scripts publish, by channel.
    listeners: Vec<(String, OnMessage)>,
}

/// Every so many scripts some keys are looked at for their expiry, …
const SWEEP_EVERY: u64 = 64;
/// … so many at a time.
const SWEEP_KEYS: usize = 32;
/// How often an idle keyspace is swept and the log brought to the disk, …
const UPKEEP: Duration = Duration::from_secs(1);
/// … and so many keys looked at.
const UPKEEP_KEYS: usize = 1000;

impl EmbeddedEngine {
    /// Loads what `directory` holds (made if missing) and keeps every later write there.
    pub fn open(directory: &Path, tasks: &Tasks) -> Result<Self, EmbeddedError> {
        let (store, keyspace) = Store::open(directory)?;
        let store = Arc::new(store);
        let embedded = Self::over(keyspace, system_clock(), Some(Arc::clone(&store)));
        tasks.spawn_endless(upkeep(Arc::downgrade(&embedded.machine), Arc::downgrade(&store)));
        Ok(embedded)
    }

    /// Nothing survives: for tests and trials.
    pub fn in_memory() -> Self {
        Self::with_clock(system_clock())
    }

    /// In memory, with a clock that the caller moves.
    pub fn with_clock(clock: Clock) -> Self {
        Self::over(Keyspace::new(Keyspace::new_run_id()), clock, None)
    }

    fn over(keyspace: Keyspace, clock: Clock, store: Option<Arc<Store>>) -> Self {
        let vm = Vm::new(keyspace).expect("a fresh VM has memory for its libraries");
        Self { machine: Arc::new(Mutex::new(Machine { vm, clock, store, lost: None, runs: 0, listeners: Vec::new() })) }
    }

    /// Any script text, for the tests that compare both hosts.
    #[doc(hidden)]
    pub fn run_text(&self, text: &str, keys: &[Key], args: &[Bytes]) -> Result<Reply, EngineError> {
        self.machine.lock().run("text", |vm| vm.run_text(text, keys, args))
    }
}

fn system_clock() -> Clock {
    Arc::new(|| jiff::Timestamp::now().as_microsecond())
}

impl Machine {
    fn run_call(&mut self, call: &ScriptCall, load: bool) -> Result<Reply, EngineError> {
        if !load && !self.vm.knows(call.script) {
            return Err(EngineError::NoScript);
        }
        self.run(call.script.name(), |vm| vm.run(call.script, &call.keys, &call.args))
    }

    fn run(
        &mut self,
        script: &'static str,
        work: impl FnOnce(&mut Vm) -> Result<Reply, String>,
    ) -> Result<Reply, EngineError> {
        self.runs += 1;
        self.begin(if self.runs.is_multiple_of(SWEEP_EVERY) { SWEEP_KEYS } else { 0 })?;
        let answer = work(&mut self.vm);
        // A script that failed half-way has written what it has written, as in Redis.
        self.keep()?;
        self.tell();
        answer.map_err(|message| EngineError::Script { script, message })
    }

    /// Time stands still from here until the next script.
    fn begin(&mut self, sweep: usize) -> Result<(), EngineError> {
        if let Some(why) = &self.lost {
            return Err(EngineError::Unreachable(why.clone()));
        }
        let mut keyspace = self.vm.keyspace();
        keyspace.set_clock((self.clock)());
        keyspace.sweep(sweep);
        Ok(())
    }

    /// What has been changed is kept before anyone hears of it.
    fn keep(&mut self) -> Result<(), EngineError> {
        let Some(store) = &self.store else { return Ok(()) };
        let kept = store.commit(self.vm.keyspace().changes());
        kept.map_err(|why| self.lose(&why))
    }

    fn tell(&mut self) {
        if self.listeners.is_empty() {
            return;
        }
        let published = self.vm.keyspace().published();
        for (channel, message) in published {
            for (_, heard) in self.listeners.iter().filter(|(name, _)| name.as_bytes() == &*channel) {
                heard(&String::from_utf8_lossy(&message));
            }
        }
    }

    fn lose(&mut self, why: &PersistError) -> EngineError {
        if self.lost.is_none() {
            error!("Nothing is admitted until a restart: {why}");
        }
        self.lost = Some(why.to_string());
        EngineError::Unreachable(why.to_string())
    }
}

/// Removes dead keys while nobody asks, and brings the log to the disk.
async fn upkeep(machine: Weak<Mutex<Machine>>, store: Weak<Store>) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        let (Some(machine), Some(store)) = (machine.upgrade(), store.upgrade()) else { return };
        // An error is remembered, and told to the next caller.
        let _ = {
            let mut machine = machine.lock();
            machine.begin(UPKEEP_KEYS).and_then(|()| machine.keep())
        };
        let synced = tokio::task::spawn_blocking(move || store.sync()).await;
        if let Ok(Err(why)) = synced {
            machine.lock().lose(&why);
        }
    }
}

impl ScriptEngine for EmbeddedEngine {
    fn run<'a>(&'a self, call: &'a ScriptCall, load: bool) -> BoxFuture<'a, Result<Reply, EngineError>> {
        // Inline: a script takes a few microseconds, less than handing it to another thread.
        async move { self.machine.lock().run_call(call, load) }.boxed()
    }

    fn run_both<'a>(
        &'a self,
        first: &'a ScriptCall,
        second: &'a ScriptCall,
    ) -> BoxFuture<'a, (Result<Reply, EngineError>, Result<Reply, EngineError>)> {
        async move {
            let one = self.machine.lock().run_call(first, false);
            (one, self.machine.lock().run_call(second, false))
        }
        .boxed()
    }

    fn subscribe(&self, channel: &str, heard: OnMessage) {
        let mut machine = self.machine.lock();
        machine.vm.keyspace().keep_published();
        machine.listeners.push((channel.to_owned(), heard));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(text: &str) -> Reply {
        EmbeddedEngine::in_memory().run_text(text, &["k".into()], &[Bytes::from_static(b"a")]).unwrap()
    }

    #[test]
    fn replies_are_converted_as_redis_does() {
        assert_eq!(answers("return 3.99"), Reply::Int(3));
        assert_eq!(
            answers("return {1, 'x', false, true, nil, 5}"),
            Reply::List(vec![Reply::Int(1), Reply::Bulk("x".into()), Reply::Nil, Reply::Int(1),])
        );
        assert_eq!(
            answers("redis.call('SET', KEYS[1], 0.1) return redis.call('GET', KEYS[1])"),
            Reply::Bulk("0.10000000000000001".into())
        );
        assert_eq!(answers("return redis.call('SET', KEYS[1], ARGV[1])"), Reply::Bulk("OK".into()));
        assert_eq!(answers("return redis.call('GET', 'none')"), Reply::Nil);
        assert_eq!(
            answers("return redis.pcall('HGET', 'none').err"),
            Reply::Bulk("ERR Wrong number of args calling Redis command from script".into())
        );
        assert_eq!(
            answers("local ok, e = pcall(redis.call, 'HGET', 'none') return e"),
            Reply::Bulk("ERR Wrong number of args calling Redis command from script".into())
        );
    }

    #[test]
    fn globals_are_protected() {
        for text in ["x = 1", "return x", "string = 1", "return os", "return io", "return require"] {
            assert!(EmbeddedEngine::in_memory().run_text(text, &[], &[]).is_err(), "{text}");
        }
    }
}
