//! A file that a tool reads, and what is written into it.

use std::path::PathBuf;

use super::edit::{Change, EditError, Format, apply};

/// One file that a tool reads.
#[derive(Debug, Clone)]
pub(crate) struct ToolFile {
    pub path: PathBuf,
    pub content: Content,
    /// Only its owner may read it.
    pub is_secret: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Settings beside those of the person.
    Changes(Format, Vec<Change>),
    /// The whole text of a file in which the person may have had another.
    Whole(String),
    /// The whole text of a file that nothing but this program writes.
    Own(String),
}

impl ToolFile {
    pub(crate) fn changes(path: PathBuf, format: Format, changes: Vec<Change>) -> Self {
        Self { path, content: Content::Changes(format, changes), is_secret: false }
    }

    pub(crate) fn whole(path: PathBuf, text: String) -> Self {
        Self { path, content: Content::Whole(text), is_secret: false }
    }

    pub(crate) fn own(path: PathBuf, text: String) -> Self {
        Self { path, content: Content::Own(text), is_secret: false }
    }

    pub(crate) fn is_own(&self) -> bool {
        matches!(self.content, Content::Own(_))
    }

    pub(crate) fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// The new text of the file whose text is `current`.
    pub(crate) fn edited(&self, current: &str) -> Result<String, EditError> {
        match &self.content {
            Content::Changes(format, changes) => apply(*format, current, changes),
            Content::Whole(text) | Content::Own(text) => Ok(text.clone()),
        }
    }
}
