//! What `setup` would do: each file with its text before and after. Nothing is written before all of them are known.

use std::path::PathBuf;

use anyhow::{Context, bail};

use super::write::current;
use crate::setup::{Places, Target, Tool, ToolFile};

pub(crate) struct PlannedFile {
    pub path: PathBuf,
    /// `None`: there is no file.
    pub before: Option<(Vec<u8>, u32)>,
    pub after: String,
    /// Permissions; `None`: the usual ones of a new file.
    pub mode: Option<u32>,
}

impl PlannedFile {
    pub(crate) fn is_changed(&self) -> bool {
        let Some((bytes, mode)) = &self.before else { return true };
        bytes != self.after.as_bytes() || self.mode != Some(*mode)
    }

    pub(super) fn is_new(&self) -> bool {
        self.before.is_none()
    }
}

/// Reads the files of the tool and makes the changes in their texts.
pub(crate) fn plan(tool: &Tool, target: &Target) -> anyhow::Result<Vec<PlannedFile>> {
    (tool.files)(target).iter().map(|file| planned(file, &target.places)).collect()
}

pub(super) fn planned(file: &ToolFile, places: &Places) -> anyhow::Result<PlannedFile> {
    let before = current(&file.path)?;
    let name = places.short(&file.path);
    let bytes = before.as_ref().map_or(&[][..], |(bytes, _)| bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { bail!("{name} is not text in UTF-8; it was left as it is") };
    let after = file.edited(text).with_context(|| format!("{name} was left as it is"))?;
    let mode = match (&before, file.is_secret) {
        (Some((_, mode)), true) => Some(mode & super::write::PRIVATE),
        (Some((_, mode)), false) => Some(*mode),
        (None, true) => Some(super::write::PRIVATE),
        (None, false) => None,
    };
    Ok(PlannedFile { path: file.path.clone(), before, after, mode })
}
