//! Contestants under the same load, and their figures.

use std::{fmt::Write, time::Duration};

use super::{
    load::{CONNECTIONS, closed_loop, open_loop},
    nginx::Nginx,
    process::{cpu, median},
    wire::Wire,
};
use crate::support::{app::TestApp, redis_server::RedisServer};

/// Key of every caller. Gateways without a key ignore it.
pub(super) const KEY: &str = "sk-bench-0123456789abcdef0123456789abcdef";
/// Requests per second of the open loop.
pub(super) const RATE: u32 = 500;
const OPEN_LOOP: Duration = Duration::from_secs(4);
pub(super) const CONDITIONS: &str =
    "CPU time, small body, 16 connections, nginx as upstream, four windows per candidate";

pub(super) struct Contestant<'a> {
    pub name: &'static str,
    pub pid: u32,
    port: u16,
    pub stream_port: u16,
    pub wire: Wire,
    redis: Option<&'a RedisServer>,
    /// Upper bound of the ratio to nginx.
    bar: Option<f64>,
    /// CPU time (µs) per request of the process and of Redis, by round.
    own: Vec<f64>,
    in_redis: Vec<f64>,
}

impl<'a> Contestant<'a> {
    pub(super) fn nginx(name: &'static str, nginx: &Nginx) -> Self {
        let (port, stream_port, pid) = (nginx.port(), nginx.stream_port(), nginx.pid());
        Self { name, pid, port, stream_port, wire: Wire::Chat, redis: None, bar: None, own: vec![], in_redis: vec![] }
    }

    pub(super) fn gateway(name: &'static str, app: &TestApp, redis: Option<&'a RedisServer>, bar: Option<f64>) -> Self {
        let (port, pid) = (app.port(), app.pid());
        Self { name, pid, port, stream_port: port, wire: Wire::Chat, redis, bar, own: vec![], in_redis: vec![] }
    }

    /// The same gateway for callers of another protocol.
    pub(super) fn over(mut self, wire: Wire) -> Self {
        (self.name, self.wire) = (wire.name(), wire);
        self
    }

    /// One round. The first one is a warm-up and does not count.
    pub(super) fn closed_loop(&mut self, counts: bool) {
        let redis_cpu = || self.redis.map(|redis| cpu(redis.pid())).unwrap_or_default();
        let (own, in_redis) = (cpu(self.pid), redis_cpu());
        let requests = closed_loop(self.port, KEY, self.wire);
        // Settlements and the journal run after the response and are part of the cost.
        std::thread::sleep(Duration::from_millis(300));
        let per_request = |spent: Duration| spent.as_secs_f64() * 1e6 / requests;
        let (own, in_redis) = (per_request(cpu(self.pid) - own), per_request(redis_cpu() - in_redis));
        if counts {
            self.own.push(own);
            self.in_redis.push(in_redis);
        }
    }
}

/// Costs of the protocols beside that of chat, which comes first. Ratios are computed per round; the median is printed.
pub(super) fn print_protocols(all: &[Contestant], per_chunk: &[Vec<f64>]) {
    for (what, bar, costs) in [
        ("request", 1.6, all.iter().map(|contestant| &contestant.own).collect::<Vec<_>>()),
        ("chunk", 2.0, per_chunk.iter().collect()),
    ] {
        for (contestant, own) in all.iter().zip(&costs) {
            let ratios: Vec<f64> = own.iter().zip(costs[0]).map(|(own, chat)| own / chat).collect();
            let (cost, ratio) = (median(own), median(&ratios));
            println!("{:<12} {cost:>6.1} µs/{what:<8} {ratio:>5.2} × chat (bar: {bar:.2})", contestant.name);
        }
    }
}

/// Ratios are computed per round; the median is printed.
pub(super) fn print_requests(all: &[Contestant]) {
    let nginx = &all[0].own;
    for contestant in all {
        let own = median(&contestant.own);
        let ratios: Vec<f64> = contestant.own.iter().zip(nginx).map(|(own, nginx)| own / nginx).collect();
        let mut line = format!(
            "{:<36} {own:>6.1} µs/request   {:>6.0} requests/s per core   {:>5.2} × nginx",
            contestant.name,
            1e6 / own,
            median(&ratios)
        );
        if let Some(bar) = contestant.bar {
            write!(line, " (bar: {bar:.2})").unwrap();
        }
        if contestant.redis.is_some() {
            let in_redis = median(&contestant.in_redis);
            write!(line, "   redis-server {in_redis:.1} µs, together {:.1} µs", own + in_redis).unwrap();
        }
        println!("{line}");
    }
    println!("({} alternating rounds of {CONNECTIONS} connections each)", nginx.len());
}

pub(super) fn print_chunks(all: &[Contestant], per_chunk: &[Vec<f64>]) {
    for (contestant, costs) in all.iter().zip(per_chunk) {
        let ratios: Vec<f64> = costs.iter().zip(&per_chunk[0]).map(|(own, nginx)| own / nginx).collect();
        let (cost, ratio) = (median(costs), median(&ratios));
        let bar = if contestant.bar.is_some() { " (bar: 2.00)" } else { "" };
        println!(
            "{:<36} {cost:>6.1} µs/chunk   {:>6.0} chunks/s per core   {ratio:>5.2} × nginx{bar}",
            contestant.name,
            1e6 / cost
        );
    }
}

/// Medians over the rounds of the latency that each contestant adds.
pub(super) async fn print_latencies(direct: u16, all: &[Contestant<'_>], rounds: usize) {
    let mut took = vec![(Vec::new(), Vec::new()); all.len() + 1];
    for _ in 0..rounds {
        let ports = std::iter::once(direct).chain(all.iter().map(|contestant| contestant.port));
        for (port, (p50, p99)) in ports.zip(&mut took) {
            let (middle, high) = open_loop(port, KEY, RATE, OPEN_LOOP).await;
            p50.push(middle);
            p99.push(high);
        }
    }
    let medians: Vec<_> = took.iter().map(|(p50, p99)| (median(p50), median(p99))).collect();
    let (middle, high) = medians[0];
    println!("{:<36} p50 {middle:>6.0} µs   p99 {high:>6.0} µs", "the upstream itself");
    for (contestant, (p50, p99)) in all.iter().zip(&medians[1..]) {
        println!("{:<36} p50 {:>+6.0} µs   p99 {:>+6.0} µs", contestant.name, p50 - middle, p99 - high);
    }
}

/// `candidates` providers for whole responses and as many for streams, each with four windows that never fill. The first
/// one always serves.
pub(super) fn file(candidates: usize, whole: u16, stream: u16) -> String {
    let limits = "{ rpm = 1000000000, rpd = 1000000000, tpm = 1000000000000, tpd = 1000000000000 }";
    let mut file = String::new();
    for number in 0..candidates {
        for (kind, port) in [("w", whole), ("s", stream)] {
            writeln!(
                file,
                "[providers.{kind}{number}]\nbase_url = \"http://127.0.0.1:{port}/v1\"\n\
                 [providers.{kind}{number}.models.{kind}]\nlimits = {limits}"
            )
            .unwrap();
        }
    }
    for (name, kind) in [("bench", "w"), ("bench-stream", "s")] {
        let members: Vec<_> = (0..candidates).map(|number| format!("\"{kind}{number}/{kind}\"")).collect();
        writeln!(file, "[models.{name}]\nstrategy = \"listed\"\nmembers = [{}]", members.join(", ")).unwrap();
    }
    file
}
