//! What the pool shares beside budgets, in the catalogue: provider keys of the store and findings in lists of models.

use std::{borrow::Cow, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::App;
use crate::{
    config::{AddedKey, Settings},
    flow::model_lists::Lists,
    ledger::{Findings, Ledger, StoredKeys},
};

/// Time for Redis to reply at start. Later the keys come as soon as it does.
const START_TIMEOUT: Duration = Duration::from_millis(500);
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// How often a replica checks whether a list of models is due.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Reads the keys before the first request, if the ledger replies.
pub(super) async fn read_at_start(ledger: &Ledger) {
    let read = async {
        while ledger.read_findings().await.is_err() || ledger.read_provider_keys().await.is_err() {
            sleep(RETRY_INTERVAL).await;
        }
    };
    let _ = timeout(START_TIMEOUT, read).await;
}

/// The settings with what the pool shares: the keys of the store that are in force, and what the lists of models have shown.
pub(super) fn with_shared<'a>(settings: &'a Settings, stored: &StoredKeys, findings: &Findings) -> Cow<'a, Settings> {
    let mut settings = Cow::Borrowed(settings);
    for (provider, findings) in findings {
        settings.to_mut().providers.entry(provider.clone()).or_default().findings = findings.clone();
    }
    for group in &stored.groups {
        let provider = settings.to_mut().providers.entry(group.record.provider.clone()).or_default();
        if group.record.is_keyless_switch() {
            provider.keyless_added = true;
            continue;
        }
        provider.groups.insert(group.record.fingerprint.clone(), group.record.account().to_owned());
    }
    for key in &stored.keys {
        if let Some(secret) = key.in_force() {
            let provider = settings.to_mut().providers.entry(key.record.provider.clone()).or_default();
            let account = key.record.account().to_owned();
            provider.added_keys.push(AddedKey { secret: secret.clone(), account });
        }
    }
    settings
}

/// Builds the catalogue again whenever the keys or the findings change from now on.
pub(super) fn follow(app: &Arc<App>) {
    let this = app.clone();
    let mut keys = app.state.flow.ledger.provider_keys();
    let mut findings = app.state.flow.ledger.findings();
    app.tasks.spawn_endless(async move {
        if !keys.borrow_and_update().keys.is_empty() {
            this.rediscover().await;
        }
        loop {
            let (is_open, are_keys) = tokio::select! {
                changed = keys.changed() => (changed.is_ok(), true),
                changed = findings.changed() => (changed.is_ok(), false),
            };
            if !is_open {
                return;
            }
            match this.install(None, None) {
                Ok(()) if are_keys => {
                    info!("Provider keys have changed: {} models are served", this.catalog.load().models.len());
                    this.rediscover().await; // some servers list their models only for a key
                    this.look_at_model_lists().await;
                }
                Ok(()) => {}
                Err(error) => warn!("What the pool shares cannot be added to the catalogue: {error}"),
            }
        }
    });
}

/// Looks at the lists of models of providers that are due, over all replicas.
pub(super) fn look_periodically(app: &Arc<App>) {
    let this = app.clone();
    app.tasks.spawn_endless(async move {
        loop {
            this.look_at_model_lists().await;
            this.state.flow.look_at_allowances().await;
            sleep(LOOK_INTERVAL).await;
            this.install_findings();
        }
    });
}

impl App {
    async fn look_at_model_lists(&self) {
        // The log has an outage of the ledger already, and the next look comes soon.
        let _ = self.state.flow.look_at_model_lists(Lists::Due).await;
    }

    /// Builds the catalogue again where time has changed what it is built from: new models that have answered a request become
    /// members of meta-models, and models that were refused are served again after a day.
    fn install_findings(&self) {
        if *self.findings_in_force.lock() != self.findings()
            && let Err(error) = self.install(None, None)
        {
            warn!("What the lists of models have shown cannot be added to the catalogue: {error}");
        }
    }

    /// What the lists of models have shown as of now: which of the new models have answered a request, and which models are
    /// refused.
    pub(super) fn findings(&self) -> Findings {
        let ledger = &self.state.flow.ledger;
        let mut findings = Findings::clone(&ledger.findings().borrow());
        let (now_ms, catalog, snapshot) = (ledger.now_ms(), self.catalog.load(), ledger.snapshot());
        for found in findings.values_mut() {
            found.refused.retain(|_, refused| refused.until_ms > now_ms);
        }
        for candidate in &catalog.candidates {
            let has_answered = snapshot.subject(candidate).is_some_and(|s| s.first_token_ms.is_some());
            let new = findings.get_mut(&*candidate.provider.id).into_iter().flat_map(|found| &mut found.new);
            for model in new.filter(|new| new.id == *candidate.model.id) {
                model.is_proven |= has_answered;
            }
        }
        findings
    }

    pub(super) fn stored_keys(&self) -> Arc<StoredKeys> {
        self.state.flow.ledger.provider_keys().borrow().clone()
    }
}
