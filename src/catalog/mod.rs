//! Providers, models and meta-models in force: one immutable snapshot, swapped whole on reload.

mod build;
mod meta_models;
mod overlay;
mod resolve;
mod windows;

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;

use crate::{
    config::Settings,
    domain::{Candidate, Model, Provider, RoutingStrategy},
};
pub use build::{ToDiscover, key_id, to_discover};
pub use resolve::Known;

/// The snapshot everyone reads; a reload stores another one.
pub type Current = Arc<ArcSwap<Catalog>>;

/// Everything that can be requested for, and who serves it.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Providers that there is a key (or a list of models) for, in catalogue order; those switched off in the file, too.
    pub providers: Vec<Arc<Provider>>,
    /// Every (chat model, key) in force, in catalogue order; local ones last.
    pub candidates: Vec<Arc<Candidate>>,
    /// Every chat model in force, in the order of the candidates.
    pub models: Vec<Served>,
    /// Every chat model that was ever described, for the words of an error.
    pub known: Vec<Known>,
    /// `free`, `free-fast`, `free-smart`, then the operator's.
    pub metas: Vec<MetaModel>,
    /// Hex digest of what the ledger's windows depend on.
    pub hash: String,
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
    /// In listed order.
    pub members: Vec<Arc<Candidate>>,
}

/// Who serves a name.
#[derive(Debug)]
pub enum Resolved<'a> {
    Meta(&'a MetaModel),
    /// One model, or its namesakes at several providers; each with every key. Never empty.
    Models(Vec<Arc<Candidate>>),
}

/// Why a name cannot be served: 404, in the caller's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    #[error("{}", retired_words(.model, .successor.as_deref()))]
    Retired { model: String, successor: Option<String> },
    #[error("{}", unknown_words(.requested, .closest))]
    Unknown { requested: String, closest: Vec<String> },
    /// The name is known; no provider of it has a key.
    #[error("No provider of `{requested}` is configured: set a key or run `tollfree demo`.")]
    NoMember { requested: String },
    /// Known and configured, but not to be had: switched off in the file, or with a limit of 0.
    #[error("The model `{requested}` is not offered here: {why}.")]
    NotOffered { requested: String, why: String },
}

fn retired_words(model: &str, successor: Option<&str>) -> String {
    match successor {
        Some(next) => format!("The model `{model}` has been retired. Its successor is `{next}`."),
        None => format!("The model `{model}` has been retired."),
    }
}

fn unknown_words(requested: &str, closest: &[String]) -> String {
    if closest.is_empty() {
        return format!("The model `{requested}` does not exist.");
    }
    let names: Vec<String> = closest.iter().map(|c| format!("`{c}`")).collect();
    format!("The model `{requested}` does not exist. Did you mean {}?", names.join(", "))
}

/// A setting that only makes sense together with the catalogue, and does not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CatalogError(pub String);

impl Catalog {
    /// `discovered`: model ids that servers without a list of their own named (see [`to_discover`]), by provider.
    pub fn build(settings: &Settings, discovered: &BTreeMap<String, Vec<String>>) -> Result<Catalog, CatalogError> {
        build::build(settings, discovered)
    }

    /// Order: meta-model; `provider/id-or-alias`; a whole id or alias at every provider that serves it; retired; the closest names.
    pub fn resolve(&self, name: &str) -> Result<Resolved<'_>, NotFound> {
        resolve::resolve(self, name)
    }
}

#[cfg(test)]
mod tests;
