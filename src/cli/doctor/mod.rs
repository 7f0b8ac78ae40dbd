//! `tollfree doctor`: what is between this machine and a working tool, checked in the order in which it matters.

mod access;
mod clock;
mod files;
mod network;
mod report;
mod streams;

use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde_json::json;
use url::Url;

use self::report::{Finding, State};
use super::{
    gateway_access::{GatewayArgs, client, places},
    print,
    progress::Progress,
    runtime,
    setup::{self, record::Record},
    style::Style,
};
use crate::setup::{Places, Tool, tool};

/// A little more than the idle time that most proxies have.
const DEFAULT_IDLE_S: u64 = 65;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  tollfree doctor --url https://gateway.example
  tollfree doctor claude-code           also its files, and the model that it uses
  tollfree doctor --idle 0              without the silent stream, which takes a minute

Each line is good, or says what is wrong and how to mend it. Nothing is changed, and no budget is
used. Exit codes: 0 nothing is bad, 1 something is, 2 wrong arguments.")]
pub(super) struct Arguments {
    /// Also check the files of this tool
    #[arg(value_parser = setup::ids())]
    tool: Option<String>,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// How long a stream is kept silent, to find proxies that cut it; 0: not at all
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_IDLE_S, value_parser = clap::value_parser!(u64).range(..=300))]
    idle: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let places = places()?;
    let tool = arguments.tool.as_deref().and_then(tool);
    let record = tool.map(|tool| Record::load(&places, tool.id)).transpose();
    let url = arguments.gateway.url(&places, record.as_ref().ok().and_then(|found| found.as_ref()?.as_ref()))?;
    let mut checkup = Checkup { json: arguments.json, style: Style::of_stdout(), at: "tool", findings: Vec::new() };
    let ran = match record {
        Ok(record) => runtime()?.block_on(checkup.run(arguments, places, &url, tool, record.flatten().as_ref())),
        Err(error) => Err(error),
    };
    if let Err(error) = ran {
        // What was found until then must not be lost.
        checkup.add(Finding::bad(checkup.at, format!("{error:#}"), "mend that, then run this again"))?;
    }
    let bad = checkup.findings.iter().filter(|finding| finding.state == State::Bad).count();
    if arguments.json {
        let checks: Vec<_> = checkup.findings.iter().map(Finding::to_json).collect();
        print(&json!({ "url": url, "ok": bad == 0, "checks": checks }).to_string())?;
    }
    match bad {
        0 => Ok(()),
        1 => bail!("one thing is wrong"),
        _ => bail!("{bad} things are wrong"),
    }
}

struct Checkup {
    json: bool,
    style: Style,
    /// What is looked at, for an error that ends the checks.
    at: &'static str,
    findings: Vec<Finding>,
}

impl Checkup {
    /// Lines appear as they are found, because the last takes a minute.
    fn add(&mut self, finding: Finding) -> anyhow::Result<()> {
        if !self.json {
            print(&finding.line(self.style))?;
        }
        self.findings.push(finding);
        Ok(())
    }

    fn is_bad(&self) -> bool {
        self.findings.iter().any(|finding| finding.state == State::Bad)
    }

    async fn run(
        &mut self,
        arguments: &Arguments,
        places: Places,
        url: &str,
        tool: Option<&Tool>,
        record: Option<&Record>,
    ) -> anyhow::Result<()> {
        self.at = "connection";
        let parsed = Url::parse(url).context("the URL cannot be read")?;
        self.add(network::check_proxy(&places, &parsed))?;
        self.add(network::check_name(&places, &parsed).await)?;
        if self.is_bad() {
            return Ok(());
        }
        let key = arguments.gateway.known_key(&places, url);
        let has_key = key.is_some();
        let client = client(&places, url, key)?;
        let progress = Progress::start(format!("Connecting to {url}:"));
        let checked = network::check_connection(&places, &client, &parsed).await;
        drop(progress);
        let (finding, reply) = checked?;
        self.add(finding)?;
        let Some(reply) = reply else { return Ok(()) };
        self.add(clock::check(&reply, Timestamp::now()))?;
        self.at = "key";
        let (finding, models) = access::check_key(&client, has_key).await?;
        self.add(finding)?;
        let Some(models) = models else { return Ok(()) };
        self.at = "models";
        let wanted = arguments.gateway.model.as_deref().or(record.map(|record| record.model.as_str()));
        self.add(access::check_models(&client, &models, wanted).await?)?;
        if let Some(tool) = tool
            && !self.is_bad()
        {
            self.at = "tool";
            let mut chosen = arguments.gateway.clone();
            chosen.model = wanted.map(str::to_owned);
            let target = chosen.target(places, record).await?;
            self.add(files::check(tool, &target))?;
        }
        self.add(streams::check_buffering(&client).await)?;
        self.add(match arguments.idle {
            0 => Finding::skipped("idle", "not checked (--idle 0)"),
            seconds => streams::check_idle(&client, Duration::from_secs(seconds)).await,
        })
    }
}
