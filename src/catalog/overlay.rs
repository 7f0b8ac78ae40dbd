//! One provider: the catalogue's table with the operator's file merged over it.

use std::{collections::BTreeMap, sync::Arc};

use super::{DiscoveredModel, windows};
use crate::{
    config::{
        ProviderSettings, builtin,
        provider_table::{DailyReset, ModelTable, ProviderTable},
    },
    domain::{
        Capabilities, Guard, Model, ModelKind, NewModels, Provider, Vectors, Window,
        provider::{Auth, Status, Wire},
    },
};

/// The tables that describe one provider. The file's values override the catalogue's.
pub(super) struct Overlay<'a> {
    pub id: &'a str,
    pub settings: Option<&'a ProviderSettings>,
    pub file: Option<&'a ProviderTable>,
    /// The catalogue's table, or the template for a provider of the file.
    pub base: &'a ProviderTable,
    pub custom: bool,
    /// The models that its server lists.
    pub discovered: &'a [DiscoveredModel],
}

/// The file's value, else the catalogue's.
macro_rules! pick {
    ($self:ident . $field:ident) => {
        $self.file.and_then(|f| f.$field.clone()).or_else(|| $self.base.$field.clone())
    };
}

impl<'a> Overlay<'a> {
    pub(super) fn new(id: &'a str, settings: Option<&'a ProviderSettings>, discovered: &'a [DiscoveredModel]) -> Self {
        let known = builtin().provider(id);
        Self {
            id,
            settings,
            file: settings.and_then(|s| s.table.as_ref()),
            base: known.unwrap_or(&builtin().template),
            custom: known.is_none(),
            discovered,
        }
    }

    pub(super) fn status(&self) -> Status {
        pick!(self.status).unwrap_or(Status::Active)
    }

    pub(super) fn auth(&self) -> Auth {
        pick!(self.auth).unwrap_or(Auth::Bearer)
    }

    /// Whether it is called without a key, because the operator has switched that on and it has none.
    pub(super) fn is_keyless(&self) -> bool {
        self.auth() == Auth::BearerOptional
            && self.settings.is_some_and(|s| s.keyless || s.keyless_added)
            && !self.has_keys()
    }

    fn has_keys(&self) -> bool {
        self.settings.is_some_and(|s| !s.keys.is_empty() || !s.added_keys.is_empty())
    }

    pub(super) fn is_enabled(&self) -> bool {
        pick!(self.enabled).unwrap_or(true)
    }

    /// Base URL; `None` if the catalogue's URL has an unfilled placeholder.
    pub(super) fn base_url(&self) -> Option<String> {
        let url = self.settings.and_then(|s| s.base_url.clone()).or_else(|| self.base.base_url.clone())?;
        let url = url.trim_end_matches('/');
        let base = url.strip_suffix("/chat/completions").unwrap_or(url);
        if base.len() < url.len() {
            tracing::warn!(
                provider = self.id,
                "`{url}` is the address of an endpoint: `{base}` is used as the base URL"
            );
        }
        (!base.contains('{')).then(|| base.to_owned())
    }

    pub(super) fn provider(&self, base_url: String) -> Provider {
        let zone = match pick!(self.daily_reset) {
            Some(DailyReset::At(zone)) => Some(zone),
            Some(DailyReset::Rolling) | None => None,
        };
        Provider {
            id: Arc::from(self.id),
            name: pick!(self.name).unwrap_or_else(|| self.id.to_owned()),
            status: self.status(),
            base_url,
            auth: self.auth(),
            signup: pick!(self.signup),
            local: pick!(self.local).unwrap_or(false),
            token_charge: pick!(self.token_charge).unwrap_or(crate::domain::TokenCharge::Actual),
            reserve_default_output: pick!(self.reserve_default_output).unwrap_or(0),
            reserve_cap_output: pick!(self.reserve_cap_output),
            zone,
            first_token_timeout_ms: pick!(self.first_token_timeout_ms),
            wire: self.wire(),
            custom: self.custom,
            keyless: self.is_keyless(),
            enabled: self.is_enabled(),
        }
    }

    fn wire(&self) -> Wire {
        let headers = pick!(self.headers).unwrap_or_else(|| "retry_after".to_owned());
        Wire {
            dialect: pick!(self.dialect).unwrap_or_default(),
            rename: pick!(self.rename).unwrap_or_default().into_iter().collect(),
            drop: pick!(self.drop).unwrap_or_default(),
            refuse: pick!(self.refuse).unwrap_or_default(),
            paid: pick!(self.paid).unwrap_or_default(),
            private_urls: pick!(self.private_urls).unwrap_or(!self.custom && !pick!(self.local).unwrap_or(false)),
            allowed_fields: pick!(self.allowed_fields).unwrap_or_default().into_iter().collect(),
            text_content_roles: pick!(self.text_content_roles).unwrap_or_default(),
            max_n: pick!(self.max_n),
            max_tools: pick!(self.max_tools),
            max_stop: pick!(self.max_stop),
            short_tool_ids: pick!(self.short_tool_ids).unwrap_or(false),
            images_inline_only: pick!(self.images_inline_only).unwrap_or(false),
            usage_unasked: pick!(self.usage_unasked).unwrap_or(false),
            schema_sanitise: pick!(self.schema_sanitise).unwrap_or_default(),
            hints: builtin().headers(&headers).unwrap_or_default(),
            retry_trusted_over_s: pick!(self.retry_trusted_over_s).unwrap_or_default().into_iter().collect(),
            permanent_413: pick!(self.permanent_413).unwrap_or(false),
            model_list_prefix: pick!(self.model_list_prefix).unwrap_or_default(),
            usage_path: pick!(self.usage_path),
            key_test_path: pick!(self.key_test_path),
            key_test_model: pick!(self.key_test_model),
            monthly_credit: pick!(self.monthly_credit).unwrap_or(false),
            completions: pick!(self.completions).unwrap_or(self.custom),
        }
    }

    /// Which models of its list are served although they stand in no table.
    pub(super) fn new_models(&self) -> NewModels {
        pick!(self.new_models).unwrap_or(NewModels::None)
    }

    /// Patterns of ids in its list that cost money.
    pub(super) fn paid_models(&self) -> Vec<String> {
        pick!(self.paid_models).unwrap_or_default()
    }

    /// Since when the provider has not had a model any more, by its list or by its answers.
    pub(super) fn gone_since(&self, id: &str) -> Option<i64> {
        self.settings?.findings.gone_since(id)
    }

    /// Ids of its models: the catalogue's, the file's, then discovered ones.
    pub(super) fn model_ids(&self) -> Vec<&'a str> {
        let mut ids: Vec<&str> = self.base.models.keys().map(String::as_str).collect();
        let listed = self.file.iter().flat_map(|file| file.models.keys()).map(String::as_str);
        let found = self.discovered.iter().map(|model| model.id.as_str());
        for id in listed.chain(found).filter(|id| self.catalogue_id(id).is_none()) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    /// The id of the catalogue's model that has this name as an alias.
    pub(super) fn catalogue_id(&self, name: &str) -> Option<&'a str> {
        if self.base.models.contains_key(name) {
            return None;
        }
        let model = self.base.models.iter().find(|(_, model)| model.aliases.iter().any(|alias| alias == name));
        model.map(|(id, _)| id.as_str())
    }

    /// The file's table of a model, under its id or under one of the catalogue's aliases of it.
    fn file_model(&self, id: &str) -> Option<&'a ModelTable> {
        let models = &self.file?.models;
        models
            .get(id)
            .or_else(|| models.iter().find(|(name, _)| self.catalogue_id(name) == Some(id)).map(|(_, table)| table))
    }

    /// One model and its windows. `listed`: the operator named it outside the file.
    pub(super) fn model(&self, id: &str, listed: bool) -> (Model, Arc<[Window]>) {
        let file = self.file_model(id);
        let base = self.base.models.get(id);
        let listed = listed || file.is_some() || self.custom;
        let found = self.discovered.iter().find(|model| model.id == id);
        let stated: Vec<&ModelTable> =
            [file, base, self.file.map(|f| &f.model_defaults)].into_iter().flatten().collect();
        let context = stated.iter().find_map(|t| t.context).or_else(|| found?.context);
        let capabilities = stated.iter().find_map(|t| t.capabilities).or_else(|| found?.capabilities);
        let is_unproven =
            self.settings.is_some_and(|s| s.findings.new.iter().any(|new| new.id == id && !new.is_proven));
        let without_key = self.auth() == Auth::BearerOptional && !self.has_keys();
        let limits = windows::model_windows((self.base, self.file), (base, file), listed, without_key);
        let defaults = [
            self.file.map(|f| &f.model_defaults),
            Some(&self.base.model_defaults),
            Some(&builtin().template.model_defaults),
        ];
        let tables: Vec<&ModelTable> = [file, base].into_iter().flatten().collect();
        let described: Vec<&ModelTable> = tables.iter().copied().chain(defaults.into_iter().flatten()).collect();
        let first = |read: fn(&ModelTable) -> Option<i64>| described.iter().find_map(|t| read(t)).unwrap_or(0);
        let small = |n: i64| u32::try_from(n).unwrap_or(0);

        let status = match (file.and_then(|f| f.status), base.and_then(|b| b.status)) {
            // An operator who lists a retired model has a server that still serves it.
            (None, Some(Status::Retired)) if listed => Status::Active,
            (Some(status), _) | (None, Some(status)) => status,
            (None, None) if self.status() == Status::Paid => Status::Paid,
            (None, None) if is_unproven => Status::Trial,
            (None, None) => Status::Active,
        };
        let mut aliases: Vec<String> = Vec::new();
        for alias in tables.iter().flat_map(|t| &t.aliases).map(String::as_str).chain(id.strip_suffix(":latest")) {
            if alias != id && !aliases.iter().any(|a| a == alias) {
                aliases.push(alias.to_owned());
            }
        }
        let says_so = found.and_then(|found| found.capabilities).is_some_and(|can| can.has(Capabilities::EMBEDDINGS));
        let guessed = if says_so || is_embedder(id) {
            ModelKind::Embedding
        } else if id.to_lowercase().contains("whisper") {
            ModelKind::Transcription
        } else if id.to_lowercase().contains("rerank") {
            ModelKind::Rerank
        } else if Guard::of_id(id).is_some() {
            ModelKind::Moderation
        } else {
            ModelKind::Chat
        };
        let guard = tables.iter().find_map(|t| t.guard).or_else(|| Guard::of_id(id));
        let kind = tables.iter().find_map(|t| t.kind).unwrap_or(guessed);
        let default_parameters: BTreeMap<&String, &serde_json::Value> =
            tables.iter().rev().flat_map(|t| &t.default_parameters).collect();
        let model = Model {
            id: Arc::from(id),
            aliases,
            status,
            retired_on: base.and_then(|b| b.retired_on.clone()),
            successor: tables.iter().find_map(|t| t.successor.clone()),
            context: context.unwrap_or_else(|| first(|t| t.context)),
            context_assumed: context.is_none() && base.is_none(),
            max_output: tables
                .iter()
                .find_map(|t| t.max_output)
                .or_else(|| found?.max_output)
                .unwrap_or_else(|| first(|t| t.max_output)),
            capabilities: capabilities.or_else(|| described.iter().find_map(|t| t.capabilities)).unwrap_or_default(),
            capabilities_assumed: capabilities.is_none() && base.is_none(),
            max_images: tables.iter().find_map(|t| t.max_images),
            reasoning_efforts: tables.iter().find_map(|t| t.reasoning_efforts.clone()).unwrap_or_default(),
            quality: small(first(|t| t.quality.map(i64::from))),
            first_token_ms: small(
                tables.iter().find_map(|t| t.first_token_ms).or_else(|| pick!(self.first_token_ms)).unwrap_or(1_000),
            ),
            chat_default: tables.iter().find_map(|t| t.chat_default).unwrap_or(true),
            kind,
            guard,
            vectors: (kind == ModelKind::Embedding).then(|| self.vectors(id, &tables)),
            url: tables.iter().find_map(|t| t.url.clone()),
            min_audio_seconds: tables.iter().find_map(|t| t.min_audio_seconds).unwrap_or(0),
            max_file_bytes: tables.iter().find_map(|t| t.max_file_bytes),
            streams_transcripts: tables.iter().find_map(|t| t.streams_transcripts).unwrap_or(false),
            states_times: tables.iter().find_map(|t| t.states_times).unwrap_or(true),
            default_parameters: default_parameters.into_iter().map(|(n, v)| (n.clone(), v.to_string())).collect(),
            zero_limit: limits.zero,
            is_unproven,
            listed,
            enabled: tables.iter().find_map(|t| t.enabled).unwrap_or(true),
        };
        (model, limits.windows)
    }

    /// Vectors of an embedding model. A model without a stated family is a family of its own at its provider, because servers can
    /// have different models under one name.
    fn vectors(&self, id: &str, tables: &[&ModelTable]) -> Vectors {
        let family = tables.iter().find_map(|t| t.family.clone());
        // A stated family has a known length, from the tables or from the catalogue.
        let of_family = || builtin().dimensions(family.as_deref()?);
        Vectors {
            dimensions: tables.iter().find_map(|t| t.dimensions).or_else(of_family),
            family: family.unwrap_or_else(|| format!("{}/{id}", self.id)).into(),
            min_dimensions: tables.iter().find_map(|t| t.min_dimensions),
            max_inputs: tables.iter().find_map(|t| t.max_inputs).unwrap_or(DEFAULT_MAX_INPUTS),
            max_batch_tokens: tables.iter().find_map(|t| t.max_batch_tokens),
        }
    }
}

/// Texts in one call, where nothing states what the server takes. Every known server takes as many.
const DEFAULT_MAX_INPUTS: u32 = 32;

/// Whether the id is that of an embedding model. A server's list does not say so.
fn is_embedder(id: &str) -> bool {
    let id = id.to_lowercase();
    let name = id.rsplit('/').next().unwrap_or(&id);
    name.contains("embed") || ["bge-", "all-minilm", "gte-", "e5-"].iter().any(|start| name.starts_with(start))
}
