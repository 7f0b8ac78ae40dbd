//! Windows of one account and model, from the limits of catalogue and file.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    config::provider_table::{DailyReset, LimitValue, Limits, ModelTable, ProviderTable, WindowKindSetting},
    domain::{Limit, Scope, Source, TokenCharge, Unit, Window, WindowKind, Zone},
};

pub(super) struct ModelWindows {
    /// Account-wide windows first.
    pub windows: Arc<[Window]>,
    /// Whether a limit is 0, so that the account's plan does not include the model.
    pub zero: bool,
}

/// Behaviour of windows from the tables, the most specific first.
struct WindowRules<'a> {
    kinds: Vec<&'a WindowKindSetting>,
    reset: Option<&'a DailyReset>,
    charge: Option<TokenCharge>,
    /// The charge comes from the file rather than from the catalogue.
    charge_in_file: bool,
}

/// Windows by the catalogue's tables (base) and the operator's (file).
///
/// `listed`: the operator named the model, so a limit of 0 in the catalogue ("not on a free plan") does not apply.
/// `without_key`: the catalogue's limits are those of calls without a key, where it has such.
pub(super) fn model_windows(
    (provider_base, provider_file): (&ProviderTable, Option<&ProviderTable>),
    (model_base, model_file): (Option<&ModelTable>, Option<&ModelTable>),
    listed: bool,
    without_key: bool,
) -> ModelWindows {
    let ProviderTable { limits, model_limits, keyless_limits, keyless_model_limits, .. } = provider_base;
    let has_own = without_key && !(keyless_limits.is_empty() && keyless_model_limits.is_empty());
    let (limits, model_limits) = if has_own { (keyless_limits, keyless_model_limits) } else { (limits, model_limits) };
    let over_all = merge(&[(Some(limits), Source::Catalogue), (provider_file.map(|f| &f.limits), Source::File)]);
    let per_model = merge(&[
        (Some(model_limits), Source::Catalogue),
        (model_base.map(|b| &b.limits), Source::Catalogue),
        (provider_file.map(|f| &f.model_limits), Source::File),
        (model_file.map(|f| &f.limits), Source::File),
    ]);
    let account = WindowRules {
        kinds: [provider_file.and_then(|f| f.window.as_ref()), provider_base.window.as_ref()]
            .into_iter()
            .flatten()
            .collect(),
        reset: provider_file.and_then(|f| f.daily_reset.as_ref()).or(provider_base.daily_reset.as_ref()),
        charge: provider_file.and_then(|f| f.token_charge).or(provider_base.token_charge),
        charge_in_file: provider_file.is_some_and(|f| f.token_charge.is_some()),
    };
    let model = WindowRules {
        kinds: [
            model_file.and_then(|f| f.window.as_ref()),
            provider_file.and_then(|f| f.window.as_ref()),
            model_base.and_then(|b| b.window.as_ref()),
            provider_base.window.as_ref(),
        ]
        .into_iter()
        .flatten()
        .collect(),
        reset: model_file
            .and_then(|f| f.daily_reset.as_ref())
            .or(provider_file.and_then(|f| f.daily_reset.as_ref()))
            .or(model_base.and_then(|b| b.daily_reset.as_ref()))
            .or(provider_base.daily_reset.as_ref()),
        charge: model_file
            .and_then(|f| f.token_charge)
            .or(provider_file.and_then(|f| f.token_charge))
            .or(model_base.and_then(|b| b.token_charge))
            .or(provider_base.token_charge),
        charge_in_file: account.charge_in_file || model_file.is_some_and(|f| f.token_charge.is_some()),
    };
    let mut windows = Vec::new();
    let mut zero = false;
    for (scope, limits, rules) in [(Scope::Account, over_all, account), (Scope::Model, per_model, model)] {
        for (limit, (max, source)) in limits {
            if max == 0 {
                zero |= source == Source::File || !listed;
            } else {
                windows.extend(rules.window(limit, max, scope, source));
            }
        }
    }
    ModelWindows { windows: windows.into(), zero }
}

/// Merges layers of limits; later ones win, and "none" removes a limit.
fn merge(layers: &[(Option<&Limits>, Source)]) -> BTreeMap<Limit, (i64, Source)> {
    let mut limits = BTreeMap::new();
    for (layer, source) in layers {
        for (limit, value) in layer.iter().copied().flatten() {
            match value {
                LimitValue::Max(max) => limits.insert(*limit, (*max, *source)),
                LimitValue::Removed => limits.remove(limit),
            };
        }
    }
    limits
}

impl WindowRules<'_> {
    /// `None` for a token limit if the file says that tokens are not counted.
    fn window(&self, limit: Limit, max: i64, scope: Scope, source: Source) -> Option<Window> {
        let charge = match (limit.unit(), self.charge) {
            (Unit::InputToken, _) => TokenCharge::Input,
            (Unit::Token, Some(TokenCharge::None)) if self.charge_in_file => return None,
            // A token limit of a provider that is not known to count tokens charges actual usage.
            (Unit::Token, Some(TokenCharge::None) | None) => TokenCharge::Actual,
            (_, charge) => charge.unwrap_or(TokenCharge::None),
        };
        let (kind, zone) = self.kind(limit, charge);
        Some(Window { limit, kind, max, span_ms: limit.span_ms(), scope, charge, zone, source })
    }

    fn kind(&self, limit: Limit, charge: TokenCharge) -> (WindowKind, Option<Arc<Zone>>) {
        if limit == Limit::Concurrency {
            return (WindowKind::Concurrency, None);
        }
        // The charge changes when the reply ends, which only a sliding window supports.
        if limit.unit() == Unit::Token && charge == TokenCharge::Actual {
            return (WindowKind::Sliding, None);
        }
        let is_calendar = matches!(limit, Limit::Rpd | Limit::Tpd | Limit::Asd | Limit::Rpmonth | Limit::Tpmonth);
        if let (true, Some(DailyReset::At(zone))) = (is_calendar, self.reset) {
            return (WindowKind::Calendar, Some(Arc::clone(zone)));
        }
        (self.kinds.iter().find_map(|kinds| kinds.for_limit(limit)).unwrap_or(WindowKind::Sliding), None)
    }
}
