//! `tollfree catalog`: providers, models, limits in force, and where each figure came from.

use std::{collections::BTreeMap, fmt::Write};

use secrecy::SecretString;
use serde_json::{Value, json};

use super::{load, say};
use crate::{
    catalog::{Catalog, CatalogError, Served},
    config::{Confidence, Loaded, Settings, builtin},
    domain::{Candidate, Provider, Scope, Source, Window, provider::Status},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tollfree catalog                     what the keys at hand give
  tollfree catalog --all groq          all that is known of a provider, with or without a key
  tollfree catalog --json | jq '.providers[].models[].limits'")]
pub struct Arguments {
    /// Only these providers
    providers: Vec<String>,
    /// Providers without a key, too
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints what is in force.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    say(text(arguments, &load()?)?.trim_end());
    Ok(())
}

fn text(arguments: &Arguments, loaded: &Loaded) -> anyhow::Result<String> {
    let catalog = catalog(&loaded.settings, arguments.all)?;
    if let Some(name) = arguments.providers.iter().find(|id| catalog.providers.iter().all(|p| *p.id != ***id)) {
        anyhow::bail!("`{name}` is not in force: set its key, or see all that is known with --all");
    }
    let shown = |provider: &Provider| {
        arguments.providers.is_empty() || arguments.providers.iter().any(|id| **id == *provider.id)
    };
    let view = View { loaded, catalog: &catalog };
    Ok(if arguments.json { view.json(shown) } else { view.text(shown) })
}

/// The snapshot of these settings, without asking any server; `all`: as if every provider had a key.
pub fn catalog(settings: &Settings, all: bool) -> Result<Catalog, CatalogError> {
    let mut settings = settings.clone();
    if all {
        for (id, table) in &builtin().providers {
            let own = settings.providers.entry(id.clone()).or_default();
            if own.keys.is_empty() && !table.key_env.is_empty() {
                own.keys.push(SecretString::from("none"));
            }
            own.base_url =
                own.base_url.take().or_else(|| table.base_url.as_ref().map(|url| url.replace(['{', '}'], "…")));
        }
    }
    Catalog::build(&settings, &BTreeMap::new())
}

struct View<'a> {
    loaded: &'a Loaded,
    catalog: &'a Catalog,
}

impl View<'_> {
    fn text(&self, shown: impl Fn(&Provider) -> bool) -> String {
        let mut out = String::new();
        if self.catalog.models.is_empty() {
            out.push_str(
                "No model is in force: set a key such as GROQ_API_KEY, or see all that is known with --all.\n",
            );
        }
        for provider in self.catalog.providers.iter().filter(|p| shown(p)) {
            let off = if provider.enabled { "" } else { ", switched off" };
            let _ = writeln!(
                out,
                "{} ({}) {}{off}\n  {}",
                provider.id,
                provider.name,
                self.keys(provider),
                provider.base_url
            );
            for served in self.models_of(provider) {
                let model = &served.model;
                let status =
                    if model.status == Status::Active { String::new() } else { format!(", {}", model.status.as_str()) };
                let _ = writeln!(
                    out,
                    "\n  {}{}{status}\n    context {}, output {}, quality {}{}{}",
                    model.id,
                    list(" = ", &model.aliases),
                    model.context,
                    model.max_output,
                    model.quality,
                    list("; ", &model.capabilities.names()),
                    if model.chat_default { "" } else { "; only by its own name" },
                );
                for window in self.windows(served) {
                    let source = self.source(served, window);
                    let _ = writeln!(
                        out,
                        "    {:<12}{:>9}  {:<32}{source}",
                        window.limit.as_str(),
                        window.max,
                        manner(window)
                    );
                }
            }
            out.push('\n');
        }
        for meta in &self.catalog.metas {
            let _ = writeln!(out, "{} ({}): {}", meta.name, meta.strategy.as_str(), members(&meta.members).join(", "));
        }
        out
    }

    fn json(&self, shown: impl Fn(&Provider) -> bool) -> String {
        let providers: Vec<Value> = self.catalog.providers.iter().filter(|p| shown(p)).map(|provider| {
            let models: Vec<Value> = self.models_of(provider).map(|served| self.model_json(served)).collect();
            json!({
                "id": &*provider.id, "name": provider.name, "status": provider.status.as_str(), "enabled": provider.enabled,
                "base_url": provider.base_url, "keys": self.key_ids(provider), "models": models,
            })
        }).collect();
        let metas: Vec<Value> = self
            .catalog
            .metas
            .iter()
            .map(
                |meta| json!({ "name": meta.name, "order": meta.strategy.as_str(), "members": members(&meta.members) }),
            )
            .collect();
        let all = json!({
            "catalogue_as_of": builtin().as_of, "windows_hash": self.catalog.hash, "providers": providers, "meta_models": metas,
        });
        format!("{all:#}\n")
    }

    fn model_json(&self, served: &Served) -> Value {
        let model = &served.model;
        let limits: Vec<Value> = self.windows(served).iter().map(|window| json!({
            "limit": window.limit.as_str(), "max": window.max, "window": window.kind.as_str(),
            "per": if window.scope == Scope::Account { "account" } else { "account and model" },
            "token_charge": window.charge.as_str(), "resets_at_midnight_of": window.zone.as_ref().map(|zone| &zone.name),
            "source": self.source(served, window),
        })).collect();
        json!({
            "id": &*model.id, "aliases": model.aliases, "status": model.status.as_str(), "listed": model.listed,
            "context": model.context, "max_output": model.max_output, "capabilities": model.capabilities.names(),
            "quality": model.quality, "chat_default": model.chat_default, "limits": limits,
        })
    }

    fn models_of<'a>(&'a self, provider: &'a Provider) -> impl Iterator<Item = &'a Served> {
        self.catalog.models.iter().filter(|served| served.provider.id == provider.id)
    }

    fn windows(&self, served: &Served) -> &[Window] {
        let of = |c: &&std::sync::Arc<Candidate>| std::sync::Arc::ptr_eq(&c.model, &served.model);
        self.catalog.candidates.iter().find(of).map_or(&[], |candidate| &candidate.windows)
    }

    /// `catalogue, observed` or `tollfree.toml:12`.
    fn source(&self, served: &Served, window: &Window) -> String {
        let (provider, model) = (&served.provider.id, &served.model.id);
        if window.source == Source::File {
            let (limit, sources) = (window.limit, &self.loaded.settings.sources);
            let settings = match window.scope {
                Scope::Account => vec![format!("providers.{provider}.limits.{limit}")],
                Scope::Model => vec![
                    format!("providers.{provider}.models.\"{model}\".limits.{limit}"),
                    format!("providers.{provider}.models.{model}.limits.{limit}"),
                    format!("providers.{provider}.model_limits.{limit}"),
                ],
            };
            let found = settings.iter().find_map(|s| sources.iter().find(|setting| setting.name == *s));
            return found.map_or_else(|| "file".to_owned(), |setting| setting.source.clone());
        }
        let table = builtin().provider(provider);
        let own =
            table.and_then(|t| t.models.get(&**model)).filter(|_| window.scope == Scope::Model).and_then(|m| m.mark);
        let mark = own.or_else(|| table.and_then(|t| t.mark));
        mark.map_or_else(|| "catalogue".to_owned(), |mark: Confidence| format!("catalogue, {}", mark.as_str()))
    }

    fn key_ids(&self, provider: &Provider) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for c in self.catalog.candidates.iter().filter(|c| c.provider.id == provider.id && c.key.secret.is_some()) {
            let id =
                if c.account.id == c.key.id { c.key.id.to_string() } else { format!("{}/{}", c.account.id, c.key.id) };
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    fn keys(&self, provider: &Provider) -> String {
        let has_key = self.loaded.settings.providers.get(&*provider.id).is_some_and(|p| !p.keys.is_empty());
        let ids = self.key_ids(provider);
        match ids.as_slice() {
            _ if !has_key => "no key".to_owned(),
            [one] => format!("key {one}"),
            many => format!("keys {}", many.join(", ")),
        }
    }
}

/// Each model once, however many keys it has.
fn members(candidates: &[std::sync::Arc<Candidate>]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for candidate in candidates {
        if !names.contains(&&*candidate.name) {
            names.push(&candidate.name);
        }
    }
    names
}

fn list<S: AsRef<str>>(before: &str, words: &[S]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    if words.is_empty() { String::new() } else { format!("{before}{}", words.join(", ")) }
}

/// `bucket, per account`, `calendar of America/Los_Angeles`
fn manner(window: &Window) -> String {
    let zone = window.zone.as_ref().map_or_else(String::new, |zone| format!(" of {}", zone.name));
    let scope = if window.scope == Scope::Account { ", all models" } else { "" };
    format!("{}{zone}{scope}", window.kind.as_str())
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

    fn asked(providers: &[&str], all: bool, json: bool) -> Arguments {
        Arguments { providers: providers.iter().map(ToString::to_string).collect(), all, json }
    }

    #[test]
    fn every_figure_says_where_it_came_from() {
        let file = "[providers.groq.models.\"openai/gpt-oss-120b\"]\nlimits = { rpm = 7 }\n";
        let loaded = loaded(&[("GROQ_API_KEY", "gsk-hunter2")], file);
        let json: Value = serde_json::from_str(&text(&asked(&[], false, true), &loaded).unwrap()).unwrap();
        let limits = &json["providers"][0]["models"][0]["limits"];
        assert_eq!(limits[0]["max"], 7);
        assert_eq!(limits[0]["source"], "tollfree.toml:2");
        assert_eq!(limits[1]["source"], "catalogue, documented");
        assert_eq!(limits[1]["window"], "bucket");
        let words = text(&asked(&[], false, false), &loaded).unwrap();
        assert!(
            words.contains("tollfree.toml:2") && words.contains("free (headroom): groq/openai/gpt-oss-120b"),
            "{words}"
        );
        assert!(!words.contains("hunter2") && !json.to_string().contains("hunter2"));
    }

    #[test]
    fn all_shows_what_has_no_key() {
        let loaded = loaded(&[], "");
        assert!(text(&asked(&[], false, false), &loaded).unwrap().contains("No model is in force"));
        let gemini = text(&asked(&["gemini"], true, false), &loaded).unwrap();
        assert!(gemini.contains("no key") && gemini.contains("calendar of America/Los_Angeles"), "{gemini}");
        assert!(text(&asked(&["cloudflare"], true, false), &loaded).unwrap().contains("@cf/"));
        assert!(text(&asked(&["gemini"], false, false), &loaded).is_err());
    }
}
