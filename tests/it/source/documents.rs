//! The documents agree with the source tree: the map of folders, names of files, examples of
//! settings, and links between pages. `end_to_end::documents` runs the commands.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use tollfree::config;

use super::house_rules::files;
use crate::support::markdown::{blocks, pages};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// Folders below `folder` that contain files, as paths from the root.
fn folders(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            folders(&entry.path(), found);
        } else {
            found.insert(folder.strip_prefix(root()).unwrap().display().to_string());
        }
    }
}

#[test]
fn the_map_of_the_architecture_has_a_line_for_every_folder() {
    let mut expected = BTreeSet::new();
    for top in ["src", "lua"] {
        folders(&root().join(top), &mut expected);
    }
    expected.remove("src");
    let text = page("docs/architecture.md");
    let lines = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|(name, _)| name));
    let written: BTreeSet<String> =
        lines.filter(|name| name.starts_with("src/") || name.starts_with("lua/")).map(str::to_owned).collect();
    let missing: Vec<_> = expected.difference(&written).collect();
    let stale: Vec<_> = written.difference(&expected).collect();
    assert!(missing.is_empty() && stale.is_empty(), "docs/architecture.md: missing {missing:?}, stale {stale:?}");
}

/// Targets of Markdown links that are files of the repository.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .filter(|target| !target.starts_with("http"))
}

/// The anchor that GitHub derives from a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_between_pages_lead_somewhere() {
    for file in pages() {
        let text = std::fs::read_to_string(&file).unwrap();
        for target in targets(&text) {
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let linked: PathBuf = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            assert!(linked.exists(), "{}: {target} does not exist", file.display());
            if !heading.is_empty() {
                let linked = std::fs::read_to_string(&linked).unwrap();
                let mut headings = linked.lines().filter_map(|line| line.strip_prefix('#'));
                let found = headings.any(|line| anchor(line.trim_start_matches('#')) == heading);
                assert!(found, "{}: {target} has no such heading", file.display());
            }
        }
    }
}

/// Paths between backquotes, such as `src/catalog/providers.toml`, and targets of make.
#[test]
fn files_and_targets_that_pages_name_exist() {
    const TOPS: [&str; 10] =
        ["src/", "lua/", "tests/", "docs/", "dashboard/", "helm/", "k8s/", "deploy/", ".github/", ".cargo/"];
    let makefile = page("Makefile");
    for file in pages() {
        let text = std::fs::read_to_string(&file).unwrap();
        for words in text.split('`').skip(1).step_by(2) {
            if TOPS.iter().any(|top| words.starts_with(top)) && !words.contains([' ', '*', '…', '<', '{']) {
                assert!(root().join(words).exists(), "{}: {words} does not exist", file.display());
            }
        }
        let commands = text.split("make ").skip(1).filter_map(|rest| rest.split([' ', '`', '\n', ':', ',']).next());
        let before = text.split("make ").map(|part| part.ends_with(['`', '\n']) || part.ends_with("by "));
        for (target, _) in commands.zip(before).filter(|(_, is_command)| *is_command) {
            assert!(makefile.contains(&format!("\n{target}:")), "{}: make {target} is no target", file.display());
        }
    }
}

/// Operators search this page for what they see. Parts of a message that vary are left out of the comparison.
#[test]
fn messages_of_the_troubleshooting_page_are_those_of_the_program() {
    let mut program = String::new();
    for folder in ["src", "lua"] {
        let mut folders_of = BTreeSet::new();
        folders(&root().join(folder), &mut folders_of);
        for folder in folders_of {
            for entry in std::fs::read_dir(root().join(folder)).unwrap().map(Result::unwrap) {
                if entry.path().is_file() {
                    program.push_str(&String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).replace('`', ""));
                }
            }
        }
    }
    let from_redis = ["Password authentication failed"];
    let text = page("docs/troubleshooting.md");
    let mut compared = 0;
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let seen = row.split(" | ").next().unwrap().trim_start_matches("| ");
        let parts = seen.split(['`', '…']).map(|part| part.trim_matches([' ', ',', ':', '?']));
        for part in parts.filter(|part| part.len() >= 12 && part.contains(' ') && !from_redis.contains(part)) {
            assert!(program.contains(part), "docs/troubleshooting.md: `{part}` is no message of the program");
            compared += 1;
        }
    }
    assert!(compared >= 6, "{compared}");
}

/// The language of a block shows how it is tried, unless the line above names something else.
#[test]
fn every_block_is_tried_by_something_that_exists() {
    const LANGUAGES: [&str; 6] = ["sh", "toml", "python", "yaml", "conf", "text"];
    let makefile = page("Makefile");
    for block in blocks() {
        let place = &block.place;
        assert!(LANGUAGES.contains(&&*block.language), "{place}: `{}` is not one of {LANGUAGES:?}", block.language);
        let Some(by) = &block.tried_by else { continue };
        if let Some(target) = by.strip_prefix("make ") {
            assert!(makefile.contains(&format!("\n{target}:")), "{place}: no target {target}");
            continue;
        }
        assert!(root().join(by).exists(), "{place}: {by} does not exist");
        let tests: String = if root().join(by).is_file() {
            page(by)
        } else {
            files(by, "rs").into_iter().map(|(_, text)| text).collect()
        };
        let variables = block.text.split(|c: char| !c.is_ascii_uppercase() && c != '_').filter(|name| name.len() > 8);
        for name in variables {
            assert!(tests.contains(name), "{place}: {name} is not in {by}");
        }
    }
}

#[test]
fn every_example_of_settings_is_accepted() {
    let mut tried = 0;
    for block in blocks().iter().filter(|block| block.language == "toml" && block.tried_by.is_none()) {
        let folder = tempfile::tempdir().unwrap();
        let is_clients_file = block.text.contains("[[client]]");
        let settings = if is_clients_file { "[clients]\nfile = \"clients.toml\"\n" } else { &*block.text };
        std::fs::write(folder.path().join("tollfree.toml"), settings).unwrap();
        std::fs::write(folder.path().join("clients.toml"), &block.text).unwrap();
        config::load(&BTreeMap::new(), folder.path()).unwrap_or_else(|error| panic!("{}: {error}", block.place));
        tried += 1;
    }
    assert!(tried >= 5);
}
