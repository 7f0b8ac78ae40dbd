//! Shared by the tests: child processes, scripted servers, and waiting with a deadline.

pub(crate) mod app;
pub(crate) mod chaos_proxy;
pub(crate) mod collector;
pub(crate) mod fake_upstream;
pub(crate) mod http;
pub(crate) mod markdown;
pub(crate) mod process;
pub(crate) mod recording;
pub(crate) mod redis_server;
pub(crate) mod replicated_redis;
pub(crate) mod simulator;
pub(crate) mod tls_upstream;

use std::{future::Future, sync::LazyLock, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};

/// Listens on a loopback port, any free one for 0, and serves each connection in its own task. Returns the port and the
/// tasks, which end when the set is dropped.
pub(crate) async fn listen<F>(port: u16, serve: impl Fn(TcpStream) -> F + Send + 'static) -> (u16, JoinSet<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream));
        }
    });
    (port, tasks)
}

/// A bound on wall-clock time, multiplied by `TEST_TIME_SCALE` (default 1), which slow or busy machines raise.
pub(crate) fn scaled(bound: Duration) -> Duration {
    static SCALE: LazyLock<f64> = LazyLock::new(|| {
        std::env::var("TEST_TIME_SCALE").map_or(1.0, |text| text.parse().expect("TEST_TIME_SCALE is a number"))
    });
    bound.mul_f64(*SCALE)
}

/// Polls a condition every few milliseconds until it returns a value. Panics after the scaled `within`.
pub(crate) async fn eventually<T>(within: Duration, what: &str, mut poll: impl AsyncFnMut() -> Option<T>) -> T {
    let within = scaled(within);
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = poll().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
