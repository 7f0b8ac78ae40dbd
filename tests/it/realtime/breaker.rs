//! The breaker with its real 30 seconds.

use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};

use crate::{
    gateway::breakers::Pair,
    support::{app::hi, eventually, fake_upstream::Step},
};

#[tokio::test(flavor = "multi_thread")]
async fn it_opens_for_30_s_then_admits_one_probe_and_closes_after_two_successes() {
    let both = Pair::with(|setup| setup).await;
    both.break_it().await;
    let opened = Instant::now();
    assert_eq!(both.crowd().await, 0);
    let wait = both.one.chat("lab/m").await.retry_after();
    assert!(wait > Duration::from_secs(28) && wait <= Duration::from_secs(30), "{wait:?}");
    tokio::time::sleep_until(opened + Duration::from_secs(28)).await;
    assert_eq!((both.one.chat("lab/m").await.status, both.two.chat("lab/m").await.status), (503, 503), "not sooner");
    assert_eq!(both.upstream.seen().len(), 3);
    tokio::time::sleep_until(opened + Duration::from_millis(30_050)).await;
    both.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_of_a_dead_replica_expires() {
    let mut both = Pair::with(|setup| setup.env("CB_TIMEOUT_MS", 500)).await;
    both.break_it().await;
    tokio::time::sleep(Duration::from_millis(550)).await;
    both.upstream.then(vec![Step::Hold]);
    let before = both.upstream.seen().len();
    let mut held = JoinSet::new();
    held.spawn(both.one.chat_call(&hi("lab/m")).send());
    let is_out = async || (both.upstream.seen().len() > before).then_some(());
    eventually(Duration::from_secs(3), "the probe is out", is_out).await;
    // The dead replica cannot settle the probe.
    both.one.process().kill();
    assert_eq!(both.two.chat("lab/m").await.status, 503, "one probe at a time");
    eventually(Duration::from_secs(31), "another probe is let through", async || {
        (both.two.chat("lab/m").await.status == 200).then_some(())
    })
    .await;
}
