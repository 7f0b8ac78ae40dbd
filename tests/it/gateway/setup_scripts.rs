//! The scripts of `/setup`, run by the shells of Debian and `BusyBox`: they write what `tollfree setup` writes.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    app::{TestApp, binary},
    fake_upstream::FakeUpstream,
    http::Answer,
};

const ADMIN_KEY: &str = "the-admin-key";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shell {
    Debian,
    BusyBox,
}

struct Desk {
    app: TestApp,
    key: String,
    home: TempDir,
    /// The programs of `BusyBox` and curl, nothing else.
    busybox: TempDir,
}

impl Desk {
    async fn new() -> Self {
        let upstream = FakeUpstream::start().await;
        let app = TestApp::setup().lab("lab", &upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).start().await;
        let create = app.request("POST", "/admin/v1/clients").bearer_auth(ADMIN_KEY).json(&json!({ "name": "ann" }));
        let key = Answer::of(create).await.json()["key"].as_str().unwrap().to_owned();
        let busybox = tempfile::tempdir().unwrap();
        let find = |program: &str| {
            let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
            PathBuf::from(String::from_utf8(found.stdout).unwrap().trim())
        };
        assert!(
            Command::new(find("busybox")).args(["--install", "-s"]).arg(busybox.path()).status().unwrap().success()
        );
        symlink(find("curl"), busybox.path().join("curl")).unwrap();
        Self { app, key, home: tempfile::tempdir().unwrap(), busybox }
    }

    /// The script of a tool, in a file.
    async fn script(&self, tool: &str) -> PathBuf {
        let script = self.app.get(&format!("/setup/{tool}.sh")).await;
        assert_eq!(script.status, 200, "{}", script.text());
        assert!(!script.text().contains(&self.key));
        let path = self.busybox.path().join(format!("{tool}.sh"));
        fs::write(&path, script.text()).unwrap();
        path
    }

    fn command(&self, program: &Path, shell: Shell) -> Command {
        let path = match shell {
            Shell::Debian => std::env::var_os("PATH").unwrap(),
            Shell::BusyBox => self.busybox.path().into(),
        };
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    async fn run(&self, tool: &str, shell: Shell, send: &str) -> Output {
        let script = self.script(tool).await;
        let sh = if shell == Shell::BusyBox { self.busybox.path().join("sh") } else { "/bin/sh".into() };
        let mut command = self.command(&sh, shell);
        command.arg(script).env("TOLLFREE_CLIENT_KEY", &self.key).env("TOLLFREE_SETUP_SEND", send).output().unwrap()
    }

    /// What `tollfree setup` makes of the same home folder.
    fn set_up(&self, tool: &str) {
        let mut command = self.command(binary(), Shell::Debian);
        command.args(["setup", tool, "--url", &self.app.url("")]).env("TOLLFREE_CLIENT_KEY", &self.key);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The files of tools, without copies and records.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let (mut found, mut folders) = (BTreeMap::new(), vec![self.home.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if !path.to_string_lossy().ends_with(".before-tollfree")
                    && !path.to_string_lossy().contains("tollfree/setup/")
                {
                    found.insert(path.clone(), fs::read_to_string(&path).unwrap());
                }
            }
        }
        found
    }

    fn clear(&self) {
        for path in fs::read_dir(self.home.path()).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }
}

fn output(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn a_script_writes_what_the_program_writes() {
    let desk = Desk::new().await;
    let mut list = desk.command(binary(), Shell::Debian);
    let tools: Value = serde_json::from_slice(&list.args(["setup", "--json"]).output().unwrap().stdout).unwrap();
    for tool in tools.as_array().unwrap() {
        let id = tool["id"].as_str().unwrap();
        desk.set_up(id);
        let expected = desk.files();
        for shell in [Shell::Debian, Shell::BusyBox] {
            desk.clear();
            let ran = desk.run(id, shell, "no").await;
            assert!(ran.status.success(), "{id} in {shell:?}: {}", output(&ran));
            assert_eq!(desk.files(), expected, "{id} in {shell:?}");
            for (path, text) in desk.files() {
                let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                assert!(!text.contains(&desk.key) || mode == 0o600, "{}: {mode:o}", path.display());
            }
            let again = desk.run(id, shell, "no").await;
            assert!(
                again.status.success() && !output(&again).contains("  changed"),
                "{id} in {shell:?}: {}",
                output(&again)
            );
        }
        desk.clear();
    }
}

#[tokio::test]
async fn settings_of_a_person_leave_the_machine_only_with_consent_and_are_merged_then() {
    let desk = Desk::new().await;
    let config = desk.home.path().join(".codex/config.toml");
    let own = "# mine\nmodel = \"gpt-5\" # for work\n\n[tui]\nnotifications = true\n";
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, own).unwrap();
    for shell in [Shell::Debian, Shell::BusyBox] {
        let refused = desk.run("codex", shell, "no").await;
        assert!(!refused.status.success() && output(&refused).contains("nothing was changed"), "{}", output(&refused));
        assert_eq!(desk.files().len(), 1, "{shell:?}");
    }
    let merged = desk.run("codex", Shell::BusyBox, "yes").await;
    assert!(merged.status.success(), "{}", output(&merged));
    assert_eq!(fs::read_to_string(config.with_file_name("config.toml.before-tollfree")).unwrap(), own);
    let by_script = fs::read_to_string(&config).unwrap();
    assert!(by_script.contains("model = \"free-smart\" # for work") && by_script.contains("[tui]"), "{by_script}");
    fs::write(&config, own).unwrap();
    desk.set_up("codex");
    assert_eq!(fs::read_to_string(&config).unwrap(), by_script);
    let broken = "model = = 1\n";
    fs::write(&config, broken).unwrap();
    let refused = desk.run("codex", Shell::Debian, "yes").await;
    assert!(
        output(&refused).contains("~/.codex/config.toml was left as it is: line 1, column 9"),
        "{}",
        output(&refused)
    );
    assert_eq!(fs::read_to_string(&config).unwrap(), broken);
}

/// `default_model.txt` of llm has nothing to be merged: it is replaced.
#[tokio::test]
async fn a_file_that_is_replaced_is_copied_and_only_with_consent() {
    let desk = Desk::new().await;
    let file = desk.home.path().join(".config/io.datasette.llm/default_model.txt");
    let copy = file.with_file_name("default_model.txt.before-tollfree");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    for shell in [Shell::Debian, Shell::BusyBox] {
        fs::write(&file, "gpt-4o").unwrap();
        let refused = desk.run("llm", shell, "no").await;
        assert!(!refused.status.success() && output(&refused).contains("nothing was changed"), "{}", output(&refused));
        assert!(!copy.exists() && desk.files().len() == 1, "{shell:?}");
        let script = desk.script("llm").await;
        let typed = |line: &str| {
            let mut terminal = desk.command(Path::new("script"), Shell::Debian);
            terminal.args(["-qec", &format!("/bin/sh {}", script.display()), "/dev/null"]);
            terminal.env("TOLLFREE_CLIENT_KEY", &desk.key).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = terminal.spawn().unwrap();
            writeln!(child.stdin.take().unwrap(), "{line}").unwrap();
            child.wait_with_output().unwrap()
        };
        let shown = output(&typed("n"));
        assert!(shown.contains("are replaced; a copy stays") && shown.contains("default_model.txt"), "{shown}");
        assert!(!shown.contains("are sent to the gateway") && !copy.exists(), "{shown}");
        let done = if shell == Shell::Debian { typed("y") } else { desk.run("llm", shell, "yes").await };
        assert!(done.status.success(), "{}", output(&done));
        assert_eq!(fs::read_to_string(&copy).unwrap(), "gpt-4o", "{shell:?}");
        assert!(fs::read_to_string(&file).unwrap().starts_with("tollfree/"));
        desk.clear();
        fs::create_dir_all(file.parent().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn the_key_is_typed_at_the_terminal_and_not_shown() {
    let desk = Desk::new().await;
    let script = desk.script("claude-code").await;
    // `script` gives the shell a terminal and types its own standard input there.
    let mut terminal = desk.command(Path::new("script"), Shell::Debian);
    terminal.args(["-qec", &format!("/bin/sh {}", script.display()), "/dev/null"]);
    let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut typing = child.stdin.take().unwrap();
    let mut shown = String::new();
    let mut screen = child.stdout.take().unwrap();
    std::io::Read::read_to_string(&mut std::io::Read::take(&mut screen, "Client key for ".len() as u64), &mut shown)
        .unwrap();
    writeln!(typing, "{}", desk.key).unwrap();
    std::io::Read::read_to_string(&mut screen, &mut shown).unwrap();
    assert!(child.wait().unwrap().success(), "{shown}");
    assert!(shown.contains("Client key for http://") && !shown.contains(&desk.key), "{shown}");
    assert!(desk.files().values().any(|text| text.contains(&desk.key)));
}

#[tokio::test]
async fn wrong_keys_and_unknown_tools_are_named() {
    let mut desk = Desk::new().await;
    "sk-tf-k7f3a9c2-wrong".clone_into(&mut desk.key);
    let refused = desk.run("codex", Shell::BusyBox, "no").await;
    assert!(!refused.status.success() && output(&refused).contains("This API key is unknown."), "{}", output(&refused));
    "sk'; rm -rf /".clone_into(&mut desk.key);
    let refused = desk.run("codex", Shell::Debian, "no").await;
    assert!(output(&refused).contains("this is no client key"), "{}", output(&refused));
    assert!(desk.files().is_empty());
    assert_eq!(desk.app.get("/setup/emacs.sh").await.status, 404);
    let page = desk.app.get("/setup").await;
    assert!(page.text().contains(&format!("tollfree setup codex --url {}", desk.app.url(""))), "{}", page.text());
}
