//! Chart, manifests, image, compose file and alerts, checked by the tools of their ecosystems, which `tests/setup.sh` installs
//! into `.tools`.

mod container;
mod monitoring;
mod readme;
mod refusals;
mod rendered;
mod settings;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::tools::{both, root, run, tool};

/// The oldest and the newest supported version, and one in between.
const KUBERNETES: [&str; 3] = ["1.31", "1.33", "1.35"];
const CHART: &str = "helm/tollfree";

/// `ci/*.yaml`: values of typical installations.
fn value_files() -> Vec<PathBuf> {
    let folder = root().join(CHART).join("ci");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn name(file: &Path) -> String {
    file.file_stem().unwrap().to_string_lossy().into_owned()
}

/// Output of `helm template` with additional arguments.
fn template(arguments: &[&str]) -> String {
    run(tool("helm").args(["template", "t", CHART, "--namespace", "llm"]).args(arguments))
}

/// The documents of a YAML text, without empty ones.
fn documents(yaml: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("documents.yaml");
    std::fs::write(&file, yaml).unwrap();
    let program = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let json = run(tool("python").args(["-c", program]).arg(&file));
    let all: Vec<Value> = serde_json::from_str(&json).unwrap();
    all.into_iter().filter(|document| !document.is_null()).collect()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|document| document["kind"] == kind).collect()
}

/// The container of the gateway in the Deployment.
fn gateway(documents: &[Value]) -> &Value {
    &of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
}
