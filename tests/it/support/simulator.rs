//! The simulated providers in a process of their own, with their control API and audit.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    app::binary,
    eventually,
    http::{self, Answer},
    process::Process,
};

pub(crate) struct Simulator {
    _process: Process,
    ready: Value,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Simulator {
    /// Starts the built-in profile, with real limits and latencies.
    pub(crate) async fn start() -> Self {
        Self::with(json!({})).await
    }

    /// Starts a profile that overrides parts of the built-in one.
    pub(crate) async fn with(profile: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let profile = profile.to_string();
        let args = ["demo", "--providers-only", "--port", "0", "--profile", &profile];
        let none: [(&str, &str); 0] = [];
        let log = folder.path().join("simulator.log");
        let mut process = Process::start("simulator", binary(), &args, none, folder.path(), &log);
        let ready = eventually(Duration::from_secs(20), "the simulator is ready", async || {
            assert!(process.ended().is_none(), "the simulator ended:\n{}", process.log());
            process.log().lines().find_map(|line| {
                let json: Value = serde_json::from_str(line).ok()?;
                json.get("providers").is_some().then_some(json)
            })
        })
        .await;
        Self { _process: process, ready, client: http::client(), _folder: folder }
    }

    pub(crate) fn base_url(&self, provider: &str) -> String {
        let url = &self.ready["providers"][provider]["base_url"];
        url.as_str().unwrap_or_else(|| panic!("no {provider} in {}", self.ready)).to_owned()
    }

    pub(crate) fn keys(&self, provider: &str) -> Vec<String> {
        let keys = self.ready["providers"][provider]["keys"].as_array();
        keys.into_iter().flatten().map(|key| key.as_str().unwrap().to_owned()).collect()
    }

    /// Injects a fault into the next `times` calls to this provider: a kind (`hang`, `reset`, …) or a recorded case.
    pub(crate) async fn fault(&self, provider: &str, fault: &str, times: u32) {
        let order = json!({ "provider": provider, "fault": fault, "times": times, "after": 3 });
        let answer = Answer::of(self.client.post(self.url("/_control/faults")).json(&order)).await;
        assert_eq!(answer.status, 200, "{fault}: {}", answer.text());
    }

    /// Injects a fault into the next `times` calls to one model of this provider.
    pub(crate) async fn fault_at(&self, provider: &str, model: &str, fault: &str, times: u32) {
        let order = json!({ "provider": provider, "model": model, "fault": fault, "times": times });
        let answer = Answer::of(self.client.post(self.url("/_control/faults")).json(&order)).await;
        assert_eq!(answer.status, 200, "{fault}: {}", answer.text());
    }

    pub(crate) async fn no_faults(&self) {
        Answer::of(self.client.delete(self.url("/_control/faults"))).await;
    }

    /// The audit of every window and of the calls.
    pub(crate) async fn audit(&self) -> Value {
        Answer::of(self.client.get(self.url("/_audit"))).await.json()
    }

    /// URL of the control API.
    pub(crate) fn control(&self) -> &str {
        self.ready["control"].as_str().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.control())
    }
}
