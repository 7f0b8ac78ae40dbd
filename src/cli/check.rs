//! `tollfree check`: validates the configuration and prints the settings in force; `--live` calls every provider.

use std::{collections::BTreeMap, fmt::Write};

use futures_util::{StreamExt, stream};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    catalog,
    kind_probe::{self, KindResult},
    load, print,
    progress::Progress,
    runtime,
};
use crate::{
    app,
    catalog::{Catalog, Discovered, key_id, to_discover},
    config::{Loaded, Settings},
    upstream::model_list::ModelListError,
};

const PROBE_TIMEOUT_MS: u64 = 10_000;
const MAX_CONCURRENT_PROBES: usize = 8;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tollfree check                settings, and the source of each
  tollfree check --live         also requests the list of models with each provider key, and makes one small
                                request to a model of each kind

Exit codes: 0 success, 1 a key or a provider does not work, 2 the configuration is wrong.")]
pub(super) struct Arguments {
    /// Call each provider with each of its keys
    #[arg(long)]
    live: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the settings in force. Fails when a configured provider does not work.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = load()?;
    let runtime = runtime()?;
    let progress = arguments.live.then(|| Progress::start("Calling every provider:".to_owned()));
    let discovered = if arguments.live { runtime.block_on(app::discover(&loaded.settings))? } else { BTreeMap::new() };
    let catalog = catalog::build(&loaded.settings, false, &discovered)?;
    let results = arguments.live.then(|| runtime.block_on(probe_all(&loaded.settings, &catalog))).transpose()?;
    drop(progress);
    let failed = results.iter().flatten().filter(|(probe, result)| has_failed(probe, result.as_ref())).count();
    print(&if arguments.json {
        json(&loaded, &catalog, results.as_deref()).to_string()
    } else {
        text(&loaded, &catalog, &discovered) + &results.map(|results| probe_lines(&results)).unwrap_or_default()
    })?;
    anyhow::ensure!(failed == 0, "{} did not work", count(failed, "key"));
    Ok(())
}

fn text(loaded: &Loaded, catalog: &Catalog, discovered: &Discovered) -> String {
    let mut out = String::new();
    for setting in &*loaded.settings.sources {
        let _ = writeln!(out, "{:<36} {:<28} {}", setting.name, setting.value, setting.source);
    }
    out.push('\n');
    for provider in &catalog.providers {
        let off = if provider.enabled { "" } else { ", switched off" };
        let (keys, models) = counts(loaded, catalog, &provider.id);
        let _ = writeln!(out, "{:<16} {}, {}{off}", provider.id, count(keys, "key"), count(models, "model"));
    }
    for server in to_discover(&loaded.settings).iter().filter(|server| !discovered.contains_key(&server.provider)) {
        let _ = writeln!(out, "{:<16} models are discovered at {}", server.provider, server.base_url);
    }
    for note in loaded.notes.iter().chain(&catalog.notes) {
        let _ = writeln!(out, "note: {note}");
    }
    let free = catalog.metas.first().map_or(0, |meta| meta.members.len());
    let _ = writeln!(out, "The configuration is valid: `free` has {}.", count(free, "candidate"));
    out
}

fn json(loaded: &Loaded, catalog: &Catalog, results: Option<&[ProbeResult]>) -> Value {
    let settings: Vec<Value> = loaded
        .settings
        .sources
        .iter()
        .map(|setting| json!({ "name": setting.name, "value": setting.value, "source": setting.source }))
        .collect();
    let providers: Vec<Value> = catalog
        .providers
        .iter()
        .map(|provider| {
            let (keys, models) = counts(loaded, catalog, &provider.id);
            json!({ "id": &*provider.id, "enabled": provider.enabled, "keys": keys, "models": models })
        })
        .collect();
    let live = results.map(|results| {
        let result = |(probe, result): &ProbeResult| {
            let kind = |tried: &KindResult| json!({ "kind": tried.kind, "model": tried.model, "error": tried.error });
            let kinds: Vec<Value> = result.iter().flat_map(|found| &found.kinds).map(kind).collect();
            json!({
                "provider": probe.provider, "key": probe.key_id, "models": result.as_ref().ok().map(|found| found.models),
                "ok": !has_failed(probe, result.as_ref()), "kinds": kinds,
                "error": result.as_ref().err().map(ToString::to_string),
            })
        };
        results.iter().map(result).collect::<Vec<_>>()
    });
    let notes: Vec<&String> = loaded.notes.iter().chain(&catalog.notes).collect();
    json!({ "settings": settings, "providers": providers, "notes": notes, "live": live })
}

/// The provider's keys and models.
fn counts(loaded: &Loaded, catalog: &Catalog, id: &str) -> (usize, usize) {
    let keys = loaded.settings.providers.get(id).map_or(0, |provider| provider.keys.len());
    (keys, catalog.models.iter().filter(|served| &*served.provider.id == id).count())
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// One call for a list of models.
struct Probe {
    provider: String,
    base_url: String,
    prefix: String,
    key_id: String,
    secret: Option<SecretString>,
    /// The provider is not configured, so its absence is not a failure.
    optional: bool,
}

/// What a key serves.
struct Found {
    /// Number of models in the list.
    models: usize,
    kinds: Vec<KindResult>,
}

type ProbeResult = (Probe, Result<Found, ModelListError>);

fn has_failed(probe: &Probe, result: Result<&Found, &ModelListError>) -> bool {
    match result {
        Ok(found) => found.kinds.iter().any(|tried| tried.error.is_some()),
        Err(_) => !probe.optional,
    }
}

/// Calls every provider with each key, in the order of the catalogue.
async fn probe_all(settings: &Settings, catalog: &Catalog) -> anyhow::Result<Vec<ProbeResult>> {
    let upstream = app::upstream(settings)?;
    let probe = |probe: Probe| async {
        let list = upstream.list_models(&probe.base_url, probe.secret.as_ref(), &probe.prefix, PROBE_TIMEOUT_MS).await;
        let found = match list {
            Ok(models) => {
                let kinds = kind_probe::kinds_of(catalog, &probe.provider, &probe.key_id);
                let kinds = kind_probe::probe(&upstream, &kinds).await;
                Ok(Found { models: models.len(), kinds })
            }
            Err(error) => Err(error),
        };
        (probe, found)
    };
    Ok(stream::iter(probes(settings, catalog)).map(probe).buffered(MAX_CONCURRENT_PROBES).collect().await)
}

fn probe_lines(results: &[ProbeResult]) -> String {
    let mut out = String::new();
    for (probe, result) in results {
        let result = match result {
            Ok(found) => {
                let kind = |tried: &KindResult| match &tried.error {
                    None => format!(", {} ok", tried.kind),
                    Some(why) => format!(", {} refused ({}): {why}", tried.kind, tried.model),
                };
                format!("ok ({}){}", count(found.models, "model"), found.kinds.iter().map(kind).collect::<String>())
            }
            Err(_) if probe.optional => "not running (and not configured)".to_owned(),
            Err(ModelListError::BadKey(why)) => format!("refused (bad key): {why}"),
            Err(ModelListError::Refused { status, message }) => format!("refused ({status}): {message}"),
            Err(ModelListError::Unreachable(why)) => format!("unreachable: {why}"),
        };
        let _ = writeln!(out, "{:<16} {:<10} {result}", probe.provider, probe.key_id);
    }
    if results.is_empty() {
        out.push_str("No provider is configured: set a key such as GROQ_API_KEY.\n");
    }
    out
}

fn probes(settings: &Settings, catalog: &Catalog) -> Vec<Probe> {
    let mut probes: Vec<Probe> = Vec::new();
    for provider in catalog.providers.iter().filter(|provider| provider.enabled) {
        // All keys, even if none of the provider's models is in force.
        let keys = settings.providers.get(&*provider.id).map_or(&[][..], |p| p.keys.as_slice());
        let mut by_id: BTreeMap<String, Option<SecretString>> =
            keys.iter().map(|key| (key_id(key.expose_secret()), Some(key.clone()))).collect();
        if by_id.is_empty() {
            by_id.insert("no key".to_owned(), None);
        }
        probes.extend(by_id.into_iter().map(|(key_id, secret)| Probe {
            provider: provider.id.to_string(),
            base_url: provider.base_url.clone(),
            prefix: provider.wire.model_list_prefix.clone(),
            key_id,
            secret,
            optional: false,
        }));
    }
    for server in to_discover(settings) {
        if probes.iter().all(|probe| probe.provider != server.provider) {
            probes.push(Probe {
                optional: !settings.providers.contains_key(&server.provider),
                provider: server.provider,
                base_url: server.base_url,
                prefix: server.model_list_prefix,
                key_id: "no key".to_owned(),
                secret: server.key,
            });
        }
    }
    probes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn loaded(env: &[(&str, &str)]) -> (Loaded, Catalog) {
        let folder = tempfile::tempdir().unwrap();
        let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let loaded = config::load(&env, folder.path()).unwrap();
        let catalog = catalog::build(&loaded.settings, false, &BTreeMap::new()).unwrap();
        (loaded, catalog)
    }

    #[test]
    fn settings_are_listed_with_their_source_and_without_secrets() {
        let (loaded, catalog) = loaded(&[("GROQ_API_KEY", "gsk-hunter2,gsk-other"), ("PORT", "4000")]);
        let text = text(&loaded, &catalog, &BTreeMap::new());
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let has = |part: &str| assert!(flat.contains(part), "{part}\n{text}");
        has("server.port 4000 env PORT");
        has("queue.max_wait_ms 30000 default");
        has("providers.groq.keys 2 set env GROQ_API_KEY");
        has("groq 2 keys, 7 models");
        has("`free` has 8 candidates");
        let json = json(&loaded, &catalog, None);
        assert_eq!(json["providers"][0], json!({ "id": "groq", "enabled": true, "keys": 2, "models": 7 }));
        let port = json!({ "name": "server.port", "value": "4000", "source": "env PORT" });
        assert!(json["settings"].as_array().unwrap().contains(&port), "{json}");
        assert!(!text.contains("hunter2") && !json.to_string().contains("hunter2"));
    }

    #[tokio::test]
    async fn an_unreachable_provider_fails_once_per_key_and_an_absent_ollama_does_not() {
        let env = [("GROQ_API_KEY", "k-1,k-2,k-1"), ("GROQ_BASE_URL", "http://127.0.0.1:1/v1")];
        let (mut loaded, catalog) = loaded(&env);
        let results = probe_all(&loaded.settings, &catalog).await.unwrap();
        let lines = probe_lines(&results);
        assert_eq!(results.iter().filter(|(probe, result)| has_failed(probe, result.as_ref())).count(), 2, "{lines}");
        assert!(lines.contains("7c35c5a1") && lines.contains("unreachable"), "{lines}");
        loaded.settings.providers.clear();
        let catalog = catalog::build(&loaded.settings, false, &BTreeMap::new()).unwrap();
        assert!(probes(&loaded.settings, &catalog).iter().all(|probe| probe.provider == "ollama" && probe.optional));
    }
}
