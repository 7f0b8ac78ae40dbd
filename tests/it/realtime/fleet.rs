//! Several gateways on one Redis, providers that enforce their limits, and many callers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    app::{Setup, TestApp},
    http,
    redis_server::RedisServer,
    simulator::Simulator,
};

/// Duration of a trial: `TRIAL_SECONDS`, or 170 s. Just below whole minutes, so that the number of windows is clear.
pub(crate) fn trial_time() -> Duration {
    let seconds = std::env::var("TRIAL_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(170))
}

/// Longest simulated delay (ms) of requests to the provider.
pub(crate) const JITTER_MS: u64 = 250;
/// Slack of the ledger: [`JITTER_MS`] plus the delays of a busy machine.
const SLACK_MS: u64 = 600;

pub(crate) struct Fleet<R = RedisServer> {
    pub redis: R,
    pub simulator: Simulator,
    pub apps: Vec<TestApp>,
}

/// Number of responses by status; 0 for broken connections.
pub(crate) type Tally = BTreeMap<u16, usize>;

/// Behaviour of the callers.
#[derive(Clone)]
pub(crate) struct Crowd {
    pub callers: usize,
    /// Each caller starts at a random time within this.
    pub ramp: Duration,
    /// Longest pause between a response and the next request.
    pub think: Duration,
    /// Request body by the number of the request.
    pub body: Arc<dyn Fn(u64) -> Value + Send + Sync>,
}

impl Crowd {
    pub(crate) fn new(callers: usize, body: impl Fn(u64) -> Value + Send + Sync + 'static) -> Self {
        let (ramp, think) = (Duration::from_secs(10), Duration::from_millis(300));
        Self { callers, ramp, think, body: Arc::new(body) }
    }
}

impl Fleet {
    pub(crate) async fn start(replicas: usize, profile: Value, change: impl Fn(Setup, &Simulator) -> Setup) -> Self {
        let redis = RedisServer::start().await;
        let url = redis.url();
        Self::on(redis, &url, replicas, profile, change).await
    }
}

impl<R> Fleet<R> {
    /// Like [`Self::start`], on another kind of Redis at `url`.
    pub(crate) async fn on(
        redis: R,
        url: &str,
        replicas: usize,
        profile: Value,
        change: impl Fn(Setup, &Simulator) -> Setup,
    ) -> Self {
        let simulator = Simulator::with(profile).await;
        let mut apps = Vec::new();
        for _ in 0..replicas {
            let setup = TestApp::setup().env("REDIS_URL", url).env("LOG_LEVEL", "warn");
            let setup = setup.file(&format!("[ledger]\nslack_ms = {SLACK_MS}\n"));
            apps.push(change(setup, &simulator).start().await);
        }
        Self { redis, simulator, apps }
    }

    /// Sends requests until `time` is over. Refused ones are retried after the time that the refusal names.
    pub(crate) fn crowd(&self, crowd: &Crowd, time: Duration) -> (JoinSet<()>, Arc<Mutex<Tally>>) {
        let tally = Arc::new(Mutex::new(Tally::new()));
        let urls: Vec<_> = self.apps.iter().map(|app| app.url("/v1/chat/completions")).collect();
        let end = Instant::now() + time;
        let mut callers = JoinSet::new();
        let client = http::client();
        for number in 0..crowd.callers {
            let (crowd, urls, tally, client) = (crowd.clone(), urls.clone(), tally.clone(), client.clone());
            callers.spawn(async move {
                let mut random = fastrand::Rng::with_seed(number as u64).fork();
                let mut draw =
                    |most: Duration| Duration::from_millis(random.u64(..=u64::try_from(most.as_millis()).unwrap()));
                let mut turn = number as u64 * 100_000;
                tokio::time::sleep(draw(crowd.ramp)).await;
                while Instant::now() < end {
                    let at = usize::try_from(draw(Duration::from_secs(1000)).as_millis()).unwrap() % urls.len();
                    turn += 1;
                    let call = client.post(&urls[at]).json(&(crowd.body)(turn));
                    let (status, pause) = match http::Answer::try_of(call).await {
                        // Retries after the named time, with jitter.
                        Ok(answer) if [429, 503].contains(&answer.status) => {
                            (answer.status, answer.retry_after() + draw(Duration::from_secs(1)))
                        }
                        Ok(answer) => (answer.status, draw(crowd.think)),
                        Err(_) => (0, Duration::from_millis(100)),
                    };
                    *tally.lock().unwrap().entry(status).or_default() += 1;
                    tokio::time::sleep_until((Instant::now() + pause).min(end)).await;
                }
            });
        }
        (callers, tally)
    }

    /// Runs the crowd until its time is over.
    pub(crate) async fn until_over(&self, crowd: &Crowd, time: Duration) -> Tally {
        let (callers, tally) = self.crowd(crowd, time);
        callers.join_all().await;
        let tally = tally.lock().unwrap().clone();
        eprintln!("callers got {tally:?}");
        tally
    }

    pub(crate) async fn window(&self, provider: &str, account: &str, model: &str, limit: &str) -> WindowSeen {
        let audit = self.simulator.audit().await;
        let seen = &audit["providers"][provider]["accounts"][account][model];
        assert!(seen.is_object(), "no {provider} {account} {model} in {audit}");
        let window = &seen["windows"][limit];
        let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("no figure in {seen}"));
        let refused = seen["tally"]["refused"].as_object().map_or(0.0, |by| by.values().map(number).sum());
        let seen = WindowSeen {
            limit: number(&window["limit"]),
            units: number(&window["units"]),
            over: number(&window["over"]),
            most_in_any_span: number(&window["most_in_any_span"]),
            periods: window["periods"].as_object().map_or(Vec::new(), |by| by.values().map(number).collect()),
            admitted: number(&seen["tally"]["admitted"]),
            tokens: number(&seen["tally"]["tokens_in"]) + number(&seen["tally"]["tokens_out"]),
            refused,
        };
        eprintln!("{provider}/{model} {limit}: {seen:?}");
        seen
    }
}

/// One window in the provider's audit.
#[derive(Debug)]
pub(crate) struct WindowSeen {
    pub limit: f64,
    /// Total units charged.
    pub units: f64,
    /// Largest overrun of the limit.
    pub over: f64,
    pub most_in_any_span: f64,
    /// Units by period, for calendar windows.
    pub periods: Vec<f64>,
    pub admitted: f64,
    /// Actual tokens of prompts and replies.
    pub tokens: f64,
    /// Number of its 429s.
    pub refused: f64,
}

impl WindowSeen {
    /// Asserts that the window was never over its limit and sent no 429.
    pub(crate) fn was_held(&self) {
        assert!(self.over <= 0.0, "over the limit: {self:?}");
        assert!(self.refused <= 0.0, "the provider had to refuse: {self:?}");
    }

    /// Asserts that at least this share of the capacity was used.
    pub(crate) fn was_used(&self, share: f64, given: f64) {
        self.used(self.units, share, given);
    }

    /// Like [`Self::was_used`], by actual tokens, which are fewer than the reserved ones.
    pub(crate) fn tokens_were_used(&self, share: f64, given: f64) {
        self.used(self.tokens, share, given);
    }

    fn used(&self, units: f64, share: f64, given: f64) {
        let used = units / given;
        eprintln!("used {:.1} % of {given}", used * 100.0);
        assert!(used >= share, "only {:.1} % of {given} used: {self:?}", used * 100.0);
    }
}

/// A short request.
pub(crate) fn short(model: &str) -> impl Fn(u64) -> Value + Send + Sync + 'static {
    let body = json!({ "model": model, "max_tokens": 4, "messages": [{ "role": "user", "content": "hi [[tokens=4 ttft=20]]" }] });
    move |_| body.clone()
}
