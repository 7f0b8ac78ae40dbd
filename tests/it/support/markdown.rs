//! The documents of the repository, and their blocks of code.

use std::path::{Path, PathBuf};

/// Every page, without those of dependencies.
pub(crate) fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["", "docs", "docs/decisions", "k8s", "helm/tollfree"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        found.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    found.sort();
    found
}

pub(crate) struct Block {
    /// `docs/clients.md:5`
    pub place: String,
    pub page: PathBuf,
    /// Empty where the page names none.
    pub language: String,
    /// `<!-- tried by X -->` in the line above: what tries it instead of the test of the documents.
    pub tried_by: Option<String>,
    pub text: String,
}

impl Block {
    /// Lines without comments at their end; continued ones are joined.
    pub(crate) fn commands(&self) -> Vec<String> {
        let mut commands: Vec<String> = Vec::new();
        let mut is_continued = false;
        for line in self.text.lines() {
            let line = line.split("  #").next().unwrap().trim();
            let bare = line.trim_end_matches('\\');
            match commands.last_mut().filter(|_| is_continued) {
                Some(command) => command.push_str(bare),
                None if bare.is_empty() || bare.starts_with('#') => continue,
                None => commands.push(bare.to_owned()),
            }
            is_continued = line.ends_with('\\');
        }
        commands
    }
}

/// The blocks of every page.
pub(crate) fn blocks() -> Vec<Block> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let (mut open, mut tried_by): (Option<Block>, _) = (None, None);
        for (line, number) in text.lines().zip(1..) {
            let fence = line.trim_start().strip_prefix("```");
            match (&mut open, fence) {
                (Some(_), Some(_)) => found.extend(open.take()),
                (Some(block), None) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, Some(language)) => {
                    let place = format!("{}:{number}", page.strip_prefix(root).unwrap().display());
                    let (page, language, tried_by) = (page.clone(), language.to_owned(), tried_by.take());
                    open = Some(Block { place, page, language, tried_by, text: String::new() });
                }
                (None, None) => {
                    let mark = line.trim().strip_prefix("<!-- tried by ").and_then(|rest| rest.strip_suffix(" -->"));
                    if mark.is_some() || !line.trim().is_empty() {
                        tried_by = mark.map(str::to_owned);
                    }
                }
            }
        }
        assert!(open.is_none(), "{}: a block has no end", page.display());
    }
    found
}
