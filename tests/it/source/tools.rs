//! Programs of other ecosystems, which `tests/setup.sh` installs into `.tools`.

use std::{
    path::Path,
    process::{Command, Output},
};

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn tool(name: &str) -> Command {
    let program = match name {
        "python" | "kubernetes-validate" => root().join(".tools/python/bin").join(name),
        _ => root().join(".tools/bin").join(name),
    };
    assert!(program.exists(), "{} is missing: tests/setup.sh installs it", program.display());
    let mut command = Command::new(program);
    // A cluster that is configured on this machine must not be contacted.
    command.current_dir(root()).env_remove("KUBECONFIG").env("HOME", root().join("target"));
    command
}

/// The output of a tool that must succeed.
pub(super) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", both(&output));
    String::from_utf8(output.stdout).unwrap()
}

pub(super) fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
