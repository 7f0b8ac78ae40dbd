//! Where an administrator's command is carried out: in the store itself, or by the running gateway that holds it.

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use super::{UsageError, healthcheck};
use crate::{
    app::{self, Store, StoreInUse},
    config::Settings,
    ledger::ChangedBy,
    upstream::admin_client::{AdminClient, AdminClientError},
};

pub(super) enum AdminStore {
    Direct(Box<Store>),
    Gateway(AdminClient),
}

impl AdminStore {
    /// Opens the store if this process can, and else connects to the gateway that holds it. With `url`, always the gateway
    /// at that address.
    pub(super) async fn open(settings: &Settings, url: Option<&str>) -> anyhow::Result<Self> {
        let local_url = server_url(settings);
        let gateway = |url: &str, key| anyhow::Ok(Self::Gateway(AdminClient::new(app::upstream(settings)?, url, key)));
        if let Some(url) = url {
            if !url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
                return Err(UsageError(format!(
                    "--url: expected an address such as https://gateway.example, got `{url}`"
                ))
                .into());
            }
            return gateway(url, settings.admin_key.clone().context("--url needs the gateway's TOLLFREE_ADMIN_KEY")?);
        }
        // Without Redis, only the running gateway can change its keys. Those of a demo exist nowhere else.
        if settings.redis_url.is_none() && healthcheck::is_running(settings) {
            let Some(key) = settings.admin_key.clone() else {
                bail!(
                    "a gateway is running at {local_url}, and only it can change its keys: set its TOLLFREE_ADMIN_KEY to call \
                     it, or stop it first"
                );
            };
            return gateway(&local_url, key);
        }
        let store = Store::open(settings).await.map_err(|error| match error.downcast_ref::<StoreInUse>() {
            Some(in_use) => {
                anyhow!("{in_use}. That process does not respond at {local_url}: name its address with --url")
            }
            None => error,
        })?;
        Ok(Self::Direct(Box::new(store)))
    }

    /// The running gateway, at `url` or where these settings place it.
    pub(super) fn gateway(settings: &Settings, url: Option<&str>) -> anyhow::Result<AdminClient> {
        let url = url.map_or_else(|| server_url(settings), str::to_owned);
        let key = settings.admin_key.clone().context("this needs the gateway's TOLLFREE_ADMIN_KEY")?;
        Ok(AdminClient::new(app::upstream(settings)?, &url, key))
    }

    /// Where clients reach the gateway, as far as this machine knows.
    pub(super) fn url(&self, settings: &Settings) -> String {
        match self {
            Self::Direct(_) => server_url(settings),
            Self::Gateway(gateway) => gateway.url().to_owned(),
        }
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Direct(store) => store.close().await,
            Self::Gateway(_) => Ok(()),
        }
    }
}

/// Calls the admin API of a gateway.
pub(super) async fn call(
    gateway: &AdminClient,
    method: &str,
    path: &str,
    fields: Option<Value>,
) -> anyhow::Result<Value> {
    match gateway.call(method, path, fields.as_ref()).await {
        Err(AdminClientError::Refused { status: 401, message }) => {
            bail!("the gateway at {} does not accept this TOLLFREE_ADMIN_KEY: {message}", gateway.url())
        }
        other => Ok(other?),
    }
}

/// The actor in the audit log of a change that is made in the store directly.
pub(super) fn by() -> ChangedBy {
    ChangedBy { actor: "cli", address: None }
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
