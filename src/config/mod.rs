//! What an operator may write: built-in defaults < `tollfree.toml` < environment, checked before anything starts.
//!
//! Pure in its inputs (environment, working directory), so that a reload is the same call again.

mod builtin;
mod clients;
mod document;
mod environment;
mod layers;
pub mod provider_table;
mod providers;
mod redis_url;
mod scalars;
mod settings;
mod telemetry;
mod words;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use builtin::{Builtin, builtin};
use document::Document;
use environment::Environment;
pub use providers::BUILTIN_META_MODELS;
pub use redis_url::{Address, RedisUrl, Topology};
pub use settings::{
    AuthMode, BreakerSettings, MetaModelSettings, Network, OllamaSettings, ProviderSettings, ProxyUrl, QueueSettings,
    Settings, Timeouts,
};
pub use words::Confidence;

use crate::domain::key::MEMBER_PREFIX;

/// A configuration that may be started, and where each part of it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
    /// To be shown once: names of FreeLLM's that have no effect, keys left out, …
    pub notes: Vec<String>,
    /// Every setting in force: its name, where it came from (`default`, `tollfree.toml:12`, `env PORT`), its value (`set` for secrets).
    pub sources: Vec<(String, String, String)>,
}

/// What is wrong with the configuration: a line per mistake, in words for the operator. Never holds a secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Reads `.env` of `cwd` (the environment wins over it), the file of `TOLLFREE_CONFIG` (default `tollfree.toml`, when it exists)
/// and `NAME_FILE` secrets. An error names every mistake it can find, each with its place.
pub fn load(env: &BTreeMap<String, String>, cwd: &Path) -> Result<Loaded, ConfigError> {
    let env = Environment::read(env, cwd).map_err(ConfigError)?;
    let (name, text) = read_file(&env, cwd).map_err(ConfigError)?;
    let document = text.as_deref().map(|text| Document::parse(&name, text)).transpose().map_err(ConfigError)?;

    let mut errors = env.unknown();
    if let Some(document) = &document {
        errors.extend(layers::check_file(document));
    }
    let maps = document.as_ref().map_or_else(|| Ok(providers::Maps::default()), Document::read);
    let maps = maps.map_err(|error| ConfigError([errors.as_slice(), &[error]].concat().join("\n")))?;
    let read = providers::read(maps, document.as_ref(), &env);
    let (mut settings, mut sources, found) = layers::merge(document.as_ref(), &env);
    errors.extend(found);
    errors.extend(read.errors);
    let mut notes = read.notes;
    if let Some(file) = &settings.clients_file {
        match clients::read(file, cwd) {
            Ok(members) => settings.clients = members,
            Err(found) => errors.extend(found),
        }
    }
    let telemetry = telemetry::read(&env);
    errors.extend(telemetry.errors);
    notes.extend(telemetry.notes);
    errors.extend(cross_check(&settings, &mut notes));
    if !errors.is_empty() {
        return Err(ConfigError(errors.join("\n")));
    }

    let unused = env.freellm_without_effect();
    if !unused.is_empty() {
        notes.push(format!("Names of FreeLLM that have no effect here: {}", unused.join(", ")));
    }
    sources.extend(read.sources);
    settings.providers = read.providers;
    settings.models = read.models;
    settings.ollama = read.ollama;
    settings.telemetry = telemetry.settings;
    sources.extend(telemetry.sources);
    settings.sources = sources.clone().into();
    Ok(Loaded { settings, notes, sources })
}

/// Rules over several settings.
fn cross_check(settings: &Settings, notes: &mut Vec<String>) -> Option<String> {
    use secrecy::ExposeSecret;
    if settings.admin_key.as_ref().is_some_and(|key| key.expose_secret().starts_with(MEMBER_PREFIX)) {
        return Some(format!(
            "TOLLFREE_ADMIN_KEY: `{MEMBER_PREFIX}` is what members' keys begin with: take another key"
        ));
    }
    let loopback = settings.host == "localhost"
        || settings.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if settings.auth == Some(AuthMode::Open) && !loopback {
        notes.push(format!("auth is `open` on {}: whoever reaches it may spend the budget", settings.host));
    }
    let (admin, client) = (settings.admin_key.as_ref()?, settings.api_key.as_ref()?);
    (admin.expose_secret() == client.expose_secret())
        .then(|| "TOLLFREE_ADMIN_KEY and TOLLFREE_API_KEY are the same: every client would be an admin".to_owned())
}

/// The file's name for messages and its text; no text when there is no file and none was asked for.
fn read_file(env: &Environment, cwd: &Path) -> Result<(String, Option<String>), String> {
    let asked = env.first(&["TOLLFREE_CONFIG"]);
    let path = asked.as_ref().map_or_else(|| PathBuf::from("tollfree.toml"), |found| PathBuf::from(&found.value));
    let name = path.display().to_string();
    match std::fs::read_to_string(cwd.join(&path)) {
        Ok(text) => Ok((name, Some(text))),
        Err(error) if asked.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok((name, None)),
        Err(error) if asked.is_some() => Err(format!("TOLLFREE_CONFIG: `{name}` cannot be read: {error}")),
        Err(error) => Err(format!("{name}: cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests;
