//! How a dialect classifies an error response: the kind of fault, and what the shared state learns from it.

use crate::{
    domain::{
        Cooldown, CooldownScope, FaultKind, Health, Hint, Limit, Scope, Until, Usage, Zone,
        time::{DAY_MS, HOUR_MS, MINUTE_MS},
    },
    upstream::error_response::ErrorResponse,
};

/// Cooldown of a key that its provider refused; replacing the key ends it earlier.
const BAD_KEY_MS: i64 = 10 * MINUTE_MS;
/// Cooldown of a model that is gone or not on the account's plan.
const GONE_MS: i64 = 6 * HOUR_MS;
/// Cooldown of a model that a server of the operator's does not find. The operator repairs that within minutes.
const NOT_FOUND_MS: i64 = 30_000;
/// Cooldown after a 429 that names neither a window nor a time.
const UNNAMED_MS: i64 = MINUTE_MS;

/// The meaning of one error response.
#[derive(Debug, Clone)]
pub(crate) struct Classification {
    pub kind: FaultKind,
    /// `None` labels the fault with its HTTP status.
    pub label: Option<String>,
    pub health: Health,
    pub usage: Usage,
    pub cooldown: Option<Cooldown>,
    /// The limit that was exceeded, if the provider names one of ours.
    pub limit: Option<Limit>,
    /// Limits and remainders read from the body, in addition to the headers.
    pub body_hints: Vec<Hint>,
}

impl Classification {
    fn of(kind: FaultKind) -> Self {
        Self {
            kind,
            label: None,
            health: Health::Unknown,
            usage: Usage::REFUSED,
            cooldown: None,
            limit: None,
            body_hints: Vec::new(),
        }
    }

    /// A 429 of a known limit, which counts an account or one of its models. Without a time the ledger computes when its
    /// window opens.
    pub(crate) fn limited(error: &ErrorResponse<'_>, limit: Limit, scope: Scope, wait_ms: Option<i64>) -> Self {
        let label = format!("429_{limit}");
        // A limit that is not tracked has no window to close: what it counts cools down instead.
        let tracked = error.candidate.windows.iter().any(|w| (w.limit, w.scope) == (limit, scope));
        let (scope, until) = match (tracked, wait_ms, scope) {
            (true, Some(ms), _) => (CooldownScope::Limit(limit, scope), Until::AfterMs(ms.max(1))),
            (true, None, _) => (CooldownScope::Limit(limit, scope), Until::WindowOpens),
            (false, ms, Scope::Model) => (CooldownScope::AccountModel, Until::AfterMs(ms.unwrap_or(UNNAMED_MS).max(1))),
            (false, ms, Scope::Account) => (CooldownScope::Account, Until::AfterMs(ms.unwrap_or(UNNAMED_MS).max(1))),
        };
        let cooldown = Some(Cooldown { scope, until, cause: label.clone() });
        Self { label: Some(label), cooldown, limit: Some(limit), ..Self::of(FaultKind::RateLimited) }
    }

    /// A 429 of a limit that is not tracked. `label` is one of `429`, `429_week` and the like.
    pub(crate) fn limited_unnamed(scope: CooldownScope, wait_ms: Option<i64>, label: &str) -> Self {
        let until = Until::AfterMs(wait_ms.unwrap_or(UNNAMED_MS).max(1_000));
        let cooldown = Some(Cooldown { scope, until, cause: label.to_owned() });
        Self { label: Some(label.to_owned()), cooldown, ..Self::of(FaultKind::RateLimited) }
    }

    /// The model is overloaded. No budget was charged.
    pub(crate) fn busy() -> Self {
        Self { label: Some("busy".to_owned()), health: Health::ModelFailed, ..Self::of(FaultKind::Busy) }
    }

    /// The provider key was refused.
    pub(crate) fn bad_key(error: &ErrorResponse<'_>) -> Self {
        let label = if error.status == 403 { "403" } else { "401" }.to_owned();
        let cooldown = Cooldown { scope: CooldownScope::Key, until: Until::AfterMs(BAD_KEY_MS), cause: label.clone() };
        Self { label: Some(label), cooldown: Some(cooldown), ..Self::of(FaultKind::BadKey) }
    }

    /// The model is retired or not on the account's plan: 402, 404, 410, tier, `limit: 0`, decommissioned.
    pub(crate) fn gone(error: &ErrorResponse<'_>, why: &str) -> Self {
        let label = match error.status {
            402 | 403 | 404 | 410 => error.status.to_string(),
            _ => "gone".to_owned(),
        };
        let cause = if why.is_empty() { label.clone() } else { why.to_owned() };
        let cooldown = Cooldown { scope: CooldownScope::AccountModel, until: Until::AfterMs(GONE_MS), cause };
        Self { label: Some(label), cooldown: Some(cooldown), ..Self::of(FaultKind::Gone) }
    }

    /// The account's money of this month is spent. It comes back on the first of the next month.
    pub(crate) fn credit_spent(error: &ErrorResponse<'_>) -> Self {
        let label = error.status.to_string();
        let until = Until::AfterMs(until_next_month_ms(error.now_ms));
        let cooldown = Cooldown { scope: CooldownScope::Account, until, cause: "monthly credit spent".to_owned() };
        Self { label: Some(label), cooldown: Some(cooldown), ..Self::of(FaultKind::Gone) }
    }

    /// A 404 of a server that the operator defines: a wrong address, or a model that is not loaded yet.
    pub(crate) fn not_found() -> Self {
        let until = Until::AfterMs(NOT_FOUND_MS);
        let cooldown = Cooldown { scope: CooldownScope::AccountModel, until, cause: "404".to_owned() };
        Self { label: Some("404".to_owned()), cooldown: Some(cooldown), ..Self::of(FaultKind::Gone) }
    }

    /// The request is at fault: 400, 422, moderation.
    pub(crate) fn rejected() -> Self {
        Self::of(FaultKind::Rejected)
    }

    /// The prompt exceeds the model's context.
    pub(crate) fn context() -> Self {
        Self { label: Some("context".to_owned()), ..Self::of(FaultKind::TooLarge) }
    }

    /// The request exceeds a whole window, so waiting never helps.
    pub(crate) fn too_large() -> Self {
        Self { label: Some("413".to_owned()), ..Self::of(FaultKind::TooLarge) }
    }

    /// The provider failed.
    pub(crate) fn broken() -> Self {
        Self { health: Health::ProviderFailed, usage: Usage::UNKNOWN, ..Self::of(FaultKind::Broken) }
    }

    /// One model of the provider failed.
    pub(crate) fn model_broken() -> Self {
        Self { health: Health::ModelFailed, ..Self::broken() }
    }

    /// The provider reports its own time-out.
    pub(crate) fn timed_out() -> Self {
        Self { label: Some("timeout".to_owned()), kind: FaultKind::TimedOut, ..Self::broken() }
    }

    /// Adds a limit or a remainder that the body states.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: Hint) -> Self {
        self.body_hints.push(hint);
        self
    }

    /// The provider generated tokens before it refused, so the usage is unknown.
    #[must_use]
    pub(crate) fn after_work(self) -> Self {
        Self { usage: Usage::UNKNOWN, ..self }
    }
}

/// The time until the first of the next month, in UTC.
fn until_next_month_ms(now_ms: i64) -> i64 {
    let utc = Zone::parse("UTC").ok();
    let next_ms = utc.map_or(now_ms + DAY_MS, |zone| zone.boundaries(Limit::Rpmonth, now_ms).next);
    (next_ms - now_ms).max(1)
}
