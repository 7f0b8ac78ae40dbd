//! A running gateway: the real binary with its own folder and log, isolated from the settings of this machine.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    eventually,
    fake_upstream::FakeUpstream,
    http::{self, Answer, Stream},
    process::{Process, free_port},
    redis_server::RedisServer,
    simulator::Simulator,
};

/// The gateway's program: `TOLLFREE_BINARY` (a release build for `make bench`), or the one built with these tests.
pub(crate) fn binary() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let named = std::env::var_os("TOLLFREE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_tollfree").into());
        std::path::absolute(named).unwrap()
    });
    &BINARY
}

/// Command, environment and files of a gateway to start.
pub(crate) struct Setup {
    env: BTreeMap<String, String>,
    file: String,
    command: Vec<&'static str>,
}

pub(crate) struct TestApp {
    process: Process,
    env: BTreeMap<String, String>,
    command: Vec<&'static str>,
    pub folder: tempfile::TempDir,
    port: u16,
    client: reqwest::Client,
}

impl Setup {
    fn new() -> Self {
        // Port 1 refuses connections, so an Ollama on this machine is not found.
        // Without a wait queue, refusals are immediate. Tests of the queue override this.
        let env = [
            ("OLLAMA_BASE_URL", "http://127.0.0.1:1/v1"),
            ("LOG_LEVEL", "info"),
            ("TOLLFREE__QUEUE__MAX_WAIT_MS", "0"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { env, file: String::new(), command: vec!["serve"] }
    }

    pub(crate) fn command(mut self, command: &[&'static str]) -> Self {
        self.command = command.to_vec();
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// Appends to `tollfree.toml`.
    pub(crate) fn file(mut self, toml: &str) -> Self {
        self.file.push_str(toml);
        self.file.push('\n');
        self
    }

    pub(crate) fn redis(self, redis: &RedisServer) -> Self {
        self.env("REDIS_URL", redis.url())
    }

    /// Adds a simulated provider with all its keys.
    pub(crate) fn simulated(self, simulator: &Simulator, provider: &str) -> Self {
        let upper = provider.to_uppercase();
        let (url, keys) = (simulator.base_url(provider), simulator.keys(provider).join(","));
        let app = self.env(&format!("{upper}_BASE_URL"), url);
        if keys.is_empty() { app } else { app.env(&format!("{upper}_API_KEY"), keys) }
    }

    /// Adds a provider of the catalogue, served by a scripted upstream.
    pub(crate) fn played(self, provider: &str, upstream: &FakeUpstream) -> Self {
        let upper = provider.to_uppercase();
        let app = self.env(&format!("{upper}_BASE_URL"), upstream.base_url());
        if provider == "ollama" { app } else { app.env(&format!("{upper}_API_KEY"), format!("key-of-{provider}")) }
    }

    /// Adds an unmetered provider of the file with one model, `m`.
    pub(crate) fn lab(self, name: &str, upstream: &FakeUpstream) -> Self {
        let url = upstream.base_url();
        self.file(&format!("[providers.{name}]\nbase_url = \"{url}\"\n[providers.{name}.models.m]\n"))
    }

    /// Starts the gateway and waits until it is ready for traffic.
    pub(crate) async fn start(self) -> TestApp {
        let app = self.start_unready().await;
        app.until_ready().await;
        app
    }

    /// Starts the gateway and waits until it listens.
    pub(crate) async fn start_unready(self) -> TestApp {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tollfree.toml"), &self.file).unwrap();
        let mut env = self.env;
        let port = free_port();
        env.insert("PORT".into(), port.to_string());
        env.entry("TOLLFREE_DATA_DIR".into()).or_insert_with(|| folder.path().join("data").display().to_string());
        let process = launch(&self.command, &env, folder.path());
        let mut app = TestApp { process, env, command: self.command, folder, port, client: http::client() };
        app.until_listening().await;
        app
    }

    /// Starts a gateway that must refuse to start. Returns its exit code and output.
    pub(crate) async fn fails(self) -> (i32, String) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tollfree.toml"), &self.file).unwrap();
        let mut env = self.env;
        env.entry("PORT".into()).or_insert_with(|| free_port().to_string());
        env.entry("TOLLFREE_DATA_DIR".into()).or_insert_with(|| folder.path().join("data").display().to_string());
        let mut process = launch(&self.command, &env, folder.path());
        let ended = async || process.ended();
        let status = eventually(Duration::from_secs(20), "the start is refused", ended).await;
        (status.code().unwrap_or(-1), process.log())
    }
}

fn launch(command: &[&str], env: &BTreeMap<String, String>, folder: &Path) -> Process {
    Process::start("tollfree", binary(), command, env, folder, &folder.join("tollfree.log"))
}

impl TestApp {
    pub(crate) fn setup() -> Setup {
        Setup::new()
    }

    async fn until_listening(&mut self) {
        let url = self.url("/healthz");
        let client = self.client.clone();
        let process = &mut self.process;
        eventually(Duration::from_secs(20), "the gateway listens", async || {
            if let Some(status) = process.ended() {
                panic!("the gateway ended with {status}:\n{}", process.log());
            }
            client.get(&url).send().await.ok()
        })
        .await;
    }

    pub(crate) async fn until_ready(&self) {
        eventually(Duration::from_secs(20), "the gateway is ready", async || {
            let answer = Answer::try_of(self.client.get(self.url("/readyz"))).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Kills the process with SIGKILL and starts a new one with the same port, folder and settings. Returns when it listens.
    pub(crate) async fn restart(&mut self) {
        self.process.kill();
        self.relaunch().await;
    }

    /// Starts a new process after the old one has ended.
    pub(crate) async fn relaunch(&mut self) {
        self.process = launch(&self.command, &self.env, self.folder.path());
        self.until_listening().await;
    }

    /// Replaces the whole file, for a reload with SIGHUP.
    pub(crate) fn write_file(&self, toml: &str) {
        fs::write(self.folder.path().join("tollfree.toml"), toml).unwrap();
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), self.url(path))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request("GET", path)).await
    }

    /// A chat request, to which headers can be added.
    pub(crate) fn chat_call(&self, body: &Value) -> reqwest::RequestBuilder {
        self.request("POST", "/v1/chat/completions").json(body)
    }

    pub(crate) async fn chat_with(&self, body: &Value) -> Answer {
        Answer::of(self.chat_call(body)).await
    }

    /// Sends "hi" to a model.
    pub(crate) async fn chat(&self, model: &str) -> Answer {
        self.chat_with(&hi(model)).await
    }

    /// Requests for `free` in a row until `is_over`, with pauses that leave the machine to the test. Returns those that failed.
    pub(crate) async fn chats_until(&self, is_over: &AtomicBool, pause: Duration) -> Vec<String> {
        let mut failed = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let answer = self.chat("free").await;
            if answer.status != 200 {
                failed.push(answer.text());
            }
            tokio::time::sleep(pause).await;
        }
        failed
    }

    pub(crate) async fn stream(&self, model: &str) -> Stream {
        self.stream_with(hi(model)).await
    }

    /// Sends the body with `"stream": true`.
    pub(crate) async fn stream_with(&self, mut body: Value) -> Stream {
        body["stream"] = true.into();
        Stream::of(self.chat_call(&body)).await
    }

    pub(crate) async fn post_raw(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.request("POST", path).header("content-type", content_type).body(body)).await
    }

    /// Waits for the settlement of the last request, which happens after its response.
    pub(crate) async fn settled(&self) {
        tokio::time::sleep(Duration::from_millis(80)).await;
    }

    pub(crate) async fn status(&self) -> Value {
        let answer = self.get("/v1/status").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// One provider of `/v1/status`.
    pub(crate) async fn provider_status(&self, id: &str) -> Value {
        let status = self.status().await;
        let providers = status["providers"].as_array().unwrap();
        let found = providers.iter().find(|provider| provider["id"] == id);
        found.unwrap_or_else(|| panic!("no {id} in {status}")).clone()
    }

    pub(crate) async fn breaker(&self, provider: &str) -> String {
        self.provider_status(provider).await["circuitBreakerState"].as_str().unwrap().to_owned()
    }

    /// Waits until `/v1/status`, which is up to a second old, shows this state.
    pub(crate) async fn shows_breaker(&self, provider: &str, state: &str) {
        let what = format!("/v1/status shows {provider}'s breaker {state}");
        eventually(Duration::from_secs(3), &what, async || (self.breaker(provider).await == state).then_some(())).await;
    }
}

/// The smallest chat request.
pub(crate) fn hi(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] })
}
