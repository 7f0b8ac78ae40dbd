//! The files of a tool as the scripts of the gateway receive them.

use std::fmt::Write as _;

use data_encoding::BASE64;

use super::{Content, EditError, Target, Tool};

/// Variables that say where tools have their files. The scripts send those that are set.
pub(crate) const VARIABLES: [&str; 7] = [
    "XDG_CONFIG_HOME",
    "CLAUDE_CONFIG_DIR",
    "CODEX_HOME",
    "LLM_USER_PATH",
    "CONTINUE_GLOBAL_DIR",
    "QWEN_HOME",
    "CRUSH_GLOBAL_CONFIG",
];

/// A line per file: its mode (`600`, or `-` for the usual), its kind (`edit`: merged; `whole`: replaced; `own`: nothing else writes
/// it), and its path and new text in Base64. `current`: the text of the file with this number, or nothing.
pub(crate) fn lines(
    tool: &Tool,
    target: &Target,
    current: impl Fn(usize) -> String,
) -> Result<String, (String, EditError)> {
    let mut lines = String::new();
    for (number, file) in (tool.files)(target).iter().enumerate() {
        let path = file.path.display().to_string();
        let text = file.edited(&current(number)).map_err(|error| (target.places.short(&file.path), error))?;
        let mode = if file.is_secret { "600" } else { "-" };
        let kind = match file.content {
            Content::Changes(..) => "edit",
            Content::Whole(_) => "whole",
            Content::Own(_) => "own",
        };
        let (path, text) = (BASE64.encode(path.as_bytes()), BASE64.encode(text.as_bytes()));
        // Writing into a String cannot fail.
        let _ = writeln!(lines, "{mode} {kind} {path} {text}");
    }
    Ok(lines)
}
