//! The command line as a person meets it: exit codes, completions, manual pages, and `tollfree` alone.

use std::{
    collections::BTreeMap,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::support::{app::binary, simulator::Simulator};

fn run(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", folder.path());
    command.env("PORT", "1").current_dir(folder.path()).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn success_is_0_failure_1_and_a_wrong_argument_2() {
    let unreachable = ["--url", "http://127.0.0.1:1"];
    for (arguments, code) in [
        (&["setup", "--json"][..], 0),
        (&["--version"], 0),
        (&["healthcheck"], 1),
        (&["setup", "codex", unreachable[0], unreachable[1]], 1),
        (&["doctor", unreachable[0], unreachable[1]], 1),
        (&["setup", "codex"], 2),
        (&["setup", "emacs"], 2),
        (&["setup", "--undo"], 2),
        (&["doctor", "--idle", "301"], 2),
        (&["launch", "crush"], 2),
        (&["serve", "--prot", "1"], 2),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    }
}

#[test]
fn a_table_in_json_is_json_and_no_output_in_a_pipe_has_colours() {
    for arguments in [&["setup"][..], &["catalog"], &["check"]] {
        let output = run(&[arguments, &["--json"]].concat());
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        for output in
            [run(arguments), run(&[arguments, &["--help"]].concat()), run(&[arguments, &["--wrong"]].concat())]
        {
            let all = text(&output.stdout) + &text(&output.stderr);
            assert!(!all.contains('\u{1b}'), "{arguments:?}: {all:?}");
        }
    }
}

#[test]
fn every_shell_has_completions_and_every_command_a_manual_page() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = text(&run(&["completions", shell]).stdout);
        // Not every shell completes the names of tools.
        let has_tools = script.contains("claude-code") || ["fish", "powershell", "elvish"].contains(&shell);
        assert!(script.contains("doctor") && has_tools, "{shell}: {script}");
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(run(&["man", "--dir", folder.path().to_str().unwrap()]).status.success());
    for page in ["tollfree.1", "tollfree-setup.1", "tollfree-keys-create.1"] {
        let page = std::fs::read_to_string(folder.path().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(page.contains(".TH"), "{page}");
    }
    assert!(text(&run(&["man"]).stdout).contains(".TH tollfree 1"));
}

#[test]
fn tollfree_alone_shows_its_help_where_there_is_no_terminal_and_starts_where_there_is_one() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Usage: tollfree"), "{}", text(&output.stderr));
    // `script` gives it a terminal; the port is one on which nothing can listen, so that it ends.
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Command::new("script");
    terminal.args(["-qec", binary().to_str().unwrap(), "/dev/null"]).env("HOST", "203.0.113.1").env("PORT", "9");
    let output = terminal.env("HOME", folder.path()).current_dir(folder.path()).stdin(Stdio::null()).output().unwrap();
    let shown = text(&output.stdout);
    assert!(shown.contains("starting `tollfree serve --or-demo`") && shown.contains("203.0.113.1"), "{shown}");
}

/// The kinds that were tried at each provider, each with the model and the error if there was one.
fn tried(report: &Value) -> BTreeMap<String, Vec<(String, String, Option<String>)>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let live = report["live"].as_array().unwrap().iter().filter(|each| each["models"].is_i64());
    let kinds = |each: &Value| {
        let kinds = each["kinds"].as_array().unwrap().iter();
        kinds.map(|kind| (text(&kind["kind"]).unwrap(), text(&kind["model"]).unwrap(), text(&kind["error"]))).collect()
    };
    live.map(|each| (text(&each["provider"]).unwrap(), kinds(each))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_check_tries_a_model_of_each_kind() {
    let simulator = Simulator::start().await;
    let folder = tempfile::tempdir().unwrap();
    // One of this machine's own is not called.
    std::fs::write(folder.path().join("tollfree.toml"), "[providers.ollama]\nenabled = false\n").unwrap();
    let check = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(["check", "--live"]).args(arguments).env_clear().env("HOME", folder.path());
        command.current_dir(folder.path());
        for provider in ["gemini", "mistral", "groq", "cohere"] {
            let upper = provider.to_uppercase();
            command.env(format!("{upper}_BASE_URL"), simulator.base_url(provider));
            command.env(format!("{upper}_API_KEY"), &simulator.keys(provider)[0]);
        }
        command.output().unwrap()
    };
    let output = check(&["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{report}");
    let tried_first = tried(&report);
    let kinds = |provider: &str| -> Vec<&str> { tried_first[provider].iter().map(|(kind, ..)| &**kind).collect() };
    assert_eq!(kinds("gemini"), ["chat", "embedding"]);
    assert_eq!(kinds("mistral"), ["chat", "completion", "embedding", "moderation", "transcription"]);
    assert_eq!(kinds("groq"), ["chat", "transcription"]);
    assert_eq!(kinds("cohere"), ["chat", "embedding", "rerank"]);
    let audit = simulator.audit().await;
    for (provider, kinds) in &tried_first {
        let models = audit["providers"][provider]["accounts"]["main"].as_object().unwrap();
        let admitted: i64 = models.values().map(|model| model["tally"]["admitted"].as_i64().unwrap()).sum();
        assert_eq!(usize::try_from(admitted).unwrap(), kinds.len(), "{provider}: {models:?}");
    }

    simulator.fault_at("mistral", "mistral-embed", "html", 1).await;
    let output = check(&["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{report}");
    let failed: Vec<_> = tried(&report).into_values().flatten().filter(|(_, _, error)| error.is_some()).collect();
    let [(kind, model, _)] = &failed[..] else { panic!("{report}") };
    assert_eq!((&**kind, &**model), ("embedding", "mistral-embed"));
    simulator.fault_at("mistral", "mistral-embed", "html", 1).await;
    let output = check(&[]);
    let lines = text(&output.stdout);
    let line = lines.lines().find(|line| line.starts_with("mistral ") && line.contains(" ok (")).unwrap();
    assert!(line.contains("chat ok, completion ok, embedding refused (mistral-embed): "), "{line}");
    assert!(line.ends_with(", moderation ok, transcription ok"), "{line}");
}
