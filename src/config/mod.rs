//! What an operator may write: built-in defaults < `tollfree.toml` < environment, checked before anything starts.
//!
//! Loading depends on its arguments alone (environment, working directory), so a reload is the same call again.

mod builtin;
mod clients;
mod document;
mod dotenv;
mod environment;
mod layers;
pub mod provider_table;
mod providers;
mod redis_url;
mod setting_names;
mod settings;
mod telemetry;
pub(crate) mod travelling_catalogue;
mod value;

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::ErrorKind,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

pub use builtin::{Builtin, builtin};
use document::Document;
use environment::Environment;
pub use provider_table::Confidence;
pub use providers::BUILTIN_META_MODELS;
pub use redis_url::{Address, RedisUrl, Topology};
use secrecy::{ExposeSecret, SecretString};
pub use setting_names::{SETTINGS, Setting};
pub use settings::{
    AddedKey, AuthMode, AuthSettings, BreakerSettings, CatalogSettings, HttpSettings, LogFormat, MetaModelSettings,
    ModelAlias, Network, OllamaSettings, Origin, ProviderName, ProviderSettings, ProxyUrl, QueueSettings,
    ResponsesSettings, RoutingSettings, ServerSettings, SettingSource, Settings, Timeouts,
};

use crate::domain::key::CLIENT_KEY_PREFIX;

const REDIS_URL: &[&str] = &["REDIS_URL"];
const ADMIN_KEY: &[&str] = &["TOLLFREE_ADMIN_KEY", "FREELLM_ADMIN_KEY"];
const API_KEY: &[&str] = &["TOLLFREE_API_KEY", "FREELLM_API_KEY"];
const SEAL_KEY: &[&str] = &["TOLLFREE_SEAL_KEY"];
const MASTER_KEY: &[&str] = &["TOLLFREE_MASTER_KEY"];
const HTTPS_PROXY: &[&str] = &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// Settings that are read from the environment only, or from the file that `NAME_FILE` names.
const SECRETS: [&[&str]; 6] = [REDIS_URL, ADMIN_KEY, API_KEY, SEAL_KEY, MASTER_KEY, HTTPS_PROXY];

/// A configuration that can be started.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
    /// Warnings for the operator: names of FreeLLM without effect, keys that are ignored, …
    pub notes: Vec<String>,
}

/// The mistakes in the configuration, one per line, without secrets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// What is found while the configuration is read.
#[derive(Default)]
struct Findings {
    errors: Vec<String>,
    notes: Vec<String>,
    sources: Vec<SettingSource>,
}

impl Findings {
    fn source(&mut self, name: &str, source: String, value: String) {
        self.sources.push(SettingSource { name: name.to_owned(), source, value });
    }

    /// The value, or `None` and one error more.
    fn take<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|error| self.errors.push(error)).ok()
    }

    fn secret<T: FromStr<Err: Display>>(&mut self, env: &Environment, names: &[&str]) -> Option<T> {
        let found = self.take(env.secret(names))??;
        let parsed = found.value.parse().map_err(|error| format!("{}: {error}", found.source));
        self.source(names[0], found.source, "set".to_owned());
        self.take(parsed)
    }
}

/// Reads `.env` in `cwd` (the environment wins over it) and the file of `TOLLFREE_CONFIG` (default `tollfree.toml`, if it
/// exists). The error names every mistake that can be found, each with its place.
pub fn load(env: &BTreeMap<String, String>, cwd: &Path) -> Result<Loaded, ConfigError> {
    let env = Environment::read(env, cwd).map_err(ConfigError)?;
    let (name, text) = read_file(&env, cwd).map_err(ConfigError)?;
    let document = text.as_deref().map(|text| Document::parse(&name, text)).transpose().map_err(ConfigError)?;

    let mut findings = Findings { errors: env.unknown(), ..Findings::default() };
    let mut settings = layers::merge(document.as_ref(), &env, &mut findings);
    settings.redis_url = findings.secret(&env, REDIS_URL);
    settings.admin_key = findings.secret(&env, ADMIN_KEY).map(|BearerKey(key)| key);
    settings.api_key = findings.secret(&env, API_KEY).map(|BearerKey(key)| key);
    settings.seal_key = findings.secret(&env, SEAL_KEY).map(|BearerKey(key)| key);
    settings.master_keys = findings.secret(&env, MASTER_KEY).map(|MasterKeys(keys)| keys).unwrap_or_default();
    settings.https_proxy = findings.secret(&env, HTTPS_PROXY);
    settings.no_proxy = env.first(&["NO_PROXY", "no_proxy"]).map(|found| {
        findings.source("NO_PROXY", found.source, found.value.clone());
        found.value
    });
    providers::read(&mut settings, document.as_ref(), &env, &mut findings);
    if let Some(file) = &settings.clients.file {
        match clients::read(file, cwd) {
            Ok(records) => settings.clients.records = records,
            Err(errors) => findings.errors.extend(errors),
        }
    }
    settings.telemetry = telemetry::read(&env, &mut findings);
    check_together(&settings, &mut findings);
    if !findings.errors.is_empty() {
        return Err(ConfigError(findings.errors.join("\n")));
    }
    let unused = env.freellm_without_effect();
    if !unused.is_empty() {
        findings.notes.push(format!("Names of FreeLLM that have no effect here: {}", unused.join(", ")));
    }
    settings.sources = findings.sources.into();
    let files = [Some(".env").filter(|_| env.has_file), Some(&*name).filter(|_| has_content(text.as_deref()))];
    settings.files = files.into_iter().flatten().map(str::to_owned).collect();
    settings.files.extend(settings.clients.file.clone().filter(|_| !settings.clients.records.is_empty()));
    Ok(Loaded { settings, notes: findings.notes })
}

impl Settings {
    /// The files that other settings were read from and that have since vanished or lost their content. A reload would take
    /// that for a wish to set nothing.
    pub(crate) fn lost_files<'a>(&self, before: &'a Settings) -> Vec<&'a str> {
        let is_named =
            |file: &str| before.clients.file.as_deref() != Some(file) || self.clients.file.as_deref() == Some(file);
        let lost = before.files.iter().filter(|file| !self.files.contains(file) && is_named(file));
        lost.map(String::as_str).collect()
    }
}

fn has_content(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.trim().is_empty())
}

struct BearerKey(SecretString);

impl FromStr for BearerKey {
    type Err = String;
    fn from_str(key: &str) -> Result<Self, String> {
        value::check_key(key).map(|()| Self(key.into()))
    }
}

/// A shorter text can be guessed by someone who has read the store.
const MIN_MASTER_KEY_CHARS: usize = 32;

/// Texts separated by commas, or one a line.
struct MasterKeys(Vec<SecretString>);

impl FromStr for MasterKeys {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let keys: Vec<&str> = text.split([',', '\n']).map(str::trim).filter(|key| !key.is_empty()).collect();
        for (key, position) in keys.iter().zip(1..) {
            if key.chars().count() < MIN_MASTER_KEY_CHARS {
                return Err(format!(
                    "master key {position} is too short: it needs at least {MIN_MASTER_KEY_CHARS} characters, such as those of \
                     `openssl rand -hex 32`"
                ));
            }
        }
        Ok(Self(keys.into_iter().map(SecretString::from).collect()))
    }
}

/// A shorter admin key can be guessed, however slowly.
const MIN_ADMIN_KEY_CHARS: usize = 16;

/// The rules that span several settings.
fn check_together(settings: &Settings, findings: &mut Findings) {
    let expose = |key: &Option<SecretString>| key.as_ref().map(|key| key.expose_secret().to_owned());
    let (admin_key, api_key) = (expose(&settings.admin_key), expose(&settings.api_key));
    if admin_key.as_ref().is_some_and(|key| key.starts_with(CLIENT_KEY_PREFIX)) {
        findings.errors.push(format!(
            "TOLLFREE_ADMIN_KEY: keys that begin with `{CLIENT_KEY_PREFIX}` are client keys: choose another one"
        ));
    } else if admin_key.is_some() && admin_key == api_key {
        findings.errors.push(
            "TOLLFREE_ADMIN_KEY and TOLLFREE_API_KEY are the same: every client would be an administrator".into(),
        );
    }
    let host = &settings.server.host;
    let is_loopback =
        host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if let Some(key) = &admin_key
        && !is_loopback
        && key.chars().count() < MIN_ADMIN_KEY_CHARS
    {
        findings.errors.push(format!(
            "TOLLFREE_ADMIN_KEY: expected at least {MIN_ADMIN_KEY_CHARS} characters where others can reach the gateway \
             (HOST is {host}): make one with `openssl rand -hex 24`"
        ));
    }
    if settings.auth.mode == Some(AuthMode::Open) && !is_loopback {
        findings.notes.push(format!("auth.mode is `open` on {host}: everyone who can reach it can spend the budget"));
    }
}

/// The name of the file for messages, and its text. No text: the file does not exist, and its name is the default.
fn read_file(env: &Environment, cwd: &Path) -> Result<(String, Option<String>), String> {
    let named = env.first(&["TOLLFREE_CONFIG"]);
    let path = named.as_ref().map_or_else(|| PathBuf::from("tollfree.toml"), |found| PathBuf::from(&found.value));
    let name = path.display().to_string();
    match std::fs::read_to_string(cwd.join(&path)) {
        Ok(text) => Ok((name, Some(text))),
        Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => Ok((name, None)),
        Err(error) if named.is_some() => Err(format!("TOLLFREE_CONFIG: `{name}` cannot be read: {error}")),
        Err(error) => Err(format!("{name}: cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests;
