//! The commands. The only room that prints.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, IsTerminal, Write},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};

mod admin_store;
mod catalog;
mod catalog_file;
mod check;
mod data;
mod demo;
mod doctor;
mod gateway_access;
mod healthcheck;
mod keys;
mod kind_probe;
mod launch;
mod manual;
mod progress;
mod providers;
mod secret_prompt;
mod serve;
mod setup;
mod startup;
mod style;
mod top;

use crate::{
    catalog::CatalogError,
    config::{self, ConfigError, Loaded, travelling_catalogue},
};

/// One OpenAI-compatible endpoint over every free LLM tier.
///
/// All replicas share one exact budget: no provider's limit is exceeded, and none is left unused.
#[derive(Parser)]
#[command(name = "tollfree", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  tollfree demo                         simulated providers, no account needed
  GROQ_API_KEY=gsk_… tollfree serve     a gateway on http://127.0.0.1:3000/v1
  REDIS_URL=redis://… tollfree serve    one of several replicas that share a budget
  tollfree keys create ann --rpm 10     a key for a client of the gateway
  tollfree setup codex --url https://…  configures Codex for a gateway
  tollfree doctor codex                 finds out why it does not work
  tollfree                              on a terminal: `tollfree serve --or-demo`

Settings come from the environment, from `.env` and from `tollfree.toml`; see `.env.example`.
Exit codes: 0 success, 1 failure, 2 wrong arguments or a wrong configuration.";

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::Arguments),
    /// Run a gateway on simulated providers that enforce the real free-tier limits
    Demo(demo::Arguments),
    /// Create, list and change client keys
    Keys(Box<keys::Arguments>),
    /// Add, try and change provider keys at run time
    Providers(providers::Arguments),
    /// Look through the data directory, or keep what can be read of a damaged one
    Data(data::Arguments),
    /// Show the pool of a running gateway live in the terminal
    Top(top::Arguments),
    /// Configure a coding agent or another tool for a gateway
    Setup(Box<setup::Arguments>),
    /// Start a tool that uses a gateway, with the key in its environment only
    Launch(Box<launch::Arguments>),
    /// Check what is between this machine and a working tool, and say how to mend it
    Doctor(Box<doctor::Arguments>),
    /// Validate the configuration and show the settings in force
    Check(check::Arguments),
    /// Show providers, models and limits in force, and the source of each figure
    Catalog(catalog::Arguments),
    /// Succeed when the local gateway is ready (for a container's HEALTHCHECK)
    Healthcheck(healthcheck::Arguments),
    /// Print the completions of a shell
    Completions(manual::CompletionArgs),
    /// Print the manual page, or write those of all commands
    Man(manual::ManArgs),
}

/// A mistake in the arguments that only the command itself can find. Exit code 2, as for those that clap finds.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// Runs the command of the process's arguments.
pub fn run() -> ExitCode {
    let Some(command) = Arguments::parse().command.or_else(alone) else {
        let _ = Arguments::command().write_help(&mut std::io::stderr());
        return ExitCode::from(2);
    };
    let result = match command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Keys(arguments) => keys::run(arguments),
        Command::Providers(arguments) => providers::run(arguments),
        Command::Data(arguments) => data::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Setup(arguments) => setup::run(&arguments),
        Command::Launch(arguments) => launch::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Catalog(arguments) => catalog::run(&arguments),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments),
        Command::Completions(arguments) => manual::completions(&arguments, Arguments::command()),
        Command::Man(arguments) => manual::man(&arguments, Arguments::command()),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    print_error(&format!("tollfree: {}", message(&error)));
    let is_usage = error.is::<UsageError>() || error.is::<ConfigError>() || error.is::<CatalogError>();
    if is_usage { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// What `tollfree` alone does for a person at a terminal. Programs and pipes get the help instead.
fn alone() -> Option<Command> {
    let is_person = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    is_person.then(|| {
        print_error("tollfree: starting `tollfree serve --or-demo`; `tollfree --help` lists the commands");
        Command::Serve(serve::Arguments::or_demo())
    })
}

/// An error and its causes in one line, without the causes that an earlier message repeats.
fn message(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |message, cause| match message.as_str() {
        "" => cause,
        before if before.contains(&cause) => message,
        before => format!("{before}: {cause}"),
    })
}

/// The configuration of this process's environment and working directory.
fn load() -> anyhow::Result<Loaded> {
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let directory = std::env::current_dir()?;
    let loaded = config::load(&env, &directory)?;
    match travelling_catalogue::adopt_kept(&loaded.settings) {
        Ok(false) => Ok(loaded),
        // The variables of keys, for one, stand in the catalogue.
        Ok(true) => Ok(config::load(&env, &directory)?),
        Err(note) => Ok(Loaded { notes: loaded.notes.into_iter().chain([note]).collect(), ..loaded }),
    }
}

/// The runtime of a command. One thread, because its work (Redis connections, settlements, the journal) consists of many
/// short steps; the HTTP server has threads of its own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        // The reader needs no more, as in `tollfree catalog | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result.map_err(|error| anyhow::anyhow!("cannot write to the standard output: {error}"))?),
    }
}

#[expect(clippy::print_stderr, reason = "the terminal is this room's output")]
fn print_error(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cause_is_not_repeated() {
        let error = anyhow!("no space").context("cannot write: no space").context("the ledger");
        assert_eq!(message(&error), "the ledger: cannot write: no space");
    }

    #[test]
    fn the_commands_are_consistent() {
        Arguments::command().debug_assert();
    }
}
