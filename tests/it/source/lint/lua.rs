//! Lints each script with the files it includes, by the rules of `.luacheckrc`.

use std::{fs, path::Path, process::Command};

use tollfree::ledger::scripts::Script;

#[test]
fn luacheck_finds_nothing_in_the_assembled_scripts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lua");
    fs::create_dir_all(&folder).unwrap();
    let files = Script::ALL.map(|script| {
        let file = folder.join(script.name()).with_extension("lua");
        fs::write(&file, script.source()).unwrap();
        file
    });
    let run = Command::new("luacheck")
        .args(["--no-color", "--codes", "--formatter", "plain", "--config"])
        .arg(root.join(".luacheckrc"))
        .args(files)
        .output()
        .expect("luacheck is installed: `make setup`");
    assert!(run.stderr.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
    let warnings = String::from_utf8_lossy(&run.stdout);
    let wrong: Vec<_> =
        warnings.lines().filter(|line| !line.is_empty() && !is_used_elsewhere(line, &warnings)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether a warning is about a name that one script does not use and another one does: both include its file.
fn is_used_elsewhere(warning: &str, warnings: &str) -> bool {
    let is_unused = |line: &str| line.contains("(W211) ") || line.contains("(W231) ");
    let Some(quoted) = is_unused(warning).then(|| warning.split('\'').nth(1)).flatten() else { return false };
    let defined = |script: &&Script| {
        let texts = [
            format!("local function {quoted}("),
            format!("local {quoted} "),
            format!(", {quoted} "),
            format!(" {quoted}, "),
        ];
        script.source().lines().any(|line| line.starts_with("local ") && texts.iter().any(|text| line.contains(text)))
    };
    let unused = warnings.lines().filter(|line| is_unused(line) && line.contains(&format!("'{quoted}'"))).count();
    Script::ALL.iter().filter(defined).count() > unused
}
