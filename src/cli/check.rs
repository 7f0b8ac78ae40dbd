//! `tollfree check`: validates the configuration, prints what is in force; `--live` asks every provider with every key.

use std::fmt::Write;

use futures_util::{StreamExt, stream};
use secrecy::{ExposeSecret, SecretString};

use super::{catalog, load, runtime, say};
use crate::{
    app,
    catalog::{Catalog, to_discover},
    config::{Loaded, SettingSource},
    upstream::model_list::ModelListError,
};

/// Longer than any list takes; a provider that loads a model first is not asked to.
const PROBE_MS: u64 = 10_000;
const PROBES_AT_ONCE: usize = 8;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tollfree check                what is configured, and where each setting came from
  tollfree check --live         also asks each provider for its models, with each key; costs no budget

Exit codes: 0 all is well, 1 a key or a provider does not answer, 2 the configuration is wrong.")]
pub struct Arguments {
    /// Ask each provider with each key
    #[arg(long)]
    live: bool,
}

/// Prints what is in force; fails when a provider was asked and does not answer.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = load()?;
    say(text(&loaded)?.trim_end());
    if !arguments.live {
        return Ok(());
    }
    let (answers, failed) = runtime()?.block_on(live(&loaded))?;
    say(answers.trim_end());
    anyhow::ensure!(failed == 0, "{} without an answer", count(failed, "key"));
    Ok(())
}

/// What is in force, ready to be printed; an error when the settings and the catalogue do not fit.
fn text(loaded: &Loaded) -> anyhow::Result<String> {
    let catalog = catalog::catalog(&loaded.settings, false)?;
    let mut out = String::new();
    for SettingSource { name, source, value } in &*loaded.settings.sources {
        let _ = writeln!(out, "{name:<36} {value:<28} {source}");
    }
    out.push('\n');
    for provider in &catalog.providers {
        let keys = loaded.settings.providers.get(&*provider.id).map_or(0, |p| p.keys.len());
        let models = catalog.models.iter().filter(|served| served.provider.id == provider.id).count();
        let off = if provider.enabled { "" } else { ", switched off" };
        let _ = writeln!(out, "{:<16} {}, {}{off}", provider.id, count(keys, "key"), count(models, "model"));
    }
    for found in to_discover(&loaded.settings) {
        let _ = writeln!(out, "{:<16} asked for its models at start: {}", found.provider, found.base_url);
    }
    for note in &loaded.notes {
        let _ = writeln!(out, "note: {note}");
    }
    let free = catalog.metas.first().map_or(0, |meta| meta.members.len());
    let _ = writeln!(out, "The configuration is valid: `free` has {}.", count(free, "candidate"));
    Ok(out)
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// One question to one provider.
struct Probe {
    provider: String,
    base_url: String,
    prefix: String,
    key_id: String,
    secret: Option<SecretString>,
    /// Nobody configured it: that it is not there is no failure.
    optional: bool,
}

/// Asks every provider with every key. A line per key, in catalogue order, and how many of them failed.
async fn live(loaded: &Loaded) -> anyhow::Result<(String, usize)> {
    let settings = &loaded.settings;
    let upstream = app::upstream(settings)?;
    let probes = probes(loaded, &catalog::catalog(settings, false)?);
    let answers: Vec<(Probe, Result<usize, ModelListError>)> = stream::iter(probes)
        .map(|probe| async {
            let asked = upstream.list_models(&probe.base_url, probe.secret.as_ref(), &probe.prefix, PROBE_MS).await;
            (probe, asked.map(|models| models.len()))
        })
        .buffered(PROBES_AT_ONCE)
        .collect()
        .await;
    let mut out = String::new();
    let mut failed = 0;
    for (probe, answer) in &answers {
        let _ = writeln!(out, "{:<16} {:<10} {}", probe.provider, probe.key_id, verdict(answer, probe.optional));
        failed += usize::from(answer.is_err() && !probe.optional);
    }
    if answers.is_empty() {
        out.push_str("No provider is configured: set a key such as GROQ_API_KEY.\n");
    }
    Ok((out, failed))
}

fn verdict(answer: &Result<usize, ModelListError>, optional: bool) -> String {
    match answer {
        Ok(models) => format!("ok ({})", count(*models, "model")),
        Err(_) if optional => "not running (not configured either)".to_owned(),
        Err(ModelListError::BadKey(why)) => format!("refused (bad key): {why}"),
        Err(ModelListError::Refused { status, message }) => format!("refused ({status}): {message}"),
        Err(ModelListError::Unreachable(why)) => format!("unreachable: {why}"),
    }
}

fn probes(loaded: &Loaded, catalog: &Catalog) -> Vec<Probe> {
    let mut probes: Vec<Probe> = Vec::new();
    for provider in catalog.providers.iter().filter(|p| p.enabled) {
        // Every key, also of a provider none of whose models is in force.
        let keys = loaded.settings.providers.get(&*provider.id).map_or(&[][..], |p| p.keys.as_slice());
        let mut seen: Vec<(String, &SecretString)> = Vec::new();
        for secret in keys {
            let id = crate::catalog::key_id(secret.expose_secret());
            if seen.iter().all(|(other, _)| *other != id) {
                seen.push((id, secret));
            }
        }
        let with_key = |(key_id, secret): (String, Option<SecretString>)| Probe {
            provider: provider.id.to_string(),
            base_url: provider.base_url.clone(),
            prefix: provider.wire.model_list_prefix.clone(),
            key_id,
            secret,
            optional: false,
        };
        if seen.is_empty() {
            probes.push(with_key(("no key".to_owned(), None)));
        }
        probes.extend(seen.into_iter().map(|(id, secret)| with_key((id, Some(secret.clone())))));
    }
    for found in to_discover(&loaded.settings) {
        if probes.iter().all(|probe| probe.provider != found.provider) {
            let configured = loaded.settings.providers.contains_key(&found.provider);
            probes.push(Probe {
                provider: found.provider,
                base_url: found.base_url,
                prefix: found.model_list_prefix,
                key_id: "no key".to_owned(),
                secret: found.key,
                optional: !configured,
            });
        }
    }
    probes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn loaded(env: &[(&str, &str)]) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        config::load(&env, folder.path()).unwrap()
    }

    #[test]
    fn what_is_in_force_is_listed_with_its_source_and_without_secrets() {
        let words = text(&loaded(&[("GROQ_API_KEY", "gsk-hunter2,gsk-other"), ("PORT", "4000")])).unwrap();
        let flat = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let has = |part: &str| assert!(flat.contains(part), "{part}\n{words}");
        has("server.port 4000 env PORT");
        has("queue.max_wait_ms 30000 default");
        has("providers.groq.keys 2 set env GROQ_API_KEY");
        has("groq 2 keys, 5 models");
        has("`free` has 8 candidates");
        assert!(!words.contains("hunter2"));
    }

    #[tokio::test]
    async fn an_unreachable_provider_is_one_failure_per_key_and_an_absent_ollama_none() {
        let env = [("GROQ_API_KEY", "k-1,k-2,k-1"), ("GROQ_BASE_URL", "http://127.0.0.1:1/v1")];
        let mut loaded = loaded(&env);
        let (words, failed) = live(&loaded).await.unwrap();
        assert_eq!(failed, 2, "{words}");
        assert!(words.contains("7c35c5a1") && words.contains("unreachable"), "{words}");
        loaded.settings.providers.clear();
        let probes = probes(&loaded, &catalog::catalog(&loaded.settings, false).unwrap());
        assert!(probes.iter().all(|p| p.provider == "ollama" && p.optional));
    }
}
