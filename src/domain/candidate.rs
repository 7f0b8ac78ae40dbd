//! A candidate is one (provider, model, provider key). Its windows belong to the key's account.

use std::sync::Arc;

use secrecy::SecretString;

use super::{
    guard::Guard,
    model_kind::ModelKind,
    provider::{Capabilities, DialectName, Model, Provider},
    request::{ChatRequest, PromptSize},
    window::{Scope, TokenCharge, Unit, Window},
};

/// For sending a recording and reading its transcript, which comes as a whole.
const TRANSCRIPT_TIMEOUT_MS: u64 = 180_000;
/// Enough for nearly every reply, including reasoning.
const MODEST_OUTPUT: i64 = 4_096;
/// A provider's default below this truncates ordinary replies.
const SHORT_OUTPUT: i64 = 1_024;

/// What a provider counts by: an organisation, project or workspace. Its keys share its limits.
#[derive(Debug)]
pub struct Account {
    /// Unique within its provider: its name in the file, or the key's id.
    pub id: Arc<str>,
    pub keys: Vec<Arc<ProviderKey>>,
}

/// A secret for a provider.
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
    /// All windows of this account and model, which the account's keys share. Empty: without limits.
    pub windows: Arc<[Window]>,
    /// `groq/openai/gpt-oss-120b`
    pub name: Arc<str>,
    /// `provider/account/model`, which the account's keys share.
    pub subject: Arc<str>,
}

impl Candidate {
    /// Whether prompts go to an endpoint of their own, rather than as a chat with one message.
    pub fn takes_prompts(&self) -> bool {
        let Model { kind, capabilities, .. } = &*self.model;
        *kind == ModelKind::Completion || capabilities.has(Capabilities::FIM) || self.provider.wire.completions
    }

    /// The guard that moderates the texts of a request, and how many they are.
    pub fn guard(&self, request: &ChatRequest) -> Option<(Guard, usize)> {
        let inputs = request.moderation.as_ref()?;
        self.model.guard.map(|guard| (guard, inputs.texts.len()))
    }

    /// The measures of the prompt of a request as it is sent.
    pub fn prompt_size(&self, request: &ChatRequest) -> PromptSize {
        let mut size = request.size;
        if let Some((guard, _)) = self.guard(request) {
            size.messages += 2;
            size.ascii_chars += guard.policy_chars();
        }
        size
    }

    /// The endpoint of a request, below the provider's base URL.
    pub fn path(&self, request: &ChatRequest) -> &'static str {
        let is_translation = request.upload.as_ref().is_some_and(|upload| upload.is_translation);
        match request.kind {
            ModelKind::Moderation if self.model.guard.is_some() => ModelKind::Chat.path(),
            ModelKind::Transcription if is_translation => "/audio/translations",
            ModelKind::Completion if !self.takes_prompts() => ModelKind::Chat.path(),
            ModelKind::Completion if self.provider.wire.dialect == DialectName::Mistral => "/fim/completions",
            kind => kind.path(),
        }
    }

    /// How long the first content may take, where that is longer than usual.
    pub fn first_token_timeout_ms(&self) -> Option<u64> {
        let own = (self.model.kind == ModelKind::Transcription).then_some(TRANSCRIPT_TIMEOUT_MS);
        self.provider.first_token_timeout_ms.max(own)
    }

    /// Whether the candidate has no limits, so that it is served while the ledger is unreachable.
    pub fn is_unmetered(&self) -> bool {
        self.windows.is_empty()
    }

    /// Whether any window covers the account: then all its models share one wait queue.
    pub fn queues_by_account(&self) -> bool {
        self.windows.iter().any(|window| window.scope == Scope::Account)
    }

    /// The output limit that is sent if the caller sets none, where the provider's default would reserve a minute's tokens for
    /// one reply (Cerebras) or truncate replies (Cloudflare). `None`: nothing is added.
    pub fn default_max_tokens(&self) -> Option<i64> {
        let default = self.provider.reserve_default_output;
        let is_unsuitable = match self.token_charge() {
            TokenCharge::Reserve => default > MODEST_OUTPUT,
            TokenCharge::Actual | TokenCharge::Input | TokenCharge::None => (1..SHORT_OUTPUT).contains(&default),
        };
        is_unsuitable.then(|| MODEST_OUTPUT.min(self.model.max_output).max(1))
    }

    /// How token windows are charged: the strictest of them, or the provider's default.
    pub fn token_charge(&self) -> TokenCharge {
        let has = |charge| self.windows.iter().any(|w| w.limit.unit() == Unit::Token && w.charge == charge);
        [TokenCharge::Reserve, TokenCharge::Actual, TokenCharge::Input]
            .into_iter()
            .find(|charge| has(*charge))
            .unwrap_or(self.provider.token_charge)
    }
}
