//! `tollfree catalog`: providers, models and limits in force, and the source of each figure.

use std::{fmt::Write, sync::Arc};

use secrecy::SecretString;
use serde_json::{Value, json};

use super::{catalog_file, load, print, progress::Progress, runtime};
use crate::{
    app,
    catalog::{Catalog, CatalogError, Discovered, Served},
    config::{Loaded, Settings, builtin},
    domain::{Candidate, Provider, Scope, Source, Window, provider::Status},
};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  tollfree catalog                     what the configured keys give access to
  tollfree catalog --all groq          everything known about a provider, with or without a key
  tollfree catalog fetch               the signed catalogue at catalog.url, into catalog.file
  tollfree catalog diff new.toml       what it would change
  tollfree catalog --json | jq '.providers[].models[].limits'")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<catalog_file::Command>,
    /// Only these providers
    providers: Vec<String>,
    /// Include providers without a key
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(command) = &arguments.command {
        return catalog_file::run(command);
    }
    let loaded = load()?;
    let progress = Progress::start("Reading the lists of models:".to_owned());
    let discovered = runtime()?.block_on(app::discover(&loaded.settings))?;
    drop(progress);
    print(&render(arguments, &loaded, &build(&loaded.settings, arguments.all, &discovered)?)?)
}

/// The catalogue of these settings. `all`: as if every provider had a key.
pub(super) fn build(settings: &Settings, all: bool, discovered: &Discovered) -> Result<Catalog, CatalogError> {
    let mut settings = settings.clone();
    for (id, table) in builtin().providers.iter().filter(|_| all) {
        let provider = settings.providers.entry(id.clone()).or_default();
        if provider.keys.is_empty() && !table.key_env.is_empty() {
            provider.keys.push(SecretString::from("none"));
        }
        let address = || table.base_url.as_ref().map(|url| url.replace(['{', '}'], "…"));
        provider.base_url = provider.base_url.take().or_else(address);
    }
    Catalog::build(&settings, discovered)
}

fn render(arguments: &Arguments, loaded: &Loaded, catalog: &Catalog) -> anyhow::Result<String> {
    if let Some(name) = arguments.providers.iter().find(|id| catalog.providers.iter().all(|p| *p.id != ***id)) {
        anyhow::bail!("`{name}` is not in force: set its key, or use --all to see everything known about it");
    }
    let view = View { loaded, catalog, providers: &arguments.providers };
    Ok(if arguments.json { format!("{:#}", view.json()) } else { view.text() })
}

struct View<'a> {
    loaded: &'a Loaded,
    catalog: &'a Catalog,
    /// Empty: all of them.
    providers: &'a [String],
}

impl View<'_> {
    fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        let is_listed = |id: &str| self.providers.is_empty() || self.providers.iter().any(|listed| listed == id);
        self.catalog.providers.iter().filter(move |provider| is_listed(&provider.id))
    }

    fn models(&self, provider: &Provider) -> impl Iterator<Item = &Served> {
        self.catalog.models.iter().filter(|served| served.provider.id == provider.id)
    }

    fn windows(&self, served: &Served) -> &[Window] {
        let candidate = self.catalog.candidates.iter().find(|candidate| Arc::ptr_eq(&candidate.model, &served.model));
        candidate.map_or(&[], |candidate| &candidate.windows)
    }

    fn text(&self) -> String {
        let mut out = String::new();
        if self.catalog.models.is_empty() {
            out.push_str(
                "No model is in force: set a key such as GROQ_API_KEY, or use --all to see everything known.\n",
            );
        }
        for provider in self.providers() {
            let off = if provider.enabled { "" } else { ", switched off" };
            let keys = self.keys(provider);
            let _ = writeln!(out, "{} ({}) {keys}{off}\n  {}", provider.id, provider.name, provider.base_url);
            for served in self.models(provider) {
                self.model_text(&mut out, served);
            }
            out.push('\n');
        }
        for note in &self.catalog.notes {
            let _ = writeln!(out, "note: {note}");
        }
        for meta in &self.catalog.metas {
            let _ = writeln!(out, "{} ({}): {}", meta.name, meta.strategy.as_str(), names(&meta.members).join(", "));
        }
        out
    }

    fn model_text(&self, out: &mut String, served: &Served) {
        let list = |before: &str, items: Vec<&str>| {
            if items.is_empty() { String::new() } else { format!("{before}{}", items.join(", ")) }
        };
        let model = &served.model;
        let aliases = list(" = ", model.aliases.iter().map(String::as_str).collect());
        let status =
            list(", ", Some(model.status.as_str()).filter(|_| model.status != Status::Active).into_iter().collect());
        let capabilities = list("; ", model.capabilities.names());
        let by_name = if model.chat_default { "" } else { "; only by its own name" };
        let _ = writeln!(out, "\n  {}{aliases}{status}", model.id);
        let _ = writeln!(
            out,
            "    context {}, output {}, quality {}{capabilities}{by_name}",
            model.context, model.max_output, model.quality
        );
        for window in self.windows(served) {
            let zone = window.zone.as_ref().map_or_else(String::new, |zone| format!(" of {}", zone.name));
            let scope = if window.scope == Scope::Account { ", all models" } else { "" };
            let kind = format!("{}{zone}{scope}", window.kind.as_str());
            let source = self.source(served, window);
            let _ = writeln!(out, "    {:<12}{:>9}  {kind:<32}{source}", window.limit.as_str(), window.max);
        }
    }

    fn json(&self) -> Value {
        let providers = self.providers().map(|provider| {
            json!({
                "id": &*provider.id, "name": provider.name, "status": provider.status.as_str(), "enabled": provider.enabled,
                "base_url": provider.base_url, "keys": self.key_ids(provider),
                "models": self.models(provider).map(|served| self.model_json(served)).collect::<Vec<_>>(),
            })
        });
        let metas = self.catalog.metas.iter().map(
            |meta| json!({ "name": meta.name, "strategy": meta.strategy.as_str(), "members": names(&meta.members) }),
        );
        json!({
            "catalogue_as_of": builtin().as_of, "catalogue_serial": builtin().serial, "windows_hash": self.catalog.hash,
            "providers": providers.collect::<Vec<_>>(), "meta_models": metas.collect::<Vec<_>>(),
        })
    }

    fn model_json(&self, served: &Served) -> Value {
        let model = &served.model;
        let limits = self.windows(served).iter().map(|window| {
            json!({
                "limit": window.limit.as_str(), "max": window.max, "window": window.kind.as_str(),
                "per": if window.scope == Scope::Account { "account" } else { "account and model" },
                "token_charge": window.charge.as_str(), "resets_at_midnight_of": window.zone.as_ref().map(|zone| &zone.name),
                "source": self.source(served, window),
            })
        });
        json!({
            "id": &*model.id, "aliases": model.aliases, "status": model.status.as_str(), "listed": model.listed,
            "context": model.context, "max_output": model.max_output, "capabilities": model.capabilities.names(),
            "quality": model.quality, "chat_default": model.chat_default, "limits": limits.collect::<Vec<_>>(),
        })
    }

    /// `catalogue, observed` or `tollfree.toml:12`.
    fn source(&self, served: &Served, window: &Window) -> String {
        let (provider, model, limit) = (&*served.provider.id, &*served.model.id, window.limit);
        if window.source == Source::File {
            let names = match window.scope {
                Scope::Account => vec![format!("providers.{provider}.limits.{limit}")],
                Scope::Model => vec![
                    format!("providers.{provider}.models.\"{model}\".limits.{limit}"),
                    format!("providers.{provider}.models.{model}.limits.{limit}"),
                    format!("providers.{provider}.model_limits.{limit}"),
                ],
            };
            let sources = &self.loaded.settings.sources;
            let found = names.iter().find_map(|name| sources.iter().find(|setting| setting.name == *name));
            return found.map_or_else(|| window.source.as_str().to_owned(), |setting| setting.source.clone());
        }
        let table = builtin().provider(provider);
        let own = table.filter(|_| window.scope == Scope::Model).and_then(|table| table.models.get(model)?.confidence);
        match own.or_else(|| table?.confidence) {
            Some(confidence) => format!("catalogue, {}", confidence.as_str()),
            None => "catalogue".to_owned(),
        }
    }

    fn key_ids(&self, provider: &Provider) -> Vec<String> {
        let with_key =
            self.catalog.candidates.iter().filter(|c| c.provider.id == provider.id && c.key.secret.is_some());
        let mut ids: Vec<String> = Vec::new();
        for Candidate { account, key, .. } in with_key.map(AsRef::as_ref) {
            let id = if account.id == key.id { key.id.to_string() } else { format!("{}/{}", account.id, key.id) };
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    fn keys(&self, provider: &Provider) -> String {
        let has_key = self.loaded.settings.providers.get(&*provider.id).is_some_and(|own| !own.keys.is_empty());
        match self.key_ids(provider).as_slice() {
            _ if !has_key => "no key".to_owned(),
            [one] => format!("key {one}"),
            many => format!("keys {}", many.join(", ")),
        }
    }
}

/// Each model once, however many keys it has.
fn names(candidates: &[Arc<Candidate>]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for candidate in candidates {
        if !names.contains(&&*candidate.name) {
            names.push(&candidate.name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn loaded(env: &[(&str, &str)], file: &str) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tollfree.toml"), file).unwrap();
        let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        config::load(&env, folder.path()).unwrap()
    }

    fn try_output(loaded: &Loaded, providers: &[&str], all: bool, json: bool) -> anyhow::Result<String> {
        let arguments =
            Arguments { command: None, providers: providers.iter().map(ToString::to_string).collect(), all, json };
        let discovered = Discovered::from([("ollama".to_owned(), vec!["llama3.2".into()])]);
        render(&arguments, loaded, &build(&loaded.settings, all, &discovered)?)
    }

    fn output(loaded: &Loaded, providers: &[&str], all: bool, json: bool) -> String {
        try_output(loaded, providers, all, json).unwrap()
    }

    #[test]
    fn every_figure_has_its_source() {
        let file = "[providers.groq.models.\"openai/gpt-oss-120b\"]\nlimits = { rpm = 7 }\n";
        let loaded = loaded(&[("GROQ_API_KEY", "gsk-hunter2")], file);
        let json: Value = serde_json::from_str(&output(&loaded, &[], false, true)).unwrap();
        let limits = &json["providers"][0]["models"][0]["limits"];
        assert_eq!(limits[0]["max"], 7);
        assert_eq!(limits[0]["source"], "tollfree.toml:2");
        assert_eq!(limits[1]["source"], "catalogue, documented");
        assert_eq!(limits[1]["window"], "bucket");
        let words = output(&loaded, &[], false, false);
        assert!(
            words.contains("tollfree.toml:2") && words.contains("free (headroom): groq/openai/gpt-oss-120b"),
            "{words}"
        );
        assert!(!words.contains("hunter2") && !json.to_string().contains("hunter2"));
    }

    #[test]
    fn all_includes_providers_without_a_key() {
        let loaded = loaded(&[], "");
        let none = render(
            &Arguments { command: None, providers: vec![], all: false, json: false },
            &loaded,
            &Catalog::default(),
        );
        assert!(none.unwrap().contains("No model is in force"));
        assert!(output(&loaded, &[], false, false).contains("  llama3.2\n"), "a discovered model");
        let gemini = output(&loaded, &["gemini"], true, false);
        assert!(gemini.contains("no key") && gemini.contains("calendar of America/Los_Angeles"), "{gemini}");
        assert!(output(&loaded, &["cloudflare"], true, false).contains("@cf/"));
        assert!(try_output(&loaded, &["gemini"], false, false).is_err());
    }
}
