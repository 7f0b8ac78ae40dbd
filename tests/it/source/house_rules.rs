//! Holds the house: file length, module headers, Lua headers, no loose ends.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use tollfree::ledger::scripts::Script;

const LINES_MAX: usize = 600;

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with this extension: its path from the root, and its text.
pub(super) fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_dir() {
                if !["target", "node_modules", ".git", ".venv", ".tools", "__pycache__"].contains(&&*name) {
                    walk(&path, found);
                }
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    found
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().trim_start_matches("./").to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The text before the inline tests.
fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod ").map_or(text, |at| &text[..at])
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn files_stay_short_enough_to_read() {
    let all = [files("src", "rs"), files("tests", "rs"), files("lua", "lua")].concat();
    let long: Vec<_> = all
        .iter()
        .map(|(path, text)| (path, without_tests(text).lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "over {LINES_MAX} lines, inline tests not counted: {long:?}");
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<_> =
        files("src", "rs").into_iter().filter(|(_, text)| !text.trim_start().starts_with("//!")).map(|f| f.0).collect();
    assert!(silent.is_empty(), "no `//!` on the first line: {silent:?}");
}

#[test]
fn every_lua_file_has_a_header_and_every_script_a_file() {
    for (path, text) in files("lua", "lua") {
        let name = path.trim_start_matches("lua/").trim_end_matches(".lua");
        assert!(text.starts_with(&format!("--[[ {name}: ")), "{path} must start with `--[[ {name}: …`");
    }
    let written: BTreeSet<_> = files("lua", "lua")
        .into_iter()
        .filter_map(|(path, _)| path.strip_prefix("lua/")?.strip_suffix(".lua").map(str::to_owned))
        .filter(|path| !path.starts_with("lib/"))
        .collect();
    let known: BTreeSet<_> = Script::ALL.iter().map(|script| script.path().to_owned()).collect();
    assert_eq!(written, known, "lua/*/*.lua against `Script::ALL`");
}

#[test]
fn nothing_is_left_undone() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!"), concat!("unimplemented", "!")];
    let mut left = Vec::new();
    for (path, text) in [files("src", "rs"), files("tests", "rs"), files("lua", "lua")].concat() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                left.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(left.is_empty(), "{}", left.join("\n"));
}

#[test]
fn a_silenced_lint_is_expected_with_a_reason() {
    let mut loose = Vec::new();
    for (path, text) in [files("src", "rs"), files("tests", "rs")].concat() {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.starts_with("#[allow(") || line.starts_with("#![allow(") || line.starts_with("#[ignore]") {
                loose.push(format!("{path}:{}: {line}", number + 1));
            }
        }
    }
    assert!(loose.is_empty(), "use `#[expect(lint, reason = \"…\")]`:\n{}", loose.join("\n"));
}

#[test]
fn no_page_names_a_folder_of_somebodys_machine() {
    let pages = [files(".", "md"), files(".", "toml"), files(".", "yml"), files("tests", "sh")].concat();
    for (path, text) in pages {
        for folder in ["root", "home", "Users", "work", "mnt"] {
            let named = format!("/{folder}/");
            let found =
                text.match_indices(&named).any(|(at, _)| !text[..at].ends_with(|c: char| is_word(c) || c == '.'));
            assert!(!found, "{path} names {named}");
        }
    }
}
