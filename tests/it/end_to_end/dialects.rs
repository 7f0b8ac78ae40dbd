//! A gateway over the five simulated dialects, for the scripts of the official SDKs, with everything that can go wrong.

use std::time::Duration;

use serde_json::{Value, json};

use super::sdk::run;
use crate::support::{
    app::{Setup, TestApp},
    fake_upstream::{FakeUpstream, Step, whole},
    http::Answer,
    scaled,
    simulator::Simulator,
};

const ADMIN_KEY: &str = "the-admin-key";

/// Within this time a provider sees that a caller has left.
const DEPARTURE: Duration = Duration::from_millis(100);

/// Models that run into their limits during the checks, which are about other things.
const UNLIMITED: [(&str, &str); 7] = [
    ("groq", "openai/gpt-oss-20b"),
    ("groq", "openai/gpt-oss-120b"),
    ("groq", "qwen/qwen3.8-27b"),
    ("gemini", "gemini-3.5-flash-lite"),
    ("mistral", "mistral-medium-2604"),
    ("cerebras", "gpt-oss-120b"),
    ("cerebras", "gemma-4-31b"),
];

pub(super) struct Dialects {
    app: TestApp,
    models: Value,
    _simulator: Simulator,
    _down: FakeUpstream,
    _silent: FakeUpstream,
}

impl Dialects {
    pub(super) async fn start() -> Self {
        let simulator = Simulator::with(json!({ "base": "unlimited", "log": 20_000 })).await;
        let (down, silent) = (FakeUpstream::start().await, FakeUpstream::start().await);
        down.always(whole(500, "boom"));
        silent.always(vec![Step::Hold]);
        // By their own names only, and too small for a prompt that is too long for the others.
        let lab = |name: &str, upstream: &FakeUpstream| {
            let (url, model) = (upstream.base_url(), "context = 32768\nchat_default = false");
            format!(
                "[providers.{name}]\nbase_url = \"{url}\"\nfirst_token_timeout_ms = 300\n[providers.{name}.models.m]\n{model}\n"
            )
        };
        let app = gateway(&simulator)
            .file(&lab("down", &down))
            .file(&lab("silent", &silent))
            .env("TOLLFREE_ADMIN_KEY", ADMIN_KEY)
            .env("TOLLFREE__HTTP__BODY_BYTES", 5_000_000)
            .start()
            .await;
        let models = json!({
            "key": client(&app, json!({ "name": "any model" })).await,
            "limited": client(&app, json!({ "name": "one model", "models": ["down/*"] })).await,
            "control": simulator.control(),
            "departure_ms": scaled(DEPARTURE).as_millis(),
            "any": "free",
            "each": [
                "groq/openai/gpt-oss-20b", "gemini/gemini-3.5-flash-lite", "cerebras/gpt-oss-120b",
                "mistral/mistral-medium-2604", "ollama/llama3.2",
            ],
            "thinks": [
                "groq/openai/gpt-oss-120b", "cerebras/gpt-oss-120b", "mistral/mistral-medium-2604", "ollama/gpt-oss:20b",
            ],
            "thinks_silently": "gemini/gemini-3.5-flash-lite",
            "vision": [
                "groq/qwen/qwen3.8-27b", "gemini/gemini-3.5-flash-lite", "cerebras/gemma-4-31b",
                "mistral/mistral-medium-2604", "ollama/gemma3:4b",
            ],
            "metered": "groq/openai/gpt-oss-safeguard-20b",
            "down": "down/m",
            "silent": "silent/m",
        });
        Self { app, models, _simulator: simulator, _down: down, _silent: silent }
    }

    /// Runs a script with the models until all its checks have passed.
    pub(super) async fn pass(&self, script: (&str, &str)) {
        run(script, &self.app, &self.models.to_string()).await;
    }
}

/// A gateway with keys of all simulated providers.
pub(super) fn gateway(simulator: &Simulator) -> Setup {
    let providers = ["groq", "gemini", "mistral", "cerebras", "ollama"];
    let setup = TestApp::setup().env("TOLLFREE__RESPONSES__STORE", "1h");
    let setup = providers.iter().fold(setup, |app, provider| app.simulated(simulator, provider));
    UNLIMITED.iter().fold(setup, |app, (provider, model)| {
        let limits =
            ["rpm", "rph", "rpd", "tpm", "tph", "tpd", "itpm"].map(|name| format!("{name} = \"none\"")).join(", ");
        app.file(&format!("[providers.{provider}.models.\"{model}\"]\nlimits = {{ {limits} }}"))
    })
}

/// The key of a new client.
async fn client(app: &TestApp, body: Value) -> String {
    let call = app.request("POST", "/admin/v1/clients").bearer_auth(ADMIN_KEY).json(&body);
    let answer = Answer::of(call).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["key"].as_str().unwrap().to_owned()
}
