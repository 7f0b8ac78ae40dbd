//! A provider in force, built from its settings.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use anyhow::Context;
use jiff::tz::TimeZone;

use super::{
    accounting::{
        limit::{LimitName, TokenCharge, WindowKind},
        meter::Limit,
    },
    dialects::DialectName,
    settings::{Ability, Latency, ModelSettings, ProviderSettings, Status, Switches, VectorSettings},
};

/// One provider. Replaced as a whole when a profile changes.
#[derive(Debug)]
pub(crate) struct Provider {
    pub id: String,
    pub name: String,
    pub dialect: DialectName,
    /// The account of each key. Without keys any key, or none, belongs to the account `main`.
    pub keys: HashMap<String, String>,
    /// Limits of an account over all models.
    pub limits: Vec<Limit>,
    pub charge: TokenCharge,
    pub reserve_default: i64,
    pub reserve_cap: i64,
    pub jitter_ms: u64,
    pub clock_offset_us: i64,
    pub switches: Switches,
    /// In the order of their ids.
    pub models: Vec<Arc<Model>>,
    by_name: HashMap<String, Arc<Model>>,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub id: String,
    pub aliases: Vec<String>,
    pub status: Status,
    pub context: i64,
    pub max_output: i64,
    pub can: Can,
    pub bucket: String,
    pub limits: Vec<Limit>,
    /// Parallel calls; 0 or less means no limit.
    pub concurrency: i64,
    pub preamble_tokens: i64,
    pub latency: Latency,
    /// Of an embedding model, which does not chat.
    pub vectors: Option<VectorSettings>,
    /// Seconds that the provider finds in a recording for each second that its header states.
    pub seconds_found: f64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Can {
    pub tools: bool,
    pub vision: bool,
    pub reasoning: bool,
    pub fim: bool,
    pub moderate: bool,
    pub transcribe: bool,
    pub rerank: bool,
    pub guard: bool,
}

impl Provider {
    pub(crate) fn build(id: &str, settings: &ProviderSettings) -> anyhow::Result<Self> {
        let dialect =
            DialectName::from_provider(id).with_context(|| format!("there is no simulated provider `{id}`"))?;
        let zone = zone(settings.zone.as_deref())?;
        let mut keys = HashMap::new();
        for (account, listed) in &settings.accounts {
            keys.extend(listed.iter().map(|key| (key.clone(), account.clone())));
        }
        let models: Vec<Arc<Model>> =
            settings.models.iter().map(|(id, own)| Arc::new(Model::build(id, own, settings, &zone))).collect();
        let by_name = models
            .iter()
            .flat_map(|model| model.names().map(move |name| (name.to_owned(), Arc::clone(model))))
            .collect();
        Ok(Self {
            id: id.to_owned(),
            name: settings.name.clone().unwrap_or_else(|| id.to_owned()),
            dialect,
            keys,
            limits: limits(&settings.limits, &[&settings.window], &zone),
            charge: settings.token_charge,
            reserve_default: settings.reserve_default,
            reserve_cap: settings.reserve_cap,
            jitter_ms: settings.jitter_ms,
            clock_offset_us: settings.clock_offset_ms * 1_000,
            switches: settings.switches,
            models,
            by_name,
        })
    }

    pub(crate) fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.by_name.get(name)
    }
}

impl Model {
    fn build(id: &str, own: &ModelSettings, provider: &ProviderSettings, zone: &TimeZone) -> Self {
        let able = |ability| own.can.contains(&ability);
        Self {
            id: id.to_owned(),
            aliases: own.aliases.clone(),
            status: own.status,
            context: own.context,
            max_output: own.max_output,
            can: Can {
                tools: able(Ability::Tools),
                vision: able(Ability::Vision),
                reasoning: able(Ability::Reasoning),
                fim: able(Ability::Fim),
                moderate: able(Ability::Moderate),
                transcribe: able(Ability::Transcribe),
                rerank: able(Ability::Rerank),
                guard: able(Ability::Guard),
            },
            bucket: own.bucket.clone().unwrap_or_else(|| id.to_owned()),
            limits: limits(&own.limits, &[&own.window, &provider.window], zone),
            concurrency: own.limits.get(&LimitName::Concurrency).copied().unwrap_or(0),
            preamble_tokens: own.preamble_tokens,
            latency: own.latency,
            vectors: own.vectors.clone(),
            seconds_found: own.seconds_found,
        }
    }

    /// The id and the aliases.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.id).chain(&self.aliases).map(String::as_str)
    }
}

fn zone(name: Option<&str>) -> anyhow::Result<TimeZone> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    TimeZone::get(name)
        .or_else(|_| TimeZone::posix(name))
        .with_context(|| format!("`{name}` is neither an IANA zone nor a POSIX TZ string"))
}

/// The limits with their kinds of window, from the first table that names one; sliding where none does.
fn limits(
    figures: &BTreeMap<LimitName, i64>,
    windows: &[&BTreeMap<LimitName, WindowKind>],
    zone: &TimeZone,
) -> Vec<Limit> {
    let kind = |name: &LimitName| windows.iter().find_map(|window| window.get(name)).copied();
    figures
        .iter()
        .filter(|(name, _)| **name != LimitName::Concurrency)
        .map(|(name, max)| Limit {
            name: *name,
            kind: kind(name).unwrap_or(WindowKind::Sliding),
            max: *max,
            zone: zone.clone(),
        })
        .collect()
}
