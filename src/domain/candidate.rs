//! A candidate is one (provider, model, provider key); its windows hang on the key's account.

use std::sync::Arc;

use secrecy::SecretString;

use super::{
    provider::{Model, Provider},
    window::{Scope, TokenCharge, Unit, Window},
};

/// Enough for nearly every answer, thinking included.
const MODEST_OUTPUT: i64 = 4_096;
/// A provider's default below this cuts ordinary answers.
const SHORT_OUTPUT: i64 = 1_024;

/// What a provider counts by: an organisation, a project, a workspace. Its keys share its limits.
#[derive(Debug)]
pub struct Account {
    /// Unique within its provider: the file's name for it, or the key's id.
    pub id: Arc<str>,
    pub keys: Vec<Arc<ProviderKey>>,
}

/// What we show a provider.
#[derive(Debug)]
pub struct ProviderKey {
    /// First 8 hex digits of the key's SHA-256; `none` for a provider without keys.
    pub id: Arc<str>,
    pub secret: Option<SecretString>,
}

#[derive(Debug)]
pub struct Candidate {
    pub provider: Arc<Provider>,
    pub model: Arc<Model>,
    pub account: Arc<Account>,
    pub key: Arc<ProviderKey>,
    /// Every window of this account and model: shared with its sibling keys. Empty: unmetered.
    pub windows: Arc<[Window]>,
    /// `groq/openai/gpt-oss-120b`
    pub name: Arc<str>,
    /// What it shares with its sibling keys: `provider/account/model`.
    pub subject: Arc<str>,
}

impl Candidate {
    /// No limit at all: it goes on when the ledger is away.
    pub fn is_unmetered(&self) -> bool {
        self.windows.is_empty()
    }

    /// Whether any of its windows is its account's: then all models of it stand in one line.
    pub fn lines_up_by_account(&self) -> bool {
        self.windows.iter().any(|window| window.scope == Scope::Account)
    }

    /// The output maximum we send when the caller names none: where the provider would else reserve a minute's tokens for
    /// one answer (Cerebras), or cut every answer short (Cloudflare). `None`: nothing is added.
    pub fn output_when_unnamed(&self) -> Option<i64> {
        let default = self.provider.reserve_default_output;
        let absurd = match self.token_charge() {
            TokenCharge::Reserve => default > MODEST_OUTPUT,
            TokenCharge::Actual | TokenCharge::Input | TokenCharge::None => (1..SHORT_OUTPUT).contains(&default),
        };
        absurd.then(|| MODEST_OUTPUT.min(self.model.max_output).max(1))
    }

    /// What its token windows are charged with: the strictest of them, else the provider's habit.
    pub fn token_charge(&self) -> TokenCharge {
        let of = |charge| self.windows.iter().any(|w| w.limit.unit() == Unit::Token && w.charge == charge);
        [TokenCharge::Reserve, TokenCharge::Actual, TokenCharge::Input]
            .into_iter()
            .find(|charge| of(*charge))
            .unwrap_or(self.provider.token_charge)
    }
}
