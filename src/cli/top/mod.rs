//! `tollfree top`: the pool live in a terminal, as a running gateway sees it. Without a terminal it prints one table.

mod screen;
mod table;

use std::{
    io::{IsTerminal, stdout},
    time::Duration,
};

use serde_json::Value;

use self::screen::{Screen, View};
use super::{
    admin_store::{AdminStore, call},
    load, print, runtime,
};
use crate::upstream::admin_client::AdminClient;

/// Columns of the table where there is no terminal.
const COLUMNS: usize = 160;

#[derive(clap::Args)]
#[command(after_help = "\
Keys: q or Esc quits, a shows every limit or only those in use, arrows and PgUp/PgDn scroll, p pauses.

The gateway at HOST:PORT (or --url) is called with its TOLLFREE_ADMIN_KEY. All replicas show the same
pool. When the standard output is no terminal, one table is printed.")]
pub(super) struct Arguments {
    /// The gateway's address
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Seconds between two looks
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    interval: u64,
    /// Show every limit, also those that are not in use
    #[arg(long)]
    all: bool,
    /// Print one table and end
    #[arg(long)]
    once: bool,
    /// Print the pool once as JSON, as `GET /admin/v1/budget` has it, and end
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = load()?;
    let gateway = AdminStore::gateway(&loaded.settings, arguments.url.as_deref())?;
    runtime()?.block_on(async {
        let budget = budget(&gateway).await?;
        if arguments.json {
            return print(&budget.to_string());
        }
        if arguments.once || !stdout().is_terminal() {
            return print(&plain(&budget, arguments.all));
        }
        live(&gateway, budget, arguments).await
    })
}

async fn budget(gateway: &AdminClient) -> anyhow::Result<Value> {
    call(gateway, "GET", "/admin/v1/budget", None).await
}

fn plain(budget: &Value, all: bool) -> String {
    let rows = table::rows(budget, all);
    let mut lines = vec![screen::title(&table::summary(budget), None)];
    if rows.is_empty() {
        lines.push("No limit is in use.".to_owned());
    } else {
        lines.extend(table::lines(&rows, COLUMNS));
    }
    lines.join("\n")
}

/// Draws until the user quits. A gateway that does not answer is shown as such, and called again.
async fn live(gateway: &AdminClient, first: Value, arguments: &Arguments) -> anyhow::Result<()> {
    let mut screen = Screen::open()?;
    let mut view = View::new(first, arguments.all);
    let interval = Duration::from_secs(arguments.interval);
    loop {
        screen.draw(&view)?;
        // Reading keys blocks its thread.
        let waited = tokio::task::spawn_blocking(move || screen::next_key(interval)).await?;
        match waited? {
            Some(key) => {
                if !view.press(key) {
                    return Ok(());
                }
            }
            None if view.is_paused() => {}
            None => view.update(budget(gateway).await),
        }
    }
}
