//! Providers, models and meta-models in force, as one immutable snapshot that a reload replaces.

mod build;
mod meta_models;
mod overlay;
mod resolve;
mod windows;

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;

use crate::{
    config::{ModelAlias, Settings},
    domain::{Candidate, Capabilities, Model, NewModels, Provider, ProviderKey, RoutingStrategy},
};
pub use build::{ToDiscover, key_id, to_discover};
pub use resolve::{Known, LISTED_PREFIX};

/// The current snapshot, which a reload replaces.
pub type Current = Arc<ArcSwap<Catalog>>;

/// All names that can be requested, and the candidates that serve them.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Providers with a key or a list of models, in catalogue order, including those disabled in the file.
    pub providers: Vec<Arc<Provider>>,
    /// Every provider of the catalogue and of the file.
    pub known_providers: Vec<KnownProvider>,
    /// Each (model, key) in force, in catalogue order, local ones last.
    pub candidates: Vec<Arc<Candidate>>,
    /// Each model in force, in the order of the candidates.
    pub models: Vec<Served>,
    /// Each known model, for error messages.
    pub known: Vec<Known>,
    /// `free`, `free-fast`, `free-smart`, then the operator's.
    pub metas: Vec<MetaModel>,
    /// The operator's aliases, in the order of the file.
    pub aliases: Vec<ModelAlias>,
    /// Where the operator's file and the built-in catalogue disagree about names, and what was done about it.
    pub notes: Vec<String>,
    /// Hex digest of everything on which the ledger's windows depend.
    pub hash: String,
}

/// Models that servers list themselves (see [`to_discover`]), by provider.
pub type Discovered = BTreeMap<String, Vec<DiscoveredModel>>;

/// A model as its server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredModel {
    pub id: String,
    pub context: Option<i64>,
    pub max_output: Option<i64>,
    pub capabilities: Option<Capabilities>,
}

impl From<&str> for DiscoveredModel {
    fn from(id: &str) -> Self {
        Self { id: id.to_owned(), context: None, max_output: None, capabilities: None }
    }
}

/// A provider, with a key or without one.
#[derive(Debug)]
pub struct KnownProvider {
    pub provider: Arc<Provider>,
    /// Whether its address is complete; some need a variable besides the key.
    pub has_address: bool,
    /// Which models of its list are served although the catalogue does not have them.
    pub new_models: NewModels,
    /// Patterns of ids in its list that cost money.
    pub paid_models: Vec<String>,
    /// Whether the operator can have it called without a key.
    pub can_be_keyless: bool,
    /// Whether the configuration says so.
    pub keyless_configured: bool,
    /// Whether keys can be added for it.
    pub takes_keys: bool,
    /// Its keys from the environment, each with its account.
    pub configured_keys: Vec<(Arc<str>, Arc<ProviderKey>)>,
}

/// A model at one of its providers.
#[derive(Debug, Clone)]
pub struct Served {
    pub provider: Arc<Provider>,
    pub model: Arc<Model>,
}

/// A client-facing name for several models.
#[derive(Debug, Clone)]
pub struct MetaModel {
    pub name: String,
    pub strategy: RoutingStrategy,
    /// Members of less quality come after the others that have room.
    pub quality_floor: u32,
    /// In the order of the list.
    pub members: Vec<Arc<Candidate>>,
}

/// Result of resolving a name.
#[derive(Debug)]
pub enum Resolved<'a> {
    Meta(&'a MetaModel),
    /// One model, or models of the same name at several providers, with all their keys. Never empty.
    Models(Vec<Arc<Candidate>>),
}

/// Why a name cannot be served; the messages are for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    #[error("{}", retired_message(.model, .successor.as_deref()))]
    Retired { model: String, successor: Option<String> },
    #[error("{}", unknown_message(.requested, .closest))]
    Unknown { requested: String, closest: Vec<String> },
    /// The name is one that OpenAI or Anthropic gave, as clients have it built in.
    #[error(
        "The model `{requested}` is not served here. Use `free`, or map the name to a model in the configuration: \
         `[aliases]` with `\"{requested}\" = \"free\"`."
    )]
    WellKnown { requested: String },
    /// The name is known, but no provider of it has a key.
    #[error("No provider of `{requested}` is configured: set a key or run `tollfree demo`.")]
    NoMember { requested: String },
    /// The model is configured, but disabled in the file or with a limit of 0.
    #[error("The model `{requested}` is not offered here: {why}.")]
    NotOffered { requested: String, why: String },
}

fn retired_message(model: &str, successor: Option<&str>) -> String {
    match successor {
        Some(next) => format!("The model `{model}` has been retired. Its successor is `{next}`."),
        None => format!("The model `{model}` has been retired."),
    }
}

fn unknown_message(requested: &str, closest: &[String]) -> String {
    if closest.is_empty() {
        return format!("The model `{requested}` does not exist.");
    }
    let names: Vec<String> = closest.iter().map(|c| format!("`{c}`")).collect();
    format!("The model `{requested}` does not exist. Did you mean {}?", names.join(", "))
}

/// A setting that conflicts with the catalogue.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CatalogError(pub String);

impl Catalog {
    pub fn build(settings: &Settings, discovered: &Discovered) -> Result<Catalog, CatalogError> {
        build::build(settings, discovered)
    }

    /// A digest of each provider's address, keys and models, by its id.
    pub(crate) fn provider_digests(&self) -> Vec<(Arc<str>, String)> {
        build::provider_digests(self)
    }

    /// Resolves a name as a meta-model, as `provider/id-or-alias`, as an id or alias at all providers that serve it, or last by
    /// the operator's aliases. The error names the successor of a retired model, or the closest names.
    pub fn resolve(&self, name: &str) -> Result<Resolved<'_>, NotFound> {
        resolve::resolve(self, name)
    }

    /// The name under which metrics count requests for `name`: itself, or the pattern of an alias. `None`: it is not served.
    pub(crate) fn counted_as<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        resolve::counted_as(self, name)
    }
}

#[cfg(test)]
mod tests;
