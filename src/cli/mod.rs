//! The commands. The only room that prints.

use std::{collections::BTreeMap, io::Write, process::ExitCode};

use clap::{Parser, Subcommand};

mod catalog;
mod check;
mod demo;
mod healthcheck;
mod keys;
mod serve;

use crate::{
    catalog::CatalogError,
    config::{self, ConfigError, Loaded},
};

/// One OpenAI-compatible endpoint over every free LLM tier.
///
/// Every replica shares one exact budget, so that no provider's limit is overrun and none is left unused.
#[derive(Parser)]
#[command(name = "tollfree", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tollfree demo                         no account needed: simulated providers
  GROQ_API_KEY=gsk_… tollfree serve     a gateway on http://127.0.0.1:3000/v1
  REDIS_URL=redis://… tollfree serve    one of several replicas that share a budget
  tollfree keys create ann --rpm 10     a key for a member of the team

Settings come from the environment, a `.env` and `tollfree.toml`; see `.env.example`.
Exit codes: 0 done, 1 failed, 2 wrong arguments or a wrong configuration.";

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::Arguments),
    /// Run simulated providers that enforce the real free-tier limits, and a gateway on them
    Demo(demo::Arguments),
    /// Make, show and change the keys of a team's members
    Keys(Box<keys::Arguments>),
    /// Validate the configuration and show what is in force
    Check(check::Arguments),
    /// Show providers, models, limits in force, and where each figure came from
    Catalog(catalog::Arguments),
    /// Succeed when the local gateway is ready for traffic (for a container's HEALTHCHECK)
    Healthcheck(healthcheck::Arguments),
}

/// Parses the arguments and does what they say.
pub fn run() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Keys(arguments) => keys::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Catalog(arguments) => catalog::run(&arguments),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("tollfree: {}", words(&error)));
            if error.is::<ConfigError>() || error.is::<CatalogError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// An error and its causes as one message, each said once; a backtrace tells an operator nothing.
fn words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        before if before.contains(&cause) => said,
        before => format!("{before}: {cause}"),
    })
}

/// The configuration of this process's environment and working directory.
fn load() -> anyhow::Result<Loaded> {
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Ok(config::load(&env, &std::env::current_dir()?)?)
}

/// A runtime for a command that waits; servers have their own threads beside it. One thread: what runs here (the line
/// to Redis, settlements, the journal) is many short turns, and a second one would mostly be woken to find nothing.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

fn say(text: &str) {
    // A reader that has seen enough (`| head`) is no failure.
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[expect(clippy::print_stderr, reason = "the terminal is this room's output")]
fn complain(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn each_cause_is_said_once() {
        let error = anyhow!("no space").context("cannot write: no space").context("the ledger");
        assert_eq!(words(&error), "the ledger: cannot write: no space");
    }

    #[test]
    fn the_commands_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
