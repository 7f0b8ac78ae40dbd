//! `tollfree data`: the state of a gateway without Redis.

use anyhow::Context;

use super::{UsageError, load, print, progress::Progress};
use crate::{
    app,
    ledger::embedded::{self, Contents},
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  tollfree data check      reads the whole state and counts what is there
  tollfree data repair     sets damaged files aside and keeps what can be read of them

Stop the gateway first: only one process can use a data directory.
Exit codes: 0 success, 1 the state is damaged or in use.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Read the whole state and count what is there
    Check,
    /// Set damaged files aside and keep what can be read of them
    Repair,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let settings = load()?.settings;
    if settings.redis_url.is_some() {
        let message = "REDIS_URL is set: the state is in Redis, and there is no data directory";
        return Err(UsageError(message.to_owned()).into());
    }
    let directory = app::data_dir(&settings)?;
    match arguments.action {
        Action::Check => {
            let progress = Progress::start("Reading the state:".to_owned());
            let contents = embedded::check(&directory)?;
            drop(progress);
            print(&format!("The state in `{}` is sound: {}.", directory.display(), describe(contents)))
        }
        Action::Repair => {
            let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
            let progress = Progress::start("Reading what can be read:".to_owned());
            let repaired = embedded::repair(&directory, &now).context("nothing was repaired")?;
            drop(progress);
            print(&format!(
                "Kept {} in `{}`. The damaged files are in `{}`: delete them when nothing is missed.\n\
                 Counters of windows that were lost start empty, and the first refusal of a provider corrects each.",
                describe(repaired.kept),
                directory.display(),
                repaired.damaged.display()
            ))
        }
    }
}

fn describe(Contents { keys, clients }: Contents) -> String {
    let of_clients = format!("{clients} client key{}", if clients == 1 { "" } else { "s" });
    format!("{of_clients}, {keys} {} in all", if keys == 1 { "entry" } else { "entries" })
}
