//! Where a command is carried out: in the store itself, or by the running gateway that holds it.

use anyhow::{Context, anyhow, bail};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::super::{UsageError, healthcheck};
use crate::{
    api::admin::{
        client_list::{Cursor, client_object, list_clients},
        client_object::ClientObject,
        clients::parse_overlap,
    },
    app::{self, Store, StoreInUse},
    catalog::Catalog,
    config::Settings,
    ledger::ChangedBy,
    upstream::admin_client::{AdminClient, AdminClientError},
};

enum ClientStore {
    Direct(Box<Store>),
    Gateway(AdminClient),
}

pub(super) struct ClientAdmin {
    store: ClientStore,
    settings: Settings,
    /// Where clients reach the gateway, as far as this machine knows.
    url: String,
}

const PAGE_SIZE: usize = 200;

impl ClientAdmin {
    /// Opens the store if this process can, and else connects to the gateway that holds it. With `url`, always the gateway
    /// at that address.
    pub(super) async fn open(settings: Settings, url: Option<&str>) -> anyhow::Result<Self> {
        let local_url = server_url(&settings);
        if let Some(url) = url {
            if !url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
                return Err(UsageError(format!(
                    "--url: expected an address such as https://gateway.example, got `{url}`"
                ))
                .into());
            }
            let key = settings.admin_key.clone().context("--url needs the gateway's TOLLFREE_ADMIN_KEY")?;
            return Self::gateway(settings, url, key);
        }
        // Without Redis, only the running gateway can change its keys. Those of a demo exist nowhere else.
        if settings.redis_url.is_none() && healthcheck::is_running(&settings) {
            let Some(key) = settings.admin_key.clone() else {
                bail!(
                    "a gateway is running at {local_url}, and only it can change its keys: set its TOLLFREE_ADMIN_KEY to call \
                     it, or stop it first"
                );
            };
            return Self::gateway(settings, &local_url, key);
        }
        let store = Store::open(&settings).await.map_err(|error| match error.downcast_ref::<StoreInUse>() {
            Some(in_use) => {
                anyhow!("{in_use}. That process does not respond at {local_url}: name its address with --url")
            }
            None => error,
        })?;
        Ok(Self { store: ClientStore::Direct(Box::new(store)), settings, url: local_url })
    }

    fn gateway(settings: Settings, url: &str, key: SecretString) -> anyhow::Result<Self> {
        let gateway = AdminClient::new(app::upstream(&settings)?, url, key);
        Ok(Self { url: gateway.url().to_owned(), settings, store: ClientStore::Gateway(gateway) })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        match self.store {
            ClientStore::Direct(store) => store.close().await,
            ClientStore::Gateway(_) => Ok(()),
        }
    }

    /// The meta-models and the `provider/model` names that are served.
    pub(super) async fn model_names(&self) -> anyhow::Result<Vec<String>> {
        if let ClientStore::Gateway(gateway) = &self.store {
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
            ClientStore::Direct(store) => {
                let (record, key) = store.ledger.create_client(&fields, &by()).await?;
                to_json(&client_object(&store.ledger, &record).await.with_key(key))
            }
            ClientStore::Gateway(gateway) => call(gateway, "POST", "", Some(fields.into())).await,
        }
    }

    pub(super) async fn list(&self, search: Option<&str>) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = match &self.store {
                ClientStore::Direct(store) => {
                    let search = search.map(str::to_lowercase);
                    let from = cursor.as_deref().and_then(Cursor::parse).unwrap_or_default();
                    let page = list_clients(&store.ledger, PAGE_SIZE, from, search.as_deref()).await?;
                    serde_json::to_value(page)?
                }
                ClientStore::Gateway(gateway) => {
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
            ClientStore::Direct(store) => {
                let record = store.ledger.update_client(id, &fields, &by()).await?;
                to_json(&client_object(&store.ledger, &record).await)
            }
            ClientStore::Gateway(gateway) => call(gateway, "PATCH", &format!("/{id}"), Some(fields.into())).await,
        }
    }

    pub(super) async fn rotate(&self, id: &str, overlap_s: i64) -> anyhow::Result<Value> {
        let fields = Map::from_iter([("overlap_s".to_owned(), Value::from(overlap_s))]);
        match &self.store {
            ClientStore::Direct(store) => {
                let overlap = parse_overlap(&fields)?;
                let (record, key) = store.ledger.rotate_client_key(id, overlap, &by()).await?;
                to_json(&client_object(&store.ledger, &record).await.with_key(key))
            }
            ClientStore::Gateway(gateway) => call(gateway, "POST", &format!("/{id}/rotate"), Some(fields.into())).await,
        }
    }

    pub(super) async fn revoke(&self, id: &str) -> anyhow::Result<Value> {
        match &self.store {
            ClientStore::Direct(store) => {
                let record = store.ledger.revoke_client(id, &by()).await?;
                to_json(&client_object(&store.ledger, &record).await)
            }
            ClientStore::Gateway(gateway) => call(gateway, "POST", &format!("/{id}/revoke"), None).await,
        }
    }

    pub(super) async fn delete(&self, id: &str) -> anyhow::Result<Value> {
        match &self.store {
            ClientStore::Direct(store) => {
                store.ledger.delete_client(id, &by()).await?;
                Ok(json!({ "id": id, "object": "client", "deleted": true }))
            }
            ClientStore::Gateway(gateway) => call(gateway, "DELETE", &format!("/{id}"), None).await,
        }
    }
}

fn by() -> ChangedBy {
    ChangedBy { actor: "cli", address: None }
}

fn to_json(client: &ClientObject) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(client)?)
}

async fn call(gateway: &AdminClient, method: &str, path: &str, fields: Option<Value>) -> anyhow::Result<Value> {
    match gateway.call(method, &format!("/admin/v1/clients{path}"), fields.as_ref()).await {
        Err(AdminClientError::Refused { status: 401, message }) => {
            bail!("the gateway at {} does not accept this TOLLFREE_ADMIN_KEY: {message}", gateway.url())
        }
        other => Ok(other?),
    }
}

/// The URL of a gateway of these settings on this machine.
fn server_url(settings: &Settings) -> String {
    let host = healthcheck::host_here(settings);
    if host.contains(':') {
        format!("http://[{host}]:{}", settings.server.port)
    } else {
        format!("http://{host}:{}", settings.server.port)
    }
}
