//! One gateway, one key and one person's folders: what the files of a tool are made of.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};

use super::gateway::{Gateway, Offer};

/// The variable from which a tool reads the client key where it reads none from a file.
pub(crate) const KEY_VARIABLE: &str = "TOLLFREE_CLIENT_KEY";
/// The name of the gateway's entry in the files of tools.
pub(crate) const ENTRY: &str = "tollfree";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    Linux,
    Mac,
    Windows,
}

/// Where a person's files are.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    home: PathBuf,
    env: BTreeMap<String, String>,
    system: System,
}

impl Places {
    /// `None` without a home folder.
    pub(crate) fn new(env: BTreeMap<String, String>, system: System) -> Option<Self> {
        let home = env.get("HOME").filter(|home| !home.is_empty())?.into();
        Some(Self { home, env, system })
    }

    /// A folder named by a variable, or else below the home folder.
    pub(crate) fn folder(&self, variable: &str, below_home: &str) -> PathBuf {
        self.var(variable).map_or_else(|| self.home.join(below_home), PathBuf::from)
    }

    /// A path below the folder of settings, `~/.config` or `XDG_CONFIG_HOME`.
    pub(crate) fn config(&self, below: &str) -> PathBuf {
        self.folder("XDG_CONFIG_HOME", ".config").join(below)
    }

    pub(crate) fn home(&self, below: &str) -> PathBuf {
        self.home.join(below)
    }

    pub(crate) fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn system(&self) -> System {
        self.system
    }

    /// A path below the folder in which Windows keeps the settings of programs.
    pub(crate) fn app_data(&self, below: &str) -> PathBuf {
        self.folder("APPDATA", "AppData/Roaming").join(below)
    }

    /// A path as people write it: `~/.codex/config.toml`.
    pub(crate) fn short(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(below) => format!("~/{}", below.display()),
            Err(_) => path.display().to_string(),
        }
    }

    /// The file of the client key of one gateway. Tools that can read a file or run a command refer to it.
    pub(crate) fn key_file(&self, gateway_url: &str) -> PathBuf {
        let name: String = gateway_url
            .split_once("://")
            .map_or(gateway_url, |(_, rest)| rest)
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' })
            .collect();
        self.config("tollfree/keys").join(name)
    }
}

/// Everything that the files of one tool are made of.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub gateway: Gateway,
    pub key: SecretString,
    pub places: Places,
    pub model: Offer,
    pub small: Offer,
}

impl Target {
    /// `None` if the gateway offers this key no model.
    pub(crate) fn new(gateway: Gateway, key: SecretString, places: Places, model: Option<&Offer>) -> Option<Self> {
        let model = model.or_else(|| gateway.main_model())?.clone();
        let small = gateway.small_model().unwrap_or(&model).clone();
        Some(Self { gateway, key, places, model, small })
    }

    pub(crate) fn key(&self) -> &str {
        self.key.expose_secret()
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.places.key_file(&self.gateway.url)
    }

    /// A shell command that prints the key. The shell replaces `~` only outside quotes.
    pub(crate) fn print_key(&self) -> String {
        let path = self.places.short(&self.key_file());
        if self.places.system() == System::Windows {
            return format!(
                "powershell -NoProfile -Command \"Get-Content -Raw -LiteralPath '{}'\"",
                self.key_file().display()
            );
        }
        match path.strip_prefix("~/") {
            Some(below) => format!("cat ~/{}", quoted(below)),
            None => format!("cat {}", quoted(&path)),
        }
    }

    /// Meta-models, and the chosen model: what lists of models in the files of tools contain.
    pub(crate) fn listed(&self) -> Vec<&Offer> {
        let chosen = self.gateway.offers.iter().filter(|offer| offer.is_meta || offer.name == self.model.name);
        chosen.collect()
    }
}

/// The text as one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
