//! `[providers.…]` and `[models.…]`: what the shapes cannot say, and the keys and addresses that the environment adds.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::Error};

use super::{
    MetaModelSettings, OllamaSettings, ProviderSettings, builtin,
    document::Document,
    environment::{Environment, Found},
    provider_table::ProviderTable,
    scalars,
};
use crate::{
    domain::{RoutingStrategy, provider::Status},
    suggest::closest,
};

/// Names of the meta-models that exist without being written down.
pub const BUILTIN_META_MODELS: [(&str, RoutingStrategy); 3] =
    [("free", RoutingStrategy::Headroom), ("free-fast", RoutingStrategy::Fast), ("free-smart", RoutingStrategy::Smart)];

/// The two sections that are maps; the others are `scalars`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Maps {
    providers: IndexMap<String, ProviderTable>,
    models: BTreeMap<String, MetaTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MetaTable {
    members: Vec<String>,
    #[serde(alias = "order", deserialize_with = "strategy")]
    strategy: Option<RoutingStrategy>,
}

fn strategy<'de, D: Deserializer<'de>>(input: D) -> Result<Option<RoutingStrategy>, D::Error> {
    super::words::one_of(&String::deserialize(input)?, &RoutingStrategy::NAMES).map(Some).map_err(D::Error::custom)
}

/// What comes out, with everything that is to be listed or said.
#[derive(Default)]
pub(super) struct Read {
    pub providers: BTreeMap<String, ProviderSettings>,
    pub models: BTreeMap<String, MetaModelSettings>,
    pub ollama: OllamaSettings,
    pub sources: Vec<(String, String, String)>,
    pub notes: Vec<String>,
    pub errors: Vec<String>,
}

/// Checks the two maps of the file and adds what the environment says of every provider.
pub(super) fn read(maps: Maps, document: Option<&Document<'_>>, env: &Environment) -> Read {
    let mut out = Read::default();
    for (name, meta) in maps.models {
        out.meta(name, meta, document);
    }
    let mut tables: BTreeMap<String, Option<ProviderTable>> = builtin().ids().map(|id| (id.to_owned(), None)).collect();
    for (id, table) in maps.providers {
        tables.insert(id, Some(table));
    }
    for (id, table) in tables {
        out.provider(id, table, document, env);
    }
    if let Some(found) = env.first(&["OLLAMA_MODELS"]) {
        let models: Vec<String> = scalars::split(&found.value).map(str::to_owned).collect();
        out.errors
            .extend(models.iter().filter_map(|m| scalars::model_id(m).err()).map(|e| format!("OLLAMA_MODELS: {e}")));
        out.sources.push(("ollama.models".into(), found.source, models.join(", ")));
        out.ollama.models = models;
    }
    out.ollama.base_url = out.providers.get("ollama").and_then(|p| p.base_url.clone());
    out
}

impl Read {
    fn meta(&mut self, name: String, meta: MetaTable, document: Option<&Document<'_>>) {
        let own = BUILTIN_META_MODELS.iter().find(|(n, _)| *n == name).map(|(_, strategy)| *strategy);
        let error = |what: &str| at(document, &["models", &name], what);
        if name.is_empty() || name.contains('/') || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            self.errors.push(error("a meta-model's name has no `/` and no blanks (`/` separates provider and model)"));
        } else if meta.members.is_empty() && own.is_none() {
            self.errors.push(error("`members` is missing, such as [\"cerebras/*\", \"groq/openai/gpt-oss-120b\"]"));
        }
        let strategy = meta.strategy.or(own).unwrap_or(RoutingStrategy::Headroom);
        let place = document.map(|d| d.place(&["models", &name, "members"])).unwrap_or_default();
        self.models.insert(name, MetaModelSettings { members: meta.members, strategy, place });
    }

    fn provider(
        &mut self,
        id: String,
        table: Option<ProviderTable>,
        document: Option<&Document<'_>>,
        env: &Environment,
    ) {
        let known = builtin().provider(&id);
        if table.is_none() && known.is_some_and(|k| k.status == Some(Status::Retired)) {
            return; // A token that is set for another purpose (GITHUB_TOKEN) is none of ours.
        }
        let upper = id.to_uppercase().replace('-', "_");
        let base_url = self.base_url(&id, &upper, table.as_ref(), document, env);
        if let Some(table) = &table {
            let path = ["providers", id.as_str()];
            let wrong = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
            if id.is_empty() || id.contains(wrong) {
                self.errors.push(at(document, &path, "a provider's name is made of a-z, 0-9, - and _"));
            }
            if known.is_none() && base_url.is_none() {
                let near = closest(&id, builtin().ids());
                let hint = near.first().map_or_else(String::new, |n| format!(" Did you mean `{n}`?"));
                let what = format!("not a provider of the catalogue: one of your own needs `base_url`.{hint}");
                self.errors.push(at(document, &path, &what));
            }
            if let Some(dialect) = table.headers.as_deref()
                && builtin().headers(dialect).is_none()
            {
                let names: Vec<&str> = builtin().header_dialects().collect();
                let what = format!("expected one of {}, got `{dialect}`", names.join(", "));
                self.errors.push(at(document, &["providers", &id, "headers"], &what));
            }
        }
        let names = match (&table, known) {
            (Some(t), _) if !t.key_env.is_empty() => t.key_env.clone(),
            (_, Some(k)) => k.key_env.clone(),
            _ => vec![format!("{upper}_API_KEY")],
        };
        let keys = self.keys(&id, &names, env);
        if let Some(table) = &table {
            self.accounts(&id, table, keys.len(), document);
        }
        let listed = table.iter().chain(known).any(|t| !t.models.is_empty());
        if known.is_some() && !keys.is_empty() && !listed {
            self.notes.push(format!("{id} has a key and no models: list them as [providers.{id}.models.\"ID\"]"));
        }
        let base_url = base_url.or_else(|| known.and_then(|k| self.filled(&id, k, !keys.is_empty(), env)));
        if table.is_some() || base_url.is_some() || !keys.is_empty() {
            self.providers.insert(id, ProviderSettings { keys, base_url, table });
        }
    }

    /// `<ID>_BASE_URL`, else the file's.
    fn base_url(
        &mut self,
        id: &str,
        upper: &str,
        table: Option<&ProviderTable>,
        document: Option<&Document<'_>>,
        env: &Environment,
    ) -> Option<String> {
        let setting = format!("providers.{id}.base_url");
        let url = if let Some(Found { value, name, source }) = env.first(&[format!("{upper}_BASE_URL")]) {
            if let Err(what) = scalars::base_url(&value) {
                self.errors.push(format!("{source}: {what}"));
            }
            // The file's own line is listed with the rest of the file: this one is in force.
            self.sources.push((setting, format!("env {name}"), value.clone()));
            value
        } else {
            let value = table?.base_url.clone()?;
            if let Err(what) = scalars::base_url(&value) {
                self.errors.push(at(document, &["providers", id, "base_url"], &what));
            }
            value
        };
        let bare = url.trim_end_matches('/');
        let no_path = url::Url::parse(bare).is_ok_and(|u| u.path() == "/");
        Some(if id == "ollama" && no_path { format!("{bare}/v1") } else { bare.to_owned() })
    }

    /// A catalogue address with its placeholders filled; `None` when it has none, or when one cannot be filled.
    fn filled(&mut self, id: &str, known: &ProviderTable, has_keys: bool, env: &Environment) -> Option<String> {
        if known.base_url_vars.is_empty() || !has_keys {
            return None;
        }
        let mut url = known.base_url.clone()?;
        for (placeholder, variable) in &known.base_url_vars {
            let Some(found) = env.first(&[variable]) else {
                self.notes.push(format!("{id} is left out: it needs {variable} beside its key"));
                return None;
            };
            if found.value.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_') {
                self.errors.push(format!("{}: expected letters, digits, - and _, got `{}`", found.source, found.value));
            }
            url = url.replace(&format!("{{{placeholder}}}"), &found.value);
        }
        Some(url)
    }

    fn keys(&mut self, id: &str, names: &[String], env: &Environment) -> Vec<SecretString> {
        let found = match env.secret(names) {
            Ok(Some(found)) => found,
            Ok(None) => return Vec::new(),
            Err(error) => {
                self.errors.push(error);
                return Vec::new();
            }
        };
        for other in names.iter().skip_while(|n| !found.name.starts_with(n.as_str())).skip(1) {
            if env.first(&[other]).is_some_and(|second| second.value != found.value) {
                self.notes.push(format!("{other} is not used: {} is set", found.name));
            }
        }
        // A file of keys may have one per line.
        let listed: Vec<&str> = found.value.split([',', '\n']).map(str::trim).filter(|k| !k.is_empty()).collect();
        let mut seen = BTreeSet::new();
        for (position, key) in listed.iter().enumerate() {
            if let Err(what) = scalars::key(key) {
                self.errors.push(format!("{}, key {}: {what}", found.source, position + 1));
            }
            if !seen.insert(key) {
                self.notes.push(format!("{}: key {} is there twice and counts once", found.source, position + 1));
            }
        }
        let words = if listed.len() == 1 { "set".to_owned() } else { format!("{} set", listed.len()) };
        self.sources.push((format!("providers.{id}.keys"), found.source, words));
        listed.into_iter().map(SecretString::from).collect()
    }

    fn accounts(&mut self, id: &str, table: &ProviderTable, keys: usize, document: Option<&Document<'_>>) {
        let mut taken = BTreeMap::new();
        for (account, positions) in &table.accounts {
            let mut error = |what: &str| self.errors.push(at(document, &["providers", id, "accounts", account], what));
            let wrong = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
            if account.is_empty() || account.contains(wrong) {
                error("an account's name is made of letters, digits, - _ and .");
            }
            for &position in positions {
                if position == 0 {
                    error("positions count from 1");
                } else if keys > 0 && position > keys {
                    error(&format!("there is no key {position}: {keys} are set"));
                }
                if let Some(other) = taken.insert(position, account) {
                    error(&format!("key {position} stands in `{other}` already"));
                }
            }
        }
    }
}

fn at(document: Option<&Document<'_>>, path: &[&str], what: &str) -> String {
    document.map_or_else(|| what.to_owned(), |d| d.error_for(path, what))
}
