//! The dashboard in a real browser: two replicas, one Redis, simulated providers.

use std::{path::Path, time::Duration};

use serde_json::json;

use crate::support::{app::TestApp, eventually, process::Process, redis_server::RedisServer, simulator::Simulator};

const BOSS: &str = "the-admin-key-of-this-test";

async fn replica(redis: &RedisServer, simulator: &Simulator) -> TestApp {
    let providers = ["groq", "gemini", "mistral", "ollama"];
    let setup = providers.iter().fold(TestApp::setup(), |app, provider| app.simulated(simulator, provider));
    // Breakers that stay open for seconds, not half a minute: somebody waits for them to close.
    setup.redis(redis).env("TOLLFREE_ADMIN_KEY", BOSS).env("CB_TIMEOUT_MS", 6_000).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_walks_the_dashboard_of_two_replicas() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboard");
    assert!(root.join("dist/index.html").exists(), "the dashboard is not built: run `make dashboard`");
    let (redis, simulator) = (RedisServer::start().await, Simulator::start().await);
    let (here, there) = (replica(&redis, &simulator).await, replica(&redis, &simulator).await);
    let what = json!({
        "replicas": [here.url(""), there.url("")],
        "key": BOSS,
        "control": simulator.control(),
        "model": "groq/openai/gpt-oss-120b",
    });
    let log = here.folder.path().join("walk.log");
    let args = ["tests/walk.mjs", &what.to_string()];
    // The browser's own files go with the test's, not into the checkout.
    let home = [("HOME", here.folder.path())];
    let mut process = Process::start("walk", Path::new("node"), &args, home, &root, &log);
    let status = eventually(Duration::from_mins(10), "the walk ends", async || process.ended()).await;
    let said = process.log();
    eprintln!("{said}");
    assert!(status.success() && said.contains("all checks passed"), "{said}");
}
