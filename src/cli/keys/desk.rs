//! Where the command's wishes are carried out: the store itself, or a running gateway that holds it.

use anyhow::{Context, bail};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use crate::{
    api::clients::{self, ClientObject},
    app::{self, Store, StoreInUse},
    config::Settings,
    ledger::By,
    upstream::{RemoteAdmin, RemoteError},
};

enum Place {
    Store(Box<Store>),
    Gateway(RemoteAdmin),
}

pub struct Desk {
    place: Place,
    /// Where members call, as far as this machine knows.
    url: String,
}

/// Entries of one page.
const PAGE: usize = 200;

impl Desk {
    /// The store, when this process can have it; else the gateway that has it. `url`: that gateway and no other.
    pub async fn open(settings: &Settings, url: Option<&str>) -> anyhow::Result<Self> {
        let here = server_url(settings);
        if let Some(url) = url {
            let parsed = url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            parsed.with_context(|| format!("--url `{url}` is no address such as https://gateway.example"))?;
            let key = settings.admin_key.clone().context("--url needs the gateway's TOLLFREE_ADMIN_KEY")?;
            return Self::gateway(settings, url, key);
        }
        match Store::open(settings).await {
            Ok(store) => Ok(Self { place: Place::Store(Box::new(store)), url: here }),
            Err(error) if error.is::<StoreInUse>() => match settings.admin_key.clone() {
                Some(key) => Self::gateway(settings, &here, key),
                None => bail!(
                    "a running gateway holds the data directory. Set its TOLLFREE_ADMIN_KEY, and it is asked at {here} \
                     (or at --url) instead; or stop it first"
                ),
            },
            Err(error) => Err(error),
        }
    }

    fn gateway(settings: &Settings, url: &str, key: SecretString) -> anyhow::Result<Self> {
        let gateway = RemoteAdmin::new(app::upstream(settings)?, url, key);
        Ok(Self { url: gateway.url().to_owned(), place: Place::Gateway(gateway) })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn close(self) -> anyhow::Result<()> {
        match self.place {
            Place::Store(store) => store.close().await,
            Place::Gateway(_) => Ok(()),
        }
    }

    pub async fn create(&self, said: Map<String, Value>) -> anyhow::Result<Value> {
        match &self.place {
            Place::Store(store) => {
                let (member, key) = store.ledger.create_member(&said, &by()).await?;
                shown(&ClientObject::of(&member, store.ledger.now_ms()).with_key(key))
            }
            Place::Gateway(gateway) => call(gateway, "POST", "", Some(said.into())).await,
        }
    }

    pub async fn list(&self, search: Option<&str>) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = match &self.place {
                Place::Store(store) => {
                    let search = search.map(str::to_lowercase);
                    let page = clients::listed(&store.ledger, PAGE, cursor.as_deref(), search.as_deref()).await?;
                    serde_json::to_value(page)?
                }
                Place::Gateway(gateway) => {
                    let mut query = url::form_urlencoded::Serializer::new(format!("?limit={PAGE}"));
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

    pub async fn change(&self, id: &str, said: Map<String, Value>) -> anyhow::Result<Value> {
        match &self.place {
            Place::Store(store) => {
                let member = store.ledger.change_member(id, &said, &by()).await?;
                shown(&ClientObject::of(&member, store.ledger.now_ms()))
            }
            Place::Gateway(gateway) => call(gateway, "PATCH", &format!("/{id}"), Some(said.into())).await,
        }
    }

    pub async fn rotate(&self, id: &str, overlap_s: i64) -> anyhow::Result<Value> {
        let said = json!({ "overlap_s": overlap_s });
        match &self.place {
            Place::Store(store) => {
                let overlap = clients::overlap(&Map::from_iter([("overlap_s".to_owned(), Value::from(overlap_s))]))?;
                let (member, key) = store.ledger.rotate_member(id, overlap, &by()).await?;
                shown(&ClientObject::of(&member, store.ledger.now_ms()).with_key(key))
            }
            Place::Gateway(gateway) => call(gateway, "POST", &format!("/{id}/rotate"), Some(said)).await,
        }
    }

    pub async fn revoke(&self, id: &str) -> anyhow::Result<Value> {
        match &self.place {
            Place::Store(store) => {
                let member = store.ledger.revoke_member(id, &by()).await?;
                shown(&ClientObject::of(&member, store.ledger.now_ms()))
            }
            Place::Gateway(gateway) => call(gateway, "POST", &format!("/{id}/revoke"), None).await,
        }
    }

    pub async fn delete(&self, id: &str) -> anyhow::Result<Value> {
        match &self.place {
            Place::Store(store) => {
                store.ledger.delete_member(id, &by()).await?;
                Ok(json!({ "id": id, "object": "client", "deleted": true }))
            }
            Place::Gateway(gateway) => call(gateway, "DELETE", &format!("/{id}"), None).await,
        }
    }
}

fn by() -> By {
    By { actor: "cli", address: None }
}

fn shown(client: &ClientObject) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(client)?)
}

async fn call(gateway: &RemoteAdmin, method: &str, path: &str, said: Option<Value>) -> anyhow::Result<Value> {
    match gateway.call(method, &format!("/admin/v1/clients{path}"), said.as_ref()).await {
        Err(RemoteError::Refused { status: 401, message }) => {
            bail!("the gateway at {} does not take this TOLLFREE_ADMIN_KEY: {message}", gateway.url())
        }
        other => Ok(other?),
    }
}

/// The gateway of these settings, as it is called on this machine.
fn server_url(settings: &Settings) -> String {
    let host = match settings.host.trim_matches(['[', ']']) {
        "0.0.0.0" | "::" => "127.0.0.1".to_owned(),
        v6 if v6.contains(':') => format!("[{v6}]"),
        host => host.to_owned(),
    };
    format!("http://{host}:{}", settings.port)
}
