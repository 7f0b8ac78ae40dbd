//! Lays one profile over another, member by member.

use std::collections::BTreeMap;

use super::settings::{
    Base, LatencyProfile, LimitsProfile, ModelProfile, NoLimit, Profile, ProviderProfile, Spread, SwitchesProfile,
    WindowProfile,
};

/// The built-in profile.
const REAL: &str = include_str!("real.toml");

/// # Panics
/// When the built-in profile is broken; a test reads it.
pub(super) fn real() -> Profile {
    toml::from_str(REAL).expect("the built-in profile is valid")
}

impl Profile {
    /// `self` with what `over` says, its `base` first.
    #[must_use]
    pub fn overlaid(self, over: &Profile) -> Profile {
        let mut result = match over.base {
            None => self,
            Some(Base::Real) => real(),
            Some(Base::Unlimited) => self.unlimited(),
        };
        result.seed = over.seed.or(result.seed);
        result.enforce = over.enforce.or(result.enforce);
        result.log = over.log.or(result.log);
        if let Some(every) = &over.every_provider {
            for provider in result.providers.values_mut() {
                *provider = std::mem::take(provider).overlaid(every);
            }
        }
        for (id, provider) in &over.providers {
            let under = result.providers.remove(id).unwrap_or_default();
            result.providers.insert(id.clone(), under.overlaid(provider));
        }
        result
    }

    /// Without limits, latency and log: the cheapest path there is.
    fn unlimited(mut self) -> Profile {
        let none = || Some(LimitsProfile::All(NoLimit::None));
        let at_once = LatencyProfile {
            first_ms: Some(Spread::Fixed(0.0)),
            chunk_ms: Some(Spread::Fixed(0.0)),
            ..LatencyProfile::default()
        };
        self.log = Some(0);
        for provider in self.providers.values_mut() {
            provider.limits = none();
            provider.jitter_ms = Some(0);
            provider.latency = Some(provider.latency.take().unwrap_or_default().overlaid(&at_once));
            let every = provider.every_model.get_or_insert_default();
            every.limits = none();
            every.latency = None;
            for model in provider.models.values_mut() {
                model.limits = none();
                model.latency = None;
            }
        }
        self
    }
}

impl ProviderProfile {
    fn overlaid(mut self, over: &Self) -> Self {
        let Self {
            name,
            accounts,
            limits,
            window,
            zone,
            token_charge,
            reserve_default,
            reserve_cap,
            jitter_ms,
            clock_offset_ms,
            latency,
            switches,
            every_model,
            models,
        } = over;
        for model in self.models.values_mut() {
            if let Some(every) = every_model {
                *model = std::mem::take(model).overlaid(every);
            }
            // A pace set for the whole provider binds its models too.
            if let Some(pace) = latency {
                model.latency = model.latency.take().map(|own| own.overlaid(pace));
            }
        }
        if let Some(every) = every_model {
            self.every_model = Some(self.every_model.take().unwrap_or_default().overlaid(every));
        }
        for (id, model) in models {
            let under = self.models.remove(id).unwrap_or_default();
            self.models.insert(id.clone(), under.overlaid(model));
        }
        Self {
            name: name.clone().or(self.name),
            accounts: accounts.clone().or(self.accounts),
            limits: limits_over(self.limits, limits.as_ref()),
            window: window_over(self.window, window.as_ref()),
            zone: zone.clone().or(self.zone),
            token_charge: token_charge.or(self.token_charge),
            reserve_default: reserve_default.or(self.reserve_default),
            reserve_cap: reserve_cap.or(self.reserve_cap),
            jitter_ms: jitter_ms.or(self.jitter_ms),
            clock_offset_ms: clock_offset_ms.or(self.clock_offset_ms),
            latency: latency
                .as_ref()
                .map(|over| self.latency.clone().unwrap_or_default().overlaid(over))
                .or(self.latency),
            switches: self.switches.overlaid(switches),
            every_model: self.every_model,
            models: self.models,
        }
    }
}

impl ModelProfile {
    /// `self` with what `over` says.
    pub(super) fn overlaid(self, over: &Self) -> Self {
        Self {
            aliases: over.aliases.clone().or(self.aliases),
            status: over.status.or(self.status),
            context: over.context.or(self.context),
            max_output: over.max_output.or(self.max_output),
            can: over.can.clone().or(self.can),
            bucket: over.bucket.clone().or(self.bucket),
            limits: limits_over(self.limits, over.limits.as_ref()),
            window: window_over(self.window, over.window.as_ref()),
            latency: match (self.latency, &over.latency) {
                (Some(under), Some(over)) => Some(under.overlaid(over)),
                (under, over) => over.clone().or(under),
            },
            preamble_tokens: over.preamble_tokens.or(self.preamble_tokens),
        }
    }
}

impl SwitchesProfile {
    fn overlaid(self, over: &Self) -> Self {
        Self {
            refused_count: over.refused_count.or(self.refused_count),
            failed_count: over.failed_count.or(self.failed_count),
            reserve_whole: over.reserve_whole.or(self.reserve_whole),
            cancel_stops: over.cancel_stops.or(self.cancel_stops),
            error_array: over.error_array.or(self.error_array),
            true_day_delay: over.true_day_delay.or(self.true_day_delay),
            safety_mapped: over.safety_mapped.or(self.safety_mapped),
            stream_options: over.stream_options.or(self.stream_options),
            error_wrapped: over.error_wrapped.or(self.error_wrapped),
            retry_after: over.retry_after.or(self.retry_after),
            payment_required: over.payment_required.or(self.payment_required),
            bot_filter: over.bot_filter.or(self.bot_filter),
            kong_unauthorized: over.kong_unauthorized.or(self.kong_unauthorized),
            queue: over.queue.or(self.queue),
        }
    }
}

/// Figures replace figures, name by name; `"none"` clears all that stood before.
fn limits_over(under: Option<LimitsProfile>, over: Option<&LimitsProfile>) -> Option<LimitsProfile> {
    match (under, over) {
        (Some(LimitsProfile::Each(mut table)), Some(LimitsProfile::Each(over))) => {
            table.extend(over.clone());
            Some(LimitsProfile::Each(table))
        }
        (under, over) => over.cloned().or(under),
    }
}

/// A table changes the kinds it names; one word changes all.
fn window_over(under: Option<WindowProfile>, over: Option<&WindowProfile>) -> Option<WindowProfile> {
    match (under, over) {
        (Some(WindowProfile::Each(mut table)), Some(WindowProfile::Each(over))) => {
            table.extend(over.clone());
            Some(WindowProfile::Each(table))
        }
        (Some(WindowProfile::All(kind)), Some(WindowProfile::Each(over))) => {
            let mut table: BTreeMap<_, _> =
                super::accounting::limit::LimitName::ALL.into_iter().map(|name| (name, kind)).collect();
            table.extend(over.clone());
            Some(WindowProfile::Each(table))
        }
        (under, over) => over.cloned().or(under),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            accounting::limit::{Kind, LimitName},
            provider::Provider,
        },
        *,
    };

    fn over(text: &str) -> Profile {
        real().overlaid(&serde_json::from_str(text).unwrap())
    }

    fn limits(profile: &Profile, provider: &str, model: &str) -> Vec<(LimitName, Kind, i64)> {
        let provider = Provider::build(provider, &profile.providers[provider]).unwrap();
        provider.model(model).unwrap().limits.iter().map(|limit| (limit.name, limit.kind, limit.max)).collect()
    }

    #[test]
    fn the_built_in_profile_builds_every_provider() {
        let profile = real();
        for (id, provider) in &profile.providers {
            assert!(!Provider::build(id, provider).unwrap().models.is_empty(), "{id}");
        }
        let gemini = limits(&profile, "gemini", "gemini-flash-latest");
        assert!(gemini.contains(&(LimitName::Rpd, Kind::Calendar, 20)));
        assert!(gemini.contains(&(LimitName::Rpm, Kind::Clock, 5)));
    }

    #[test]
    fn a_limit_is_changed_or_removed_by_name() {
        let profile = over(
            r#"{"providers":{"groq":{"window":{"rpm":"sliding"},"models":{"openai/gpt-oss-120b":{"limits":{"rpm":3,"rpd":"none"}}}}}}"#,
        );
        let limits = limits(&profile, "groq", "openai/gpt-oss-120b");
        assert_eq!(limits[0], (LimitName::Rpm, Kind::Sliding, 3));
        assert_eq!(limits[1], (LimitName::Tpm, Kind::Bucket, 8_000));
        assert_eq!(limits.len(), 3);
    }

    #[test]
    fn unlimited_has_no_limit_and_no_latency_and_can_be_built_upon() {
        let profile = over(
            r#"{"base":"unlimited","every_provider":{"every_model":{"limits":{"rpm":7}}},"providers":{"groq":{"latency":{"first_ms":5}}}}"#,
        );
        assert_eq!(limits(&profile, "mistral", "ministral-3b-2512"), [(LimitName::Rpm, Kind::Sliding, 7)]);
        let groq = Provider::build("groq", &profile.providers["groq"]).unwrap();
        let latency = groq.model("openai/gpt-oss-20b").unwrap().latency;
        assert_eq!((latency.first_ms, latency.chunk_ms), (Spread::Fixed(5.0), Spread::Fixed(0.0)));
    }
}
