//! Builds the catalogue from the settings: providers, models, accounts, keys and windows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{Catalog, CatalogError, Known, Served, meta_models, overlay::Overlay};
use crate::{
    config::{ProviderSettings, Settings, builtin},
    domain::{
        Account, Candidate, ProviderKey,
        provider::{Auth, Endpoint, Status},
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
    ids.map(|id| Overlay::new(id, settings.providers.get(id)))
        .filter(|at| at.is_enabled() && at.file.is_none_or(|file| file.models.is_empty()))
        .filter_map(|at| {
            Some(ToDiscover {
                provider: at.id.to_owned(),
                base_url: at.base_url()?,
                key: at.settings.and_then(|s| s.keys.first().cloned()),
                model_list_prefix: at.file.and_then(|f| f.model_list_prefix.clone()).unwrap_or_default(),
            })
        })
        .collect()
}

pub(super) fn build(settings: &Settings, discovered: &BTreeMap<String, Vec<String>>) -> Result<Catalog, CatalogError> {
    let custom = settings.providers.keys().map(String::as_str).filter(|id| builtin().provider(id).is_none());
    let mut catalog = Catalog::default();
    for id in builtin().ids().chain(custom) {
        let at = Overlay::new(id, settings.providers.get(id));
        let found = match discovered.get(id) {
            _ if id == "ollama" && !settings.ollama.models.is_empty() => settings.ollama.models.as_slice(),
            Some(found) => found.as_slice(),
            None => &[],
        };
        add(&mut catalog, &at, found, id == "ollama" && !settings.ollama.models.is_empty())?;
    }
    // The sort is stable, so the catalogue's order is kept within both groups.
    catalog.candidates.sort_by_key(|candidate| candidate.provider.local);
    catalog.models.sort_by_key(|served| served.provider.local);
    catalog.metas = meta_models::build(settings, &catalog)?;
    catalog.hash = hash(&catalog.candidates);
    Ok(catalog)
}

fn add(catalog: &mut Catalog, at: &Overlay<'_>, found: &[String], found_is_listed: bool) -> Result<(), CatalogError> {
    let accounts = accounts(at);
    let in_force = at.base_url().filter(|_| is_configured(at, found, &accounts));
    let provider = in_force.map(|base_url| Arc::new(at.provider(base_url)));
    catalog.providers.extend(provider.clone());

    let ids = at.model_ids(found);
    let mut names = BTreeMap::new();
    for &id in &ids {
        let (mut model, windows) = at.model(id, found_is_listed && found.iter().any(|f| f == id));
        // `x` is short for `x:latest`, unless there is a model `x`.
        model.aliases.retain(|alias| id.strip_suffix(":latest") != Some(alias) || !ids.contains(&alias.as_str()));
        for name in std::iter::once(id).chain(model.aliases.iter().map(String::as_str)) {
            if let Some(other) = names.insert(name.to_owned(), id) {
                return Err(CatalogError(format!(
                    "providers.{}: `{name}` is a name of both `{other}` and `{id}`",
                    at.id
                )));
            }
        }
        let retired = at.status() == Status::Retired && !model.listed || model.status == Status::Retired;
        let why = if !at.is_enabled() {
            Some("its provider is disabled in the configuration")
        } else if !model.enabled {
            Some("it is disabled in the configuration")
        } else if model.zero_limit {
            Some("a limit of 0 means that it is not on this plan")
        } else {
            None
        };
        if model.endpoint == Endpoint::Chat {
            catalog.known.push(Known {
                provider: at.id.to_owned(),
                id: id.to_owned(),
                aliases: model.aliases.clone(),
                retired,
                successor: model.successor.as_ref().map(|next| format!("{}/{next}", at.id)),
                not_offered: why.map(str::to_owned),
            });
        }
        let Some(provider) = provider.as_ref().filter(|_| !retired && why.is_none()) else { continue };
        if model.endpoint != Endpoint::Chat {
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

/// Whether the provider has what it needs to be called.
fn is_configured(at: &Overlay<'_>, found: &[String], accounts: &[Arc<Account>]) -> bool {
    let lists_models = at.file.is_some_and(|file| !file.models.is_empty());
    let has_key = accounts.iter().any(|account| account.keys.iter().any(|key| key.secret.is_some()));
    if at.status() == Status::Retired && !lists_models {
        return false;
    }
    match at.auth() {
        Auth::Bearer => has_key,
        // Calls without a key share a limit with others of the same address, so only the file enables them.
        Auth::BearerOptional => has_key || at.custom || lists_models,
        Auth::None => lists_models || !found.is_empty(),
    }
}

/// One account per key, unless the file groups keys, in the order of their first keys.
fn accounts(at: &Overlay<'_>) -> Vec<Arc<Account>> {
    let keys: &[SecretString] = at.settings.map_or(&[], |s: &ProviderSettings| s.keys.as_slice());
    if keys.is_empty() && at.auth() != Auth::Bearer {
        let key = Arc::new(ProviderKey { id: Arc::from("none"), secret: None });
        return vec![Arc::new(Account { id: Arc::from("none"), keys: vec![key] })];
    }
    let named = |position: usize| {
        let groups = at.file.iter().flat_map(|file| &file.accounts);
        groups.filter(|(_, positions)| positions.contains(&position)).map(|(name, _)| name.as_str()).next()
    };
    let mut seen = BTreeSet::new();
    let mut accounts: Vec<(Arc<str>, Vec<Arc<ProviderKey>>)> = Vec::new();
    for (index, secret) in keys.iter().enumerate() {
        let id = key_id(secret.expose_secret());
        if !seen.insert(id.clone()) {
            continue;
        }
        let account: Arc<str> = named(index + 1).map_or_else(|| Arc::from(id.as_str()), Arc::from);
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
