//! Provider keys in the store itself, or through the running gateway that holds it.

use std::{collections::BTreeMap, sync::Arc};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::super::admin_store::{AdminStore, by, call};
use crate::{
    api::admin::{provider_key_object::ProviderKeyObject, provider_key_service::KeyService, provider_keys::KeyChange},
    app::{self, Store},
    catalog::Catalog,
    config::Settings,
    ledger::NewProviderKey,
    upstream::Upstream,
};

pub(super) struct KeyAdmin {
    store: AdminStore,
    /// Of the settings alone.
    catalog: Arc<Catalog>,
    upstream: Upstream,
}

impl KeyAdmin {
    pub(super) async fn open(settings: Settings, url: Option<&str>) -> anyhow::Result<Self> {
        let catalog = Arc::new(Catalog::build(&settings, &BTreeMap::new())?);
        let upstream = app::upstream(&settings)?;
        Ok(Self { store: AdminStore::open(&settings, url).await?, catalog, upstream })
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.store.close().await
    }

    fn service<'a>(&'a self, store: &'a Store) -> KeyService<'a> {
        KeyService { ledger: &store.ledger, catalog: self.catalog.clone(), upstream: &self.upstream }
    }

    pub(super) async fn list(&self) -> anyhow::Result<Vec<Value>> {
        let list = match &self.store {
            AdminStore::Direct(store) => serde_json::to_value(self.service(store).list().await?)?,
            AdminStore::Gateway(gateway) => call(gateway, "GET", "/admin/v1/provider-keys", None).await?,
        };
        Ok(list["data"].as_array().cloned().unwrap_or_default())
    }

    pub(super) async fn add(
        &self,
        provider: &str,
        secret: SecretString,
        account: Option<String>,
        label: String,
        is_tried: bool,
    ) -> anyhow::Result<Value> {
        match &self.store {
            AdminStore::Direct(store) => {
                let new = NewProviderKey { provider: provider.to_owned(), secret, account, label };
                to_json(&self.service(store).add(new, is_tried, &by()).await?)
            }
            AdminStore::Gateway(gateway) => {
                let key = secret.expose_secret();
                let body = json!({
                    "provider": provider, "key": key, "account": account, "label": label, "try": is_tried,
                });
                call(gateway, "POST", "/admin/v1/provider-keys", Some(body)).await
            }
        }
    }

    pub(super) async fn test(&self, id: &str) -> anyhow::Result<Value> {
        match &self.store {
            AdminStore::Direct(store) => to_json(&self.service(store).test(id).await?),
            AdminStore::Gateway(gateway) => call(gateway, "POST", &format!("{}/test", path(id)), None).await,
        }
    }

    pub(super) async fn change(&self, id: &str, fields: Map<String, Value>) -> anyhow::Result<Value> {
        match &self.store {
            AdminStore::Direct(store) => {
                let change: KeyChange = serde_json::from_value(fields.into())?;
                to_json(&self.service(store).change(id, change.into(), &by()).await?)
            }
            AdminStore::Gateway(gateway) => call(gateway, "PATCH", &path(id), Some(fields.into())).await,
        }
    }

    pub(super) async fn remove(&self, id: &str) -> anyhow::Result<Value> {
        match &self.store {
            AdminStore::Direct(store) => {
                self.service(store).delete(id, &by()).await?;
                Ok(json!({ "id": id, "object": "provider_key", "deleted": true }))
            }
            AdminStore::Gateway(gateway) => call(gateway, "DELETE", &path(id), None).await,
        }
    }
}

/// The providers after a running gateway has looked at their lists of models.
pub(super) async fn refresh(
    settings: &Settings,
    url: Option<&str>,
    provider: Option<&str>,
) -> anyhow::Result<Vec<Value>> {
    let gateway = AdminStore::gateway(settings, url)?;
    let body = provider.map_or_else(|| json!({}), |provider| json!({ "provider": provider }));
    let list = call(&gateway, "POST", "/admin/v1/providers/refresh", Some(body)).await?;
    Ok(list["data"].as_array().cloned().unwrap_or_default())
}

fn path(id: &str) -> String {
    format!("/admin/v1/provider-keys/{id}")
}

fn to_json(key: &ProviderKeyObject) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(key)?)
}
