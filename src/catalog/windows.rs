//! The windows of one account and model, out of the limits that catalogue and file name.

use std::{collections::BTreeMap, sync::Arc};

use super::overlay::Overlay;
use crate::{
    config::provider_table::{DailyReset, LimitValue, Limits, ModelTable, WindowKindSetting},
    domain::{Limit, Scope, Source, TokenCharge, Unit, Window, WindowKind, Zone},
};

pub(super) struct Windowed {
    /// Those over all models of the account first.
    pub windows: Arc<[Window]>,
    /// A limit of 0 is among them: not on this plan.
    pub zero: bool,
}

/// What a table says about how its windows behave, nearest first.
struct Manner<'a> {
    kinds: Vec<&'a WindowKindSetting>,
    reset: Option<&'a DailyReset>,
    charge: Option<TokenCharge>,
    /// The operator said so, rather than the catalogue.
    charge_in_file: bool,
}

/// `listed`: the operator named the model, so a 0 of the catalogue's ("not on a free plan") does not hold for him.
pub(super) fn of(at: &Overlay<'_>, file: Option<&ModelTable>, base: Option<&ModelTable>, listed: bool) -> Windowed {
    let over_all = laid_over(&[(Some(&at.base.limits), Source::Catalogue), (at.file.map(|f| &f.limits), Source::File)]);
    let per_model = laid_over(&[
        (Some(&at.base.model_limits), Source::Catalogue),
        (base.map(|b| &b.limits), Source::Catalogue),
        (at.file.map(|f| &f.model_limits), Source::File),
        (file.map(|f| &f.limits), Source::File),
    ]);
    let account = Manner {
        kinds: [at.file.and_then(|f| f.window.as_ref()), at.base.window.as_ref()].into_iter().flatten().collect(),
        reset: at.file.and_then(|f| f.daily_reset.as_ref()).or(at.base.daily_reset.as_ref()),
        charge: at.file.and_then(|f| f.token_charge).or(at.base.token_charge),
        charge_in_file: at.file.is_some_and(|f| f.token_charge.is_some()),
    };
    let model = Manner {
        kinds: [
            file.and_then(|f| f.window.as_ref()),
            at.file.and_then(|f| f.window.as_ref()),
            base.and_then(|b| b.window.as_ref()),
            at.base.window.as_ref(),
        ]
        .into_iter()
        .flatten()
        .collect(),
        reset: file
            .and_then(|f| f.daily_reset.as_ref())
            .or(at.file.and_then(|f| f.daily_reset.as_ref()))
            .or(base.and_then(|b| b.daily_reset.as_ref()))
            .or(at.base.daily_reset.as_ref()),
        charge: file
            .and_then(|f| f.token_charge)
            .or(at.file.and_then(|f| f.token_charge))
            .or(base.and_then(|b| b.token_charge))
            .or(at.base.token_charge),
        charge_in_file: account.charge_in_file || file.is_some_and(|f| f.token_charge.is_some()),
    };
    let mut windows = Vec::new();
    let mut zero = false;
    for (scope, limits, manner) in [(Scope::Account, over_all, account), (Scope::Model, per_model, model)] {
        for (limit, (max, source)) in limits {
            if max == 0 {
                zero |= source == Source::File || !listed;
            } else {
                windows.extend(manner.window(limit, max, scope, source));
            }
        }
    }
    Windowed { windows: windows.into(), zero }
}

/// Later layers win; "none" takes a limit away.
fn laid_over(layers: &[(Option<&Limits>, Source)]) -> BTreeMap<Limit, (i64, Source)> {
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

impl Manner<'_> {
    /// `None`: a token limit where the operator says that tokens do not matter.
    fn window(&self, limit: Limit, max: i64, scope: Scope, source: Source) -> Option<Window> {
        let charge = match (limit.unit(), self.charge) {
            (Unit::InputToken, _) => TokenCharge::Input,
            (Unit::Token, Some(TokenCharge::None)) if self.charge_in_file => return None,
            // A token limit on a provider that is not known to count them: by what was used.
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
        // Debited when the answer ends: the charge moves, which only a sliding window can follow.
        if limit.unit() == Unit::Token && charge == TokenCharge::Actual {
            return (WindowKind::Sliding, None);
        }
        let is_calendar = matches!(limit, Limit::Rpd | Limit::Tpd | Limit::Rpmonth | Limit::Tpmonth);
        if let (true, Some(DailyReset::At(zone))) = (is_calendar, self.reset) {
            return (WindowKind::Calendar, Some(Arc::clone(zone)));
        }
        (self.kinds.iter().find_map(|kinds| kinds.for_limit(limit)).unwrap_or(WindowKind::Sliding), None)
    }
}
