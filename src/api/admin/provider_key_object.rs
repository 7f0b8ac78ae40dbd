//! The JSON of provider keys and of providers. A secret never appears in it.

use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::edge::{pagination::List, schema},
    catalog::{Catalog, KnownProvider},
    domain::{FoundModel, ModelFindings, PoolSnapshot, ProviderKey},
    ledger::{Findings, KeyState, StoredKey, StoredKeys, last_four, provider_key_id},
    upstream::model_list::{KeyTest, ModelListError},
};

/// A provider key as the admin API and the `providers keys` command show it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProviderKey)]
pub(crate) struct ProviderKeyObject {
    pub id: String,
    object: &'static str,
    pub provider: String,
    /// Keys of one account share its limits. The fingerprint for a key with an account of its own
    account: String,
    label: String,
    /// First 8 hex digits of the key's SHA-256
    fingerprint: String,
    /// Empty for a short key
    last_four: String,
    /// `environment`: set in the environment, and changed there
    #[schema(schema_with = schema::provider_key_source)]
    source: &'static str,
    /// `unreadable`: no master key opens it, so it is not used
    #[schema(schema_with = schema::provider_key_state)]
    pub state: &'static str,
    /// Why it cannot be opened
    #[schema(required)]
    problem: Option<String>,
    /// Present while the provider refuses the key
    #[schema(required)]
    cooldown: Option<KeyCooldown>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    /// The actor, as in the audit log
    #[schema(required)]
    created_by: Option<String>,
    /// The result of trying the key with its provider, where that was requested
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::provider_key_test)]
    test: Option<&'static str>,
    /// Why the provider has refused it, or why it did not answer
    #[serde(skip_serializing_if = "Option::is_none")]
    test_detail: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct KeyCooldown {
    cause: String,
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
}

impl ProviderKeyObject {
    pub(crate) fn stored(key: &StoredKey, snapshot: Option<&PoolSnapshot>) -> Self {
        let StoredKey { id, record, secret, .. } = key;
        Self {
            id: id.clone(),
            object: "provider_key",
            provider: record.provider.clone(),
            account: record.account().to_owned(),
            label: record.label.clone(),
            fingerprint: record.fingerprint.clone(),
            last_four: record.last_four.clone(),
            source: "store",
            state: key.state().as_str(),
            problem: secret.as_ref().err().map(ToString::to_string),
            cooldown: snapshot.and_then(|snapshot| cooldown(snapshot, &record.provider, &record.fingerprint)),
            created_at: Timestamp::from_millisecond(record.created_ms).ok(),
            created_by: Some(record.created_by.clone()),
            test: None,
            test_detail: None,
        }
    }

    fn of_environment(
        provider: &str,
        account: &str,
        (fingerprint, secret): (&str, &SecretString),
        snapshot: Option<&PoolSnapshot>,
    ) -> Self {
        Self {
            id: provider_key_id(provider, fingerprint),
            object: "provider_key",
            provider: provider.to_owned(),
            account: account.to_owned(),
            label: String::new(),
            fingerprint: fingerprint.to_owned(),
            last_four: last_four(secret),
            source: "environment",
            state: KeyState::Active.as_str(),
            problem: None,
            cooldown: snapshot.and_then(|snapshot| cooldown(snapshot, provider, fingerprint)),
            created_at: None,
            created_by: None,
            test: None,
            test_detail: None,
        }
    }

    pub(crate) fn with_account(self, account: &str) -> Self {
        Self { account: account.to_owned(), ..self }
    }

    pub(crate) fn with_test(self, result: &Result<KeyTest, ModelListError>) -> Self {
        let (test, test_detail) = match result {
            Ok(KeyTest::Accepted) => ("accepted", None),
            Ok(KeyTest::Unverified) => ("unverified", None),
            Err(ModelListError::BadKey(why)) => ("refused", Some(why.clone())),
            Err(other) => ("unanswered", Some(other.to_string())),
        };
        Self { test: Some(test), test_detail, ..self }
    }
}

fn cooldown(snapshot: &PoolSnapshot, provider: &str, fingerprint: &str) -> Option<KeyCooldown> {
    let (until_ms, cause) = snapshot.key_cooldowns.get(&format!("{provider}/{fingerprint}"))?;
    // A withdrawn key is disabled, which its state shows.
    let until = Timestamp::from_millisecond(*until_ms).ok()?;
    Some(KeyCooldown { cause: cause.clone(), until })
}

/// A key of the environment.
pub(crate) struct EnvironmentKey<'a> {
    pub provider: &'a KnownProvider,
    pub account: &'a str,
    pub key: &'a ProviderKey,
}

/// The keys of the environment, in the order of the catalogue.
pub(crate) fn environment_keys(catalog: &Catalog) -> impl Iterator<Item = EnvironmentKey<'_>> {
    catalog.known_providers.iter().flat_map(|provider| {
        provider.configured_keys.iter().map(move |(account, key)| EnvironmentKey { provider, account, key })
    })
}

impl EnvironmentKey<'_> {
    pub(crate) fn id(&self) -> String {
        provider_key_id(&self.provider.provider.id, &self.key.id)
    }
}

/// All keys: those of the environment, then those of the store.
pub(crate) fn list(catalog: &Catalog, stored: &StoredKeys, snapshot: Option<&PoolSnapshot>) -> List<ProviderKeyObject> {
    let of_environment = environment_keys(catalog).filter_map(|found| {
        let secret = found.key.secret.as_ref().filter(|_| stored.find(&found.id()).is_none())?;
        let EnvironmentKey { provider, account, key } = found;
        Some(ProviderKeyObject::of_environment(&provider.provider.id, account, (&key.id, secret), snapshot))
    });
    let of_store = stored.keys.iter().map(|key| ProviderKeyObject::stored(key, snapshot));
    List::new(of_environment.chain(of_store).collect(), None)
}

/// A provider of the catalogue or of the file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Provider)]
pub(crate) struct ProviderObject {
    pub(super) id: String,
    object: &'static str,
    name: String,
    #[schema(schema_with = schema::provider_status)]
    status: &'static str,
    /// Where a key can be made
    #[schema(required)]
    signup: Option<String>,
    /// Whether keys can be added
    takes_keys: bool,
    /// Whether it is served with the keys that it has
    configured: bool,
    /// Its models in force
    models: usize,
    /// What it lacks besides a key
    #[schema(required)]
    missing: Option<String>,
    /// Whether it answers without a key, and the operator can switch that on
    can_be_keyless: bool,
    /// Whether it is called without a key
    keyless: bool,
    /// Whether the configuration switches that on, so that it is changed there
    keyless_configured: bool,
    /// What its list of models and its answers have shown. Null: nothing yet
    #[schema(required)]
    list: Option<ModelListObject>,
}

/// The list of models of a provider, compared with the catalogue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProviderModelList)]
pub(crate) struct ModelListObject {
    /// Null: no replica has looked at the list yet
    #[schema(required, value_type = Option<String>, format = DateTime)]
    looked_at: Option<Timestamp>,
    /// Models in the list
    listed: usize,
    /// Models that the catalogue does not have
    new: Vec<NewModelObject>,
    /// Models that are not served, because the list does not have them or a request was answered so
    gone: Vec<GoneModelObject>,
    /// Why the list could not be read, or is not trusted
    #[schema(required)]
    problem: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewModel)]
pub(crate) struct NewModelObject {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Why it is not served. Null: it is
    #[schema(required)]
    not_served: Option<&'static str>,
    /// Whether it has yet to answer a request before it joins meta-models
    on_trial: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GoneModel)]
pub(crate) struct GoneModelObject {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    why: String,
    /// When it is served again, to see whether it is back. Null: once the list has it
    #[schema(required, value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

fn model_list(
    known: &KnownProvider,
    catalog: &Catalog,
    findings: &ModelFindings,
    now_ms: i64,
) -> Option<ModelListObject> {
    let instant = |ms| Timestamp::from_millisecond(ms).unwrap_or_default();
    let provider = &known.provider.id;
    let is_on_trial = |id: &str| {
        let mut served = catalog.models.iter().filter(|served| served.provider.id == *provider);
        served.any(|served| *served.model.id == *id && served.model.is_unproven)
    };
    let new = |model: &FoundModel| NewModelObject {
        id: model.id.clone(),
        since: instant(model.since_ms),
        not_served: known.new_models.refuses(model, &known.paid_models),
        on_trial: is_on_trial(&model.id),
    };
    let refused: Vec<_> = findings.refused.iter().filter(|(_, refused)| refused.until_ms > now_ms).collect();
    if findings.looked_ms == 0 && refused.is_empty() {
        return None;
    }
    let missing = findings.gone.iter().map(|(id, since_ms)| GoneModelObject {
        id: id.clone(),
        since: instant(*since_ms),
        why: "it is not in the list any more".to_owned(),
        until: None,
    });
    let refused = refused.into_iter().filter(|(id, _)| !findings.gone.contains_key(*id));
    let refused = refused.map(|(id, refused)| GoneModelObject {
        id: id.clone(),
        since: instant(refused.since_ms),
        why: format!("a request was refused: {}", refused.cause),
        until: Some(instant(refused.until_ms)),
    });
    Some(ModelListObject {
        looked_at: (findings.looked_ms > 0).then(|| instant(findings.looked_ms)),
        listed: findings.listed,
        new: findings.new.iter().map(new).collect(),
        gone: missing.chain(refused).collect(),
        problem: findings.problem.clone(),
    })
}

/// All providers, in the order of the catalogue.
pub(crate) fn providers(catalog: &Catalog, findings: &Findings, now_ms: i64) -> List<ProviderObject> {
    let object = |known: &KnownProvider| {
        let provider = &known.provider;
        ProviderObject {
            id: provider.id.to_string(),
            object: "provider",
            name: provider.name.clone(),
            status: provider.status.as_str(),
            signup: provider.signup.clone(),
            takes_keys: known.takes_keys,
            configured: catalog.providers.iter().any(|configured| configured.id == provider.id),
            models: catalog.models.iter().filter(|served| served.provider.id == provider.id).count(),
            can_be_keyless: known.can_be_keyless,
            keyless: provider.keyless,
            keyless_configured: known.keyless_configured,
            list: findings.get(&*provider.id).and_then(|findings| model_list(known, catalog, findings, now_ms)),
            missing: (!known.has_address).then(|| "its address, which depends on the account".to_owned()),
        }
    };
    List::new(catalog.known_providers.iter().map(object).collect(), None)
}
