//! Client keys in the store itself, or through the running gateway that holds it.

use serde_json::{Map, Value, json};

use super::super::admin_store::{self, AdminStore, by};
use crate::{
    api::admin::{
        client_list::{Cursor, client_object, list_clients},
        client_object::{ClientObject, KEYS_REQUIRED},
        clients::parse_overlap,
    },
    app,
    catalog::Catalog,
    config::Settings,
    upstream::admin_client::AdminClient,
};

pub(super) struct ClientAdmin {
    store: AdminStore,
    settings: Settings,
    /// Where clients reach the gateway, as far as this machine knows.
    url: String,
}

const PAGE_SIZE: usize = 200;

/// `server.public_url`: of the gateway that is called, or else of these settings.
async fn public_url(store: &AdminStore, settings: &Settings) -> Option<String> {
    let AdminStore::Gateway(gateway) = store else { return settings.server.public_url.clone() };
    // A gateway that cannot say it is no reason to refuse a key.
    let config = gateway.call("GET", "/admin/v1/config", None).await.ok()?;
    config["public_url"].as_str().map(str::to_owned)
}

impl ClientAdmin {
    /// Opens the store, or connects to the gateway that holds it.
    pub(super) async fn open(settings: Settings, url: Option<&str>) -> anyhow::Result<Self> {
        let store = AdminStore::open(&settings, url).await?;
        let url = public_url(&store, &settings).await.unwrap_or_else(|| store.url(&settings));
        Ok(Self { store, settings, url })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.store.close().await
    }

    /// The meta-models and the `provider/model` names that are served.
    pub(super) async fn model_names(&self) -> anyhow::Result<Vec<String>> {
        if let AdminStore::Gateway(gateway) = &self.store {
            let list = gateway.call("GET", "/v1/models", None).await?;
            let ids = list["data"].as_array().into_iter().flatten().filter_map(|model| model["id"].as_str());
            return Ok(ids.map(str::to_owned).collect());
        }
        let catalog = Catalog::build(&self.settings, &app::discover(&self.settings).await?)?;
        let models = catalog.candidates.iter().map(|candidate| candidate.name.to_string());
        Ok(catalog.metas.iter().map(|meta| meta.name.clone()).chain(models).collect())
    }

    pub(super) async fn create(&self, fields: Map<String, Value>) -> anyhow::Result<Value> {
        match &self.store {
            AdminStore::Direct(store) => {
                let (record, key) = store.ledger.create_client(&fields, &by()).await?;
                let settings = &self.settings;
                let may_be_open = settings.auth.mode.is_none() && settings.api_key.is_none();
                let is_first = may_be_open && store.ledger.count_clients().await? == 1;
                let notice = is_first.then_some(KEYS_REQUIRED);
                to_json(&client_object(&store.ledger, &record).await.with_key(key).with_notice(notice))
            }
            AdminStore::Gateway(gateway) => call(gateway, "POST", "", Some(fields.into())).await,
        }
    }

    pub(super) async fn list(&self, search: Option<&str>) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = match &self.store {
                AdminStore::Direct(store) => {
                    let search = search.map(str::to_lowercase);
                    let from = cursor.as_deref().and_then(Cursor::parse).unwrap_or_default();
                    let page = list_clients(&store.ledger, PAGE_SIZE, from, search.as_deref()).await?;
                    serde_json::to_value(page)?
                }
                AdminStore::Gateway(gateway) => {
                    let mut query = url::form_urlencoded::Serializer::new(format!("?limit={PAGE_SIZE}"));
                    for (name, value) in [("cursor", cursor.as_deref()), ("search", search)] {
                        if let Some(value) = value {
                            query.append_pair(name, value);
                        }
                    }
                    call(gateway, "GET", &query.finish(), None).await?
                }
            };
            all.extend(page["data"].as_array().into_iter().flatten().cloned());
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    pub(super) async fn update(&self, id: &str, fields: Map<String, Value>) -> anyhow::Result<Value> {
        match &self.store {
            AdminStore::Direct(store) => {
                let record = store.ledger.update_client(id, &fields, &by()).await?;
                to_json(&client_object(&store.ledger, &record).await)
            }
            AdminStore::Gateway(gateway) => call(gateway, "PATCH", &format!("/{id}"), Some(fields.into())).await,
        }
    }

    pub(super) async fn rotate(&self, id: &str, overlap_s: i64) -> anyhow::Result<Value> {
        let fields = Map::from_iter([("overlap_s".to_owned(), Value::from(overlap_s))]);
        match &self.store {
            AdminStore::Direct(store) => {
                let overlap = parse_overlap(&fields)?;
                let (record, key) = store.ledger.rotate_client_key(id, overlap, &by()).await?;
                to_json(&client_object(&store.ledger, &record).await.with_key(key))
            }
            AdminStore::Gateway(gateway) => call(gateway, "POST", &format!("/{id}/rotate"), Some(fields.into())).await,
        }
    }

    pub(super) async fn revoke(&self, id: &str) -> anyhow::Result<Value> {
        match &self.store {
            AdminStore::Direct(store) => {
                let record = store.ledger.revoke_client(id, &by()).await?;
                to_json(&client_object(&store.ledger, &record).await)
            }
            AdminStore::Gateway(gateway) => call(gateway, "POST", &format!("/{id}/revoke"), None).await,
        }
    }

    pub(super) async fn delete(&self, id: &str) -> anyhow::Result<Value> {
        match &self.store {
            AdminStore::Direct(store) => {
                store.ledger.delete_client(id, &by()).await?;
                Ok(json!({ "id": id, "object": "client", "deleted": true }))
            }
            AdminStore::Gateway(gateway) => call(gateway, "DELETE", &format!("/{id}"), None).await,
        }
    }
}

fn to_json(client: &ClientObject) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(client)?)
}

async fn call(gateway: &AdminClient, method: &str, path: &str, fields: Option<Value>) -> anyhow::Result<Value> {
    admin_store::call(gateway, method, &format!("/admin/v1/clients{path}"), fields).await
}
