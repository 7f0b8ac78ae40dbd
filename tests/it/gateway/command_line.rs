//! The command line as a person meets it: exit codes, completions, manual pages, and `tollfree` alone.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::app::binary;

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
