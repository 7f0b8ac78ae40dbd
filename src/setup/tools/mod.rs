//! The table of tools. Each has a file of its own here: where its settings are, what is written, and what is documented.

mod aider;
mod claude_code;
mod codex;
mod r#continue;
mod crush;
mod goose;
mod llm;
mod opencode;
mod qwen_code;
mod zed;

use super::{ToolFile, target::Target};

/// A tool that `tollfree setup` configures.
pub(crate) struct Tool {
    /// As on the command line and in addresses: `claude-code`.
    pub id: &'static str,
    pub name: &'static str,
    /// The program to start.
    pub program: &'static str,
    /// Where its authors describe the settings that are written.
    pub documentation: &'static str,
    /// Whether the tests run the tool itself after `setup`.
    pub is_tried: bool,
    pub files: fn(&Target) -> Vec<ToolFile>,
    /// How `tollfree launch` starts the tool without a secret on disk.
    pub launch: fn(&Target) -> Start,
    /// What a person must know, or still has to do.
    pub notes: fn(&Target) -> Vec<String>,
    /// Variables of the environment that win over the file.
    pub overriding: &'static [&'static str],
}

#[derive(Debug, Default)]
pub(crate) struct Start {
    pub env: Vec<(&'static str, String)>,
    /// Before the arguments of the person.
    pub args: Vec<String>,
    /// Files without secrets that must exist.
    pub files: Vec<ToolFile>,
}

/// In the order in which they are listed.
pub(crate) static TOOLS: [Tool; 10] = [
    claude_code::TOOL,
    codex::TOOL,
    opencode::TOOL,
    aider::TOOL,
    llm::TOOL,
    r#continue::TOOL,
    goose::TOOL,
    qwen_code::TOOL,
    crush::TOOL,
    zed::TOOL,
];

pub(crate) fn tool(id: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.id == id)
}

/// The file of the client key, for tools that refer to it.
fn key_file(target: &Target) -> ToolFile {
    ToolFile::own(target.key_file(), format!("{}\n", target.key())).secret()
}

fn no_notes(_: &Target) -> Vec<String> {
    Vec::new()
}
