//! The environment: the process's own over `.env`. An empty variable is unset, and `NAME_FILE` can name a file that
//! contains the secret `NAME`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{SECRETS, dotenv, setting_names::SETTINGS};
use crate::suggest::closest;

/// The variable in which the documents keep the key of a client such as Codex. It is no setting, and no mistake beside some.
const CLIENT_KEY: &str = "TOLLFREE_CLIENT_KEY";

pub(super) struct Environment {
    /// Value and layer (`env` or `.env`) by name.
    vars: BTreeMap<String, (String, &'static str)>,
    cwd: PathBuf,
    /// There is a `.env`, and it sets something.
    pub has_file: bool,
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub value: String,
    pub name: String,
    /// `env PORT` or `.env PORT`
    pub source: String,
}

/// Names of FreeLLM that have no effect here and are reported as such.
const FREELLM_WITHOUT_EFFECT: [&str; 12] = [
    "CACHE_ENABLED",
    "CACHE_MAX_ENTRIES",
    "CACHE_TTL_MS",
    "DISABLE_CLIENT_RATELIMIT",
    "FREELLM_DASHBOARD_PASSWORD",
    "FREELLM_DASHBOARD_SECRET",
    "FREELLM_IDENTIFIER_LIMIT",
    "FREELLM_IDENTIFIER_MAX_BUCKETS",
    "FREELLM_TOKEN_SECRET",
    "FREELLM_VIRTUAL_KEYS_PATH",
    "RATE_LIMIT_WINDOW_MS",
    "STREAM_IDLE_TIMEOUT_MS",
];

impl Environment {
    /// Lays `env` over the `.env` of `cwd`, if there is one.
    pub(super) fn read(env: &BTreeMap<String, String>, cwd: &Path) -> Result<Self, String> {
        let dotenv = match std::fs::read_to_string(cwd.join(".env")) {
            Ok(text) => dotenv::parse(&text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(".env: cannot be read: save it as UTF-8".to_owned());
            }
            Err(error) => return Err(format!(".env: cannot be read: {error}")),
        };
        let has_file = !dotenv.is_empty();
        let own = env.iter().map(|(name, value)| (name.clone(), (value.clone(), "env")));
        let vars = dotenv.into_iter().map(|(name, value)| (name, (value, ".env"))).chain(own);
        let vars = vars.filter(|(_, (value, _))| !value.trim().is_empty()).collect();
        Ok(Self { vars, cwd: cwd.to_owned(), has_file })
    }

    /// The first of these names that is set.
    pub(super) fn first<S: AsRef<str>>(&self, names: &[S]) -> Option<Found> {
        names.iter().find_map(|name| {
            let name = name.as_ref();
            let (value, layer) = self.vars.get(name)?;
            Some(Found { value: value.trim().to_owned(), name: name.to_owned(), source: format!("{layer} {name}") })
        })
    }

    /// The same for a secret, which may be in a file. Errors name variables and files, never contents.
    pub(super) fn secret<S: AsRef<str>>(&self, names: &[S]) -> Result<Option<Found>, String> {
        for name in names {
            let (name, in_file) = (name.as_ref(), format!("{}_FILE", name.as_ref()));
            match (self.first(&[name]), self.first(&[&in_file])) {
                (Some(_), Some(_)) => return Err(format!("{name} and {in_file} are both set: keep one of them")),
                (Some(found), None) => return Ok(Some(found)),
                (None, Some(path)) => {
                    let value = std::fs::read_to_string(self.cwd.join(&path.value))
                        .map_err(|error| format!("{in_file}: `{}` cannot be read: {error}", path.value))?;
                    // Editors write a byte order mark, which is no part of a secret.
                    let value = value.trim_start_matches('\u{FEFF}').trim();
                    if value.is_empty() {
                        return Err(format!("{in_file}: `{}` is empty", path.value));
                    }
                    return Ok(Some(Found { value: value.to_owned(), ..path }));
                }
                (None, None) => {}
            }
        }
        Ok(None)
    }

    /// One error per `TOLLFREE_*` that is not a setting: most likely a misspelling.
    pub(super) fn unknown(&self) -> Vec<String> {
        let secrets =
            SECRETS.iter().flat_map(|names| *names).flat_map(|name| [(*name).to_owned(), format!("{name}_FILE")]);
        let mut known: BTreeSet<String> = SETTINGS.iter().flat_map(|setting| setting.variables.clone()).collect();
        known.extend(secrets.chain(["TOLLFREE_CONFIG".to_owned(), CLIENT_KEY.to_owned()]));
        let ours = self.vars.iter().filter(|(name, _)| name.starts_with("TOLLFREE_") && !known.contains(*name));
        ours.filter(|(name, (value, _))| !is_service_link(name, value))
            .map(|(name, (_, layer))| {
                let near = closest(name, known.iter().map(String::as_str).filter(|n| n.starts_with("TOLLFREE_")));
                let hint = near.first().map_or_else(
                    || "see .env.example for the names".to_owned(),
                    |nearest| format!("did you mean `{nearest}`?"),
                );
                format!("{layer} {name}: no such setting: {hint}")
            })
            .collect()
    }

    /// The names of FreeLLM's `.env` that are set and have no effect.
    pub(super) fn freellm_without_effect(&self) -> Vec<&str> {
        let known = ["FREELLM_ADMIN_KEY", "FREELLM_API_KEY", "FREELLM_ADMIN_KEY_FILE", "FREELLM_API_KEY_FILE"];
        let names = self.vars.keys().map(String::as_str);
        names
            .filter(|n| FREELLM_WITHOUT_EFFECT.contains(n) || n.starts_with("FREELLM_") && !known.contains(n))
            .collect()
    }
}

/// Kubernetes gives every pod variables such as `<SERVICE>_SERVICE_HOST` and `<SERVICE>_PORT=tcp://…`, also those of a
/// service called `tollfree`.
fn is_service_link(name: &str, value: &str) -> bool {
    let link = value.starts_with("tcp://") || value.starts_with("udp://") || value.starts_with("sctp://");
    let after_port = name.split_once("_PORT_").map(|(_, rest)| rest);
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || link && (name.ends_with("_PORT") || after_port.is_some())
        || after_port.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}
