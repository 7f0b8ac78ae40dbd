//! Breakers are shared: two replicas on one Redis, one provider that fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::Notify;

use crate::support::{
    app::{Setup, TestApp},
    fake_upstream::{FakeUpstream, Step, answer, whole},
    redis_server::RedisServer,
};

pub(crate) struct Pair {
    pub one: TestApp,
    pub two: TestApp,
    pub upstream: FakeUpstream,
    _redis: RedisServer,
}

impl Pair {
    pub(crate) async fn with(change: impl Fn(Setup) -> Setup) -> Self {
        let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
        let setup = || change(TestApp::setup().redis(&redis).lab("lab", &upstream));
        let (one, two) = (setup().start().await, setup().start().await);
        Self { one, two, upstream, _redis: redis }
    }

    /// Causes three failures in a row. Both replicas then show the open breaker.
    pub(crate) async fn break_it(&self) {
        for app in [&self.one, &self.two, &self.one] {
            self.upstream.then(whole(500, "{}"));
            assert_eq!(app.chat("lab/m").await.error().0, 502);
            app.settled().await;
        }
    }

    /// Sends ten simultaneous requests to each replica and calls `settled` after each response. Returns the number of 200s.
    async fn crowd_with(&self, settled: impl Fn()) -> usize {
        let requests = (0..10).flat_map(|_| [self.one.chat("lab/m"), self.two.chat("lab/m")]);
        let requests = requests.map(async |request| {
            let answer = request.await;
            settled();
            answer
        });
        let answers = join_all(requests).await;
        for answer in &answers {
            if answer.status != 200 {
                assert_eq!(answer.error(), (503, "server_error".into(), "no_provider_available".into()));
                assert!(answer.message().contains("circuit breaker"), "{}", answer.message());
            }
        }
        answers.iter().filter(|answer| answer.status == 200).count()
    }

    /// Sends ten simultaneous requests to each replica. Returns the number of 200s.
    pub(crate) async fn crowd(&self) -> usize {
        self.crowd_with(|| ()).await
    }

    /// Like [`Self::crowd`], but the provider replies to the probe only after the 19 others have been refused.
    async fn crowd_during_probe(&self) -> usize {
        let (gate, refused) = (Arc::new(Notify::new()), AtomicUsize::new(0));
        let mut script = vec![Step::Gate(gate.clone())];
        script.extend(whole(200, &answer("hello")));
        self.upstream.then(script);
        self.crowd_with(|| {
            if refused.fetch_add(1, Ordering::Relaxed) + 1 == 19 {
                gate.notify_one();
            }
        })
        .await
    }

    /// Waits for the time that a refusal names, after which the first probe is admitted.
    async fn until_half_open(&self) {
        let refused = self.two.chat("lab/m").await;
        assert!(refused.retry_after() <= Duration::from_secs(3));
        tokio::time::sleep(refused.retry_after()).await;
    }

    /// Checks the way from open to closed: one probe at a time over all replicas, and two successes.
    pub(crate) async fn recovers(&self) {
        for probe in ["the first probe", "the second"] {
            let before = self.upstream.seen().len();
            assert_eq!(self.crowd_during_probe().await, 1, "{probe} alone goes through");
            assert_eq!(self.upstream.seen().len(), before + 1, "{probe}");
            self.one.settled().await;
        }
        assert_eq!(self.crowd().await, 20, "two successes close it for all");
        self.one.shows_breaker("lab", "closed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_failures_open_it_for_all_replicas_at_their_next_admission() {
    let both = Pair::with(|setup| setup.env("CB_TIMEOUT_MS", 3000)).await;
    both.break_it().await;
    assert_eq!(both.crowd().await, 0);
    assert_eq!(both.upstream.seen().len(), 3);
    both.two.shows_breaker("lab", "open").await;
    both.until_half_open().await;
    both.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_in_between_starts_the_count_again() {
    let both = Pair::with(|setup| setup).await;
    for _ in 0..3 {
        for app in [&both.one, &both.two] {
            both.upstream.then(whole(500, "{}"));
            assert_eq!(app.chat("lab/m").await.error().0, 502);
        }
        assert_eq!(both.one.chat("lab/m").await.status, 200);
    }
    both.one.shows_breaker("lab", "closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_probe_opens_it_again() {
    let both = Pair::with(|setup| setup.env("CB_TIMEOUT_MS", 2500)).await;
    both.break_it().await;
    both.until_half_open().await;
    both.upstream.then(whole(500, "{}"));
    assert_eq!(both.two.chat("lab/m").await.error().0, 502);
    both.two.settled().await;
    assert_eq!(both.crowd().await, 0);
    both.until_half_open().await;
    both.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_model_opens_its_own_breaker_only() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let app = TestApp::setup().redis(&redis).played("groq", &upstream).start().await;
    let busy = r#"{"error":{"message":"openai/gpt-oss-20b is currently over capacity. Please try again.","type":"internal_server_error"}}"#;
    for _ in 0..3 {
        upstream.then(whole(503, busy));
        assert_eq!(app.chat("groq/openai/gpt-oss-20b").await.error().0, 502);
        app.settled().await;
    }
    assert_eq!(app.chat("groq/openai/gpt-oss-20b").await.status, 503);
    assert_eq!(app.chat("groq/openai/gpt-oss-120b").await.status, 200, "the provider's breaker is closed");
    app.shows_breaker("groq", "closed").await;
}
