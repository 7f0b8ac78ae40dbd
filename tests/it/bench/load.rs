//! The two loads: a closed loop at full speed (wrk), and an open loop at a fixed rate.

use std::{fs, process::Command, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::wire::Wire;

/// Connections of the closed loop. Each sends its next request after the response.
pub(super) const CONNECTIONS: usize = 16;
const CLOSED_LOOP: Duration = Duration::from_secs(2);

/// Number of successful responses in the closed loop.
pub(super) fn closed_loop(port: u16, key: &str, wire: Wire) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("post.lua");
    let text = format!(
        "wrk.method = 'POST'\nwrk.body = [[{}]]\nwrk.headers['content-type'] = 'application/json'\n\
         wrk.headers['authorization'] = 'Bearer {key}'\n",
        wire.body(false)
    );
    fs::write(&script, text).unwrap();
    let (connections, seconds) = (format!("-c{CONNECTIONS}"), format!("-d{}s", CLOSED_LOOP.as_secs()));
    let url = format!("http://127.0.0.1:{port}{}", wire.path());
    let ran = Command::new("wrk")
        .args(["-t1", &connections, &seconds, "-s", script.to_str().unwrap(), &url])
        .output()
        .expect("wrk is installed: tests/setup.sh bench");
    let output = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && !output.contains("Non-2xx") && !output.contains("Socket errors"), "{output}");
    let line = output.lines().find(|line| line.contains(" requests in ")).unwrap_or_else(|| panic!("{output}"));
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

/// A keep-alive connection that repeats one request.
pub(super) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    read: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(port: u16, key: &str, wire: Wire, stream: bool) -> Self {
        let body = wire.body(stream);
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n\
             authorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
            wire.path(),
            body.len()
        );
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, request: request.into(), read: Vec::with_capacity(16 << 10) }
    }

    pub(super) async fn send(&mut self) {
        self.stream.write_all(&self.request).await.unwrap();
    }

    /// Reads more into [`Self::last`]. Returns false at the end of the connection.
    pub(super) async fn read_more(&mut self) -> bool {
        self.stream.read_buf(&mut self.read).await.unwrap() > 0
    }

    pub(super) fn last(&mut self) -> &mut Vec<u8> {
        &mut self.read
    }

    /// Sends one request and reads its response, which has a content length.
    async fn round_trip(&mut self) {
        self.send().await;
        self.read.clear();
        loop {
            assert!(self.read_more().await, "the connection was closed");
            let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&self.read[..end]).to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{}", String::from_utf8_lossy(&self.read));
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).expect("a length");
            if self.read.len() >= end + 4 + length.trim().parse::<usize>().unwrap() {
                return;
            }
        }
    }
}

/// Median and 99th percentile (µs) of the latency at a fixed rate. A request that waits for a busy connection counts from
/// its scheduled time.
pub(super) async fn open_loop(port: u16, key: &str, rate: u32, lasting: Duration) -> (f64, f64) {
    const SENDERS: u32 = 25;
    let apart = Duration::from_secs(1) / rate;
    let begin = Instant::now() + Duration::from_millis(50);
    let mut senders = JoinSet::new();
    for number in 0..SENDERS {
        let mut connection = Connection::open(port, key, Wire::Chat, false).await;
        senders.spawn(async move {
            let (mut took, mut due) = (Vec::new(), begin + apart * number);
            while due < begin + lasting {
                let late = Instant::now() > due;
                sleep_until(due).await;
                // A late timer does not count; a busy connection does.
                let from = if late { due } else { Instant::now() };
                connection.round_trip().await;
                took.push(from.elapsed().as_secs_f64() * 1e6);
                due += apart * SENDERS;
            }
            took
        });
    }
    let mut all: Vec<f64> = senders.join_all().await.concat();
    all.sort_by(f64::total_cmp);
    (all[all.len() / 2], all[all.len() * 99 / 100])
}
