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

use std::time::Duration;

use tokio::time::Instant;

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
