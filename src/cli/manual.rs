//! Shell completions and manual pages, made from the definition of the commands.

use std::path::PathBuf;

use anyhow::Context;
use clap_complete::Shell;

use super::print;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  tollfree completions bash > /usr/share/bash-completion/completions/tollfree
  tollfree completions zsh > \"${fpath[1]}/_tollfree\"
  tollfree completions fish > ~/.config/fish/completions/tollfree.fish")]
pub(super) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  tollfree man | man -l -                            shows the page of `tollfree`
  tollfree man --dir /usr/local/share/man/man1       writes a page for each command")]
pub(super) struct ManArgs {
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub(super) fn completions(arguments: &CompletionArgs, mut command: clap::Command) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "tollfree", &mut text);
    print(&String::from_utf8(text)?)
}

pub(super) fn man(arguments: &ManArgs, command: clap::Command) -> anyhow::Result<()> {
    let Some(folder) = &arguments.dir else {
        let mut text = Vec::new();
        clap_mangen::Man::new(command).render(&mut text)?;
        return print(&String::from_utf8(text)?);
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    clap_mangen::generate_to(command, folder).with_context(|| format!("cannot write into {}", folder.display()))
}
