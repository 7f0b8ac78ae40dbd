//! Meta-models: one name for several models.

use std::sync::Arc;

use super::{Catalog, CatalogError, MetaModel, resolve};
use crate::{
    config::{BUILTIN_META_MODELS, MetaModelSettings, Settings},
    domain::{Candidate, ModelKind, model_pattern, provider::Status},
    suggest::closest,
};

/// The built-in meta-models with the operator's changes, then the operator's own.
pub(super) fn build(settings: &Settings, catalog: &mut Catalog) -> Result<Vec<MetaModel>, CatalogError> {
    let mut metas = Vec::new();
    for (name, strategy) in BUILTIN_META_MODELS {
        let changed = settings.models.get(name);
        let members = match changed.filter(|meta| !meta.members.is_empty()) {
            Some(meta) => listed(name, meta, catalog)?,
            None => catalog.candidates.iter().filter(|c| is_member(c)).cloned().collect(),
        };
        metas.push(MetaModel {
            name: name.to_owned(),
            strategy: changed.map_or(strategy, |meta| meta.strategy),
            quality_floor: settings.routing.quality_floor,
            members,
        });
    }
    for (name, meta) in &settings.models {
        if BUILTIN_META_MODELS.iter().all(|(built_in, _)| built_in != name) {
            let members = listed(name, meta, catalog)?;
            let quality_floor = settings.routing.quality_floor;
            metas.push(MetaModel { name: name.clone(), strategy: meta.strategy, quality_floor, members });
        }
    }
    Ok(metas)
}

/// Whether a candidate is a member by default: a general chat model that is not gated, paid or keyless, or is listed.
fn is_member(candidate: &Candidate) -> bool {
    let keyless = candidate.key.secret.is_none() && !candidate.provider.local && !candidate.provider.keyless;
    let sure = matches!(candidate.model.status, Status::Active | Status::Trial) && !keyless;
    candidate.model.kind == ModelKind::Chat
        && candidate.model.chat_default
        && (sure && !candidate.model.is_unproven || candidate.model.listed)
}

/// Members in the order of the list. A pattern matches default members only; a name matches any candidate of that name. One
/// that matches nothing is noted and left out, because the catalogue may have dropped what it names.
fn listed(name: &str, meta: &MetaModelSettings, catalog: &mut Catalog) -> Result<Vec<Arc<Candidate>>, CatalogError> {
    let mut found: Vec<Arc<Candidate>> = Vec::new();
    for member in &meta.members {
        let is_pattern = member.contains('*');
        let takes = |c: &Candidate| {
            if is_pattern {
                model_pattern::matches(member, &c.name) && is_member(c)
            } else {
                resolve::is_called(c, member)
            }
        };
        for candidate in catalog.candidates.iter().filter(|c| takes(c)) {
            if !found.iter().any(|f| Arc::ptr_eq(f, candidate)) {
                found.push(Arc::clone(candidate));
            }
        }
        let provider = member.split_once('/').map(|(provider, _)| provider);
        // A provider without a key or before discovery has no candidates, which is not an error.
        let known = catalog
            .known
            .iter()
            .any(|k| if is_pattern { model_pattern::matches(member, &k.name()) } else { k.is_called(member) });
        let known = known || provider.is_some_and(|p| is_open_ended(p, catalog));
        if !known {
            let all: Vec<String> = catalog.known.iter().map(super::Known::name).collect();
            let near = closest(member, all.iter().map(String::as_str));
            let hint = near.first().map_or_else(String::new, |n| format!(": did you mean `{n}`?"));
            let note = format!("{}: models.{name}.members: `{member}` matches no model{hint}", meta.place);
            catalog.notes.push(note);
        }
    }
    check_members(name, meta, &found)?;
    Ok(found)
}

/// The members of a meta-model have one kind, and embedding models one vector space: requests go to any of them.
fn check_members(name: &str, meta: &MetaModelSettings, members: &[Arc<Candidate>]) -> Result<(), CatalogError> {
    let Some(first) = members.first() else { return Ok(()) };
    let space = |c: &Candidate| c.model.vectors.as_ref().and_then(|vectors| vectors.space(None));
    let refused = |other: &Candidate, why: &str| {
        let place = &meta.place;
        let message = format!("{place}: models.{name}.members: `{}` and `{}` {why}", first.name, other.name);
        Err(CatalogError(message))
    };
    for other in members {
        if other.model.kind != first.model.kind {
            return refused(other, "are of different kinds: a meta-model has members of one kind");
        }
        if space(other) != space(first) {
            return refused(other, "compute different vectors: a meta-model has members of one `family` and length");
        }
    }
    let is_builtin = BUILTIN_META_MODELS.iter().any(|(built_in, _)| *built_in == name);
    if is_builtin && first.model.kind != ModelKind::Chat {
        return Err(CatalogError(format!("{}: models.{name}.members: `{}` is no chat model", meta.place, first.name)));
    }
    Ok(())
}

/// Whether a provider's models are not known beforehand.
fn is_open_ended(provider: &str, catalog: &Catalog) -> bool {
    let listed = catalog.known.iter().any(|k| k.provider == provider);
    let exists =
        crate::config::builtin().provider(provider).is_some() || catalog.providers.iter().any(|p| &*p.id == provider);
    exists && (!listed || catalog.providers.iter().any(|p| &*p.id == provider && p.local))
}
