//! Several gateways on one Redis in front of providers that enforce their limits, and a crowd of callers.

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

/// Just under a number of whole minutes, so that it is clear how many windows fit: 170 s, or `TRIAL_SECONDS`.
pub(crate) fn trial_time() -> Duration {
    let seconds = std::env::var("TRIAL_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(170))
}

/// Requests arrive at the provider up to this much later than they left …
pub(crate) const JITTER_MS: u64 = 250;
/// … which with what a busy machine adds of its own must stay below the ledger's slack.
const SLACK_MS: u64 = 600;

pub(crate) struct Fleet<R = RedisServer> {
    pub redis: R,
    pub simulator: Simulator,
    pub apps: Vec<TestApp>,
}

/// What callers got: by status (0: the connection broke).
pub(crate) type Tally = BTreeMap<u16, usize>;

/// How callers behave.
#[derive(Clone)]
pub(crate) struct Crowd {
    pub callers: usize,
    /// Each starts at a random moment within this.
    pub ramp: Duration,
    /// Longest pause between an answer and the next request.
    pub think: Duration,
    /// What each asks, by caller and turn.
    pub body: Arc<dyn Fn(u64) -> Value + Send + Sync>,
}

impl Crowd {
    pub(crate) fn asking(callers: usize, body: impl Fn(u64) -> Value + Send + Sync + 'static) -> Self {
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
    /// The same on a Redis of another shape, which is found at `url`.
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

    /// Callers come until `time` is over; what is refused is asked again when the refusal says so.
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
                        // Told when to come: not before, and not all in one instant.
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

    /// The crowd until its time is over.
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

/// One window as its provider saw it.
#[derive(Debug)]
pub(crate) struct WindowSeen {
    pub limit: f64,
    /// Charged in all.
    pub units: f64,
    /// Above the limit at the worst.
    pub over: f64,
    pub most_in_any_span: f64,
    /// Units by period, of calendar windows.
    pub periods: Vec<f64>,
    pub admitted: f64,
    /// Prompts and answers, as they were in the end.
    pub tokens: f64,
    /// Its 429s.
    pub refused: f64,
}

impl WindowSeen {
    /// Never over, and not one 429 needed to hold it.
    pub(crate) fn was_held(&self) {
        assert!(self.over <= 0.0, "over the limit: {self:?}");
        assert!(self.refused <= 0.0, "the provider had to refuse: {self:?}");
    }

    /// At least this share of what the provider would have given.
    pub(crate) fn was_used(&self, share: f64, given: f64) {
        self.used(self.units, share, given);
    }

    /// The same in tokens, where reservations are more than what is used.
    pub(crate) fn tokens_were_used(&self, share: f64, given: f64) {
        self.used(self.tokens, share, given);
    }

    fn used(&self, units: f64, share: f64, given: f64) {
        let used = units / given;
        eprintln!("used {:.1} % of {given}", used * 100.0);
        assert!(used >= share, "only {:.1} % of {given} used: {self:?}", used * 100.0);
    }
}

/// One short request, the same for everybody.
pub(crate) fn short(model: &str) -> impl Fn(u64) -> Value + Send + Sync + 'static {
    let body = json!({ "model": model, "max_tokens": 4, "messages": [{ "role": "user", "content": "hi [[tokens=4 ttft=20]]" }] });
    move |_| body.clone()
}
