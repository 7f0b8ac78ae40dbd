//! Runs the same scripts in this process: one Lua VM behind one lock, as atomic as the single thread of Redis.

mod keyspace;
mod repair;
mod store;
mod vm;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use tracing::{debug, error, info};

use self::{keyspace::Keyspace, store::Store, vm::Vm};
pub use self::{
    repair::{Contents, Repaired, check, repair},
    store::StoreError,
};
use super::{
    engine::{EngineError, OnMessage, Reply, ScriptCall, ScriptEngine},
    keys::Key,
};
use crate::shutdown::Tasks;

/// Microseconds since the Unix epoch, for `TIME`.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The ledger's state of a single replica, in this process and in its data directory. Cheap to clone.
#[derive(Clone)]
pub struct EmbeddedEngine {
    state: Arc<Mutex<State>>,
    /// The log is being flushed to the disk, and a script that writes may have to wait for that.
    is_flushing: Arc<AtomicBool>,
}

struct State {
    vm: Vm,
    clock: Clock,
    store: Option<Arc<Store>>,
    /// A change could not be written, and acting on it would risk losing it: nothing runs until it is.
    failed: Option<Failed>,
    /// Number of scripts run so far.
    runs: u64,
    /// Subscribers of published messages, by channel.
    subscribers: Vec<(String, OnMessage)>,
}

struct Failed {
    why: String,
    /// The directory to open again.
    directory: PathBuf,
}

/// Run an expiry sweep after this many scripts.
const SWEEP_EVERY: u64 = 64;
/// Keys examined by such a sweep.
const SWEEP_KEYS: usize = 32;
/// How often an idle keyspace is swept and the log is flushed to the disk.
const MAINTENANCE: Duration = Duration::from_secs(1);
/// Keys examined by a sweep of the maintenance task.
const MAINTENANCE_KEYS: usize = 1000;

impl EmbeddedEngine {
    /// Loads the state in `directory`, which is created if missing, and writes every later change there.
    pub fn open(directory: &Path, tasks: &Tasks) -> Result<Self, StoreError> {
        let (store, keyspace) = Store::open(directory)?;
        let engine = Self::new(keyspace, system_clock(), Some(Arc::new(store)));
        tasks.spawn_endless(maintain(Arc::downgrade(&engine.state), engine.is_flushing.clone()));
        Ok(engine)
    }

    /// Keeps its state in memory only, for tests and demonstrations.
    pub fn in_memory() -> Self {
        Self::with_clock(system_clock())
    }

    /// Keeps its state in memory only, with a clock that the caller controls.
    pub fn with_clock(clock: Clock) -> Self {
        Self::new(Keyspace::new(Keyspace::new_run_id()), clock, None)
    }

    fn new(keyspace: Keyspace, clock: Clock, store: Option<Arc<Store>>) -> Self {
        let vm = Vm::new(keyspace).expect("a new VM has memory for its libraries");
        let state = State { vm, clock, store, failed: None, runs: 0, subscribers: Vec::new() };
        Self { state: Arc::new(Mutex::new(state)), is_flushing: Arc::default() }
    }

    /// Runs any text as a script, for the tests that compare both engines.
    #[doc(hidden)]
    pub fn run_text(&self, text: &str, keys: &[Key], args: &[Bytes]) -> Result<Reply, EngineError> {
        self.state.lock().run("text", |vm| vm.run_text(text, keys, args))
    }
}

impl EmbeddedEngine {
    /// Runs `work` on this thread: a script takes a few microseconds, less than handing it to another thread. While the log
    /// is being flushed, `work` runs on another thread, because a slow disk must not stop this one, which serves streams.
    async fn with_state<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> T + Send,
        aside: impl FnOnce() -> Box<dyn FnOnce(&mut State) -> T + Send>,
    ) -> Result<T, EngineError> {
        if !self.is_flushing.load(Ordering::Acquire) {
            let mut state = self.state.lock();
            // The flush may have begun in between.
            if !self.is_flushing.load(Ordering::Acquire) {
                return Ok(work(&mut state));
            }
        }
        let (state, work) = (self.state.clone(), aside());
        let done = tokio::task::spawn_blocking(move || work(&mut state.lock())).await;
        done.map_err(|error| EngineError::Unreachable(error.to_string()))
    }
}

fn system_clock() -> Clock {
    Arc::new(|| jiff::Timestamp::now().as_microsecond())
}

impl State {
    fn run_call(&mut self, call: &ScriptCall, load: bool) -> Result<Reply, EngineError> {
        if !load && !self.vm.has_loaded(call.script) {
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
        let reply = work(&mut self.vm);
        // As in Redis, the changes of a script that failed half-way stay. They are durable before anyone sees the reply.
        self.commit()?;
        self.notify();
        reply.map_err(|message| EngineError::Script { script, message })
    }

    /// Sets the time, which then stands still until the next script, and sweeps some keys.
    fn begin(&mut self, sweep: usize) -> Result<(), EngineError> {
        if let Some(failed) = &self.failed {
            return Err(EngineError::Unreachable(failed.why.clone()));
        }
        let mut keyspace = self.vm.keyspace();
        keyspace.set_clock((self.clock)());
        keyspace.sweep(sweep);
        Ok(())
    }

    /// Writes what has changed since the last commit.
    fn commit(&mut self) -> Result<(), EngineError> {
        let Some(store) = &self.store else { return Ok(()) };
        let committed = store.commit(self.vm.keyspace().changes());
        committed.map_err(|why| self.fail(&why))
    }

    fn notify(&mut self) {
        if self.subscribers.is_empty() {
            return;
        }
        let published = self.vm.keyspace().take_published();
        for (channel, message) in published {
            for (_, notify) in self.subscribers.iter().filter(|(name, _)| name.as_bytes() == &*channel) {
                notify(&String::from_utf8_lossy(&message));
            }
        }
    }

    fn fail(&mut self, why: &StoreError) -> EngineError {
        let why = why.to_string();
        // Closed, because a store that failed to write once takes no more writes until it is opened again.
        if let Some(store) = self.store.take() {
            error!("Nothing is admitted until the state can be written again: {why}");
            self.failed = Some(Failed { why: why.clone(), directory: store.directory().to_owned() });
        }
        EngineError::Unreachable(why)
    }

    /// Opens the store again and writes what it lacks: the changes of the script whose commit failed.
    fn try_to_recover(&mut self) {
        let Some(Failed { directory, .. }) = &self.failed else { return };
        let written = Store::reopen(directory).and_then(|store| {
            store.commit(self.vm.keyspace().changes())?;
            store.sync()?;
            Ok(store)
        });
        match written {
            Ok(store) => {
                (self.store, self.failed) = (Some(Arc::new(store)), None);
                info!("The state can be written again");
            }
            Err(error) => debug!("The state cannot be written yet: {error}"),
        }
    }
}

/// Removes expired keys while no scripts run, and flushes the log to the disk.
async fn maintain(state: Weak<Mutex<State>>, is_flushing: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(MAINTENANCE).await;
        let Some(state) = state.upgrade() else { return };
        // The state remembers an error and returns it to the next caller.
        let store = {
            let mut state = state.lock();
            let _ = state.begin(MAINTENANCE_KEYS).and_then(|()| state.commit());
            state.store.clone()
        };
        is_flushing.store(true, Ordering::Release);
        // Scripts that run on the threads of the server have ended before the flush begins.
        drop(state.lock());
        // The disk is touched on a thread of its own only.
        let flushed = tokio::task::spawn_blocking(move || {
            let flushed = store.map(|store| store.sync());
            let mut state = state.lock();
            match flushed {
                Some(Err(why)) => drop(state.fail(&why)),
                Some(Ok(())) => {}
                None => state.try_to_recover(),
            }
        });
        let _ = flushed.await;
        is_flushing.store(false, Ordering::Release);
    }
}

impl ScriptEngine for EmbeddedEngine {
    fn run<'a>(&'a self, call: &'a ScriptCall, load: bool) -> BoxFuture<'a, Result<Reply, EngineError>> {
        async move {
            let aside = || -> Box<dyn FnOnce(&mut State) -> _ + Send> {
                let call = call.clone();
                Box::new(move |state| state.run_call(&call, load))
            };
            self.with_state(|state| state.run_call(call, load), aside).await?
        }
        .boxed()
    }

    fn run_both<'a>(
        &'a self,
        first: &'a ScriptCall,
        second: &'a ScriptCall,
    ) -> BoxFuture<'a, (Result<Reply, EngineError>, Result<Reply, EngineError>)> {
        async move { (self.run(first, false).await, self.run(second, false).await) }.boxed()
    }

    fn subscribe(&self, channel: &str, notify: OnMessage) {
        let mut state = self.state.lock();
        state.vm.keyspace().keep_published();
        state.subscribers.push((channel.to_owned(), notify));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Reply {
        EmbeddedEngine::in_memory().run_text(text, &["k".into()], &[Bytes::from_static(b"a")]).unwrap()
    }

    #[test]
    fn replies_are_converted_as_in_redis() {
        assert_eq!(run("return 3.99"), Reply::Int(3));
        assert_eq!(
            run("return {1, 'x', false, true, nil, 5}"),
            Reply::List(vec![Reply::Int(1), Reply::Bulk("x".into()), Reply::Nil, Reply::Int(1)])
        );
        assert_eq!(
            run("redis.call('SET', KEYS[1], 0.1) return redis.call('GET', KEYS[1])"),
            Reply::Bulk("0.10000000000000001".into())
        );
        assert_eq!(run("return redis.call('SET', KEYS[1], ARGV[1])"), Reply::Bulk("OK".into()));
        assert_eq!(run("return redis.call('GET', 'none')"), Reply::Nil);
        assert_eq!(
            run("return redis.pcall('HGET', 'none').err"),
            Reply::Bulk("ERR Wrong number of args calling Redis command from script".into())
        );
    }

    /// A disk that takes long to flush: a script that holds the state waits for it.
    #[tokio::test]
    async fn a_log_that_stalls_delays_calls_and_not_their_thread() {
        let engine = EmbeddedEngine::in_memory();
        engine.is_flushing.store(true, Ordering::Release);
        let (state, (locked, is_locked)) = (engine.state.clone(), std::sync::mpsc::channel());
        let stall = std::thread::spawn(move || {
            let _waits_for_the_disk = state.lock();
            locked.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(500));
        });
        is_locked.recv().unwrap();
        let call = ScriptCall {
            script: crate::ledger::scripts::Script::Heartbeat,
            keys: vec!["replicas".into(), "pk".into()],
            args: vec![Bytes::from_static(b"one")],
        };
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (engine, call) = (engine.clone(), call.clone());
            calls.spawn(async move { engine.run(&call, true).await });
        }
        let mut ticks = 0;
        let mut results = Vec::new();
        while results.len() < 20 {
            tokio::select! {
                Some(result) = calls.join_next() => results.push(result.unwrap()),
                () = tokio::time::sleep(Duration::from_millis(20)) => ticks += 1,
            }
        }
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert!(ticks >= 5, "the thread was free meanwhile: {ticks}");
        stall.join().unwrap();
    }

    #[test]
    fn globals_are_protected() {
        for text in ["x = 1", "return x", "string = 1", "return os", "return io", "return require", "math.random()"] {
            assert!(EmbeddedEngine::in_memory().run_text(text, &[], &[]).is_err(), "{text}");
        }
    }
}
