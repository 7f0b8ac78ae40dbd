//! What the tests share: processes that end with them, scripted far sides, and waiting with a deadline.

pub mod app;
pub mod chaos_proxy;
pub mod collector;
pub mod fake_upstream;
pub mod http;
pub mod process;
pub mod redis_server;
pub mod redis_shapes;
pub mod simulator;
pub mod tls_upstream;

use std::{future::Future, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};

/// Serves each connection to a port of this machine (0: a free one, which is told) in a task of its own. All of it ends
/// when the set is dropped.
pub async fn listen<F>(port: u16, serve: impl Fn(TcpStream) -> F + Send + 'static) -> (u16, JoinSet<()>)
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

/// Asks again every few milliseconds until there is something; fails after `within`.
pub async fn eventually<T>(within: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
