//! The documents agree with the source tree: the map of folders, the settings, and links between pages.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use tollfree::config;

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

#[test]
fn the_configuration_page_lists_every_setting() {
    let empty = tempfile::tempdir().unwrap();
    let sources = config::load(&BTreeMap::new(), empty.path()).unwrap().settings.sources;
    let text = page("docs/configuration.md");
    for name in sources.iter().map(|setting| &setting.name).filter(|name| name.contains('.')) {
        assert!(text.contains(&format!("| `{name}` |")), "{name} is not in docs/configuration.md");
    }
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
    let folders = ["docs", "docs/decisions"].map(|folder| std::fs::read_dir(root().join(folder)).unwrap());
    let docs = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let others = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "k8s/README.md"];
    let pages = docs.chain(others.map(|page| root().join(page)));
    for file in pages.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
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
