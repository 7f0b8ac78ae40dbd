//! Candidates for tests, whose figures no catalogue update changes.

use std::sync::Arc;

use crate::domain::{
    Account, Candidate, Capabilities, ChatRequest, Choice, Limit, Model, ModelKind, PoolSnapshot, PromptSize, Provider,
    ProviderKey, Scope, Source, SubjectSnapshot, TokenCharge, Window, WindowKind, WindowLevel,
    provider::{Auth, Status, Wire},
};

/// Builds a candidate: `candidate("groq/gpt").limits(&[(Limit::Rpm, 30)]).build()`.
pub(crate) struct CandidateBuilder {
    provider: Provider,
    model: Model,
    account: String,
    limits: Vec<(Limit, i64)>,
}

pub(crate) fn candidate(name: &str) -> CandidateBuilder {
    let (provider, model) = name.split_once('/').unwrap();
    CandidateBuilder {
        provider: Provider {
            id: provider.into(),
            name: provider.to_owned(),
            status: Status::Active,
            base_url: "http://127.0.0.1:1/v1".to_owned(),
            auth: Auth::Bearer,
            signup: None,
            local: false,
            token_charge: TokenCharge::None,
            reserve_default_output: 1_024,
            reserve_cap_output: None,
            zone: None,
            first_token_timeout_ms: None,
            wire: Wire::default(),
            custom: false,
            keyless: false,
            enabled: true,
        },
        model: Model {
            id: model.into(),
            aliases: Vec::new(),
            status: Status::Active,
            retired_on: None,
            successor: None,
            context: 131_072,
            context_assumed: false,
            max_output: 65_536,
            capabilities: Capabilities::TOOLS,
            capabilities_assumed: false,
            max_images: None,
            reasoning_efforts: Vec::new(),
            quality: 50,
            first_token_ms: 500,
            chat_default: true,
            kind: ModelKind::Chat,
            vectors: None,
            url: None,
            min_audio_seconds: 0,
            max_file_bytes: None,
            states_times: true,
            streams_transcripts: false,
            guard: None,
            default_parameters: Vec::new(),
            is_unproven: false,
            zero_limit: false,
            listed: false,
            enabled: true,
        },
        account: "main".to_owned(),
        limits: Vec::new(),
    }
}

impl CandidateBuilder {
    pub(crate) fn provider(mut self, change: impl FnOnce(&mut Provider)) -> Self {
        change(&mut self.provider);
        self
    }

    pub(crate) fn model(mut self, change: impl FnOnce(&mut Model)) -> Self {
        change(&mut self.model);
        self
    }

    pub(crate) fn charged_by(self, charge: TokenCharge) -> Self {
        self.provider(|p| p.token_charge = charge)
    }

    pub(crate) fn can(self, capabilities: Capabilities) -> Self {
        self.model(|m| m.capabilities = capabilities)
    }

    pub(crate) fn account(mut self, id: &str) -> Self {
        id.clone_into(&mut self.account);
        self
    }

    pub(crate) fn limits(mut self, limits: &[(Limit, i64)]) -> Self {
        self.limits = limits.to_vec();
        self
    }

    pub(crate) fn build(self) -> Arc<Candidate> {
        let charge = self.provider.token_charge;
        let windows = self.limits.iter().map(|(limit, max)| Window {
            limit: *limit,
            kind: WindowKind::Sliding,
            max: *max,
            span_ms: limit.span_ms(),
            scope: Scope::Model,
            charge,
            zone: None,
            source: Source::Catalogue,
        });
        let key = Arc::new(ProviderKey { id: self.account.as_str().into(), secret: None });
        Arc::new(Candidate {
            name: format!("{}/{}", self.provider.id, self.model.id).into(),
            subject: format!("{}/{}/{}", self.provider.id, self.account, self.model.id).into(),
            windows: windows.collect(),
            account: Arc::new(Account { id: self.account.as_str().into(), keys: vec![key.clone()] }),
            key,
            provider: Arc::new(self.provider),
            model: Arc::new(self.model),
        })
    }
}

/// A short English request for `free`.
pub(crate) fn question() -> ChatRequest {
    let size = PromptSize { messages: 1, ascii_chars: 384, ..PromptSize::default() };
    ChatRequest { model: "free".to_owned(), size, ..ChatRequest::default() }
}

/// Sets the used units of each window, in the order of the candidate's windows.
pub(crate) fn set_used(snapshot: &mut PoolSnapshot, candidate: &Candidate, used: &[i64]) {
    let levels = candidate.windows.iter().zip(used);
    let levels =
        levels.map(|(w, used)| WindowLevel { limit: w.limit, used: *used, max: w.max, learned: false }).collect();
    snapshot.taken_ms = 1_000;
    snapshot.subjects.insert(candidate.subject.clone(), SubjectSnapshot { levels, ..SubjectSnapshot::default() });
}

pub(crate) fn names(choices: &[Choice]) -> Vec<&str> {
    choices.iter().map(|c| &*c.candidate.name).collect()
}
