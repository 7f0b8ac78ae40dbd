//! The files of a tool: whether they say what `setup` would write.

use super::report::Finding;
use crate::{
    cli::setup::plan::plan,
    setup::{Target, Tool},
};

pub(super) fn check(tool: &Tool, target: &Target) -> Finding {
    const CHECK: &str = "tool";
    let again = format!("run `tollfree setup {}`", tool.id);
    let planned = match plan(tool, target) {
        Ok(planned) => planned,
        Err(error) => return Finding::bad(CHECK, format!("{error:#}"), format!("mend the file by hand, then {again}")),
    };
    let names = |files: Vec<&std::path::PathBuf>| {
        files.iter().map(|path| target.places.short(path)).collect::<Vec<_>>().join(", ")
    };
    let missing: Vec<_> = planned.iter().filter(|file| file.before.is_none()).map(|file| &file.path).collect();
    if !missing.is_empty() {
        return Finding::bad(CHECK, format!("{} is not set up: {} is missing", tool.name, names(missing)), again);
    }
    let changed: Vec<_> = planned.iter().filter(|file| file.is_changed()).map(|file| &file.path).collect();
    if !changed.is_empty() {
        let message = format!("{} has other settings than this gateway and key need: {}", tool.name, names(changed));
        return Finding::bad(CHECK, message, format!("{again} (--dry-run shows the difference)"));
    }
    let set: Vec<&str> = tool.overriding.iter().copied().filter(|name| target.places.var(name).is_some()).collect();
    if !set.is_empty() {
        let list = set.join(", ");
        return Finding::warning(
            CHECK,
            format!("{list} of this shell may win over the files of {}", tool.name),
            format!("unset {list}"),
        );
    }
    Finding::good(CHECK, format!("{} is set up for this gateway and this key", tool.name))
}
