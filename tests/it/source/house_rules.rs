//! Holds the house: who imports whom, one door per outside crate, file length, Lua headers, no loose ends.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use tollfree::ledger::scripts::Script;

const LINES_MAX: usize = 600;

/// Rooms by rank; an arrow goes from a lower rank to a higher one. Rooms of one rank do not know each other.
const RANKS: [&[&str]; 8] = [
    &["main"],
    &["cli"],
    &["app", "simulator"],
    &["api"],
    &["flow"],
    &["plan", "ledger", "upstream", "relay", "record", "protocol"],
    &["catalog", "config"],
    &["domain", "telemetry", "shutdown", "suggest", "json", "memo"],
];

/// The exceptions: the end of a stream is the end of its lease; the catalogue is built from the settings.
const ALSO: [(&str, &str); 3] = [("relay", "upstream"), ("relay", "ledger"), ("catalog", "config")];

/// What the judge may know: our words for windows, and how to end. Nothing that decides.
const SIMULATOR_KNOWS: [&str; 3] = ["domain", "shutdown", "telemetry"];

/// Outside crate → the only places that may name it.
const DOORS: [(&str, &[&str]); 17] = [
    ("actix_web", &["src/api/", "src/app/", "src/simulator/"]),
    ("actix_http", &["src/api/", "src/app/", "src/simulator/"]),
    ("utoipa", &["src/api/"]),
    ("deadpool_redis", &["src/ledger/redis/"]),
    ("redis", &["src/ledger/redis/"]),
    ("mlua", &["src/ledger/embedded/"]),
    ("fjall", &["src/ledger/embedded/"]),
    ("reqwest", &["src/upstream/"]),
    ("rust_embed", &["src/api/dashboard.rs"]),
    ("opentelemetry", &["src/telemetry/", "src/record/metrics/"]),
    ("opentelemetry_sdk", &["src/telemetry/"]),
    ("opentelemetry_otlp", &["src/telemetry/"]),
    ("opentelemetry_http", &["src/telemetry/"]),
    ("opentelemetry_prometheus", &["src/telemetry/"]),
    ("opentelemetry_appender_tracing", &["src/telemetry/"]),
    ("tracing_opentelemetry", &["src/telemetry/"]),
    ("prometheus", &["src/telemetry/"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with this extension: its path from the root, and its text.
fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
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

/// Blanks out comments and the insides of strings, so that words in them are not taken for code.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.lines() {
        let mut in_string = false;
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' if in_string => {
                    chars.next();
                }
                '"' => in_string = !in_string,
                '/' if !in_string && chars.peek() == Some(&'/') => break,
                _ if in_string => {}
                _ => code.push(c),
            }
        }
        code.push('\n');
    }
    code
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The words that follow each `prefix` (`crate::`): one, or those at the top level of a `{…}` group.
fn heads_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut heads = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(is_word) {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut head, mut reading) = (0, String::new(), true);
            for c in group.chars() {
                match c {
                    '}' if depth == 0 => break,
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        heads.insert(std::mem::take(&mut head));
                        reading = true;
                    }
                    c if reading && is_word(c) => head.push(c),
                    c if c.is_whitespace() => {}
                    _ => reading = false,
                }
            }
            heads.insert(head);
        } else {
            heads.insert(rest.chars().take_while(|c| is_word(*c)).collect());
        }
    }
    heads
}

fn room_of(path: &str) -> &str {
    let path = path.trim_start_matches("src/");
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

fn rank_of(room: &str) -> Option<usize> {
    RANKS.iter().position(|rooms| rooms.contains(&room))
}

#[test]
fn arrows_between_rooms_point_right_only() {
    let mut wrong = Vec::new();
    for (path, text) in files("src", "rs") {
        let from = room_of(&path);
        if from == "lib" || path.ends_with("/tests.rs") {
            continue;
        }
        let code = code_only(without_tests(&text));
        let depth = path.matches('/').count() - usize::from(path.ends_with("/mod.rs"));
        let mut heads = heads_after(&code, "crate::");
        heads.extend(heads_after(&code, "tollfree::"));
        heads.extend(heads_after(&code, &"super::".repeat(depth)).into_iter().filter(|h| h != "super"));
        let from_rank = rank_of(from).unwrap_or_else(|| panic!("{path}: the room `{from}` has no place in the house"));
        for to in heads {
            let Some(to_rank) = rank_of(&to) else { continue };
            let allowed = to == from
                || (from_rank == RANKS.len() - 1 && to_rank == from_rank)
                || ALSO.contains(&(from, &to))
                || if from == "simulator" {
                    SIMULATOR_KNOWS.contains(&&*to)
                } else {
                    to_rank > from_rank && (to != "simulator" || from == "cli")
                };
            if !allowed {
                wrong.push(format!("{path}: {from} → {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn an_outside_crate_has_one_door() {
    let mut wrong = Vec::new();
    for (path, text) in files("src", "rs") {
        let code = code_only(without_tests(&text));
        for (outside, places) in DOORS {
            // A module of ours may bear the crate's name (`ledger::redis`): only a path that starts with it is the crate.
            let named = [format!("use {outside}::"), format!("use {outside};"), format!("::{outside}::")];
            let named = code.lines().any(|line| {
                let line = line.replace("crate::ledger::redis::", "");
                named[..2].iter().any(|n| line.contains(n.as_str()))
                    || line.match_indices(named[2].as_str()).any(|(at, _)| !line[..at].ends_with(is_word))
                    || (outside != "redis"
                        && line
                            .match_indices(&format!("{outside}::"))
                            .any(|(at, _)| !line[..at].ends_with(|c| is_word(c) || c == ':')))
            });
            if named && !places.iter().any(|place| path.starts_with(place)) {
                wrong.push(format!("{path} names `{outside}`, whose door is {places:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
