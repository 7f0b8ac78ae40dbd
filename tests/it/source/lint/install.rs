//! A release as far as it goes without GitHub: the workflow packs and publishes a small script in place of the binary, and
//! `deploy/install.sh` installs it.

use std::{
    path::Path,
    process::{Command, Output},
};

use super::{root, run, tool};

const VERSION: &str = "9.8.7";
/// Writes a manual page as the binary does: `man --dir FOLDER`.
const PAGES: &str = "if [ \"$1\" = man ]; then mkdir \"$3\" && echo page > \"$3/tollfree.1\"; fi";
/// In place of GitHub's program: writes down its arguments.
const GH: &str = "#!/bin/sh\nprintf '%s\\n' \"$@\" > published\n";

/// The script of a step of the workflow.
fn step(job: &str, name: &str) -> String {
    let program = "import sys, yaml; jobs = yaml.safe_load(open('.github/workflows/release.yml'))['jobs']; \
                   print(next(step['run'] for step in jobs[sys.argv[1]]['steps'] if step.get('name') == sys.argv[2]))";
    run(tool("python").args(["-c", program, job, name]))
}

fn run_step(job: &str, name: &str, folder: &Path, target: &str) {
    let path = format!("{}:{}", folder.join("programs").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &step(job, name)]).current_dir(folder).env("PATH", path);
    let image = "ghcr.io/someone/tollfree";
    command.envs([
        ("TARGET", target),
        ("GITHUB_REPOSITORY", "someone/tollfree"),
        ("GITHUB_REPOSITORY_OWNER", "Someone"),
    ]);
    command.envs([("VERSION", VERSION), ("IMAGE", image), ("ACTOR", "someone"), ("TOKEN", "token")]);
    run(command.env("GITHUB_REF_NAME", format!("v{VERSION}")));
}

/// A folder with the published files, those of Linux on this machine.
fn release() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["LICENSE", "README.md", "tollfree.example.toml", "tollfree.schema.json"] {
        std::fs::copy(root().join(name), path(name)).unwrap();
    }
    for name in ["programs", "assets", "deploy"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    std::fs::copy(root().join("deploy/checksums.sh"), path("deploy/checksums.sh")).unwrap();
    std::fs::write(path("assets/tollfree-catalogue.toml"), "signed").unwrap();
    std::fs::copy(root().join("deploy/install.sh"), path("assets/install.sh")).unwrap();
    write_program(&path("programs/gh"), GH);
    let machine = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
    for libc in ["gnu", "musl"] {
        let target = format!("{machine}-unknown-linux-{libc}");
        let built = path("target").join(&target).join("dist");
        std::fs::create_dir_all(&built).unwrap();
        write_program(&built.join("tollfree"), &format!("#!/bin/sh\n{PAGES}\necho tollfree {VERSION}\n"));
        run_step("binary", "Pack", folder.path(), &target);
        let name = format!("tollfree-{VERSION}-{target}.tar.gz");
        for name in [format!("{name}.sha256"), name] {
            std::fs::rename(path(&name), path("assets").join(&name)).unwrap();
        }
    }
    run_step("publish", "Publish", folder.path(), "");
    folder
}

fn write_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn the_workflow_publishes_archives_and_their_sums() {
    let folder = release();
    let published = std::fs::read_to_string(folder.path().join("published")).unwrap();
    let assets: Vec<&str> = published.lines().filter(|word| word.starts_with("assets/")).collect();
    assert!(assets.contains(&"assets/SHA256SUMS") && assets.len() == 5, "{published}");
    let sums = std::fs::read_to_string(folder.path().join("assets/SHA256SUMS")).unwrap();
    let covered = |name: &&str| sums.lines().any(|line| line.ends_with(&format!(" {}", &name["assets/".len()..])));
    assert!(assets.iter().filter(|name| !name.ends_with("SUMS")).all(covered), "{sums}");
    let archive = assets.iter().find(|name| name.ends_with("gnu.tar.gz")).unwrap();
    let listed = run(Command::new("tar").current_dir(&folder).args(["-tzf", archive]));
    for name in ["tollfree", "LICENSE", "README.md", "tollfree.example.toml", "tollfree.schema.json"] {
        assert!(listed.lines().any(|line| line.ends_with(&format!("/{name}"))), "{name}: {listed}");
    }
}

#[test]
fn the_published_chart_pulls_the_published_image() {
    let folder = tempfile::tempdir().unwrap();
    run(Command::new("cp").arg("-R").arg(root().join("helm")).arg(folder.path()));
    std::fs::create_dir(folder.path().join("programs")).unwrap();
    let real = tool("helm");
    let helm = format!(
        "#!/bin/sh\ncase $1 in registry) cat >&2 ;; push) echo \"$*\" > pushed ;; *) exec {} \"$@\" ;; esac\n",
        real.get_program().display()
    );
    write_program(&folder.path().join("programs/helm"), &helm);
    run_step("image", "Publish the chart", folder.path(), "");
    let archive = format!("tollfree-{VERSION}.tgz");
    let pushed = std::fs::read_to_string(folder.path().join("pushed")).unwrap();
    assert_eq!(pushed.trim(), format!("push {archive} oci://ghcr.io/someone/charts"));
    let rendered = run(tool("helm").args(["template", "tollfree"]).arg(folder.path().join(archive)));
    assert!(rendered.contains(&format!("image: \"ghcr.io/someone/tollfree:{VERSION}\"")), "{rendered}");
}

#[test]
fn the_chart_is_packed_with_its_readme() {
    let folder = tempfile::tempdir().unwrap();
    run(tool("helm")
        .args(["package", "helm/tollfree", "--version", VERSION, "--app-version", VERSION, "--destination"])
        .arg(folder.path()));
    let listed = run(Command::new("tar").current_dir(&folder).args(["-tzf", &format!("tollfree-{VERSION}.tgz")]));
    assert!(listed.contains("tollfree/README.md") && !listed.contains("tollfree/ci/"), "{listed}");
}

fn install(assets: &Path, target: &Path) -> Output {
    Command::new("sh")
        .arg(assets.join("install.sh"))
        .arg(VERSION)
        .env("TOLLFREE_DOWNLOADS", format!("file://{}", assets.display()))
        .env("INSTALL_DIR", target)
        .output()
        .unwrap()
}

#[test]
fn a_release_is_installed() {
    let (release, target) = (release(), tempfile::tempdir().unwrap());
    let assets = release.path().join("assets");
    let script = std::fs::read_to_string(assets.join("install.sh")).unwrap();
    assert!(script.contains("\nrepository=${TOLLFREE_REPOSITORY:-someone/tollfree}\n"), "{script}");
    let output = install(&assets, target.path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains(VERSION), "{output:?}");
    assert!(text.contains("is not in PATH"), "{text}");
    assert_eq!(run(&mut Command::new(target.path().join("tollfree"))), format!("tollfree {VERSION}\n"));
}

#[test]
fn a_changed_asset_is_not_installed() {
    let (release, target) = (release(), tempfile::tempdir().unwrap());
    let assets = release.path().join("assets");
    for entry in std::fs::read_dir(&assets).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "gz") {
            std::fs::write(entry.path(), "changed").unwrap();
        }
    }
    let output = install(&assets, target.path());
    assert!(!output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("checksum"), "{output:?}");
    assert!(!target.path().join("tollfree").exists());
}
