//! `tollfree keys`: on the store itself, and through the gateway that uses it.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{ADMIN_KEY, admin, audit, chat, list, ok, setup, unauthorised};
use crate::support::{
    app::{TestApp, binary},
    fake_upstream::FakeUpstream,
    process::free_port,
    redis_server::RedisServer,
};

/// Runs the command with its own settings.
struct Keys {
    env: BTreeMap<String, String>,
    folder: tempfile::TempDir,
}

impl Keys {
    fn with(env: &[(&str, String)]) -> Self {
        let mut env: BTreeMap<String, String> = env.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
        env.entry("PORT".to_owned()).or_insert_with(|| free_port().to_string());
        Self { env, folder: tempfile::tempdir().unwrap() }
    }

    /// The state and the port of a running gateway.
    fn beside(app: &TestApp, admin_key: Option<&str>) -> Self {
        let mut env = vec![
            ("TOLLFREE_DATA_DIR", app.folder.path().join("data").display().to_string()),
            ("PORT", app.port().to_string()),
        ];
        env.extend(admin_key.map(|key| ("TOLLFREE_ADMIN_KEY", key.to_owned())));
        Self::with(&env)
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> (i32, String) {
        let mut command = Command::new(binary());
        command.arg("keys").args(arguments).env_clear().envs(&self.env).env("HOME", self.folder.path());
        command.current_dir(self.folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code().unwrap(), printed)
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let (code, printed) = self.run_with_input(arguments, "");
        assert_eq!(code, 0, "{arguments:?}: {printed}");
        printed
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[arguments, &["--json"]].concat())).unwrap()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> String {
        let (code, printed) = self.run_with_input(arguments, "");
        assert!(code != 0 && !printed.contains("panicked"), "{arguments:?}: {printed}");
        printed
    }
}

/// The key in the output.
fn key(printed: &str) -> String {
    let line =
        printed.lines().find(|line| line.trim_start().starts_with("sk-tf-")).unwrap_or_else(|| panic!("{printed}"));
    line.trim().to_owned()
}

/// The whole life of a key.
async fn life(keys: &Keys, app: &TestApp) {
    let made = keys.run(&[
        "create",
        "ann",
        "--rpm",
        "7",
        "--model",
        "lab/*",
        "--model",
        "free",
        "--expires",
        "90d",
        "--note",
        "laptop",
    ]);
    let first = key(&made);
    assert!(made.contains("shown once") && made.contains("OPENAI_API_KEY") && made.contains("curl"), "{made}");
    assert_eq!(chat(app, &first, "lab/m").await.status, 200);
    let table = keys.run(&["list"]);
    let row = table.lines().find(|line| line.contains("ann")).unwrap();
    assert!(row.contains("7 rpm") && row.contains("active") && row.contains("lab/*, free"), "{table}");
    assert!(!table.contains(&first));
    let shown = keys.json(&["show", "ann"]);
    assert_eq!((&shown["limits"]["rpm"], &shown["note"]), (&7.into(), &"laptop".into()));
    let id = shown["id"].as_str().unwrap();
    let changed = keys.json(&[
        "set",
        id,
        "--rpm",
        "none",
        "--tpd",
        "50000",
        "--weight",
        "3",
        "--expires",
        "never",
        "--all-models",
    ]);
    assert_eq!(
        (&changed["limits"]["rpm"], &changed["limits"]["tpd"], &changed["weight"]),
        (&Value::Null, &50_000.into(), &3.into())
    );
    assert_eq!((&changed["expires_at"], &changed["models"]), (&Value::Null, &serde_json::json!([])));
    keys.run(&["set", "ann", "--disabled"]);
    assert_eq!(chat(app, &first, "lab/m").await.error(), unauthorised());
    keys.run(&["set", "ann", "--enabled", "--name", "anna"]);
    let rotated = keys.run(&["rotate", "anna", "--overlap", "1h"]);
    assert!(rotated.contains("The old key works until"), "{rotated}");
    for key in [&first, &key(&rotated)] {
        assert_eq!(chat(app, key, "lab/m").await.status, 200);
    }
    let last = key(&keys.run(&["rotate", "anna"]));
    assert_eq!(chat(app, &key(&rotated), "lab/m").await.error(), unauthorised());
    keys.run(&["revoke", id]);
    assert_eq!(chat(app, &last, "lab/m").await.error(), unauthorised());
    assert!(keys.run(&["list"]).contains("revoked"));
    let printed = keys.fails(&["set", id, "--weight", "2"]);
    assert!(printed.contains("revoked"), "{printed}");
    keys.run(&["delete", "anna"]);
    assert!(keys.run(&["list"]).contains("no client yet"));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_redis_the_command_changes_the_store_and_the_gateways_follow() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let app = setup(&upstream).redis(&redis).start().await;
    let keys = Keys::with(&[("REDIS_URL", redis.url())]);
    life(&keys, &app).await;
    let lines = audit(&app).await;
    assert!(lines.iter().all(|line| line["actor"] == "cli" && line["address"].is_null()), "{lines:?}");
    assert_eq!(lines[0]["action"], "client.delete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_uses_the_data_directory_makes_the_changes() {
    let upstream = FakeUpstream::start().await;
    let mut app = setup(&upstream).start().await;
    life(&Keys::beside(&app, Some(ADMIN_KEY)), &app).await;
    assert!(audit(&app).await.iter().all(|line| line["actor"] == "admin"));
    let printed = Keys::beside(&app, None).fails(&["list"]);
    assert!(printed.contains("a gateway is running at") && printed.contains("TOLLFREE_ADMIN_KEY"), "{printed}");
    let printed = Keys::beside(&app, Some("guess")).fails(&["create", "eve"]);
    assert!(printed.contains("does not accept this TOLLFREE_ADMIN_KEY") && !printed.contains("guess"), "{printed}");
    let elsewhere = Keys::with(&[("TOLLFREE_ADMIN_KEY", ADMIN_KEY.to_owned())]);
    let url = app.url("/");
    let printed = elsewhere.run(&["create", "bob", "--url", &url]);
    for tool in ["claude-code", "codex", "opencode", "aider", "llm", "continue", "goose", "qwen-code", "crush", "zed"] {
        let line = format!("tollfree setup {tool} --url {}\n", app.url(""));
        assert!(printed.contains(&line), "{tool}: {printed}");
    }
    assert_eq!(list(&app).await.len(), 1);
    let printed = elsewhere.fails(&["list", "--url", "http://127.0.0.1:1"]);
    assert!(printed.contains("no gateway responds at http://127.0.0.1:1"), "{printed}");
    let mut other = Keys::beside(&app, Some(ADMIN_KEY));
    other.env.insert("PORT".to_owned(), free_port().to_string());
    assert!(other.fails(&["list"]).contains("--url"), "another process without a reachable port uses it");
    // Without the gateway the command changes the directory itself.
    let mut keys = Keys::beside(&app, None);
    keys.env.insert("TOLLFREE_PUBLIC_URL".to_owned(), "https://gateway.example/llm".to_owned());
    app.process().kill();
    let printed = keys.run(&["create", "carl"]);
    assert!(printed.contains("tollfree setup codex --url https://gateway.example/llm\n"), "{printed}");
    let made = key(&printed);
    app.relaunch().await;
    app.until_ready().await;
    assert_eq!(chat(&app, &made, "lab/m").await.status, 200);
    assert_eq!(list(&app).await.len(), 2);
}

/// The address that a gateway was given, not the one by which this command reached it.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_comes_with_the_public_address_of_the_gateway() {
    let upstream = FakeUpstream::start().await;
    let app = setup(&upstream).env("TOLLFREE_PUBLIC_URL", "https://gateway.example/").start().await;
    let printed = Keys::beside(&app, Some(ADMIN_KEY)).run(&["create", "ann"]);
    assert!(printed.contains("tollfree setup codex --url https://gateway.example\n"), "{printed}");
    assert!(
        printed.contains("OPENAI_BASE_URL=https://gateway.example/v1 ") && !printed.contains("127.0.0.1"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_command_is_an_error_and_changes_nothing() {
    let redis = RedisServer::start().await;
    let keys = Keys::with(&[("REDIS_URL", redis.url())]);
    keys.run(&["create", "ann"]);
    keys.run(&["create", "twin"]);
    keys.run(&["create", "twin", "--force"]);
    let before = keys.run(&["list", "--json"]);
    for (arguments, expected_code, expected) in [
        (&["create", ""][..], 2, "NAME: "),
        (&["create", "bob", "--rpm", "-1"], 2, "--rpm: "),
        (&["create", "bob", "--rpm", "many"], 2, "whole number"),
        (&["create", "bob", "--weight", "0"], 2, "--weight: "),
        (&["create", "bob", "--model", "a b"], 2, "--model: "),
        (&["create", "bob", "--expires", "2020-01-01"], 2, "--expires: "),
        (&["create", "bob", "--expires", "soon"], 2, "90d"),
        (&["create", "bob", "--wait", "2h"], 2, "--wait: "),
        (&["create", "ann"], 1, "a client `ann` ("),
        (&["set", "ann"], 2, "nothing to change"),
        (&["set", "carol", "--weight", "2"], 1, "there is no client `carol`"),
        (&["show", "anm"], 1, "did you mean `ann`?"),
        (&["set", "twin", "--weight", "2"], 1, "2 clients are called `twin`"),
        (&["rotate", "ann", "--overlap", "8d"], 2, "--overlap: "),
        (&["rotate", "ann", "--overlap", "soon"], 2, "expected a span"),
        (&["list", "--url", "nonsense"], 2, "--url"),
        (&["destroy", "ann"], 2, "destroy"),
    ] {
        let (code, text) = keys.run_with_input(arguments, "");
        assert!(code == expected_code && text.contains(expected), "{arguments:?}: {code} {text}");
    }
    assert_eq!(keys.run(&["list", "--json"]), before);
    let nowhere = Keys::with(&[("REDIS_URL", "redis://127.0.0.1:1".to_owned())]);
    assert!(nowhere.fails(&["list"]).contains("REDIS_URL"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_the_clients_file_is_stored_nowhere_else() {
    let upstream = FakeUpstream::start().await;
    let keys = Keys::with(&[]);
    let made = keys.run(&["create", "ann", "--print-hash", "--rpm", "3", "--note", "from Git"]);
    let (secret, block) = (key(&made), made.split("file of hashes:\n").nth(1).unwrap());
    assert!(!block.contains(&secret));
    let file = keys.folder.path().join("clients.toml");
    std::fs::write(&file, block).unwrap();
    let app = setup(&upstream).env("TOLLFREE_CLIENTS_FILE", file.display()).start().await;
    let answer = chat(&app, &secret, "lab/m").await;
    assert_eq!((answer.status, answer.header("x-ratelimit-limit-requests")), (200, Some("3")), "{}", answer.text());
    assert_eq!(ok(&admin(&app, "GET", "/clients", Value::Null).await)["data"][0]["note"], "from Git");
    // The same line for an existing key.
    let (code, hashed) = keys.run_with_input(&["hash", "--name", "ann"], &format!("{secret}\n"));
    assert!(code == 0 && block.trim_start().starts_with(hashed.trim()), "{hashed}");
    for wrong in ["", "hunter2", "sk-tf-ann-short"] {
        let (code, printed) = keys.run_with_input(&["hash"], wrong);
        assert!(code == 1 && (wrong.is_empty() || !printed.contains(wrong)), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_pattern_without_a_match_is_reported() {
    let redis = RedisServer::start().await;
    let keys = Keys::with(&[("REDIS_URL", redis.url()), ("GROQ_API_KEY", "k".to_owned())]);
    let text = keys.run(&["create", "ann", "--model", "groq/*", "--model", "openai/gpt-oss-120b", "--model", "gorq/*"]);
    assert!(text.contains("--model `gorq/*` matches no model"), "{text}");
    assert_eq!(text.matches("warning").count(), 1, "{text}");
}

#[test]
fn check_prints_json_and_fails_where_it_cannot_print() {
    let folder = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str], stdout: Stdio| {
        let mut command = Command::new(binary());
        command.arg("check").args(arguments).env_clear().env("PORT", "4000").current_dir(folder.path());
        command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
    };
    let json: Value = serde_json::from_slice(&check(&["--json"], Stdio::piped()).stdout).unwrap();
    let port = json["settings"].as_array().unwrap().iter().find(|setting| setting["name"] == "server.port").unwrap();
    assert_eq!((&port["value"], &port["source"]), (&"4000".into(), &"env PORT".into()));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = check(&[], full.into());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to the standard output"), "{output:?}");
}
