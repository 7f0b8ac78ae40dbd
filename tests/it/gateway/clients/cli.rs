//! `tollfree keys`: on the store itself, and through the gateway that holds it.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{BOSS, admin, audit, chat, list, ok, setup, unauthorised};
use crate::support::{
    app::{TestApp, binary},
    fake_upstream::FakeUpstream,
    process::free_port,
    redis_server::RedisServer,
};

/// The command with settings of its own: exit code and everything it printed.
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

    /// Where a gateway keeps its state, and where it listens.
    fn beside(app: &TestApp, admin_key: Option<&str>) -> Self {
        let mut env = vec![
            ("TOLLFREE_DATA_DIR", app.folder.path().join("data").display().to_string()),
            ("PORT", app.port().to_string()),
        ];
        env.extend(admin_key.map(|key| ("TOLLFREE_ADMIN_KEY", key.to_owned())));
        Self::with(&env)
    }

    fn told(&self, arguments: &[&str], input: &str) -> (i32, String) {
        let mut command = Command::new(binary());
        command.arg("keys").args(arguments).env_clear().envs(&self.env).env("HOME", self.folder.path());
        command.current_dir(self.folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code().unwrap(), said)
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let (code, said) = self.told(arguments, "");
        assert_eq!(code, 0, "{arguments:?}: {said}");
        said
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[arguments, &["--json"]].concat())).unwrap()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> String {
        let (code, said) = self.told(arguments, "");
        assert!(code != 0 && !said.contains("panicked"), "{arguments:?}: {said}");
        said
    }
}

/// The key in what was printed.
fn key(said: &str) -> String {
    let line = said.lines().find(|line| line.trim_start().starts_with("sk-tf-")).unwrap_or_else(|| panic!("{said}"));
    line.trim().to_owned()
}

/// A whole life, whoever carries it out.
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
    assert!(rotated.contains("The old one works until"), "{rotated}");
    for key in [&first, &key(&rotated)] {
        assert_eq!(chat(app, key, "lab/m").await.status, 200);
    }
    let last = key(&keys.run(&["rotate", "anna"]));
    assert_eq!(chat(app, &key(&rotated), "lab/m").await.error(), unauthorised());
    keys.run(&["revoke", id]);
    assert_eq!(chat(app, &last, "lab/m").await.error(), unauthorised());
    assert!(keys.run(&["list"]).contains("revoked"));
    let said = keys.fails(&["set", id, "--weight", "2"]);
    assert!(said.contains("revoked"), "{said}");
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
async fn a_gateway_that_holds_the_data_directory_is_asked_to_do_it() {
    let upstream = FakeUpstream::start().await;
    let mut app = setup(&upstream).start().await;
    life(&Keys::beside(&app, Some(BOSS)), &app).await;
    assert!(audit(&app).await.iter().all(|line| line["actor"] == "admin"));
    let said = Keys::beside(&app, None).fails(&["list"]);
    assert!(said.contains("a gateway is running at") && said.contains("TOLLFREE_ADMIN_KEY"), "{said}");
    let said = Keys::beside(&app, Some("guess")).fails(&["create", "eve"]);
    assert!(said.contains("does not take this TOLLFREE_ADMIN_KEY") && !said.contains("guess"), "{said}");
    let elsewhere = Keys::with(&[("TOLLFREE_ADMIN_KEY", BOSS.to_owned())]);
    let url = app.url("/");
    elsewhere.run(&["create", "bob", "--url", &url]);
    assert_eq!(list(&app).await.len(), 1);
    let said = elsewhere.fails(&["list", "--url", "http://127.0.0.1:1"]);
    assert!(said.contains("no gateway answers at http://127.0.0.1:1"), "{said}");
    let mut stranger = Keys::beside(&app, Some(BOSS));
    stranger.env.insert("PORT".to_owned(), free_port().to_string());
    assert!(stranger.fails(&["list"]).contains("--url"), "it is held by somebody who does not answer there");
    // Without the gateway the directory itself is changed.
    let keys = Keys::beside(&app, None);
    app.process().kill();
    let made = key(&keys.run(&["create", "carl"]));
    app.relaunch().await;
    app.until_ready().await;
    assert_eq!(chat(&app, &made, "lab/m").await.status, 200);
    assert_eq!(list(&app).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_command_cannot_do_it_says_and_changes_nothing() {
    let redis = RedisServer::start().await;
    let keys = Keys::with(&[("REDIS_URL", redis.url())]);
    keys.run(&["create", "ann"]);
    keys.run(&["create", "twin"]);
    keys.run(&["create", "twin"]);
    let before = keys.run(&["list", "--json"]);
    for (arguments, words) in [
        (&["create", ""][..], "`name`"),
        (&["create", "bob", "--rpm", "-1"], "limits.rpm"),
        (&["create", "bob", "--rpm", "many"], "whole number"),
        (&["create", "bob", "--weight", "0"], "`weight`"),
        (&["create", "bob", "--model", "a b"], "models[0]"),
        (&["create", "bob", "--expires", "2020-01-01"], "has passed"),
        (&["create", "bob", "--expires", "soon"], "90d"),
        (&["create", "bob", "--wait", "2h"], "wait_ms"),
        (&["set", "ann"], "say what is to be changed"),
        (&["set", "nobody", "--weight", "2"], "there is no client `nobody`"),
        (&["show", "anm"], "did you mean `ann`?"),
        (&["set", "twin", "--weight", "2"], "2 clients are called `twin`"),
        (&["rotate", "ann", "--overlap", "8d"], "overlap_s"),
        (&["rotate", "ann", "--overlap", "soon"], "expected a span"),
        (&["list", "--url", "nonsense"], "--url"),
        (&["destroy", "ann"], "destroy"),
    ] {
        let said = keys.fails(arguments);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    assert_eq!(keys.run(&["list", "--json"]), before);
    let nowhere = Keys::with(&[("REDIS_URL", "redis://127.0.0.1:1".to_owned())]);
    assert!(nowhere.fails(&["list"]).contains("REDIS_URL"), "nobody answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_the_file_of_hashes_is_kept_nowhere_else() {
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
    // The same line of a key that one has.
    let (code, hashed) = keys.told(&["hash", "--name", "ann"], &format!("{secret}\n"));
    assert!(code == 0 && block.trim_start().starts_with(hashed.trim()), "{hashed}");
    for wrong in ["", "hunter2", "sk-tf-ann-short"] {
        let (code, said) = keys.told(&["hash"], wrong);
        assert!(code == 1 && (wrong.is_empty() || !said.contains(wrong)), "{said}");
    }
}
