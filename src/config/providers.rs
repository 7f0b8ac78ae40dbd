//! `[providers.…]`, `[models.…]`, `[aliases]` and `[prices]`: the rules that their types cannot express, and the keys and addresses from the environment.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    Findings, MetaModelSettings, ModelAlias, ProviderName, ProviderSettings, Settings, builtin,
    document::Document,
    environment::Environment,
    provider_table::{ModelTable, ProviderTable},
    value,
};
use crate::{
    domain::{
        NewModels, Price, RoutingStrategy, model_pattern,
        provider::{Auth, Status},
    },
    suggest::closest,
};

/// The meta-models that exist without being configured.
pub const BUILTIN_META_MODELS: [(&str, RoutingStrategy); 3] =
    [("free", RoutingStrategy::Headroom), ("free-fast", RoutingStrategy::Fast), ("free-smart", RoutingStrategy::Smart)];

/// Paths that are added to a base URL. Who copies the address of one means what stands before it.
const ENDPOINTS: [&str; 5] = ["/chat/completions", "/completions", "/responses", "/models", "/embeddings"];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MetaTable {
    members: Vec<String>,
    #[serde(alias = "order")]
    strategy: Option<RoutingStrategy>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceTable {
    input: f64,
    output: f64,
}

/// Fills in the providers, meta-models, aliases, prices and Ollama's models.
pub(super) fn read(
    settings: &mut Settings,
    document: Option<&Document<'_>>,
    env: &Environment,
    findings: &mut Findings,
) {
    for section in ["providers", "models", "aliases", "prices"] {
        for (name, source, text) in document.iter().flat_map(|document| document.leaves(section)) {
            findings.source(&name, source, text);
        }
    }
    let mut reader = Reader { document, env, findings };
    for (name, meta) in reader.section("models") {
        let meta = reader.meta_model(&name, meta);
        settings.models.insert(name, meta);
    }
    for (pattern, model) in reader.section("aliases") {
        let alias = reader.alias(pattern, model);
        settings.aliases.push(alias);
    }
    settings.prices.currency.clone_from(&settings.dashboard.currency);
    for (pattern, table) in reader.section("prices") {
        let price = reader.price(pattern, &table);
        settings.prices.prices.push(price);
    }
    let mut tables: BTreeMap<String, Option<ProviderTable>> = builtin().ids().map(|id| (id.to_owned(), None)).collect();
    tables.extend(reader.section("providers").into_iter().map(|(id, table)| (id, Some(table))));
    reader.check_variables(&tables);
    for (id, table) in tables {
        if let Some(provider) = reader.provider(&id, table) {
            settings.providers.insert(id, provider);
        }
    }
    for id in reader.keyless(&settings.routing.keyless) {
        settings.providers.entry(id).or_default().keyless = true;
    }
    settings.ollama.base_url = settings.providers.get("ollama").and_then(|provider| provider.base_url.clone());
    if let Some(found) = env.first(&["OLLAMA_MODELS"]) {
        let models: Vec<String> = value::split(&found.value).map(str::to_owned).collect();
        let wrong = models.iter().filter_map(|id| value::check_model_id(id).err());
        findings.errors.extend(wrong.map(|error| format!("{}: {error}", found.source)));
        findings.source("ollama.models", found.source, models.join(", "));
        settings.ollama.models = models;
    }
}

/// Names of this gateway: `TOLLFREE_API_KEY` and `FREELLM_API_KEY` are keys of its own callers.
const OWN_NAMES: [&str; 2] = ["tollfree", "freellm"];

/// What the names of a provider's variables begin with.
fn variables_of(id: &str) -> String {
    id.to_uppercase().replace('-', "_")
}

struct Reader<'a> {
    document: Option<&'a Document<'a>>,
    env: &'a Environment,
    findings: &'a mut Findings,
}

impl Reader<'_> {
    /// The tables of a section that are right.
    fn section<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> IndexMap<String, T> {
        let section = self.document.and_then(|document| document.root().get(name)?.get_ref().as_table());
        let mut tables = IndexMap::new();
        for (key, value) in section.into_iter().flatten() {
            match self.document.map(|document| document.read(value.clone())) {
                Some(Ok(table)) => _ = tables.insert(key.get_ref().to_string(), table),
                Some(Err(error)) => self.findings.errors.push(error),
                None => {}
            }
        }
        tables
    }

    fn error(&mut self, path: &[&str], message: &str) {
        let error = self.document.map_or_else(|| message.to_owned(), |document| document.error_for(path, message));
        self.findings.errors.push(error);
    }

    fn alias(&mut self, pattern: String, model: String) -> ModelAlias {
        let path = ["aliases", &*pattern];
        if let Err(problem) = model_pattern::check(&pattern) {
            self.error(&path, &format!("expected a name or a pattern such as \"gpt-4*\": {problem}"));
        }
        if model.is_empty() {
            self.error(&path, "expected the name of a model, such as \"free\"");
        }
        let place = self.document.map(|document| document.place(&path)).unwrap_or_default();
        ModelAlias { pattern, model, place }
    }

    fn price(&mut self, pattern: String, table: &PriceTable) -> Price {
        let path = ["prices", &*pattern];
        if let Err(problem) = model_pattern::check(&pattern) {
            self.error(&path, &format!("expected `provider/model` or a pattern such as \"*/gpt-oss-*\": {problem}"));
        }
        if [table.input, table.output].iter().any(|price| !price.is_finite() || *price < 0.0) {
            self.error(&path, "expected prices per million tokens, from 0");
        }
        Price { pattern, input: table.input, output: table.output }
    }

    fn meta_model(&mut self, name: &str, meta: MetaTable) -> MetaModelSettings {
        let path = ["models", name];
        let builtin = BUILTIN_META_MODELS.iter().find(|(n, _)| *n == name).map(|(_, strategy)| *strategy);
        if name.is_empty() || name.contains('/') || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            self.error(&path, "a meta-model's name has no `/` and no blanks (`/` separates provider and model)");
        } else if meta.members.is_empty() && builtin.is_none() {
            self.error(&path, "`members` is missing, such as [\"cerebras/*\", \"groq/openai/gpt-oss-120b\"]");
        }
        MetaModelSettings {
            members: meta.members,
            strategy: meta.strategy.or(builtin).unwrap_or(RoutingStrategy::Headroom),
            place: self.document.map(|document| document.place(&["models", name, "members"])).unwrap_or_default(),
        }
    }

    /// `None`: the provider is neither configured nor has it a key.
    fn provider(&mut self, id: &str, table: Option<ProviderTable>) -> Option<ProviderSettings> {
        let known = builtin().provider(id);
        if table.is_none() && known.is_some_and(|known| known.status == Some(Status::Retired)) {
            return None; // GITHUB_TOKEN, for one, is usually set for another purpose.
        }
        let variables = variables_of(id);
        let base_url = self.base_url(id, &variables, table.as_ref());
        let names = match (&table, known) {
            (Some(table), _) if !table.key_env.is_empty() => table.key_env.clone(),
            (_, Some(known)) => known.key_env.clone(),
            _ => vec![format!("{variables}_API_KEY")],
        };
        let keys = self.keys(id, &names);
        if let Some(table) = &table {
            self.check_table(id, table, known.is_none() && base_url.is_none());
            self.check_accounts(id, table, keys.len());
        }
        let takes_new = |table: &ProviderTable| table.new_models.as_ref().is_some_and(|rule| *rule != NewModels::None);
        let lists_models = table.iter().chain(known).any(|table| !table.models.is_empty() || takes_new(table));
        if known.is_some() && !keys.is_empty() && !lists_models {
            let note = format!("{id} has a key and no models: list them as [providers.{id}.models.\"ID\"]");
            self.findings.notes.push(note);
        }
        let base_url = base_url.or_else(|| known.and_then(|known| self.filled_base_url(id, known, !keys.is_empty())));
        let is_set = table.is_some() || base_url.is_some() || !keys.is_empty();
        is_set.then_some(ProviderSettings { keys, base_url, table, ..ProviderSettings::default() })
    }

    /// Two providers whose names differ in `-` and `_` only would read the same key, and one would get that of the other.
    fn check_variables(&mut self, tables: &BTreeMap<String, Option<ProviderTable>>) {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for (id, table) in tables {
            let variables = variables_of(id);
            let Some(other) = seen.insert(variables.clone(), id) else { continue };
            let named = if table.is_some() { id } else { other };
            self.error(
                &["providers", named],
                &format!("`{other}` and `{id}` would both read {variables}_API_KEY and {variables}_BASE_URL"),
            );
        }
    }

    /// The providers of `routing.keyless` that answer without a key.
    fn keyless(&mut self, named: &[ProviderName]) -> Vec<String> {
        let possible: Vec<&str> = builtin()
            .providers
            .iter()
            .filter(|(_, table)| table.auth == Some(Auth::BearerOptional) && table.status != Some(Status::Retired))
            .map(|(id, _)| id.as_str())
            .collect();
        if named.iter().any(|name| &**name == "all") {
            return possible.into_iter().map(str::to_owned).collect();
        }
        for name in named.iter().filter(|name| !possible.contains(&&***name)) {
            let source = self.findings.sources.iter().find(|source| source.name == "routing.keyless");
            let place = source.map_or_else(|| "routing.keyless".to_owned(), |source| source.source.clone());
            let error = format!(
                "{place}: routing.keyless: `{name}` is no provider that answers without a key: {}, or all",
                possible.join(", ")
            );
            self.findings.errors.push(error);
        }
        named.iter().map(ToString::to_string).collect()
    }

    fn check_table(&mut self, id: &str, table: &ProviderTable, has_no_address: bool) {
        let path = ["providers", id];
        if id.is_empty() || id.contains(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))) {
            self.error(&path, "the name of a provider consists of a-z, 0-9, - and _");
        }
        if OWN_NAMES.contains(&id) && table.key_env.is_empty() {
            let variable = format!("{}_API_KEY", variables_of(id));
            let error = format!(
                "{variable} is this gateway's own key: choose another name, such as `upstream`, or set `key_env`"
            );
            self.error(&path, &error);
        }
        for (model, of_model) in &table.models {
            for name in std::iter::once(model).chain(&of_model.aliases) {
                if let Err(error) = value::check_model_id(name) {
                    self.error(&["providers", id, "models", model], &error);
                }
            }
            self.check_family(id, model, of_model);
        }
        if has_no_address {
            let near = closest(id, builtin().ids());
            let hint = near.first().map_or_else(String::new, |name| format!(" Did you mean `{name}`?"));
            self.error(&path, &format!("not in the catalogue: a provider of your own needs `base_url`.{hint}"));
        }
        if let Some(dialect) = table.headers.as_deref().filter(|dialect| builtin().headers(dialect).is_none()) {
            let names: Vec<&str> = builtin().header_dialects().collect();
            let message = format!("expected one of {}, got `{dialect}`", names.join(", "));
            self.error(&["providers", id, "headers"], &message);
        }
    }

    /// Models of one family stand in for each other at one length, so it must be known.
    fn check_family(&mut self, id: &str, model: &str, table: &ModelTable) {
        let Some(family) = table.family.as_deref().filter(|_| table.dimensions.is_none()) else { return };
        let of_catalogue = builtin().model(id, model).and_then(|model| model.dimensions);
        if of_catalogue.or_else(|| builtin().dimensions(family)).is_none() {
            self.error(
                &["providers", id, "models", model, "family"],
                &format!("also set `dimensions`, the length of the vectors of `{family}`, such as 1024"),
            );
        }
    }

    /// `<ID>_BASE_URL`, else the file's.
    fn base_url(&mut self, id: &str, variables: &str, table: Option<&ProviderTable>) -> Option<String> {
        let url = if let Some(found) = self.env.first(&[format!("{variables}_BASE_URL")]) {
            if let Err(error) = value::check_base_url(&found.value) {
                self.findings.errors.push(format!("{}: {error}", found.source));
            }
            self.findings.source(&format!("providers.{id}.base_url"), found.source, found.value.clone());
            found.value
        } else {
            let url = table?.base_url.clone()?;
            if let Err(error) = value::check_base_url(&url) {
                self.error(&["providers", id, "base_url"], &error);
            }
            url
        };
        let mut bare = url.trim_end_matches('/');
        for path in ENDPOINTS {
            if let Some(base) = bare.strip_suffix(path) {
                let note = format!(
                    "providers.{id}.base_url: `{path}` is left out of `{bare}`, because it is added to every call"
                );
                self.findings.notes.push(note);
                bare = base;
                break;
            }
        }
        let has_no_path = url::Url::parse(bare).is_ok_and(|url| url.path() == "/");
        Some(if id == "ollama" && has_no_path { format!("{bare}/v1") } else { bare.to_owned() })
    }

    /// The catalogue's address with its placeholders filled in. `None`: it has none, or one is not set.
    fn filled_base_url(&mut self, id: &str, known: &ProviderTable, has_keys: bool) -> Option<String> {
        if known.base_url_vars.is_empty() || !has_keys {
            return None;
        }
        let mut url = known.base_url.clone()?;
        for (placeholder, variable) in &known.base_url_vars {
            let Some(found) = self.env.first(&[variable]) else {
                self.findings.notes.push(format!("{id} is left out: it needs {variable} besides its key"));
                return None;
            };
            if found.value.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_') {
                let error = format!("{}: expected letters, digits, - and _, got `{}`", found.source, found.value);
                self.findings.errors.push(error);
            }
            url = url.replace(&format!("{{{placeholder}}}"), &found.value);
        }
        Some(url)
    }

    fn keys(&mut self, id: &str, names: &[String]) -> Vec<SecretString> {
        let Some(found) = self.findings.take(self.env.secret(names)).flatten() else { return Vec::new() };
        for other in names.iter().skip_while(|name| !found.name.starts_with(name.as_str())).skip(1) {
            if self.env.first(&[other]).is_some_and(|second| second.value != found.value) {
                self.findings.notes.push(format!("{other} is not used: {} is set", found.name));
            }
        }
        // A file of keys may have one per line.
        let keys: Vec<&str> = found.value.split([',', '\n']).map(str::trim).filter(|key| !key.is_empty()).collect();
        let mut seen = BTreeSet::new();
        for (key, position) in keys.iter().zip(1..) {
            let place = format!("{}, key {position}", found.source);
            if let Err(error) = value::check_key(key) {
                self.findings.errors.push(format!("{place}: {error}"));
            }
            if !seen.insert(key) {
                self.findings.notes.push(format!("{place}: repeats an earlier key and is ignored"));
            }
        }
        let count = if keys.len() == 1 { "set".to_owned() } else { format!("{} set", keys.len()) };
        let keys = keys.into_iter().map(SecretString::from).collect();
        self.findings.source(&format!("providers.{id}.keys"), found.source, count);
        keys
    }

    fn check_accounts(&mut self, id: &str, table: &ProviderTable, keys: usize) {
        let mut taken = BTreeMap::new();
        for (account, positions) in &table.accounts {
            let path = ["providers", id, "accounts", account];
            if account.is_empty() || account.contains(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))) {
                self.error(&path, "the name of an account consists of letters, digits, - _ and .");
            }
            for &position in positions {
                if position == 0 {
                    self.error(&path, "positions count from 1");
                } else if keys > 0 && position > keys {
                    self.error(&path, &format!("there is no key {position}: {keys} are set"));
                }
                if let Some(other) = taken.insert(position, account) {
                    self.error(&path, &format!("key {position} already belongs to `{other}`"));
                }
            }
        }
    }
}
