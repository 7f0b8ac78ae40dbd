//! What `setup` shows.

use std::fmt::Write;

use serde_json::{Value, json};
use similar::TextDiff;

use super::{plan::PlannedFile, record::Record};
use crate::setup::{Offer, Places, Target, Tool};

/// What was written, and what to do next.
pub(super) fn done(tool: &Tool, target: &Target, planned: &[PlannedFile]) -> String {
    let mut out = String::new();
    let is_changed = planned.iter().any(PlannedFile::is_changed);
    let state = if is_changed { "now uses" } else { "already uses" };
    let _ = writeln!(out, "{} {state} {} with {}.\n", tool.name, target.gateway.url, described(&target.model));
    for file in planned {
        let what = match () {
            () if file.is_new() => "new",
            () if file.is_changed() => "changed",
            () => "unchanged",
        };
        let _ = writeln!(out, "  {what:<10} {}", target.places.short(&file.path));
    }
    for note in (tool.notes)(target) {
        let _ = writeln!(out, "\n  Note: {note}.");
    }
    for name in tool.overriding.iter().filter(|name| target.places.var(name).is_some()) {
        let _ = writeln!(out, "\n  Note: {name} is set in this shell and may win over the file: `unset {name}`.");
    }
    let _ = write!(
        out,
        "\n  Start      {}\n  Check      tollfree doctor {}\n  Undo       tollfree setup {} --undo\n",
        tool.program, tool.id, tool.id
    );
    out
}

/// The name of a model with its sizes.
fn described(offer: &Offer) -> String {
    let context = offer.context_tokens.map(|tokens| format!("{tokens} tokens of context"));
    let output = offer.output_tokens_max.map(|tokens| format!("at most {tokens} in an answer"));
    let sizes: Vec<String> = context.into_iter().chain(output).collect();
    if sizes.is_empty() { format!("`{}`", offer.name) } else { format!("`{}` ({})", offer.name, sizes.join(", ")) }
}

/// Unified diffs. The key is shown by the part that identifies it.
pub(super) fn diff(places: &Places, planned: &[PlannedFile], (secret, masked): (&str, &str)) -> String {
    let mut out = String::new();
    for file in planned.iter().filter(|file| file.is_changed()) {
        let before =
            file.before.as_ref().map_or_else(String::new, |(bytes, _)| String::from_utf8_lossy(bytes).into_owned());
        let name = places.short(&file.path);
        let from = if file.is_new() { "/dev/null" } else { &name };
        let (before, after) = (before.replace(secret, masked), file.after.replace(secret, masked));
        let _ = write!(out, "{}", TextDiff::from_lines(&before, &after).unified_diff().header(from, &name));
        if let (Some((_, old)), Some(new)) = (&file.before, file.mode)
            && *old != new
        {
            let _ = writeln!(out, "{name}: permissions {old:o} → {new:o}");
        }
    }
    if out.is_empty() { "Nothing to change.".to_owned() } else { out }
}

pub(super) fn undone(tool: &Tool, places: &Places, done: &Value) -> String {
    let mut out = format!("{} is as it was before `setup`.\n\n", tool.name);
    for file in done["files"].as_array().into_iter().flatten() {
        let path = file["path"].as_str().unwrap_or_default();
        let _ = writeln!(out, "  {:<10} {}", file["result"].as_str().unwrap_or_default(), places.short(path.as_ref()));
    }
    out
}

pub(super) fn list(records: &[(&Tool, Option<Record>)]) -> String {
    let mut out = String::from("Tools that `tollfree setup TOOL --url URL` configures:\n\n");
    for (tool, record) in records {
        let state =
            record.as_ref().map_or_else(String::new, |record| format!("uses {} with {}", record.url, record.model));
        let line = format!("  {:<12} {:<12} {state}", tool.id, tool.name);
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out.push_str(
        "\nOthers (Cline, Open WebUI, LangChain, …): see docs/clients.md or `Get started` in the dashboard.\n",
    );
    out
}

pub(super) fn list_json(records: &[(&Tool, Option<Record>)]) -> Value {
    let tool = |(tool, record): &(&Tool, Option<Record>)| {
        json!({
            "id": tool.id, "name": tool.name, "documentation": tool.documentation, "tried": tool.is_tried,
            "url": record.as_ref().map(|record| &record.url), "model": record.as_ref().map(|record| &record.model),
        })
    };
    records.iter().map(tool).collect()
}
