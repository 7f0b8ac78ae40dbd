//! The cost of a request, compared to nginx as a proxy of the same upstream in the same run: `make bench`.
//!
//! Everything shares one machine, possibly a busy one. Therefore CPU time is read per process, rounds of all contestants
//! alternate, and each figure is the median over the rounds. The ratio to nginx matters more than the microseconds. Only
//! the success of every response is asserted; bars are printed beside the figures.

#![expect(clippy::print_stdout, reason = "the figures are the result")]
#![expect(clippy::unchecked_time_subtraction, reason = "a process's CPU time only grows")]
#![expect(clippy::format_collect, reason = "a few lines, once")]

mod contest;
mod load;
mod nginx;
mod process;
mod scripts;
mod streams;
mod wire;

use std::time::Duration;

use self::{
    contest::{Contestant, RATE},
    nginx::Nginx,
    process::resident_mb,
    streams::StreamSource,
    wire::Wire,
};
use crate::support::{
    app::{Setup, TestApp},
    redis_server::RedisServer,
};

const ROUNDS: usize = 5;
const STREAM_ROUNDS: usize = 3;
/// Streams whose memory is measured.
const OPEN: usize = 1_000;

/// Shared by all contestants: an upstream for whole responses, one for streams, and a Redis.
struct Field {
    far: Nginx,
    source: StreamSource,
    proxy: Nginx,
    redis: RedisServer,
}

impl Field {
    async fn start() -> Self {
        let (far, source) = (Nginx::responder().await, StreamSource::start().await);
        let proxy = Nginx::proxy(far.port(), source.port()).await;
        Self { far, source, proxy, redis: RedisServer::with_aof().await }
    }

    /// A gateway with embedded state and this many candidates per request.
    fn gateway(&self, candidates: usize) -> Setup {
        let file = contest::file(candidates, self.far.port(), self.source.port());
        TestApp::setup().env("TOLLFREE_AUTH", "open").env("LOG_LEVEL", "warn").file(&file)
    }

    /// A gateway with its state in Redis.
    fn with_redis(&self, candidates: usize, pool: &str) -> Setup {
        self.gateway(candidates).redis(&self.redis).env("TOLLFREE_POOL", pool)
    }

    /// One gateway with Redis and one with embedded state.
    async fn start_two(&self) -> (TestApp, TestApp) {
        (self.with_redis(10, "ten").start().await, self.gateway(10).start().await)
    }

    fn contestants<'a>(&'a self, (with_redis, embedded): &'a (TestApp, TestApp)) -> Vec<Contestant<'a>> {
        vec![
            Contestant::nginx("nginx", &self.proxy),
            Contestant::gateway("tollfree, Redis, 10 candidates", with_redis, Some(&self.redis), Some(4.0)),
            Contestant::gateway("tollfree, embedded, 10 candidates", embedded, None, Some(3.0)),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of load: `make bench`"]
async fn a_request() {
    let field = Field::start().await;
    let two = field.start_two().await;
    let with_one = field.with_redis(1, "one").start().await;
    let with_key = field.with_redis(10, "key").env("TOLLFREE_API_KEY", contest::KEY).start().await;
    let with_log = field.with_redis(10, "log").env("LOG_LEVEL", "info").start().await;
    let mut all = field.contestants(&two);
    for (name, app) in [("1 candidate", &with_one), ("a shared key", &with_key), ("a log line each", &with_log)] {
        all.push(Contestant::gateway(name, app, Some(&field.redis), None));
    }
    println!("\n== CPU time of a request: {} ==", contest::CONDITIONS);
    for round in 0..=ROUNDS {
        for contestant in &mut all {
            contestant.closed_loop(round > 0);
        }
    }
    contest::print_requests(&all);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of load: `make bench`"]
async fn added_latency() {
    let field = Field::start().await;
    let two = field.start_two().await;
    println!("\n== time added at {RATE} requests/s, open loop, to the upstream's own time ==");
    contest::print_latencies(field.far.port(), &field.contestants(&two), ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of load: `make bench`"]
async fn a_chunk_of_a_stream() {
    let field = Field::start().await;
    let two = field.start_two().await;
    let all = field.contestants(&two);
    println!(
        "\n== CPU time of a relayed chunk: {} streams, a chunk each every {} ms ==",
        streams::STREAMS,
        streams::PACE.as_millis()
    );
    let mut per_chunk = vec![Vec::new(); all.len()];
    for _ in 0..STREAM_ROUNDS {
        for (contestant, costs) in all.iter().zip(&mut per_chunk) {
            costs.push(field.source.cost_per_chunk(contestant).await);
        }
    }
    contest::print_chunks(&all, &per_chunk);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of load: `make bench`"]
async fn memory() {
    let field = Field::start().await;
    let two = field.start_two().await;
    println!("\n== resident memory ==");
    for (contestant, app) in field.contestants(&two)[1..].iter().zip([&two.0, &two.1]) {
        let idle = resident_mb(app.pid());
        let open = field.source.open(contestant.stream_port, Wire::Chat, OPEN, Duration::from_secs(1)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let streaming = resident_mb(app.pid());
        open.end().await;
        println!("{:<36} {idle:>5.1} MB idle   {streaming:>5.1} MB at {OPEN} open streams (bar: 64)", contestant.name);
    }
}

/// What the protocols of agents cost beside chat, at one gateway with Redis.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of load: `make bench`"]
async fn protocols() {
    let field = Field::start().await;
    let app = field.with_redis(10, "wires").start().await;
    let mut all: Vec<Contestant> =
        Wire::ALL.map(|wire| Contestant::gateway("", &app, Some(&field.redis), None).over(wire)).into();
    println!("\n== CPU time of each protocol: a request, and a chunk of a stream ==");
    let mut per_chunk = vec![Vec::new(); all.len()];
    for round in 0..=ROUNDS {
        for (contestant, costs) in all.iter_mut().zip(&mut per_chunk) {
            contestant.closed_loop(round > 0);
            if round > 0 {
                costs.push(field.source.cost_per_chunk(contestant).await);
            }
        }
    }
    contest::print_protocols(&all, &per_chunk);
    println!("== resident memory at {OPEN} open streams ==");
    let mut chat = None;
    for wire in Wire::ALL {
        // A process of its own, since memory once used stays with a process.
        let app = field.with_redis(10, wire.name()).start().await;
        let open = field.source.open(app.port(), wire, OPEN, Duration::from_secs(1)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let used = resident_mb(app.pid());
        open.end().await;
        let ratio = used / *chat.get_or_insert(used);
        println!("{:<12} {used:>6.1} MB   {ratio:>5.2} × chat (bar: 1.30)", wire.name());
    }
}

/// Time inside Redis of every script that a request runs.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of load: `make bench`"]
async fn time_in_redis() {
    scripts::print_times().await;
}

/// What a very large pool costs in Redis.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: `make bench`"]
async fn a_large_pool() {
    scripts::print_large_pool().await;
}
