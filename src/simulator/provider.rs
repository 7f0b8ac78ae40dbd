//! A provider as it is in force: the profile with every question answered.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use anyhow::{Context, bail};
use jiff::tz::TimeZone;

use super::{
    accounting::limit::{Charge, Kind, LimitName},
    accounting::meter::Limit,
    dialects::DialectName,
    settings::{
        LatencyProfile, LimitValue, LimitsProfile, ModelProfile, ProviderProfile, Spread, Status, SwitchesProfile,
        WindowProfile,
    },
};

/// One provider in force. Replaced whole when a profile is laid over it.
#[derive(Debug)]
pub(super) struct Provider {
    pub id: String,
    pub name: String,
    pub dialect: DialectName,
    /// Key → account. Empty: any key, or none, is account `main`.
    pub keys: HashMap<String, String>,
    /// Limits of an account over all models.
    pub limits: Vec<Limit>,
    pub charge: Charge,
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
pub(super) struct Model {
    pub id: String,
    pub aliases: Vec<String>,
    pub status: Status,
    pub context: i64,
    pub max_output: i64,
    pub can: Can,
    pub bucket: String,
    pub limits: Vec<Limit>,
    /// 0 or less: no such limit.
    pub concurrency: i64,
    pub preamble_tokens: i64,
    pub latency: Latency,
}

#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four independent facts")]
pub(super) struct Can {
    pub tools: bool,
    pub json: bool,
    pub vision: bool,
    pub reasoning: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Latency {
    pub first_ms: Spread,
    pub chunk_ms: Spread,
    pub chunk_tokens: i64,
    pub tokens: Option<Spread>,
    pub reasoning_tokens: i64,
}

/// [`SwitchesProfile`] with every switch set.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, one per open question")]
pub(super) struct Switches {
    pub refused_count: bool,
    pub failed_count: bool,
    pub reserve_whole: bool,
    pub cancel_stops: bool,
    pub error_array: bool,
    pub true_day_delay: bool,
    pub safety_mapped: bool,
    pub stream_options: bool,
    pub error_wrapped: bool,
    pub retry_after: bool,
    pub payment_required: bool,
    pub bot_filter: bool,
    pub kong_unauthorized: bool,
    pub queue: usize,
}

impl Provider {
    pub(super) fn build(id: &str, profile: &ProviderProfile) -> anyhow::Result<Self> {
        let dialect = DialectName::of(id).with_context(|| format!("there is no simulated provider `{id}`"))?;
        let zone = zone(profile.zone.as_deref())?;
        let mut keys = HashMap::new();
        for (account, listed) in profile.accounts.iter().flatten() {
            keys.extend(listed.iter().map(|key| (key.clone(), account.clone())));
        }
        let mut models = Vec::new();
        let mut by_name = HashMap::new();
        for (id, own) in &profile.models {
            let common = profile.every_model.clone().unwrap_or_default();
            let model = Arc::new(Model::build(id, &common.overlaid(own), profile, &zone)?);
            for name in std::iter::once(&model.id).chain(&model.aliases) {
                by_name.insert(name.clone(), Arc::clone(&model));
            }
            models.push(model);
        }
        Ok(Self {
            id: id.to_owned(),
            name: profile.name.clone().unwrap_or_else(|| id.to_owned()),
            dialect,
            keys,
            limits: limits(profile.limits.as_ref(), &[profile.window.as_ref()], &zone),
            charge: profile.token_charge.unwrap_or(Charge::None),
            reserve_default: profile.reserve_default.unwrap_or(0),
            reserve_cap: profile.reserve_cap.unwrap_or(i64::MAX),
            jitter_ms: profile.jitter_ms.unwrap_or(0),
            clock_offset_us: profile.clock_offset_ms.unwrap_or(0) * 1_000,
            switches: Switches::from(&profile.switches),
            models,
            by_name,
        })
    }

    pub(super) fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.by_name.get(name)
    }
}

impl Model {
    fn build(id: &str, own: &ModelProfile, provider: &ProviderProfile, zone: &TimeZone) -> anyhow::Result<Self> {
        let mut can = Can::default();
        for ability in own.can.iter().flatten() {
            match ability.as_str() {
                "tools" => can.tools = true,
                "json" => can.json = true,
                "vision" => can.vision = true,
                "reasoning" => can.reasoning = true,
                other => bail!("model `{id}`: `{other}` is none of tools, json, vision, reasoning"),
            }
        }
        let speed = provider.latency.clone().unwrap_or_default().overlaid(&own.latency.clone().unwrap_or_default());
        Ok(Self {
            id: id.to_owned(),
            aliases: own.aliases.clone().unwrap_or_default(),
            status: own.status.unwrap_or(Status::Active),
            context: own.context.unwrap_or(32_768),
            max_output: own.max_output.unwrap_or(32_768),
            can,
            bucket: own.bucket.clone().unwrap_or_else(|| id.to_owned()),
            limits: limits(own.limits.as_ref(), &[own.window.as_ref(), provider.window.as_ref()], zone),
            concurrency: figure(own.limits.as_ref(), LimitName::Concurrency).unwrap_or(0),
            preamble_tokens: own.preamble_tokens.unwrap_or(0),
            latency: Latency {
                first_ms: speed.first_ms.unwrap_or(Spread::Fixed(0.0)),
                chunk_ms: speed.chunk_ms.unwrap_or(Spread::Fixed(0.0)),
                chunk_tokens: speed.chunk_tokens.unwrap_or(8).max(1),
                tokens: speed.tokens,
                reasoning_tokens: speed.reasoning_tokens.unwrap_or(0),
            },
        })
    }
}

fn zone(name: Option<&str>) -> anyhow::Result<TimeZone> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    TimeZone::get(name)
        .or_else(|_| TimeZone::posix(name))
        .with_context(|| format!("`{name}` is neither an IANA zone nor a POSIX TZ string"))
}

fn each(profile: Option<&LimitsProfile>) -> BTreeMap<LimitName, i64> {
    match profile {
        Some(LimitsProfile::Each(table)) => table
            .iter()
            .filter_map(|(name, value)| match value {
                LimitValue::Max(max) => Some((*name, *max)),
                LimitValue::None(_) => None,
            })
            .collect(),
        Some(LimitsProfile::All(_)) | None => BTreeMap::new(),
    }
}

fn figure(profile: Option<&LimitsProfile>, name: LimitName) -> Option<i64> {
    each(profile).get(&name).copied()
}

/// Every limit with its kind, from the first table that names one; sliding where none does.
fn limits(profile: Option<&LimitsProfile>, windows: &[Option<&WindowProfile>], zone: &TimeZone) -> Vec<Limit> {
    let kind = |name: LimitName| {
        windows
            .iter()
            .flatten()
            .find_map(|window| match window {
                WindowProfile::All(kind) => Some(*kind),
                WindowProfile::Each(table) => table.get(&name).copied(),
            })
            .unwrap_or(Kind::Sliding)
    };
    each(profile)
        .into_iter()
        .filter(|(name, _)| *name != LimitName::Concurrency)
        .map(|(name, max)| Limit { name, kind: kind(name), max, zone: zone.clone() })
        .collect()
}

impl From<&SwitchesProfile> for Switches {
    fn from(profile: &SwitchesProfile) -> Self {
        Self {
            refused_count: profile.refused_count.unwrap_or(false),
            failed_count: profile.failed_count.unwrap_or(true),
            reserve_whole: profile.reserve_whole.unwrap_or(true),
            cancel_stops: profile.cancel_stops.unwrap_or(true),
            error_array: profile.error_array.unwrap_or(true),
            true_day_delay: profile.true_day_delay.unwrap_or(true),
            safety_mapped: profile.safety_mapped.unwrap_or(true),
            stream_options: profile.stream_options.unwrap_or(false),
            error_wrapped: profile.error_wrapped.unwrap_or(false),
            retry_after: profile.retry_after.unwrap_or(true),
            payment_required: profile.payment_required.unwrap_or(false),
            bot_filter: profile.bot_filter.unwrap_or(false),
            kong_unauthorized: profile.kong_unauthorized.unwrap_or(false),
            queue: profile.queue.unwrap_or(0),
        }
    }
}

impl LatencyProfile {
    pub(super) fn overlaid(self, over: &Self) -> Self {
        Self {
            first_ms: over.first_ms.or(self.first_ms),
            chunk_ms: over.chunk_ms.or(self.chunk_ms),
            chunk_tokens: over.chunk_tokens.or(self.chunk_tokens),
            tokens: over.tokens.or(self.tokens),
            reasoning_tokens: over.reasoning_tokens.or(self.reasoning_tokens),
        }
    }
}
