//! Linters of the files that are not Rust: Lua, shell, the image, the workflows.

mod install;
mod lua;
mod schema;

use std::{path::PathBuf, process::Command};

use super::tools::{root, run, tool};

#[test]
fn hadolint_accepts_the_dockerfile() {
    run(tool("hadolint").arg("Dockerfile"));
}

#[test]
fn shellcheck_accepts_every_shell_script() {
    let listed = run(Command::new("git").current_dir(root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.sh",
        ".ci/run",
    ]));
    let scripts: Vec<PathBuf> = listed.lines().map(|path| root().join(path)).filter(|path| path.exists()).collect();
    assert!(scripts.iter().any(|path| path.ends_with("tests/setup.sh")), "{scripts:?}");
    run(tool("shellcheck").args(["--external-sources", "--source-path", "."]).args(scripts));
}

#[test]
fn actionlint_accepts_every_workflow() {
    let shellcheck = root().join(".tools/bin/shellcheck");
    run(tool("actionlint").arg("-shellcheck").arg(shellcheck));
}
