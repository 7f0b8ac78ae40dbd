//! What `setup` did to a tool's files, with their bytes from before: `~/.config/tollfree/setup/<tool>/`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::write::{PRIVATE, replace};
use crate::setup::{Places, TOOLS};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub url: String,
    pub model: String,
    pub files: Vec<RecordedFile>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RecordedFile {
    pub path: PathBuf,
    /// The copy of its bytes before the first `setup`. `None`: there was no file.
    pub before: Option<PathBuf>,
    /// Its permissions then.
    pub mode: Option<u32>,
    /// Of the bytes that were written, to find changes that were made later.
    pub written_sha256: String,
    /// The stored key, which several tools share: it goes with the last of them.
    pub is_key: bool,
}

fn folder(places: &Places, tool: &str) -> PathBuf {
    places.config("tollfree/setup").join(tool)
}

impl Record {
    /// `None` if the tool was not set up. An unreadable record is an error: it must not be replaced.
    pub(crate) fn load(places: &Places, tool: &str) -> anyhow::Result<Option<Self>> {
        let path = folder(places, tool).join("record.json");
        match fs::read(&path) {
            Ok(bytes) => {
                Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The gateway of all tools that were set up, if it is one.
    pub(crate) fn only_url(places: &Places) -> Option<String> {
        let records = TOOLS.iter().filter_map(|tool| Self::load(places, tool.id).ok().flatten());
        let mut urls: Vec<String> = records.map(|record| record.url).collect();
        urls.sort();
        urls.dedup();
        (urls.len() == 1).then(|| urls.remove(0))
    }

    pub(super) fn save(&self, places: &Places, tool: &str) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        replace(&folder(places, tool).join("record.json"), text.as_bytes(), Some(PRIVATE))
    }

    fn file(&self, path: &Path) -> Option<&RecordedFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Forgets the tool and the copies.
    pub(super) fn delete(places: &Places, tool: &str) -> anyhow::Result<()> {
        let folder = folder(places, tool);
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
    }

    /// Whether another tool that was set up refers to the file.
    pub(super) fn is_used_by_others(places: &Places, tool: &str, path: &Path) -> bool {
        let uses = |id: &str| {
            // A damaged record may name it, so that the file stays.
            Self::load(places, id).map_or(true, |record| record.is_some_and(|record| record.file(path).is_some()))
        };
        TOOLS.iter().any(|other| other.id != tool && uses(other.id))
    }
}

/// Stores the bytes of a file before its first change.
pub(super) fn keep_copy(places: &Places, tool: &str, index: usize, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    let copy = folder(places, tool).join(format!("{index}.before"));
    replace(&copy, bytes, Some(PRIVATE))?;
    Ok(copy)
}

pub(super) fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}
