//! Runs the scripts in Redis: a single server, behind Sentinel, or a Cluster. Only this folder uses the `redis` crate.

mod connection;
mod error_class;
mod per_thread;
mod pool;
mod pubsub;
mod rights;
mod stall;
mod tls;
mod wrong_types;

use std::{
    pin::pin,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use redis::{AsyncConnectionConfig, Cmd, Pipeline, Value};
use tokio::time::Instant;

use self::{
    connection::{CONNECTION_WAIT, Connection, Link, SharedConnection, shared_connection},
    error_class::ErrorClass,
    per_thread::ThreadConnections,
    stall::Stalls,
};
use super::{
    engine::{EngineError, OnMessage, Reply, ScriptCall, ScriptEngine},
    keys::{Key, Keys},
    scripts::Script,
};
use crate::{config::RedisUrl, shutdown::Tasks};

/// Runs scripts in Redis. Cheap to clone.
#[derive(Clone)]
pub struct RedisEngine {
    shared: Arc<SharedConnection>,
    threads: Arc<ThreadConnections>,
    stalls: Arc<Stalls>,
    tasks: Tasks,
}

/// The SHA-1 of each script, by which Redis knows it, in the order of [`Script::ALL`].
static DIGESTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    Script::ALL.iter().map(|script| redis::Script::new(script.source()).get_hash().to_owned()).collect()
});

fn digest(script: Script) -> &'static str {
    &DIGESTS[script as usize]
}

/// Configuration of every connection: no time limits of the library, because the callers have their own.
fn without_time_limits() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None)
}

/// The reply to one command; error replies are errors.
type RedisReply = Result<Value, redis::RedisError>;

/// The commands that travel together.
enum RoundTrip {
    One(Cmd),
    Pair(Pipeline),
}

impl RoundTrip {
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Pair(pipeline) => pipeline.len(),
        }
    }
}

/// Why a round trip brought no reply.
enum ConnectionLost {
    Outage(String),
    /// Another node owns the slot. Nothing was executed.
    Moved,
}

impl RedisEngine {
    /// Returns immediately and connects in the background. Until then every call is [`EngineError::Unreachable`].
    pub fn connect(url: RedisUrl, pool: &str, tasks: &Tasks) -> Self {
        if url.tls {
            // Fails if a provider is installed already, which serves as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let (shared, reconnector) = shared_connection(url, Keys::new(pool).meta());
        tasks.spawn_endless(reconnector.run());
        let threads = ThreadConnections::new(tasks.clone());
        Self { shared: Arc::new(shared), threads: Arc::new(threads), stalls: Arc::default(), tasks: tasks.clone() }
    }

    /// Runs any text as a script, for the tests that compare both engines.
    #[doc(hidden)]
    pub async fn run_text(&self, text: &str, keys: &[Key], args: &[Bytes]) -> Result<Reply, EngineError> {
        self.send_one(None, command("EVAL", text, keys, args), keys, "text").await
    }

    async fn run_script(&self, call: &ScriptCall, verb: &str, script: &str) -> Result<Reply, EngineError> {
        let command = command(verb, script, &call.keys, &call.args);
        self.send_one(Some(call.script), command, &call.keys, call.script.name()).await
    }

    async fn send_one(
        &self,
        script: Option<Script>,
        command: Cmd,
        keys: &[Key],
        name: &'static str,
    ) -> Result<Reply, EngineError> {
        let mut replies = self.send(script, &RoundTrip::One(command), keys.first()).await?;
        reply(name, replies.remove(0))
    }

    /// Repeats a call that met keys of the wrong type, once they are deleted. Its changes before that are found by name.
    async fn heal(&self, call: &ScriptCall, reply: Result<Reply, EngineError>) -> Result<Reply, EngineError> {
        if !matches!(&reply, Err(EngineError::Script { message, .. }) if wrong_types::is_wrong_type(message)) {
            return reply;
        }
        self.delete_wrong_types(call).boxed().await; // boxed, since it is rare and large
        self.run_script(call, "EVALSHA", digest(call.script)).await
    }

    /// Sends the commands and returns one reply to each, unless the connection is lost.
    async fn send(
        &self,
        script: Option<Script>,
        trip: &RoundTrip,
        key: Option<&Key>,
    ) -> Result<Vec<RedisReply>, EngineError> {
        for _ in 0..2 {
            let shared = self.shared.get(Instant::now() + CONNECTION_WAIT).await.map_err(EngineError::Unreachable)?;
            let pooled = if script.is_some_and(pool::serves) { pool::get(&shared.node.pool).await } else { None };
            let mut connection = match &pooled {
                Some(pooled) => Connection { link: Link::new((**pooled).clone()), ..shared },
                None => self.threads.dedicated_or(shared),
            };
            match self.send_on(&mut connection, trip, key, pooled.is_none()).await {
                Ok(replies) => return Ok(replies),
                Err(ConnectionLost::Outage(why)) => return Err(EngineError::Unreachable(why)),
                // Nothing was executed, and the next connection leads to the owner.
                Err(ConnectionLost::Moved) => {}
            }
        }
        Err(EngineError::Unreachable("the slot is moving".to_owned()))
    }

    /// Reports the connection as broken if it, or its server, does not serve.
    async fn send_on(
        &self,
        connection: &mut Connection,
        trip: &RoundTrip,
        key: Option<&Key>,
        is_shared: bool,
    ) -> Result<Vec<RedisReply>, ConnectionLost> {
        let Link { multiplexed, replies } = &mut connection.link;
        let sent = match trip {
            RoundTrip::One(one) => {
                let sent = self.stalls.answer(replies, pin!(multiplexed.send_packed_command(one))).await;
                sent.map(|reply| reply.map(|one| vec![one]))
            }
            RoundTrip::Pair(pair) => {
                self.stalls.answer(replies, pin!(multiplexed.send_packed_commands(pair, 0, pair.len()))).await
            }
        };
        let replies: Vec<RedisReply> = match sent {
            None => {
                let why = "no answer for a second".to_owned();
                // A report that takes long says nothing of the connection of the others.
                if is_shared {
                    self.shared.report_failure(connection, &why, None);
                }
                return Err(ConnectionLost::Outage(why));
            }
            Some(Ok(values)) => values.into_iter().map(Value::extract_error).collect(),
            Some(Err(error)) => vec![Err(error)],
        };
        for error in replies.iter().filter_map(|reply| reply.as_ref().err()) {
            match ErrorClass::of(error) {
                ErrorClass::Outage(why) => {
                    self.shared.report_failure(connection, &why, key);
                    if replies.len() < trip.len() {
                        return Err(ConnectionLost::Outage(why));
                    }
                }
                ErrorClass::Moved { .. } => {
                    self.shared.report_failure(connection, "the slot moved", key);
                    // The keys of both calls share a slot: neither was executed.
                    return Err(ConnectionLost::Moved);
                }
                ErrorClass::NoScript | ErrorClass::ScriptError(_) => {}
            }
        }
        Ok(replies)
    }
}

impl ScriptEngine for RedisEngine {
    fn run<'a>(&'a self, call: &'a ScriptCall, load: bool) -> BoxFuture<'a, Result<Reply, EngineError>> {
        async move {
            let reply = match self.run_script(call, "EVALSHA", digest(call.script)).await {
                Err(EngineError::NoScript) if load => self.run_script(call, "EVAL", call.script.source()).await,
                reply => reply,
            };
            self.heal(call, reply).await
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
            let replies = self.send(None, &RoundTrip::Pair(pipeline), first.keys.first()).await;
            let error = match replies.map(<[RedisReply; 2]>::try_from) {
                Ok(Ok([one, other])) => {
                    let (one, other) = (reply(first.script.name(), one), reply(second.script.name(), other));
                    return (self.heal(first, one).await, self.heal(second, other).await);
                }
                Ok(Err(replies)) => EngineError::Unreachable(format!("{} replies to two commands", replies.len())),
                Err(error) => error,
            };
            (Err(error.clone()), Err(error))
        }
        .boxed()
    }

    fn subscribe(&self, channel: &str, notify: OnMessage) {
        self.tasks.spawn_endless(pubsub::listen(self.shared.node(), channel.to_owned(), notify));
    }
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

fn reply(script: &'static str, reply: RedisReply) -> Result<Reply, EngineError> {
    reply.and_then(convert).map_err(|error| ErrorClass::of(&error).into_engine_error(script))
}

fn convert(value: Value) -> Result<Reply, redis::RedisError> {
    Ok(match value {
        Value::Int(number) => Reply::Int(number),
        Value::BulkString(bytes) => Reply::Bulk(bytes.into()),
        Value::SimpleString(text) => Reply::Bulk(text.into()),
        Value::Okay => Reply::Bulk(Bytes::from_static(b"OK")),
        Value::Array(values) => Reply::List(values.into_iter().map(convert).collect::<Result<_, _>>()?),
        Value::ServerError(error) => return Err(error.into()),
        // The other values belong to RESP3, which these connections do not speak.
        _ => Reply::Nil,
    })
}
