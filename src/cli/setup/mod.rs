//! `tollfree setup`: writes the gateway, the key and the models into a tool's own files, and takes them out again.

pub(crate) mod plan;
pub(crate) mod record;
mod render;
mod undo;
mod write;

use anyhow::bail;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use self::{
    plan::{PlannedFile, plan},
    record::{Record, RecordedFile, digest, keep_copy},
    write::{current, replace},
};
use super::{
    UsageError,
    gateway_access::{GatewayArgs, masked, places},
    print, runtime,
};
use crate::setup::{Places, TOOLS, Target, Tool, ToolFile, tool};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  tollfree setup claude-code --url https://gateway.example     asks for the key
  tollfree setup codex --dry-run                               shows the changes and writes nothing
  tollfree setup codex --undo                                  the files as they were before
  tollfree setup                                               the tools, and which are set up

Settings of yours, comments and the order of the files stay. The key is stored once, in
~/.config/tollfree/keys, readable only by you; tools that cannot read it there have it in their own
file, which is then readable only by you. Windows and limits of the models are those of the key.")]
pub(super) struct Arguments {
    /// The tool to set up; without it, the list of tools
    #[arg(value_parser = ids())]
    tool: Option<String>,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Show the changes of each file and write nothing
    #[arg(long, conflicts_with = "undo")]
    dry_run: bool,
    /// Restore the files as they were before the first `setup`
    #[arg(long)]
    undo: bool,
    /// With --undo: also files that were changed since
    #[arg(long, requires = "undo")]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The ids of the table, for messages and completions.
pub(super) fn ids() -> PossibleValuesParser {
    PossibleValuesParser::new(TOOLS.iter().map(|tool| clap::builder::PossibleValue::new(tool.id).help(tool.name)))
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let places = places()?;
    let Some(id) = &arguments.tool else {
        return if arguments.undo || arguments.dry_run {
            Err(UsageError("which tool? `tollfree setup` lists them".to_owned()).into())
        } else {
            list(&places, arguments.json)
        };
    };
    let Some(tool) = tool(id) else { bail!("there is no tool `{id}`") };
    if arguments.undo {
        let done = undo::undo(tool, &places, arguments.force)?;
        return print(&if arguments.json { done.to_string() } else { render::undone(tool, &places, &done) });
    }
    let record = Record::load(&places, tool.id)?;
    let target = runtime()?.block_on(arguments.gateway.target(places, record.as_ref()))?;
    let planned = plan(tool, &target)?;
    if arguments.dry_run {
        let secret = (target.key(), masked(&target.key));
        return print(&if arguments.json {
            report(tool, &target, &planned).to_string()
        } else {
            render::diff(&target.places, &planned, (secret.0, &secret.1))
        });
    }
    let report = report(tool, &target, &planned);
    write_all(tool, &target, &planned, record)?;
    print(&if arguments.json { report.to_string() } else { render::done(tool, &target, &planned) })
}

/// Copies first, then the record, then the files: whatever fails, `--undo` finds the bytes from before.
fn write_all(tool: &Tool, target: &Target, planned: &[PlannedFile], record: Option<Record>) -> anyhow::Result<()> {
    let places = &target.places;
    let mut files = record.map_or_else(Vec::new, |record| record.files);
    for file in planned {
        if current(&file.path)? != file.before {
            bail!("{} was changed meanwhile: run the command again", places.short(&file.path));
        }
        let written_sha256 = digest(file.after.as_bytes());
        if let Some(known) = files.iter_mut().find(|known| known.path == file.path) {
            known.written_sha256 = written_sha256;
            continue;
        }
        let is_key = file.path == target.key_file();
        let own = file.before.as_ref().filter(|_| !is_key);
        let before = own.map(|(bytes, _)| keep_copy(places, tool.id, files.len(), bytes)).transpose()?;
        files.push(RecordedFile {
            path: file.path.clone(),
            before,
            mode: own.map(|(_, mode)| *mode),
            written_sha256,
            is_key,
        });
    }
    Record { url: target.gateway.url.clone(), model: target.model.name.clone(), files }.save(places, tool.id)?;
    for file in planned.iter().filter(|file| file.is_changed()) {
        replace(&file.path, file.after.as_bytes(), file.mode)?;
    }
    Ok(())
}

/// Writes what a tool needs to be started, which holds no secret. The tool's own settings are recorded as by `setup`. Returns
/// those that were changed.
pub(super) fn write_to_launch(
    tool: &Tool,
    target: &Target,
    files: &[ToolFile],
    record: Option<Record>,
) -> anyhow::Result<Vec<PlannedFile>> {
    let planned = |is_own: bool| {
        let files = files.iter().filter(move |file| file.is_own() == is_own);
        files.map(|file| plan::planned(file, &target.places)).collect::<anyhow::Result<Vec<_>>>()
    };
    let mut settings = planned(false)?;
    for file in planned(true)?.iter().filter(|file| file.is_changed()) {
        replace(&file.path, file.after.as_bytes(), file.mode)?;
    }
    if settings.iter().any(PlannedFile::is_changed) {
        write_all(tool, target, &settings, record)?;
    }
    settings.retain(PlannedFile::is_changed);
    Ok(settings)
}

fn report(tool: &Tool, target: &Target, planned: &[PlannedFile]) -> Value {
    let file = |file: &PlannedFile| json!({ "path": file.path, "changed": file.is_changed(), "new": file.is_new() });
    json!({
        "tool": tool.id,
        "url": target.gateway.url,
        "model": target.model.name,
        "context_tokens": target.model.context_tokens,
        "output_tokens_max": target.model.output_tokens_max,
        "files": planned.iter().map(file).collect::<Vec<_>>(),
        "notes": (tool.notes)(target),
    })
}

fn list(places: &Places, json: bool) -> anyhow::Result<()> {
    let records: Vec<(&Tool, Option<Record>)> =
        TOOLS.iter().map(|tool| Ok((tool, Record::load(places, tool.id)?))).collect::<anyhow::Result<_>>()?;
    print(&if json { render::list_json(&records).to_string() } else { render::list(&records) })
}
