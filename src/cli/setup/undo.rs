//! `tollfree setup <tool> --undo`: the bytes from before.

use std::fs;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{
    record::{Record, RecordedFile, digest},
    write::{current, replace},
};
use crate::setup::{Places, Tool};

/// Restores every file or, if one was changed since and `force` is not set, none. Returns what was done, as JSON.
pub(super) fn undo(tool: &Tool, places: &Places, force: bool) -> anyhow::Result<Value> {
    let Some(record) = Record::load(places, tool.id)? else {
        bail!("{} was not set up here: there is nothing to undo", tool.name);
    };
    let is_shared = |file: &RecordedFile| file.is_key && Record::is_used_by_others(places, tool.id, &file.path);
    let files: Vec<&RecordedFile> = record.files.iter().filter(|file| !is_shared(file)).collect();
    if !force {
        for file in files.iter().filter(|file| !file.is_key) {
            let now = current(&file.path)?.map(|(bytes, _)| digest(&bytes));
            if now.as_ref().is_some_and(|now| *now != file.written_sha256) {
                let before = file.before.as_ref().map_or_else(String::new, |copy| format!(" ({})", places.short(copy)));
                bail!(
                    "{} was changed after `setup`, and undoing would lose that: nothing was changed. --force restores what was \
                     there before{before}",
                    places.short(&file.path)
                );
            }
        }
    }
    let mut done = Vec::new();
    for file in files {
        let what = match &file.before {
            Some(copy) => {
                let bytes = fs::read(copy).with_context(|| format!("cannot read {}", copy.display()))?;
                replace(&file.path, &bytes, file.mode)?;
                "restored"
            }
            None if current(&file.path)?.is_some() => {
                fs::remove_file(&file.path).with_context(|| format!("cannot remove {}", file.path.display()))?;
                "removed"
            }
            None => "absent",
        };
        done.push(json!({ "path": file.path, "result": what }));
    }
    Record::delete(places, tool.id)?;
    Ok(json!({ "tool": tool.id, "files": done }))
}
