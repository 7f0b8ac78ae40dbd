//! Runs the scripts in Redis: alone, behind Sentinel, or as a Cluster. This folder's files are the
//! only ones that know the `redis` crate.

mod connection;
mod error_class;
mod per_thread;
mod pubsub;

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use redis::{Cmd, Pipeline, Value};
use tokio::time::{Instant, timeout_at};

use self::{
    connection::{DEADLINE, Line, Lines, lines},
    error_class::Judged,
    per_thread::Branches,
};
use super::{
    engine::{EngineError, OnMessage, Reply, ScriptCall, ScriptEngine},
    keys::Key,
    scripts::Script,
};
use crate::{config::RedisUrl, shutdown::Tasks};

/// The shared budget in Redis. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    lines: Arc<Lines>,
    branches: Arc<Branches>,
    tasks: Tasks,
}

/// The name Redis knows each script by, in the order of [`Script::ALL`].
static DIGESTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    Script::ALL.iter().map(|script| redis::Script::new(script.source()).get_hash().to_owned()).collect()
});

fn digest(script: Script) -> &'static str {
    &DIGESTS[script as usize]
}

/// What a server answered, error replies included.
type Answer = Result<Value, redis::RedisError>;

/// What is sent at once.
enum Trip {
    One(Cmd),
    Both(Pipeline),
}

impl Trip {
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Both(pipeline) => pipeline.len(),
        }
    }
}

/// A call that did not bring an answer.
enum Lost {
    Outage(String),
    /// Not carried out: another node owns the slot.
    Moved,
}

impl Redis {
    /// Never waits for Redis: connects in the background, and until then every call is [`EngineError::Unreachable`].
    pub fn connect(url: RedisUrl, tasks: &Tasks) -> Self {
        if url.tls {
            // Fails where a provider is installed already, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let (lines, keeper) = lines(url);
        tasks.spawn_endless(keeper.run());
        let branches = Branches::new(tasks.clone());
        Self { lines: Arc::new(lines), branches: Arc::new(branches), tasks: tasks.clone() }
    }

    /// Any script text, for the tests that compare both hosts.
    #[doc(hidden)]
    pub async fn run_text(&self, text: &str, keys: &[Key], args: &[Bytes]) -> Result<Reply, EngineError> {
        let mut answers = self.send(&Trip::One(command("EVAL", text, keys, args)), keys.first()).await?;
        reply("text", answers.remove(0))
    }

    async fn line(&self, until: Instant) -> Result<Line, EngineError> {
        let line = self.lines.line(until).await.map_err(EngineError::Unreachable)?;
        Ok(self.branches.of(line, || self.lines.nodes().borrow().clone()))
    }

    /// One round trip. Whatever kept us from an answer has been reported to the keeper of the connection.
    async fn send(&self, trip: &Trip, key: Option<&Key>) -> Result<Vec<Answer>, EngineError> {
        let until = Instant::now() + DEADLINE;
        let mut line = self.line(until).await?;
        let mut lost = match self.send_on(&mut line, trip, key, until).await {
            Ok(answers) => return Ok(answers),
            Err(lost) => lost,
        };
        if let Lost::Moved = lost {
            // Nothing was carried out, and the keeper is on its way to the owner.
            line = self.line(until).await?;
            lost = match self.send_on(&mut line, trip, key, until).await {
                Ok(answers) => return Ok(answers),
                Err(lost) => lost,
            };
        }
        Err(EngineError::Unreachable(match lost {
            Lost::Outage(why) => why,
            Lost::Moved => "the slot is moving".to_owned(),
        }))
    }

    async fn send_on(
        &self,
        line: &mut Line,
        trip: &Trip,
        key: Option<&Key>,
        until: Instant,
    ) -> Result<Vec<Answer>, Lost> {
        let sent = match trip {
            Trip::One(one) => {
                let sent = bounded(pin!(line.connection.send_packed_command(one)), until).await;
                sent.map(|answer| answer.map(|one| vec![one]))
            }
            Trip::Both(both) => bounded(pin!(line.connection.send_packed_commands(both, 0, both.len())), until).await,
        };
        let answers: Vec<Answer> = match sent {
            None => {
                let why = format!("no answer within {} ms", DEADLINE.as_millis());
                self.lines.give_up(line, &why, None);
                return Err(Lost::Outage(why));
            }
            Some(Ok(values)) => values.into_iter().map(Value::extract_error).collect(),
            Some(Err(error)) => vec![Err(error)],
        };
        for answer in &answers {
            let Err(error) = answer else { continue };
            match Judged::of(error) {
                Judged::Outage(why) => {
                    self.lines.give_up(line, &why, key);
                    if answers.len() < trip.len() {
                        return Err(Lost::Outage(why));
                    }
                }
                Judged::Moved { .. } => {
                    self.lines.give_up(line, "the slot moved", key);
                    // Both of a pair share their keys' slot: neither was carried out.
                    return Err(Lost::Moved);
                }
                Judged::Unknown | Judged::Mistake(_) => {}
            }
        }
        Ok(answers)
    }
}

impl ScriptEngine for Redis {
    fn run<'a>(&'a self, call: &'a ScriptCall, load: bool) -> BoxFuture<'a, Result<Reply, EngineError>> {
        async move {
            let by_digest = command("EVALSHA", digest(call.script), &call.keys, &call.args);
            let mut answers = self.send(&Trip::One(by_digest), call.keys.first()).await?;
            let answered = reply(call.script.name(), answers.remove(0));
            if !(load && matches!(answered, Err(EngineError::NoScript))) {
                return answered;
            }
            let by_text = command("EVAL", call.script.source(), &call.keys, &call.args);
            let mut answers = self.send(&Trip::One(by_text), call.keys.first()).await?;
            reply(call.script.name(), answers.remove(0))
        }
        .boxed()
    }

    fn run_both<'a>(
        &'a self,
        first: &'a ScriptCall,
        second: &'a ScriptCall,
    ) -> BoxFuture<'a, (Result<Reply, EngineError>, Result<Reply, EngineError>)> {
        async move {
            let mut pipeline = Pipeline::with_capacity(2);
            for call in [first, second] {
                pipeline.add_command(command("EVALSHA", digest(call.script), &call.keys, &call.args));
            }
            match self.send(&Trip::Both(pipeline), first.keys.first()).await.map(<[Answer; 2]>::try_from) {
                Ok(Ok([one, other])) => (reply(first.script.name(), one), reply(second.script.name(), other)),
                Ok(Err(answers)) => {
                    let error = EngineError::Unreachable(format!("{} answers to two commands", answers.len()));
                    (Err(error.clone()), Err(error))
                }
                Err(error) => (Err(error.clone()), Err(error)),
            }
        }
        .boxed()
    }

    fn subscribe(&self, channel: &str, heard: OnMessage) {
        self.tasks.spawn_endless(pubsub::listen(self.lines.nodes(), channel.to_owned(), heard));
    }
}

/// The result in time, or none.
async fn bounded<T>(mut work: Pin<&mut impl Future<Output = T>>, until: Instant) -> Option<T> {
    if let Ok(done) = timeout_at(until, &mut work).await {
        return Some(done);
    }
    // Was it Redis that was late, or this process? Let what has arrived by now be read before an outage is declared.
    for _ in 0..3 {
        tokio::task::yield_now().await;
        if let Some(done) = work.as_mut().now_or_never() {
            return Some(done);
        }
    }
    None
}

fn command(verb: &str, script: &str, keys: &[Key], args: &[Bytes]) -> Cmd {
    let size = keys.iter().map(|key| key.len()).sum::<usize>() + args.iter().map(Bytes::len).sum::<usize>();
    let mut command = Cmd::with_capacity(3 + keys.len() + args.len(), verb.len() + script.len() + 4 + size);
    command.arg(verb).arg(script).arg(keys.len());
    for key in keys {
        command.arg(&**key);
    }
    for arg in args {
        command.arg(&arg[..]);
    }
    command
}

fn reply(script: &'static str, answer: Answer) -> Result<Reply, EngineError> {
    answer.and_then(read).map_err(|error| Judged::of(&error).into_host_error(script))
}

fn read(value: Value) -> Result<Reply, redis::RedisError> {
    Ok(match value {
        Value::Int(number) => Reply::Int(number),
        Value::BulkString(bytes) => Reply::Bulk(bytes.into()),
        Value::SimpleString(text) => Reply::Bulk(text.into()),
        Value::Okay => Reply::Bulk(Bytes::from_static(b"OK")),
        Value::Array(values) => Reply::List(values.into_iter().map(read).collect::<Result<_, _>>()?),
        Value::ServerError(error) => return Err(error.into()),
        // What is left belongs to RESP3, which is not spoken here.
        _ => Reply::Nil,
    })
}
