//! `tollfree launch`: starts a tool with the environment it needs, and no secret on disk.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::bail;

use super::{
    gateway_access::{GatewayArgs, places},
    print_error, runtime,
    setup::{self, record::Record},
};
use crate::setup::tool;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  tollfree launch claude-code --url https://gateway.example
  TOLLFREE_CLIENT_KEY=sk-tf-… tollfree launch codex -- exec 'explain this folder'

The tool replaces this process. The key is in its environment only; files that are written hold no
secret. Zed has no other way to learn of a gateway than its settings: `tollfree setup zed --undo`
restores them.")]
pub(super) struct Arguments {
    /// The tool to start
    #[arg(value_parser = setup::ids())]
    tool: String,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Arguments of the tool
    #[arg(last = true, value_name = "ARGUMENTS")]
    passed_on: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Some(tool) = tool(&arguments.tool) else { bail!("there is no tool `{}`", arguments.tool) };
    let places = places()?;
    let record = Record::load(&places, tool.id)?;
    let target = runtime()?.block_on(arguments.gateway.target(places, record.as_ref()))?;
    for note in (tool.notes)(&target) {
        print_error(&format!("tollfree: {note}"));
    }
    let start = (tool.launch)(&target);
    for file in setup::write_to_launch(tool, &target, &start.files, record)? {
        let path = target.places.short(&file.path);
        print_error(&format!("tollfree: {path} was changed; `tollfree setup {} --undo` restores it", tool.id));
    }
    let error = Command::new(tool.program).args(&start.args).args(&arguments.passed_on).envs(start.env).exec();
    bail!("cannot start `{}`: {error}; is {} installed? See {}", tool.program, tool.name, tool.documentation)
}
