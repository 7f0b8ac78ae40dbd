//! Resolves a name to the candidates that serve it.

use std::sync::Arc;

use super::{Catalog, NotFound, Resolved};
use crate::{
    config::builtin,
    domain::{Candidate, ModelKind, model_pattern, provider::Status},
    suggest::closest,
};

/// A model that is configured or was discovered, in force or not. Error messages use it.
#[derive(Debug, Clone)]
pub struct Known {
    pub provider: String,
    pub id: String,
    pub aliases: Vec<String>,
    pub kind: ModelKind,
    pub retired: bool,
    /// The day, or the month, since when it is retired.
    pub retired_on: Option<String>,
    /// `provider/id`
    pub successor: Option<String>,
    /// Why it is not offered even if its provider has a key.
    pub not_offered: Option<String>,
}

impl Known {
    /// `groq/openai/gpt-oss-120b`
    pub fn name(&self) -> String {
        format!("{}/{}", self.provider, self.id)
    }

    /// Whether `name` is its id or an alias, with or without the provider.
    pub fn is_called(&self, name: &str) -> bool {
        let of_provider = name.strip_prefix(self.provider.as_str()).and_then(|rest| rest.strip_prefix('/'));
        of_provider.is_some_and(|rest| self.has_name(rest)) || self.has_name(name)
    }

    fn has_name(&self, name: &str) -> bool {
        self.id == name || self.aliases.iter().any(|alias| alias == name)
    }
}

/// Whether `name` is the model's id or an alias, with or without the provider.
pub(super) fn is_called(candidate: &Candidate, name: &str) -> bool {
    is_called_with_provider(candidate, name) || has_name(candidate, name)
}

fn is_called_with_provider(candidate: &Candidate, name: &str) -> bool {
    let rest = name.strip_prefix(&*candidate.provider.id).and_then(|rest| rest.strip_prefix('/'));
    rest.is_some_and(|rest| has_name(candidate, rest))
}

fn has_name(candidate: &Candidate, name: &str) -> bool {
    &*candidate.model.id == name || candidate.model.aliases.iter().any(|alias| alias == name)
}

pub(super) fn resolve<'a>(catalog: &'a Catalog, name: &str) -> Result<Resolved<'a>, NotFound> {
    resolve_name(catalog, name).or_else(|not_found| {
        let found = aliases_of(catalog, name).into_iter().map(|(_, model)| resolve_name(catalog, model));
        found.reduce(Result::or).unwrap_or(Err(not_found))
    })
}

/// Names that coding agents and SDKs have built in, tried after the operator's aliases. The first that is served counts.
const BUILTIN_ALIASES: [(&str, &str); 6] = [
    ("claude-*haiku*", "free-fast"),
    ("claude-*", "free-smart"),
    ("omni-moderation*", "mistral-moderation-latest"),
    ("text-moderation*", "mistral-moderation-latest"),
    ("omni-moderation*", "openai/gpt-oss-safeguard-20b"),
    ("text-moderation*", "openai/gpt-oss-safeguard-20b"),
];
/// Before a name that Claude Code shall list: it keeps only names with `claude` or `anthropic` in them.
pub const LISTED_PREFIX: &str = "anthropic/";

/// The models that a name stands for, which no model has, each behind the pattern that the name matches. A name behind
/// [`LISTED_PREFIX`] is its own pattern.
fn aliases_of<'a>(catalog: &'a Catalog, name: &'a str) -> Vec<(&'a str, &'a str)> {
    let own = catalog.aliases.iter().find(|alias| model_pattern::matches(&alias.pattern, name));
    if let Some(alias) = own {
        return vec![(&alias.pattern, &alias.model)];
    }
    let bare = name.strip_prefix(LISTED_PREFIX).unwrap_or(name);
    let builtin = BUILTIN_ALIASES.iter().filter(|(pattern, _)| model_pattern::matches(pattern, bare));
    let mut models: Vec<(&str, &str)> = builtin.copied().collect();
    if models.is_empty() && bare.len() < name.len() {
        models.push((bare, bare));
    }
    models
}

/// The name under which requests for `name` are counted: itself, where it is served, else the pattern of the alias that it
/// matches, so that no caller can add names of its own. `None` where it is not served.
pub(super) fn counted_as<'a>(catalog: &'a Catalog, name: &'a str) -> Option<&'a str> {
    let is_served = |name: &str| {
        catalog.metas.iter().any(|meta| meta.name == name) || catalog.candidates.iter().any(|c| is_called(c, name))
    };
    if is_served(name) {
        return Some(name);
    }
    let mut aliases = aliases_of(catalog, name).into_iter();
    aliases.find(|(pattern, model)| pattern != model || is_served(model)).map(|(pattern, _)| pattern)
}

/// Like [`resolve`], without aliases.
pub(super) fn resolve_name<'a>(catalog: &'a Catalog, name: &str) -> Result<Resolved<'a>, NotFound> {
    if let Some(meta) = catalog.metas.iter().find(|meta| meta.name == name) {
        if meta.members.is_empty() {
            return Err(NotFound::NoMember { requested: name.to_owned() });
        }
        return Ok(Resolved::Meta(meta));
    }
    for called in [is_called_with_provider, has_name] {
        let found: Vec<Arc<Candidate>> = catalog.candidates.iter().filter(|c| called(c, name)).cloned().collect();
        if !found.is_empty() {
            return Ok(Resolved::Models(found));
        }
    }
    Err(why_not(catalog, name))
}

/// Characters of a name in the message that it is not served.
const MAX_SHOWN_CHARS: usize = 200;

/// Why no candidate serves the name.
fn why_not(catalog: &Catalog, name: &str) -> NotFound {
    let requested: String = name.chars().take(MAX_SHOWN_CHARS).collect();
    let mut current = catalog.known.iter().filter(|k| !k.retired && k.is_called(name)).peekable();
    if current.peek().is_some() {
        let reasons: Vec<Option<&str>> = current.map(|k| k.not_offered.as_deref()).collect();
        // A missing key is the better hint than a model that a provider does not offer.
        return match reasons.iter().copied().min().flatten() {
            Some(why) => NotFound::NotOffered { requested, why: why.to_owned() },
            None => NotFound::NoMember { requested },
        };
    }
    if is_well_known(name) {
        return NotFound::WellKnown { requested };
    }
    if let Some(gone) = catalog.known.iter().find(|k| k.is_called(name)) {
        return NotFound::Retired { model: requested, successor: gone.successor.clone() };
    }
    let provider = name.split_once('/').and_then(|(id, _)| builtin().provider(id));
    let serves = |id: &str| catalog.providers.iter().any(|p| &*p.id == id);
    if provider.is_some_and(|p| p.status == Some(Status::Retired))
        && !name.split_once('/').is_some_and(|(id, _)| serves(id))
    {
        return NotFound::Retired { model: requested, successor: None };
    }
    let metas = catalog.metas.iter().map(|meta| meta.name.clone());
    let in_force = catalog.models.iter().flat_map(|served| {
        let bare = std::iter::once(served.model.id.to_string()).chain(served.model.aliases.iter().cloned());
        std::iter::once(format!("{}/{}", served.provider.id, served.model.id)).chain(bare)
    });
    let names: Vec<String> = metas.chain(in_force).collect();
    let near = closest(name, names.iter().map(String::as_str));
    NotFound::Unknown { requested, closest: near.into_iter().map(str::to_owned).collect() }
}

/// Whether the name is that of a model of OpenAI or Anthropic: the default of many clients, and served by no free tier.
fn is_well_known(name: &str) -> bool {
    let name = name.strip_prefix("openai/").or_else(|| name.strip_prefix("anthropic/")).unwrap_or(name);
    let is_reasoner = || {
        let digits = name.strip_prefix('o').unwrap_or_default();
        let rest = digits.trim_start_matches(|c: char| c.is_ascii_digit());
        rest.len() < digits.len() && (rest.is_empty() || rest.starts_with('-'))
    };
    let families = ["gpt-3", "gpt-4", "gpt-5", "chatgpt-", "codex-", "computer-use-", "text-davinci-", "claude-"];
    families.iter().any(|family| name.starts_with(family)) || is_reasoner()
}
