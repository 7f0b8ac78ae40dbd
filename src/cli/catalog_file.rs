//! `tollfree catalog fetch|verify|diff`: the signed catalogue that is laid over the built-in one.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;

use super::{UsageError, load, print, runtime};
use crate::{
    app::{self, catalogue},
    config::{
        Settings,
        travelling_catalogue::{self, Verified},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Fetch the signed catalogue at `catalog.url`, check it, and keep it in `catalog.file`
    Fetch {
        /// Instead of `catalog.url`
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// Instead of `catalog.file`
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check the signature and the content of a file
    Verify { file: PathBuf },
    /// Show what a file changes in the catalogue that is compiled into this program
    Diff {
        /// Absent: `catalog.file`
        file: Option<PathBuf>,
    },
}

pub(super) fn run(command: &Command) -> anyhow::Result<()> {
    let settings = load()?.settings;
    match command {
        Command::Fetch { url, output } => fetch(&settings, url.as_deref(), output.as_deref()),
        Command::Verify { file } => {
            let text = read(file)?;
            print(&format!("{}: {}", file.display(), describe(&verify(&settings, &text, file)?)))
        }
        Command::Diff { file } => {
            let kept = settings.catalog.file.as_deref();
            let file = file.as_deref().or(kept).ok_or_else(|| usage("name a file, or set catalog.file"))?;
            let text = read(file)?;
            let verified = verify(&settings, &text, file)?;
            let lines = travelling_catalogue::differences(travelling_catalogue::builtin_text(), verified.text)?;
            print(&if lines.is_empty() { "There is no difference.".to_owned() } else { lines.join("\n") })
        }
    }
}

fn fetch(settings: &Settings, url: Option<&str>, output: Option<&Path>) -> anyhow::Result<()> {
    let url = url.or(settings.catalog.url.as_deref()).ok_or_else(|| usage("set catalog.url, or give --url"))?;
    let output = output.or(settings.catalog.file.as_deref());
    let output = output.ok_or_else(|| usage("set catalog.file, or give --output"))?;
    travelling_catalogue::check_key(settings.catalog.public_key.as_deref())
        .with_context(|| format!("the catalogue at {url} is not fetched"))?;
    let upstream = app::upstream(settings)?;
    let text = match runtime()?.block_on(catalogue::download(&upstream, url)) {
        Ok(text) => text,
        Err(error) => bail!("the catalogue cannot be fetched from {url}: {error}"),
    };
    let verified = verify(settings, &text, Path::new(url))?;
    // Not half a file, if the disk is full.
    let unfinished = output.with_extension("part");
    let write = std::fs::write(&unfinished, &text).and_then(|()| std::fs::rename(&unfinished, output));
    write.with_context(|| format!("cannot write {}", output.display()))?;
    print(&format!(
        "{}: {}. A running gateway adopts it with SIGHUP; `tollfree catalog diff` shows what it changes.",
        output.display(),
        describe(&verified)
    ))
}

fn verify<'t>(settings: &Settings, text: &'t str, place: &Path) -> anyhow::Result<Verified<'t>> {
    let verified = travelling_catalogue::verify(text, settings.catalog.public_key.as_deref());
    verified.with_context(|| format!("{} is not to be trusted", place.display()))
}

fn describe(Verified { catalogue, .. }: &Verified<'_>) -> String {
    let models: usize = catalogue.providers.values().map(|provider| provider.models.len()).sum();
    format!(
        "the catalogue of {}, serial {}, with {} providers and {models} models; its signature is right",
        catalogue.as_of,
        catalogue.serial,
        catalogue.providers.len()
    )
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn usage(message: &str) -> UsageError {
    UsageError(message.to_owned())
}
