//! Builds the catalogue from the settings: providers, models, accounts, keys and windows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{
    Catalog, CatalogError, Discovered, DiscoveredModel, Known, KnownProvider, NotFound, Served, meta_models,
    overlay::Overlay, resolve,
};
use crate::{
    config::{AddedKey, ProviderSettings, Settings, builtin},
    domain::{
        Account, Candidate, FoundModel, Provider, ProviderKey,
        provider::{Auth, Status},
    },
};

/// A server whose models are not configured and must be discovered.
#[derive(Debug, Clone)]
pub struct ToDiscover {
    pub provider: String,
    pub base_url: String,
    pub key: Option<SecretString>,
    /// Prefix of the ids in its list.
    pub model_list_prefix: String,
}

/// Ollama, unless `OLLAMA_MODELS` lists its models, and providers of the file without models.
pub fn to_discover(settings: &Settings) -> Vec<ToDiscover> {
    let custom = settings.providers.keys().map(String::as_str).filter(|id| builtin().provider(id).is_none());
    let ids = std::iter::once("ollama").filter(|_| settings.ollama.models.is_empty()).chain(custom);
    ids.map(|id| Overlay::new(id, settings.providers.get(id), &[]))
        .filter(|at| at.is_enabled() && at.file.is_none_or(|file| file.models.is_empty()))
        .filter_map(|at| {
            Some(ToDiscover {
                provider: at.id.to_owned(),
                base_url: at.base_url()?,
                key: at
                    .settings
                    .and_then(|s| s.keys.iter().chain(s.added_keys.iter().map(|key| &key.secret)).next().cloned()),
                model_list_prefix: at.file.and_then(|f| f.model_list_prefix.clone()).unwrap_or_default(),
            })
        })
        .collect()
}

pub(super) fn build(settings: &Settings, discovered: &Discovered) -> Result<Catalog, CatalogError> {
    let custom = settings.providers.keys().map(String::as_str).filter(|id| builtin().provider(id).is_none());
    let mut catalog = Catalog::default();
    let ollama: Vec<DiscoveredModel> = settings.ollama.models.iter().map(|id| id.as_str().into()).collect();
    for id in builtin().ids().chain(custom) {
        let found_is_listed = id == "ollama" && !ollama.is_empty();
        let settings = settings.providers.get(id);
        let found = if found_is_listed { Some(&ollama) } else { discovered.get(id) };
        let new = new_models(id, settings);
        let found = found.map_or(new.as_slice(), Vec::as_slice);
        let at = Overlay::new(id, settings, found);
        add(&mut catalog, &at, found_is_listed)?;
    }
    // The sort is stable, so the catalogue's order is kept within both groups.
    catalog.candidates.sort_by_key(|candidate| candidate.provider.local);
    catalog.models.sort_by_key(|served| served.provider.local);
    catalog.metas = meta_models::build(settings, &mut catalog)?;
    catalog.aliases.clone_from(&settings.aliases);
    note_wrong_aliases(&mut catalog);
    catalog.hash = hash(&catalog.candidates);
    Ok(catalog)
}

/// Models of a provider's list that are served although the catalogue does not have them.
fn new_models(id: &str, settings: Option<&ProviderSettings>) -> Vec<DiscoveredModel> {
    let at = Overlay::new(id, settings, &[]);
    let (rule, paid) = (at.new_models(), at.paid_models());
    let found = settings.into_iter().flat_map(|settings| &settings.findings.new);
    let served = found.filter(|new| rule.refuses(new, &paid).is_none() && at.gone_since(&new.id).is_none());
    let model = |new: &FoundModel| DiscoveredModel {
        id: new.id.clone(),
        context: new.context,
        max_output: new.max_output,
        capabilities: new.capabilities(),
    };
    served.map(model).collect()
}

fn add(catalog: &mut Catalog, at: &Overlay<'_>, found_is_listed: bool) -> Result<(), CatalogError> {
    let accounts = accounts(at);
    let known = known_provider(at, &accounts);
    let in_force = known.has_address && is_configured(at, &accounts);
    let provider = in_force.then(|| Arc::clone(&known.provider));
    catalog.known_providers.push(known);
    catalog.providers.extend(provider.clone());

    note_aliases(catalog, at);
    let ids = at.model_ids();
    let mut names = names_of_file(at)?;
    for &id in &ids {
        let (mut model, windows) = at.model(id, found_is_listed && at.discovered.iter().any(|found| found.id == id));
        // The operator's file wins over names that the catalogue has introduced since it was written.
        if let Some(owner) = names.get(id).filter(|owner| **owner != id) {
            catalog.notes.push(format!(
                "providers.{}: `{id}` is a name of `{owner}` in the file; the model of that id is left out",
                at.id
            ));
            continue;
        }
        // `x` is short for `x:latest`, unless there is a model `x`.
        model.aliases.retain(|alias| id.strip_suffix(":latest") != Some(alias) || !ids.contains(&alias.as_str()));
        model.aliases.retain(|alias| match names.get(alias.as_str()) {
            Some(owner) if *owner != id => {
                let note = format!(
                    "providers.{}: `{alias}` names `{owner}` as in the file, and not the catalogue's `{id}`",
                    at.id
                );
                catalog.notes.push(note);
                false
            }
            _ => true,
        });
        for name in std::iter::once(id).chain(model.aliases.iter().map(String::as_str)) {
            if let Some(other) = names.insert(name.to_owned(), id).filter(|other| *other != id) {
                return Err(CatalogError(format!(
                    "providers.{}: `{name}` is a name of both `{other}` and `{id}`",
                    at.id
                )));
            }
        }
        let gone_since = at.gone_since(id).filter(|_| !model.listed);
        let retired =
            at.status() == Status::Retired && !model.listed || model.status == Status::Retired || gone_since.is_some();
        let why = if !at.is_enabled() {
            Some("its provider is disabled in the configuration")
        } else if !model.enabled {
            Some("it is disabled in the configuration")
        } else if model.zero_limit {
            Some("a limit of 0 means that it is not on this plan")
        } else {
            None
        };
        if model.kind.is_served() {
            catalog.known.push(Known {
                provider: at.id.to_owned(),
                id: id.to_owned(),
                aliases: model.aliases.clone(),
                kind: model.kind,
                retired,
                retired_on: model.retired_on.clone().or_else(|| gone_since.and_then(date)),
                successor: model.successor.as_ref().map(|next| format!("{}/{next}", at.id)),
                not_offered: why.map(str::to_owned),
            });
        }
        let Some(provider) = provider.as_ref().filter(|_| !retired && why.is_none()) else { continue };
        if !model.kind.is_served() {
            continue;
        }
        let model = Arc::new(model);
        catalog.models.push(Served { provider: Arc::clone(provider), model: Arc::clone(&model) });
        for account in &accounts {
            let subject: Arc<str> = format!("{}/{}/{id}", at.id, account.id).into();
            catalog.candidates.extend(account.keys.iter().map(|key| {
                Arc::new(Candidate {
                    provider: Arc::clone(provider),
                    model: Arc::clone(&model),
                    account: Arc::clone(account),
                    key: Arc::clone(key),
                    windows: Arc::clone(&windows),
                    name: format!("{}/{id}", at.id).into(),
                    subject: subject.clone(),
                })
            }));
        }
    }
    Ok(())
}

/// The day of an instant, in UTC.
fn date(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().map(|instant| instant.strftime("%Y-%m-%d").to_string())
}

fn known_provider(at: &Overlay<'_>, accounts: &[Arc<Account>]) -> KnownProvider {
    let base_url = at.base_url();
    let lists_models = at.file.is_some_and(|file| !file.models.is_empty());
    let own: BTreeSet<String> =
        at.settings.into_iter().flat_map(|settings| &settings.keys).map(|key| key_id(key.expose_secret())).collect();
    let keys = accounts.iter().flat_map(|account| account.keys.iter().map(|key| (account.id.clone(), Arc::clone(key))));
    KnownProvider {
        has_address: base_url.is_some(),
        new_models: at.new_models(),
        paid_models: at.paid_models(),
        can_be_keyless: at.auth() == Auth::BearerOptional && !at.custom,
        keyless_configured: at.settings.is_some_and(|settings| settings.keyless),
        takes_keys: at.auth() != Auth::None && (at.status() != Status::Retired || lists_models),
        provider: Arc::new(at.provider(base_url.unwrap_or_default())),
        configured_keys: keys.filter(|(_, key)| own.contains(&*key.id)).collect(),
    }
}

/// Aliases of models that do not exist. They do not stop the start, because the catalogue may have dropped the model.
fn note_wrong_aliases(catalog: &mut Catalog) {
    let wrong = catalog.aliases.iter().filter_map(|alias| {
        let error = resolve::resolve_name(catalog, &alias.model).err()?;
        let is_unset = matches!(error, NotFound::NoMember { .. } | NotFound::NotOffered { .. });
        (!is_unset).then(|| format!("{}: aliases.\"{}\": {error}", alias.place, alias.pattern))
    });
    let notes: Vec<String> = wrong.collect();
    catalog.notes.extend(notes);
}

/// Tables of the file under a name that the catalogue has as an alias.
fn note_aliases(catalog: &mut Catalog, at: &Overlay<'_>) {
    for name in at.file.iter().flat_map(|file| file.models.keys()) {
        if let Some(id) = at.catalogue_id(name) {
            catalog.notes.push(format!(
                "providers.{}.models.\"{name}\": the catalogue calls this model `{id}`; the table applies to it",
                at.id
            ));
        }
    }
}

/// The names of the models that the file describes, each with the id of its model.
fn names_of_file<'a>(at: &Overlay<'a>) -> Result<BTreeMap<String, &'a str>, CatalogError> {
    let mut names = BTreeMap::new();
    for (name, table) in at.file.iter().flat_map(|file| &file.models) {
        let id = at.catalogue_id(name).unwrap_or(name);
        for name in std::iter::once(name).chain(&table.aliases) {
            if let Some(other) = names.insert(name.clone(), id).filter(|other| *other != id) {
                let error = format!("providers.{}: `{name}` is a name of both `{other}` and `{id}`", at.id);
                return Err(CatalogError(error));
            }
        }
    }
    Ok(names)
}

/// Whether the provider has what it needs to be called.
fn is_configured(at: &Overlay<'_>, accounts: &[Arc<Account>]) -> bool {
    let lists_models = at.file.is_some_and(|file| !file.models.is_empty());
    let has_key = accounts.iter().any(|account| account.keys.iter().any(|key| key.secret.is_some()));
    if at.status() == Status::Retired && !lists_models {
        return false;
    }
    match at.auth() {
        Auth::Bearer => has_key,
        // Calls without a key share a limit with others of the same address, so only the operator enables them.
        Auth::BearerOptional => has_key || at.custom || lists_models || at.is_keyless(),
        Auth::None => lists_models || !at.discovered.is_empty(),
    }
}

/// One account per key, unless the file or the administrator groups keys, in the order of their first keys.
fn accounts(at: &Overlay<'_>) -> Vec<Arc<Account>> {
    let (keys, added): (&[SecretString], &[AddedKey]) =
        at.settings.map_or((&[], &[]), |s: &ProviderSettings| (s.keys.as_slice(), s.added_keys.as_slice()));
    if keys.is_empty() && added.is_empty() && at.auth() != Auth::Bearer {
        let key = Arc::new(ProviderKey { id: Arc::from("none"), secret: None });
        return vec![Arc::new(Account { id: Arc::from("none"), keys: vec![key] })];
    }
    let named = |position: usize| {
        let groups = at.file.iter().flat_map(|file| &file.accounts);
        groups.filter(|(_, positions)| positions.contains(&position)).map(|(name, _)| name.as_str()).next()
    };
    let mut seen = BTreeSet::new();
    let mut accounts: Vec<(Arc<str>, Vec<Arc<ProviderKey>>)> = Vec::new();
    let configured = keys.iter().zip(1..).map(|(secret, position)| (secret, named(position)));
    for (secret, account) in configured.chain(added.iter().map(|key| (&key.secret, Some(key.account.as_str())))) {
        let id = key_id(secret.expose_secret());
        if !seen.insert(id.clone()) {
            continue;
        }
        let grouped = at.settings.and_then(|settings| settings.groups.get(&id)).map(String::as_str);
        let account: Arc<str> = grouped.or(account).map_or_else(|| Arc::from(id.as_str()), Arc::from);
        let key = Arc::new(ProviderKey { id: Arc::from(id), secret: Some(secret.clone()) });
        match accounts.iter_mut().find(|(name, _)| *name == account) {
            Some((_, siblings)) => siblings.push(key),
            None => accounts.push((account, vec![key])),
        }
    }
    accounts.into_iter().map(|(id, keys)| Arc::new(Account { id, keys })).collect()
}

/// First 8 hex digits of the key's SHA-256, which identify a key without revealing it.
pub fn key_id(key: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(key.as_bytes())[..4])
}

/// A digest of each provider's address, keys and models, by its id.
pub(super) fn provider_digests(catalog: &Catalog) -> Vec<(Arc<str>, String)> {
    let digest = |provider: &Arc<Provider>| {
        let own = catalog.candidates.iter().filter(|candidate| candidate.provider.id == provider.id);
        let mut words: Vec<&str> = own.flat_map(|c| [&*c.account.id, &*c.key.id, &*c.model.id]).collect();
        words.sort_unstable();
        words.dedup();
        words.push(&provider.base_url);
        (provider.id.clone(), HEXLOWER.encode(&Sha256::digest(words.join("\n").as_bytes())[..8]))
    };
    catalog.providers.iter().map(digest).collect()
}

/// Digest of everything on which the ledger's windows depend. Replicas with different digests disagree about limits.
fn hash(candidates: &[Arc<Candidate>]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for c in candidates {
        for w in c.windows.iter() {
            let zone = w.zone.as_ref().map_or("", |z| z.name.as_str());
            lines.push(format!(
                "{}/{}/{} {} {:?} {} {} {:?} {:?} {zone}",
                c.provider.id, c.account.id, c.model.id, w.limit, w.kind, w.max, w.span_ms, w.scope, w.charge
            ));
        }
    }
    lines.sort_unstable();
    lines.dedup();
    HEXLOWER.encode(&Sha256::digest(lines.join("\n").as_bytes())[..8])
}
