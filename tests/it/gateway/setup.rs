//! `tollfree setup` and `launch`: the files of every tool are written, left alone where they are broken, and restored to the
//! byte. The texts themselves are in `tests/golden/setup/`.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{
    app::{TestApp, binary},
    fake_upstream::FakeUpstream,
};

const ADMIN_KEY: &str = "the-admin-key";

/// A gateway with a client key, and the home folder of the person who got it.
struct Desk {
    app: TestApp,
    home: TempDir,
    key: String,
}

impl Desk {
    async fn new() -> Self {
        let upstream = FakeUpstream::start().await;
        let app = TestApp::setup().lab("lab", &upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).start().await;
        let key = client_key(&app, json!({ "name": "ann" })).await;
        Self { app, home: tempfile::tempdir().unwrap(), key }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    /// Runs a command as the person does, with the key in the environment.
    async fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &[]).await
    }

    async fn run_with(&self, arguments: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home.path());
        command.env("TOLLFREE_URL", self.app.url("/v1")).env("TOLLFREE_CLIENT_KEY", &self.key);
        command.envs(env.iter().copied()).current_dir(self.home.path()).output().await.unwrap()
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat()).await;
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments).await;
        (output.status.code().unwrap(), text(&output.stderr))
    }

    /// Every file below the home folder, with its permissions.
    fn files(&self) -> BTreeMap<PathBuf, (Vec<u8>, u32)> {
        let (mut found, mut folders) = (BTreeMap::new(), vec![self.home.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                    found.insert(path.clone(), (fs::read(&path).unwrap(), mode));
                }
            }
        }
        found
    }
}

async fn client_key(app: &TestApp, client: Value) -> String {
    let created = app.request("POST", "/admin/v1/clients").bearer_auth(ADMIN_KEY).json(&client).send().await.unwrap();
    created.json::<Value>().await.unwrap()["key"].as_str().unwrap().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Settings of a person's own in the format of the file, with odd spaces that a formatter would change.
fn own_settings(path: &Path) -> &'static str {
    match path.extension().and_then(|end| end.to_str()) {
        Some("toml") => "# mine\nown   =  1 # odd\n",
        Some("yaml" | "yml") if path.ends_with("extra-openai-models.yaml") => {
            "# mine\n-   model_id:  own\n    model_name: own\n"
        }
        Some("yaml" | "yml") => "# mine\nown:    1   # odd\n",
        Some("txt") => "own",
        _ if path.ends_with(".env") => "# mine\nOWN = 1\n",
        _ => "{ // mine\n  \"own\" :  1  }",
    }
}

#[tokio::test]
async fn undoing_restores_the_very_bytes_and_permissions_of_every_tool() {
    let desk = Desk::new().await;
    let tools = desk.json(&["setup"]).await;
    for tool in tools.as_array().unwrap() {
        let id = tool["id"].as_str().unwrap();
        let report = desk.json(&["setup", id]).await;
        let paths: Vec<PathBuf> =
            report["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap().into()).collect();
        assert!(paths.iter().all(|path| path.exists()), "{report}");
        for (path, (bytes, mode)) in desk.files() {
            assert!(!text(&bytes).contains(&desk.key) || mode == 0o600, "{id}: {} is {mode:o}", path.display());
        }
        assert!(desk.run(&["setup", id, "--undo"]).await.status.success());
        assert!(desk.files().is_empty(), "{id}: {:?}", desk.files().keys());

        for path in paths.iter().filter(|path| !path.starts_with(desk.path(".config/tollfree"))) {
            write(path, own_settings(path), 0o644);
        }
        let before = desk.files();
        desk.json(&["setup", id]).await;
        let again = desk.json(&["setup", id]).await;
        assert!(again["files"].as_array().unwrap().iter().all(|file| file["changed"] == false), "{again}");
        for (path, (bytes, mode)) in desk.files().iter().filter(|(path, _)| before.contains_key(*path)) {
            let is_whole =
                matches!(path.file_name().unwrap().to_str(), Some("default_model.txt" | "tollfree-models.json"));
            assert!(is_whole || text(bytes).contains("mine"), "{id}: {}", text(bytes));
            let private = text(bytes).contains(&desk.key);
            assert_eq!(*mode, if private { 0o600 } else { 0o644 }, "{id}: {}", path.display());
        }
        let undone = desk.run(&["setup", id, "--undo"]).await;
        assert!(undone.status.success(), "{id}: {}", text(&undone.stderr));
        assert_eq!(desk.files(), before, "{id}");
        for path in before.keys() {
            fs::remove_file(path).unwrap();
        }
    }
}

/// A text that is not valid in the format of the file, in its second line. `None`: every text is valid.
fn broken(path: &Path) -> Option<&'static str> {
    match path.extension().and_then(|end| end.to_str()) {
        Some("toml") => Some("a = 1\nb = = 2\n"),
        Some("yaml" | "yml") => Some("a: 1\nb: [1, 2\nc: 3\n"),
        Some("json") => Some("{ \"a\": 1,\n  \"b\": ]\n}\n"),
        _ => None,
    }
}

#[tokio::test]
async fn a_broken_file_of_any_tool_is_left_alone_and_its_place_is_named() {
    let desk = Desk::new().await;
    let tools = desk.json(&["setup"]).await;
    assert_eq!(tools.as_array().unwrap().len(), 10);
    for tool in tools.as_array().unwrap() {
        let id = tool["id"].as_str().unwrap();
        let plan = desk.json(&["setup", id, "--dry-run"]).await;
        let all = plan["files"].as_array().unwrap().iter().map(|file| PathBuf::from(file["path"].as_str().unwrap()));
        // What only this program writes is replaced, whatever is in it.
        let files: Vec<PathBuf> = all.filter(|path| !path.ends_with("tollfree-models.json")).collect();
        let breakable: Vec<_> = files.iter().filter_map(|path| Some((path, broken(path)?))).collect();
        assert!(!breakable.is_empty(), "{id}");
        for (path, text_of_it) in breakable {
            write(path, text_of_it, 0o644);
            let before = desk.files();
            let (code, error) = desk.refused(&["setup", id]).await;
            let name = path.strip_prefix(desk.home.path()).unwrap().display();
            assert_eq!(code, 1, "{id}: {error}");
            assert!(error.contains(&format!("~/{name} was left as it is: line ")), "{id}: {error}");
            assert!(!error.contains("line 1,"), "{id}: {error}");
            assert_eq!(desk.files(), before, "{id}");
            fs::remove_file(path).unwrap();
        }
    }
}

/// A key that may use only the smaller of two models gets its windows and limits, in the files of every tool that has them.
#[tokio::test]
async fn the_sizes_in_the_files_are_those_of_the_key() {
    let upstream = FakeUpstream::start().await;
    let model =
        |context: u32, output: u32| format!("context = {context}\nmax_output = {output}\ncapabilities = [\"tools\"]\n");
    let file = format!(
        "[providers.lab]\nbase_url = \"{}\"\nauth = \"none\"\n[providers.lab.models.large]\n{}[providers.lab.models.small]\n{}",
        upstream.base_url(),
        model(123_000, 12_300),
        model(45_000, 4_500),
    );
    let app = TestApp::setup().file(&file).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).start().await;
    let mut desk = Desk { key: String::new(), home: tempfile::tempdir().unwrap(), app };
    let tools = desk.json(&["setup"]).await;
    for (models, context, output, other) in
        [(json!(["lab/large"]), "123000", "12300", "45000"), (json!(["lab/small"]), "45000", "4500", "123000")]
    {
        desk.key = client_key(&desk.app, json!({ "name": context, "models": models })).await;
        for tool in tools.as_array().unwrap().iter().map(|tool| tool["id"].as_str().unwrap()) {
            let report = desk.json(&["setup", tool]).await;
            assert_eq!(report["context_tokens"].to_string(), context, "{tool}: {report}");
            assert_eq!(report["output_tokens_max"].to_string(), output, "{tool}: {report}");
            let written: String = desk.files().values().map(|(bytes, _)| text(bytes)).collect();
            // `llm` knows no sizes.
            assert_eq!(written.contains(context), tool != "llm", "{tool}: {written}");
            assert!(!written.contains(other), "{tool}: {written}");
            desk.json(&["setup", tool, "--undo"]).await;
        }
    }
}

#[tokio::test]
async fn a_dry_run_shows_the_difference_without_the_key_and_writes_nothing() {
    let desk = Desk::new().await;
    write(&desk.path(".aider.conf.yml"), "# mine\nmodel: sonnet\n", 0o640);
    let before = desk.files();
    let output = desk.run(&["setup", "aider", "--dry-run"]).await;
    let shown = text(&output.stdout);
    for line in
        ["--- ~/.aider.conf.yml", " # mine", "-model: sonnet", "+model: openai/free-smart", "permissions 640 → 600"]
    {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert!(!shown.contains(&desk.key) && shown.contains("openai-api-key: sk-tf-"), "{shown}");
    assert_eq!(desk.files(), before);
}

#[tokio::test]
async fn later_changes_of_a_person_are_not_undone_without_force() {
    let desk = Desk::new().await;
    let settings = desk.path(".claude/settings.json");
    write(&settings, "{}\n", 0o600);
    desk.json(&["setup", "claude-code"]).await;
    let changed = fs::read_to_string(&settings).unwrap().replace("apiKeyHelper", "anotherHelper");
    fs::write(&settings, &changed).unwrap();
    let (code, error) = desk.refused(&["setup", "claude-code", "--undo"]).await;
    assert!(code == 1 && error.contains("was changed after `setup`"), "{code}: {error}");
    assert_eq!(fs::read_to_string(&settings).unwrap(), changed);
    assert!(desk.run(&["setup", "claude-code", "--undo", "--force"]).await.status.success());
    assert_eq!(fs::read_to_string(&settings).unwrap(), "{}\n");
    let (_, error) = desk.refused(&["setup", "claude-code", "--undo"]).await;
    assert!(error.contains("nothing to undo"), "{error}");
}

#[tokio::test]
async fn a_key_is_kept_until_the_last_tool_that_uses_it_is_undone() {
    let desk = Desk::new().await;
    for tool in ["codex", "claude-code"] {
        desk.json(&["setup", tool]).await;
    }
    let stored = || desk.files().values().filter(|(bytes, _)| text(bytes).contains(&desk.key)).count();
    assert_eq!(stored(), 1);
    for (tool, left) in [("codex", 1), ("claude-code", 0)] {
        desk.json(&["setup", tool, "--undo"]).await;
        assert_eq!(stored(), left, "{tool}");
    }
}

#[tokio::test]
async fn a_symbolic_link_stays_and_its_target_is_changed() {
    let desk = Desk::new().await;
    let target = desk.path("dotfiles/claude.json");
    write(&target, "{}\n", 0o644);
    fs::create_dir(desk.path(".claude")).unwrap();
    let link = desk.path(".claude/settings.json");
    symlink("../dotfiles/claude.json", &link).unwrap();
    desk.json(&["setup", "claude-code"]).await;
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&target).unwrap().contains("ANTHROPIC_BASE_URL"));
    desk.json(&["setup", "claude-code", "--undo"]).await;
    assert_eq!((fs::read_to_string(&target).unwrap().as_str(), link.is_symlink()), ("{}\n", true));
}

#[tokio::test]
async fn a_wrong_key_and_a_model_that_the_key_may_not_use_are_named() {
    let desk = Desk::new().await;
    let wrong = desk.run(&["setup", "codex", "--key", "sk-tf-k7f3a9c2-wrong"]).await;
    assert!(text(&wrong.stderr).contains("refuses the key"), "{}", text(&wrong.stderr));
    let (code, error) = desk.refused(&["setup", "codex", "--model", "free-smrt"]).await;
    assert!(code == 1 && error.contains("did you mean `free-smart`?"), "{code}: {error}");
    let limited = client_key(&desk.app, json!({ "name": "bob", "models": ["lab/m"] })).await;
    let output = desk.run_with(&["setup", "codex", "--json"], &[("TOLLFREE_CLIENT_KEY", &limited)]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_ne!(report["model"], "free-fast", "a meta-model stands for the models that the key may use: {report}");
    let (code, error) = desk.refused(&["setup", "codex", "--url", "gateway.example"]).await;
    assert!(code == 2 && error.contains("--url: expected an address"), "{code}: {error}");
}

/// Zed learns of a gateway only from its settings, which are the person's own.
#[tokio::test]
async fn what_a_launch_changes_is_undone_to_the_byte() {
    let desk = Desk::new().await;
    let (settings, zed) = (desk.path(".config/zed/settings.json"), desk.path("bin/zed"));
    write(&zed, "#!/bin/sh\n", 0o755);
    write(&settings, "// mine\n{ \"theme\" :  \"One Dark\" }\n", 0o640);
    let before = desk.files();
    let path = format!("{}:{}", desk.path("bin").display(), std::env::var("PATH").unwrap());
    for more in [None, Some("setup"), Some("launch")] {
        let launched = desk.run_with(&["launch", "zed"], &[("PATH", &path)]).await;
        assert!(launched.status.success(), "{}", text(&launched.stderr));
        let shown = text(&launched.stderr);
        assert!(shown.contains("~/.config/zed/settings.json was changed; `tollfree setup zed --undo`"), "{shown}");
        if let Some(command) = more {
            let again = desk.run_with(&[command, "zed"], &[("PATH", &path)]).await;
            assert!(again.status.success() && !text(&again.stderr).contains("was changed"), "{}", text(&again.stderr));
        }
        assert!(fs::read_to_string(&settings).unwrap().contains("tollfree-gateway"));
        desk.json(&["setup", "zed", "--undo"]).await;
        assert_eq!(desk.files(), before, "{more:?}");
    }
}

#[tokio::test]
async fn a_launched_tool_has_the_key_in_its_environment_and_nowhere_else() {
    let desk = Desk::new().await;
    let bin = desk.path("bin");
    for program in ["codex", "claude", "opencode", "aider", "llm", "cn", "goose", "qwen", "crush", "zed"] {
        write(
            &bin.join(program),
            "#!/bin/sh\nfor word in \"$@\"; do echo \"argument: $word\"; done\nenv\nexit 7\n",
            0o755,
        );
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let tools = desk.json(&["setup"]).await;
    for tool in tools.as_array().unwrap().iter().map(|tool| tool["id"].as_str().unwrap()) {
        let output = desk.run_with(&["launch", tool, "--", "--own", "argument"], &[("PATH", &path)]).await;
        let shown = text(&output.stdout);
        assert_eq!(output.status.code(), Some(7), "{tool}: {shown}{}", text(&output.stderr));
        assert!(shown.contains("argument: --own\nargument: argument"), "{tool}: {shown}");
        assert!(shown.lines().any(|line| !line.starts_with("argument") && line.contains(&desk.key)), "{tool}: {shown}");
        assert!(!shown.lines().any(|line| line.starts_with("argument") && line.contains(&desk.key)), "{tool}: {shown}");
    }
    for (path, (bytes, _)) in desk.files() {
        assert!(!text(&bytes).contains(&desk.key), "{}", path.display());
    }
    let (code, error) = desk.refused(&["launch", "opencode"]).await;
    assert!(code == 1 && error.contains("cannot start `opencode`"), "{code}: {error}");
}
