//! The breaker with its true 30 seconds.

use std::time::Duration;

use tokio::time::Instant;

use crate::breakers::Pair;

#[tokio::test(flavor = "multi_thread")]
async fn it_opens_for_30_s_then_one_probe_goes_and_two_successes_close_it() {
    let both = Pair::with(|setup| setup).await;
    both.break_it().await;
    let opened = Instant::now();
    assert_eq!(both.crowd().await, 0);
    let wait = both.one.chat("lab/m").await.retry_after();
    assert!(wait > Duration::from_secs(28) && wait <= Duration::from_secs(30), "{wait:?}");
    tokio::time::sleep_until(opened + Duration::from_secs(28)).await;
    assert_eq!((both.one.chat("lab/m").await.status, both.two.chat("lab/m").await.status), (429, 429), "not sooner");
    assert_eq!(both.upstream.seen().len(), 3);
    tokio::time::sleep_until(opened + Duration::from_millis(30_050)).await;
    both.recovers().await;
}
