//! Streams at an even pace: their source and their readers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::{contest::Contestant, load::Connection, process::cpu, wire::Wire};
use crate::support::{eventually, fake_upstream as fake, listen};

pub(super) const STREAMS: usize = 40;
pub(super) const PACE: Duration = Duration::from_millis(10);
const WINDOW: Duration = Duration::from_secs(3);

/// Responds to every request with a stream of chunks until it is stopped.
pub(super) struct StreamSource {
    port: u16,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    /// Chunks written so far on all streams.
    chunks: AtomicU64,
    pace_ms: AtomicU64,
    ending: AtomicBool,
}

impl StreamSource {
    pub(super) async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let given = shared.clone();
        let (port, tasks) = listen(0, move |stream| {
            stream.set_nodelay(true).unwrap();
            answer_all(stream, given.clone())
        })
        .await;
        Self { port, shared, _tasks: tasks }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Opens streams through `port`. Returns when all of them deliver content.
    pub(super) async fn open(&self, port: u16, wire: Wire, streams: usize, pace: Duration) -> Open {
        self.shared.pace_ms.store(u64::try_from(pace.as_millis()).unwrap(), Ordering::Relaxed);
        self.shared.ending.store(false, Ordering::Relaxed);
        let flowing = Arc::new(AtomicU64::new(0));
        let mut readers = JoinSet::new();
        for number in 0..streams {
            if number % 20 == 0 {
                // Callers start one after the other. A thousand in one millisecond would measure something else.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let flowing = flowing.clone();
            readers.spawn(async move {
                let mut connection = Connection::open(port, super::contest::KEY, wire, true).await;
                connection.send().await;
                read_out(connection, wire, &flowing).await;
            });
        }
        eventually(Duration::from_secs(30), "all streams flow", async || {
            (flowing.load(Ordering::Relaxed) == streams as u64).then_some(())
        })
        .await;
        Open { readers, shared: self.shared.clone() }
    }

    /// CPU time of relaying one chunk, µs.
    pub(super) async fn cost_per_chunk(&self, contestant: &Contestant<'_>) -> f64 {
        let open = self.open(contestant.stream_port, contestant.wire, STREAMS, PACE).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (chunks, spent) = (self.shared.chunks.load(Ordering::Relaxed), cpu(contestant.pid));
        tokio::time::sleep(WINDOW).await;
        let spent = cpu(contestant.pid) - spent;
        let chunks = self.shared.chunks.load(Ordering::Relaxed) - chunks;
        open.end().await;
        spent.as_secs_f64() * 1e6 / chunks as f64
    }
}

/// Open streams.
pub(super) struct Open {
    readers: JoinSet<()>,
    shared: Arc<Shared>,
}

impl Open {
    /// Ends the streams properly. Every reader has received its last event when this returns.
    pub(super) async fn end(self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        self.readers.join_all().await;
    }
}

/// Increments `flowing` at the first content and returns at the end of the stream.
async fn read_out(mut connection: Connection, wire: Wire, flowing: &AtomicU64) {
    let (mut flows, mut has_ended) = (false, false);
    loop {
        assert!(connection.read_more().await, "the stream was cut");
        let read = connection.last();
        assert!(flows || read.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(read));
        if !flows && contains(read, wire.content()) {
            flows = true;
            flowing.fetch_add(1, Ordering::Relaxed);
        }
        // The last event can be long, and its name stands at its beginning.
        has_ended = has_ended || contains(read, wire.end());
        if read.ends_with(b"\r\n0\r\n\r\n") {
            assert!(has_ended, "{}", String::from_utf8_lossy(read));
            return;
        }
        if flows && read.len() > 4096 {
            // Only the end, which arrives in a few small pieces, must be kept.
            read.drain(..read.len() - 2048);
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn piece(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into()
}

async fn answer_all(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut read = Vec::new();
    let content = piece(&fake::content(" a few tokens"));
    loop {
        // A request is small and arrives in one piece, and the next one follows its response.
        read.clear();
        while !read.ends_with(b"}") {
            if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                return;
            }
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let begin = [head.as_bytes(), &piece(&fake::role())].concat();
        if stream.write_all(&begin).await.is_err() {
            return;
        }
        let mut ticks = interval(Duration::from_millis(shared.pace_ms.load(Ordering::Relaxed)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !shared.ending.load(Ordering::Relaxed) {
            ticks.tick().await;
            if stream.write_all(&content).await.is_err() {
                return;
            }
            shared.chunks.fetch_add(1, Ordering::Relaxed);
        }
        let end = [piece(&fake::stop()), piece(fake::DONE), b"0\r\n\r\n".to_vec()].concat();
        if stream.write_all(&end).await.is_err() {
            return;
        }
    }
}
