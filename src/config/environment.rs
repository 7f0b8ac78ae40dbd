//! The environment: the process's own over `.env`, empty meaning unset, secrets also from the file that `NAME_FILE` names.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::scalars::{SCALARS, SECRETS};
use crate::suggest::closest;

/// What can be looked up, and where each of it came from.
pub(super) struct Environment {
    vars: BTreeMap<String, (String, &'static str)>,
    cwd: PathBuf,
}

/// A value and its source, as `env PORT` or `.env PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub value: String,
    pub name: String,
    pub source: String,
}

/// Names of FreeLLM's that we understand well enough to say that they have no effect.
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
    /// Reads `.env` of `cwd`, when there is one, under `env`.
    pub fn read(env: &BTreeMap<String, String>, cwd: &Path) -> Result<Self, String> {
        let mut vars = BTreeMap::new();
        match std::fs::read_to_string(cwd.join(".env")) {
            Ok(text) => {
                for entry in dotenvy::from_read_iter(text.as_bytes()) {
                    // The line itself may hold a key, so only its number is shown.
                    let (name, value) = entry.map_err(|error| dotenv_error(&text, &error))?;
                    vars.insert(name, (value, ".env"));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!(".env: cannot be read: {error}")),
        }
        for (name, value) in env {
            if !value.trim().is_empty() {
                vars.insert(name.clone(), (value.clone(), "env"));
            }
        }
        vars.retain(|_, (value, _)| !value.trim().is_empty());
        Ok(Self { vars, cwd: cwd.to_owned() })
    }

    /// The first of these names that is set.
    pub fn first<S: AsRef<str>>(&self, names: &[S]) -> Option<Found> {
        names.iter().find_map(|name| {
            let name = name.as_ref();
            let (value, layer) = self.vars.get(name)?;
            Some(Found { value: value.trim().to_owned(), name: name.to_owned(), source: format!("{layer} {name}") })
        })
    }

    /// The same for a secret, which may stand in a file. Errors name variables and files, never contents.
    pub fn secret<S: AsRef<str>>(&self, names: &[S]) -> Result<Option<Found>, String> {
        for name in names {
            let (name, in_file) = (name.as_ref(), format!("{}_FILE", name.as_ref()));
            match (self.first(&[name]), self.first(&[&in_file])) {
                (Some(_), Some(_)) => return Err(format!("{name} and {in_file} are both set: keep one of them")),
                (Some(found), None) => return Ok(Some(found)),
                (None, Some(path)) => {
                    let value = std::fs::read_to_string(self.cwd.join(&path.value))
                        .map_err(|error| format!("{in_file}: `{}` cannot be read: {error}", path.value))?;
                    if value.trim().is_empty() {
                        return Err(format!("{in_file}: `{}` is empty", path.value));
                    }
                    return Ok(Some(Found { value: value.trim().to_owned(), name: in_file, source: path.source }));
                }
                (None, None) => {}
            }
        }
        Ok(None)
    }

    /// One line per `TOLLFREE_*` that nobody reads: most likely a misspelling, which must not pass silently.
    pub fn unknown(&self) -> Vec<String> {
        let mut known: BTreeSet<String> = SCALARS.iter().map(super::scalars::Scalar::long_env).collect();
        known.extend(SCALARS.iter().flat_map(|s| s.env).map(ToString::to_string));
        known.extend(SECRETS.iter().flat_map(|s| s.env).flat_map(|n| [(*n).to_owned(), format!("{n}_FILE")]));
        known.insert("TOLLFREE_CONFIG".into());
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

    /// What of FreeLLM's `.env` is set and does nothing here.
    pub fn freellm_without_effect(&self) -> Vec<&str> {
        let ours = ["FREELLM_ADMIN_KEY", "FREELLM_API_KEY", "FREELLM_ADMIN_KEY_FILE", "FREELLM_API_KEY_FILE"];
        self.vars
            .keys()
            .map(String::as_str)
            .filter(|n| FREELLM_WITHOUT_EFFECT.contains(n) || n.starts_with("FREELLM_") && !ours.contains(n))
            .collect()
    }
}

/// Kubernetes hands every pod `<SERVICE>_SERVICE_HOST`, `<SERVICE>_PORT=tcp://…` and the like: of a service called `tollfree`, too.
fn is_service_link(name: &str, value: &str) -> bool {
    let link = value.starts_with("tcp://") || value.starts_with("udp://") || value.starts_with("sctp://");
    let after_port = name.split_once("_PORT_").map(|(_, rest)| rest);
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || link && (name.ends_with("_PORT") || after_port.is_some())
        || after_port.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn dotenv_error(text: &str, error: &dotenvy::Error) -> String {
    // What could not be read comes back as the line, as its value, or as all that follows an open quote.
    let wrong = match error {
        dotenvy::Error::LineParse(rest, _) => rest.lines().next().map_or("", str::trim),
        _ => "",
    };
    let line = text.lines().position(|line| !wrong.is_empty() && line.trim().ends_with(wrong));
    let place = line.map_or_else(String::new, |line| format!(":{}", line + 1));
    format!(".env{place}: expected NAME=value, with quotes around a value that holds blanks or #")
}
