//! The gateway and the client key that `setup`, `launch` and `doctor` use.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, anyhow, bail};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{UsageError, progress::Progress, secret_prompt, setup::record::Record};
use crate::{
    domain::key,
    setup::{Gateway, KEY_VARIABLE, Offer, Places, System, Target, root_of},
    suggest::closest,
    upstream::{
        ProxySettings,
        gateway_client::{GatewayClient, Reply, Unreachable},
    },
};

const URL_VARIABLE: &str = "TOLLFREE_URL";
/// Any text is a key at a gateway that requires none; tools refuse an empty one.
const OPEN_KEY: &str = "open";

#[derive(Debug, Clone, clap::Args)]
pub(super) struct GatewayArgs {
    /// Address of the gateway, such as <https://gateway.example>; else `TOLLFREE_URL`, else that of the last `setup`
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The client key; better `TOLLFREE_CLIENT_KEY` or the prompt, because others can see arguments
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Model or meta-model that the tool uses
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
}

/// This process's environment, with the places of a person's files.
pub(super) fn places() -> anyhow::Result<Places> {
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Places::new(env, if cfg!(target_os = "macos") { System::Mac } else { System::Linux }).context("HOME is not set")
}

impl GatewayArgs {
    /// Without `/v1`. Tools differ in whether they want it, so both are accepted.
    pub(super) fn url(&self, places: &Places, record: Option<&Record>) -> anyhow::Result<String> {
        let given = self.url.as_deref().or_else(|| places.var(URL_VARIABLE));
        let last = record.map(|record| record.url.clone()).or_else(|| Record::only_url(places));
        let Some(url) = given.map(str::to_owned).or(last) else {
            return Err(UsageError(
                "--url is missing: the address of the gateway, such as https://gateway.example".to_owned(),
            )
            .into());
        };
        if !url::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(
                UsageError(format!("--url: expected an address such as https://gateway.example, got `{url}`")).into()
            );
        }
        Ok(root_of(&url))
    }

    /// The key that is given, or that an earlier `setup` stored.
    pub(super) fn known_key(&self, places: &Places, url: &str) -> Option<SecretString> {
        let stored = || fs::read_to_string(places.key_file(url)).ok();
        let key = self.key.clone().or_else(|| places.var(KEY_VARIABLE).map(str::to_owned)).or_else(stored)?;
        let key = key.trim();
        (!key.is_empty()).then(|| key.into())
    }

    /// Connects with a key, for which a person at a terminal is prompted where the gateway requires one.
    pub(super) async fn connect(
        &self,
        places: &Places,
        record: Option<&Record>,
    ) -> anyhow::Result<(Gateway, SecretString)> {
        let url = self.url(places, record)?;
        let known = self.known_key(places, &url);
        let client = client(places, &url, known.clone())?;
        let progress = Progress::start(format!("Reading the models of {url}:"));
        let models = get(&client, "/v1/models", None).await?;
        if models.status == 401 && known.is_none() {
            if !secret_prompt::is_possible() {
                return Err(UsageError(format!("the gateway requires a client key: set {KEY_VARIABLE}")).into());
            }
            drop(progress);
            let key = secret_prompt::read(&format!("Client key for {url}: "))?;
            let client = self::client(places, &url, Some(key.as_str().into()))?;
            let models = get(&client, "/v1/models", None).await?;
            return Ok((gateway(&client, &models).await?, key.into()));
        }
        Ok((gateway(&client, &models).await?, known.unwrap_or_else(|| OPEN_KEY.into())))
    }

    /// Everything that the files of a tool are made of. Shows that it is at work where that takes longer than a second.
    pub(super) async fn target(&self, places: Places, record: Option<&Record>) -> anyhow::Result<Target> {
        let (gateway, key) = self.connect(&places, record).await?;
        let model = self.model.as_deref().map(|name| find_model(&gateway, name).cloned()).transpose()?;
        Target::new(gateway, key, places, model.as_ref())
            .context("the gateway offers no model to this key: see `tollfree doctor`")
    }
}

/// A model of the list, also by the name under which Claude Code knows it.
pub(super) fn find_model<'a>(gateway: &'a Gateway, name: &str) -> anyhow::Result<&'a Offer> {
    if let Some(offer) = gateway.offer(name).or_else(|| gateway.offer(name.strip_prefix("anthropic/")?)) {
        return Ok(offer);
    }
    match closest(name, gateway.offers.iter().map(|offer| offer.name.as_str())).first() {
        Some(near) => bail!("this key may not use `{name}`, or there is no such model: did you mean `{near}`?"),
        None => bail!("this key may not use `{name}`, or there is no such model: see GET {}/models", gateway.v1()),
    }
}

pub(super) fn client(places: &Places, url: &str, key: Option<SecretString>) -> anyhow::Result<GatewayClient> {
    Ok(GatewayClient::new(url, key, proxy(places))?)
}

/// The proxy of the environment. It is used for `https://` only.
pub(super) fn proxy(places: &Places) -> Option<ProxySettings> {
    let var = |name: &str| places.var(name).or_else(|| places.var(&name.to_lowercase())).map(str::to_owned);
    Some(ProxySettings { url: var("HTTPS_PROXY").or_else(|| var("ALL_PROXY"))?, bypass: var("NO_PROXY") })
}

async fn gateway(client: &GatewayClient, models: &Reply) -> anyhow::Result<Gateway> {
    let models = list(client, models, "data")?;
    let windows = get(client, "/v1/models?limit=1000", Some(("anthropic-version", "2023-06-01"))).await?;
    let codex = get(client, "/v1/models?client_version=1", None).await?;
    Ok(Gateway::new(client.url(), &models, &list(client, &windows, "data")?, list(client, &codex, "models")?))
}

fn list(client: &GatewayClient, reply: &Reply, field: &str) -> anyhow::Result<Value> {
    if let Some(list) = reply.json().filter(|json| reply.status == 200 && json[field].is_array()) {
        return Ok(list);
    }
    Err(match (reply.status, reply.error()) {
        (401 | 403, Some((_, message))) => anyhow!("the gateway at {} refuses the key: {message}", client.url()),
        (_, Some((_, message))) => anyhow!("the gateway at {} answers {}: {message}", client.url(), reply.status),
        (status, None) => {
            anyhow!("{} is not a Tollfree gateway: it answers {status} with an unknown body", client.url())
        }
    })
}

async fn get(client: &GatewayClient, path: &str, header: Option<(&str, &str)>) -> anyhow::Result<Reply> {
    let failed = |error: Unreachable| {
        anyhow!("the gateway at {} cannot be reached: {error}; `tollfree doctor` says more", client.url())
    };
    client.get(path, header).await.map_err(failed)
}

/// `sk-tf-k7f3a9c2-…`: the part of a key that identifies its client.
pub(super) fn masked(key: &SecretString) -> String {
    if key.expose_secret() == OPEN_KEY {
        // No secret, and a word that other names contain.
        return OPEN_KEY.to_owned();
    }
    key::id_of(key.expose_secret()).map_or_else(|| "…".to_owned(), |id| format!("sk-tf-{id}-…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_masked_and_the_word_for_none_is_not() {
        let masked = |key: &str| masked(&key.to_owned().into());
        assert_eq!(masked("sk-tf-k7f3a9c2-0123456789abcdef0123456789abcdef"), "sk-tf-k7f3a9c2-…");
        assert_eq!((masked("something"), masked(OPEN_KEY)), ("…".to_owned(), "open".to_owned()));
    }
}
