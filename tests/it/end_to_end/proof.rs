//! `make proof`, shortened: the trial accepts this gateway, and finds out a proxy that counts nothing.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::support::app::binary;

/// Long enough for every kind of event, and shorter than a minute: one window, which can be filled once.
const SECONDS: &str = "24";

#[test]
fn the_proof_accepts_this_gateway_and_refuses_one_that_does_not_count() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("python3")
        .arg(root.join("tests/proof/run.py"))
        .args(["--seconds", SECONDS, "--binary"])
        .arg(binary())
        .arg("--out")
        .arg(folder.path())
        .arg("--adapter")
        .arg(root.join("tests/proof/adapters/none.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not held, or less than 85% used: no gateway\n"), "{output:?}");
    assert!(!output.status.success(), "{output:?}");

    let result: Value = serde_json::from_slice(&std::fs::read(folder.path().join("result.json")).unwrap()).unwrap();
    let [ours, none] = result["results"].as_array().unwrap().as_slice() else { panic!("{result}") };
    assert_eq!((&ours["held"], &none["held"]), (&Value::Bool(true), &Value::Bool(false)));
    assert!(none["worst_window"].as_i64() > none["limit"].as_i64(), "{none}");
    let kinds = ours["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap());
    for kind in ["flush", "failover", "kill"] {
        assert!(kinds.clone().any(|found| found == kind), "{kind}: {ours}");
    }
    let page = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
    assert!(page.contains("width=device-width") && page.matches("<svg").count() == 2, "{page}");
    assert!(!page.contains("src=") && !page.contains("<script"), "the page is one file: {page}");
}
