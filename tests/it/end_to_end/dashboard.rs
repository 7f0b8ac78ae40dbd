//! The dashboard in a real browser, with two replicas, one Redis and simulated providers.

use std::{path::Path, time::Duration};

use serde_json::json;

use crate::support::{app::TestApp, eventually, process::Process, redis_server::RedisServer, simulator::Simulator};

const ADMIN_KEY: &str = "the-admin-key-of-this-test";
const MASTER_KEY: &str = "a-master-key-of-the-browser-test-0123456789";

/// A path of a shared host, below which an ingress serves one of the replicas.
const BASE_PATH: &str = "/team/llm";

async fn replica(redis: &RedisServer, simulator: &Simulator, base_path: &str) -> TestApp {
    let providers = ["groq", "gemini", "mistral", "ollama"];
    let setup = providers.iter().fold(TestApp::setup(), |app, provider| app.simulated(simulator, provider));
    // Its key is added in the browser.
    let setup = setup.env("CEREBRAS_BASE_URL", simulator.base_url("cerebras")).env("TOLLFREE_MASTER_KEY", MASTER_KEY);
    // The test waits for breakers to close, so they stay open for seconds only.
    setup
        .redis(redis)
        .env("TOLLFREE_ADMIN_KEY", ADMIN_KEY)
        .env("TOLLFREE_AUTH", "open")
        .env("CB_TIMEOUT_MS", 6_000)
        .env("TOLLFREE__HTTP__BASE_PATH", base_path)
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_of_two_replicas_works_in_a_browser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboard");
    assert!(root.join("dist/index.html").exists(), "the dashboard is not built: run `make dashboard`");
    let (redis, simulator) = (RedisServer::with_aof().await, Simulator::start().await);
    let (here, there) = (replica(&redis, &simulator, "").await, replica(&redis, &simulator, BASE_PATH).await);
    let config = json!({
        "replicas": [here.url(""), there.url(BASE_PATH)],
        "key": ADMIN_KEY,
        "control": simulator.control(),
        "model": "groq/openai/gpt-oss-120b",
        "added": { "name": "Cerebras", "provider": "cerebras", "model": "cerebras/gpt-oss-120b", "key": simulator.keys("cerebras")[0] },
    });
    let log = here.folder.path().join("walk.log");
    let args = ["tests/walk.mjs", &config.to_string()];
    // The browser writes its files to the folder of the test, not into the checkout.
    let home = [("HOME", here.folder.path())];
    let mut process = Process::start("walk", Path::new("node"), &args, home, &root, &log);
    let status = eventually(Duration::from_mins(10), "the end of the browser test", async || process.ended()).await;
    let output = process.log();
    eprintln!("{output}");
    assert!(status.success() && output.contains("all checks passed"), "{output}");
    let store = redis.append_only_file();
    let holds = |bytes: &[u8], secret: &str| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
    for secret in [simulator.keys("cerebras")[0].as_str(), MASTER_KEY] {
        assert!(!holds(&store, secret), "the store holds a secret");
        for replica in [&here, &there] {
            assert!(!replica.log().contains(secret), "a log holds a secret");
        }
    }
}
