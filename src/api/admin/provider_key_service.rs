//! What can be done with provider keys, for the admin API and for the command that works on the store directly.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::{
    api::{
        admin::provider_key_object::{ProviderKeyObject, environment_keys, list},
        edge::{error::ApiError, flow_error, pagination::List},
    },
    catalog::{Catalog, KnownProvider, key_id},
    domain::Provider,
    ledger::{
        AccountChange, ChangedBy, Ledger, NewProviderKey, ProviderKeyChange, ProviderKeyError, StoredKey,
        provider_key_id,
    },
    suggest::closest,
    upstream::{
        Upstream,
        model_list::{KeyTest, ModelListError},
    },
};

/// Time for a provider to answer each of the two calls that try a key.
const TEST_TIMEOUT_MS: u64 = 4_000;
const MAX_KEY_CHARS: usize = 4_096;
const MAX_ACCOUNT_CHARS: usize = 64;
const MAX_LABEL_CHARS: usize = 100;

pub(crate) struct KeyService<'a> {
    pub ledger: &'a Ledger,
    pub catalog: Arc<Catalog>,
    pub upstream: &'a Upstream,
}

impl KeyService<'_> {
    pub(crate) async fn list(&self) -> Result<List<ProviderKeyObject>, ApiError> {
        let stored = self.ledger.read_provider_keys().await.map_err(|e| flow_error::from_ledger_read(&e))?;
        Ok(list(&self.catalog, &stored, Some(&self.ledger.snapshot())))
    }

    /// Tries a key, unless that is not wanted, and stores it.
    pub(crate) async fn add(
        &self,
        new: NewProviderKey,
        is_tried: bool,
        by: &ChangedBy,
    ) -> Result<ProviderKeyObject, ApiError> {
        if !self.ledger.has_master_key() {
            return Err(change_error(ProviderKeyError::NoMasterKey));
        }
        let known = self.provider(&new.provider)?;
        check_key(&new.secret)?;
        check_label(&new.label)?;
        new.account.as_deref().map_or(Ok(()), check_account)?;
        let id = provider_key_id(&new.provider, &key_id(new.secret.expose_secret()));
        if environment_keys(&self.catalog).any(|found| found.id() == id) {
            let message = format!("This key is set in the environment already, as `{id}`.");
            return Err(ApiError::Conflict { code: "provider_key_exists", message });
        }
        let test = if is_tried { Some(self.try_key(&known.provider, &new.secret).await) } else { None };
        if let Some(Err(error)) = test {
            return Err(not_accepted(&known.provider, &error));
        }
        let key = self.ledger.add_provider_key(new, by).await.map_err(change_error)?;
        let object = ProviderKeyObject::stored(&key, None);
        Ok(match test {
            Some(test) => object.with_test(&test),
            None => object,
        })
    }

    /// Tries a key of the store or of the environment.
    pub(crate) async fn test(&self, id: &str) -> Result<ProviderKeyObject, ApiError> {
        let stored = self.ledger.read_provider_keys().await.map_err(|e| flow_error::from_ledger_read(&e))?;
        let all = list(&self.catalog, &stored, None).data;
        let object = all.into_iter().find(|key| key.id == id);
        let object = object.ok_or_else(|| change_error(ProviderKeyError::Unknown(id.to_owned())))?;
        let known = self.provider(&object.provider)?;
        let result = match stored.find(id) {
            Some(StoredKey { secret: Ok(secret), .. }) => self.try_key(&known.provider, secret).await,
            Some(StoredKey { secret: Err(error), .. }) => {
                let message = format!("The provider key `{id}` cannot be opened: {error}.");
                return Err(ApiError::Conflict { code: "provider_key_unreadable", message });
            }
            None => {
                let mut keys = known.configured_keys.iter().filter_map(|(_, key)| Some((key, key.secret.as_ref()?)));
                let found = keys.find(|(key, _)| provider_key_id(&known.provider.id, &key.id) == id);
                let (_, secret) = found.ok_or_else(|| change_error(ProviderKeyError::Unknown(id.to_owned())))?;
                self.try_key(&known.provider, secret).await
            }
        };
        Ok(object.with_test(&result))
    }

    pub(crate) async fn change(
        &self,
        id: &str,
        change: ProviderKeyChange,
        by: &ChangedBy,
    ) -> Result<ProviderKeyObject, ApiError> {
        change.label.as_deref().map_or(Ok(()), check_label)?;
        if let AccountChange::Named(account) = &change.account {
            check_account(account)?;
        }
        if let Some(grouped) = self.group(id, &change, by).await? {
            return Ok(grouped);
        }
        let changed = self.ledger.change_provider_key(id, &change, by).await;
        let key = changed.map_err(|error| self.explain(id, error))?;
        Ok(ProviderKeyObject::stored(&key, None))
    }

    pub(crate) async fn delete(&self, id: &str, by: &ChangedBy) -> Result<(), ApiError> {
        let stays = environment_keys(&self.catalog).any(|found| found.id() == id);
        self.ledger.delete_provider_key(id, stays, by).await.map_err(|error| self.explain(id, error))
    }

    /// Switches on or off that a provider is called without a key.
    pub(crate) async fn set_keyless(&self, id: &str, is_keyless: bool, by: &ChangedBy) -> Result<(), ApiError> {
        let known = self.catalog.known_providers.iter().find(|known| *known.provider.id == *id);
        let known = known.ok_or_else(|| ApiError::NotFound(format!("There is no provider `{id}`.")))?;
        if !known.can_be_keyless {
            return Err(invalid("keyless", format!("The provider `{id}` does not answer without a key.")));
        }
        if known.keyless_configured && !is_keyless {
            let message =
                format!("The configuration has `{id}` called without a key (TOLLFREE_KEYLESS). Change it there.");
            return Err(ApiError::Conflict { code: "keyless_in_configuration", message });
        }
        self.ledger.set_keyless(id, is_keyless, by).await.map_err(change_error)
    }

    /// Changes the account of a key of the environment, which is all that can be changed of it here. `None`: it is none.
    async fn group(
        &self,
        id: &str,
        change: &ProviderKeyChange,
        by: &ChangedBy,
    ) -> Result<Option<ProviderKeyObject>, ApiError> {
        let account = match &change.account {
            AccountChange::Named(account) => Some(account.as_str()),
            AccountChange::Own => None,
            AccountChange::Keep => return Ok(None),
        };
        let is_account_only = change.label.is_none() && change.disabled.is_none();
        let Some(found) = environment_keys(&self.catalog).find(|found| found.id() == id) else { return Ok(None) };
        let stored = self.ledger.read_provider_keys().await.map_err(|e| flow_error::from_ledger_read(&e))?;
        if !is_account_only || stored.find(id).is_some() {
            return Ok(None);
        }
        let (provider, fingerprint) = (&found.provider.provider.id, &found.key.id);
        let grouped = self.ledger.group_environment_key(provider, fingerprint, account, by).await;
        grouped.map_err(change_error)?;
        let object = list(&self.catalog, &stored, None).data.into_iter().find(|key| key.id == id);
        // The catalogue in hand is the one from before.
        Ok(object.map(|key| key.with_account(account.unwrap_or(fingerprint))))
    }

    /// A key that the store does not have may be one of the environment.
    fn explain(&self, id: &str, error: ProviderKeyError) -> ApiError {
        let is_configured = || environment_keys(&self.catalog).any(|found| found.id() == id);
        if matches!(error, ProviderKeyError::Unknown(_)) && is_configured() {
            let message = format!("The provider key `{id}` is set in the environment. Change it there.");
            return ApiError::Conflict { code: "provider_key_in_environment", message };
        }
        change_error(error)
    }

    /// The provider for which a key can be added.
    fn provider(&self, id: &str) -> Result<&KnownProvider, ApiError> {
        let known = &self.catalog.known_providers;
        let invalid = |message| ApiError::InvalidValue { param: Some("provider".to_owned()), message };
        let Some(found) = known.iter().find(|known| *known.provider.id == *id) else {
            let near = closest(id, known.iter().map(|known| &*known.provider.id));
            let hint = near.first().map_or_else(String::new, |near| format!(" Did you mean `{near}`?"));
            return Err(invalid(format!("There is no provider `{id}` in the catalogue or in the file.{hint}")));
        };
        if !found.takes_keys {
            return Err(invalid(format!("The provider `{id}` takes no key.")));
        }
        if !found.has_address {
            let message =
                format!("The address of `{id}` is incomplete: it depends on the account, and is set before a key.");
            return Err(invalid(message));
        }
        Ok(found)
    }

    async fn try_key(&self, provider: &Provider, secret: &SecretString) -> Result<KeyTest, ModelListError> {
        self.upstream.test_key(provider, secret, TEST_TIMEOUT_MS).await
    }
}

/// Why a new key is not kept.
fn not_accepted(provider: &Provider, error: &ModelListError) -> ApiError {
    match error {
        ModelListError::BadKey(why) => ApiError::ProviderKeyRefused(format!("{} refuses this key: {why}", provider.id)),
        other => ApiError::AllFailed {
            message: format!("{} did not answer whether it accepts this key: {other}", provider.id),
        },
    }
}

fn invalid(param: &str, message: String) -> ApiError {
    ApiError::InvalidValue { param: Some(param.to_owned()), message }
}

fn check_key(secret: &SecretString) -> Result<(), ApiError> {
    let key = secret.expose_secret();
    if key.is_empty() || key.len() > MAX_KEY_CHARS || !key.chars().all(|c| c.is_ascii_graphic()) {
        let message = format!("`key`: expected 1 to {MAX_KEY_CHARS} visible ASCII characters, without blanks.");
        return Err(invalid("key", message));
    }
    Ok(())
}

fn check_account(account: &str) -> Result<(), ApiError> {
    let is_name = account.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !(1..=MAX_ACCOUNT_CHARS).contains(&account.len()) || !is_name {
        let message = format!("`account`: expected 1 to {MAX_ACCOUNT_CHARS} letters, digits, - _ and .");
        return Err(invalid("account", message));
    }
    Ok(())
}

fn check_label(label: &str) -> Result<(), ApiError> {
    if label.chars().count() > MAX_LABEL_CHARS || label.chars().any(char::is_control) {
        let message = format!("`label`: expected at most {MAX_LABEL_CHARS} characters in one line.");
        return Err(invalid("label", message));
    }
    Ok(())
}

fn change_error(error: ProviderKeyError) -> ApiError {
    let message = error.to_string();
    match error {
        ProviderKeyError::Unknown(_) => ApiError::NotFound(message),
        ProviderKeyError::Exists(_) => ApiError::Conflict { code: "provider_key_exists", message },
        ProviderKeyError::NoMasterKey => ApiError::Conflict { code: "master_key_not_set", message },
        ProviderKeyError::TooMany => ApiError::Conflict { code: "too_many_provider_keys", message },
        ProviderKeyError::Busy(_) => ApiError::Conflict { code: "conflict", message },
        ProviderKeyError::Ledger(error) => flow_error::from_ledger_read(&error),
        ProviderKeyError::NoRandomness(error) => {
            tracing::error!(%error, "Cannot seal a provider key: {error}");
            ApiError::Internal
        }
    }
}
