//! `deploy/install.sh`, run with assets in a folder and a small script in place of the binary.

use std::{
    path::Path,
    process::{Command, Output},
};

use super::{root, run};

const VERSION: &str = "9.8.7";

/// A folder with the assets of a release for this machine.
fn release() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let machine = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
    let program = format!("#!/bin/sh\necho tollfree {VERSION}\n");
    for libc in ["gnu", "musl"] {
        let name = format!("tollfree-{VERSION}-{machine}-unknown-linux-{libc}");
        std::fs::create_dir(folder.path().join(&name)).unwrap();
        std::fs::write(folder.path().join(&name).join("tollfree"), &program).unwrap();
        run(Command::new("tar").current_dir(&folder).args(["-czf", &format!("{name}.tar.gz"), &name]));
    }
    run(Command::new("sh").current_dir(&folder).args(["-c", "sha256sum *.tar.gz > SHA256SUMS"]));
    folder
}

fn install(assets: &Path, target: &Path) -> Output {
    Command::new("sh")
        .arg(root().join("deploy/install.sh"))
        .arg(VERSION)
        .env("TOLLFREE_DOWNLOADS", format!("file://{}", assets.display()))
        .env("INSTALL_DIR", target)
        .output()
        .unwrap()
}

#[test]
fn a_release_is_installed() {
    let (assets, target) = (release(), tempfile::tempdir().unwrap());
    let output = install(assets.path(), target.path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains(VERSION), "{output:?}");
    assert!(text.contains("is not in PATH"), "{text}");
    assert_eq!(run(&mut Command::new(target.path().join("tollfree"))), format!("tollfree {VERSION}\n"));
}

#[test]
fn a_changed_asset_is_not_installed() {
    let (assets, target) = (release(), tempfile::tempdir().unwrap());
    for entry in std::fs::read_dir(&assets).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "gz") {
            std::fs::write(entry.path(), "changed").unwrap();
        }
    }
    let output = install(assets.path(), target.path());
    assert!(!output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("checksum"), "{output:?}");
    assert!(!target.path().join("tollfree").exists());
}
