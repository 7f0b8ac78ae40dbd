//! Fetches the signed catalogue that the operator has set, at the start and daily, and reloads the configuration with it.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tracing::{info, warn};

use super::{App, Reload, signals::reload_settings};
use crate::{
    config::{CatalogSettings, travelling_catalogue},
    upstream::Upstream,
};

const INTERVAL: Duration = Duration::from_hours(24);
/// The same after a fetch that failed.
const RETRY_INTERVAL: Duration = Duration::from_mins(30);
const TIMEOUT_MS: u64 = 30_000;

/// Downloads a catalogue as it is.
pub(crate) async fn download(upstream: &Upstream, url: &str) -> Result<String, String> {
    let bytes = upstream.download(url, travelling_catalogue::MAX_CATALOGUE_BYTES, TIMEOUT_MS).await?;
    String::from_utf8(bytes.into()).map_err(|_| "it is no text".to_owned())
}

/// Follows `catalog.url` while it is set.
pub(super) fn follow(app: &Arc<App>, reload: &Arc<Reload>) {
    let (this, reload) = (app.clone(), reload.clone());
    app.tasks.spawn_endless(async move {
        loop {
            let catalog = this.settings.load().catalog.clone();
            let Some(url) = &catalog.url else {
                sleep(RETRY_INTERVAL).await; // a reload may set it
                continue;
            };
            match fetch(&this.upstream, url, &catalog).await {
                Ok(Some(as_of)) => {
                    info!("Adopted the catalogue of {as_of} from {url}");
                    reload_settings(&this, &reload).await;
                    sleep(INTERVAL).await;
                }
                Ok(None) => sleep(INTERVAL).await,
                Err(error) => {
                    warn!("The catalogue at {url} is not used: {error}");
                    sleep(RETRY_INTERVAL).await;
                }
            }
        }
    });
}

/// Adopts the catalogue at an address if it is newer, and keeps it for the next start. Returns its month then.
async fn fetch(upstream: &Upstream, url: &str, settings: &CatalogSettings) -> Result<Option<String>, String> {
    travelling_catalogue::check_key(settings.public_key.as_deref()).map_err(|e| e.to_string())?;
    let file = download(upstream, url).await?;
    let verified = travelling_catalogue::verify(&file, settings.public_key.as_deref()).map_err(|e| e.to_string())?;
    let as_of = verified.catalogue.as_of.clone();
    if !travelling_catalogue::adopt(verified.catalogue) {
        return Ok(None);
    }
    if let Some(path) = &settings.file
        && let Err(error) = tokio::fs::write(path, &file).await
    {
        warn!("The catalogue cannot be kept in `{}`: {error}", path.display());
    }
    Ok(Some(as_of))
}
