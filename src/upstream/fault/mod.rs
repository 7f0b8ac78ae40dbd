//! Why an attempt failed, and what all replicas shall learn from it: the outcome table, in one place.

use std::time::Duration;

use reqwest::header::HeaderMap;

use super::{
    dialect, hints,
    refusal::{Refusal, redact},
};
use crate::domain::{Candidate, Cooldown, CooldownScope, Fault, FaultKind, Health, Hint, Limit, Outcome, Until, Usage};

/// A bad key is left alone that long, or until it is replaced.
const BAD_KEY_MS: i64 = 10 * 60_000;
/// What is not on this plan any more is left alone that long.
const GONE_MS: i64 = 6 * 3_600_000;
/// A refusal that names neither window nor time.
const UNNAMED_MS: i64 = 60_000;

/// What a dialect makes of a refusal.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    kind: FaultKind,
    /// `None`: the status says it.
    label: Option<String>,
    health: Health,
    usage: Usage,
    cooldown: Option<Cooldown>,
    /// The window that refused.
    limit: Option<Limit>,
    /// What the message taught beyond the headers.
    learned: Vec<Hint>,
}

impl Verdict {
    fn of(kind: FaultKind) -> Self {
        Self {
            kind,
            label: None,
            health: Health::Unknown,
            usage: Usage::REFUSED,
            cooldown: None,
            limit: None,
            learned: Vec::new(),
        }
    }

    /// 429 by a known window. Without a time the script computes when it opens.
    pub fn limited(refusal: &Refusal<'_>, limit: Limit, wait_ms: Option<i64>) -> Self {
        let label = format!("429_{limit}");
        // A window we do not keep cannot be closed; then the account's model is.
        let kept = refusal.candidate.windows.iter().any(|w| w.limit == limit);
        let (scope, until) = match (kept, wait_ms) {
            (true, Some(ms)) => (CooldownScope::Limit(limit), Until::AfterMs(ms.max(1))),
            (true, None) => (CooldownScope::Limit(limit), Until::WindowOpens),
            (false, ms) => (CooldownScope::AccountModel, Until::AfterMs(ms.unwrap_or(UNNAMED_MS).max(1))),
        };
        let cooldown = Some(Cooldown { scope, until, cause: label.clone() });
        Self { label: Some(label), cooldown, limit: Some(limit), ..Self::of(FaultKind::RateLimited) }
    }

    /// 429 that names no window of ours; `cause` is its label: `429`, `429_week`.
    pub fn limited_unnamed(scope: CooldownScope, wait_ms: Option<i64>, cause: &str) -> Self {
        let until = Until::AfterMs(wait_ms.unwrap_or(UNNAMED_MS).max(1_000));
        let cooldown = Some(Cooldown { scope, until, cause: cause.to_owned() });
        Self { label: Some(cause.to_owned()), cooldown, ..Self::of(FaultKind::RateLimited) }
    }

    /// The model is overloaded; budgets are untouched.
    pub fn busy() -> Self {
        Self { label: Some("busy".to_owned()), health: Health::ModelFailed, ..Self::of(FaultKind::Busy) }
    }

    pub fn bad_key(refusal: &Refusal<'_>) -> Self {
        let label = if refusal.status == 403 { "403" } else { "401" }.to_owned();
        let cooldown = Cooldown { scope: CooldownScope::Key, until: Until::AfterMs(BAD_KEY_MS), cause: label.clone() };
        Self { label: Some(label), cooldown: Some(cooldown), ..Self::of(FaultKind::BadKey) }
    }

    /// Not on this plan, or not any more: 402, 404, 410, tier, `limit: 0`, decommissioned.
    pub fn gone(refusal: &Refusal<'_>, why: &str) -> Self {
        let label = match refusal.status {
            402 | 403 | 404 | 410 => refusal.status.to_string(),
            _ => "gone".to_owned(),
        };
        let cause = if why.is_empty() { label.clone() } else { why.to_owned() };
        let cooldown = Cooldown { scope: CooldownScope::AccountModel, until: Until::AfterMs(GONE_MS), cause };
        Self { label: Some(label), cooldown: Some(cooldown), ..Self::of(FaultKind::Gone) }
    }

    /// The request itself: 400, 422, moderation.
    pub fn rejected() -> Self {
        Self::of(FaultKind::Rejected)
    }

    /// Longer than the model's context.
    pub fn context() -> Self {
        Self { label: Some("context".to_owned()), ..Self::of(FaultKind::TooLarge) }
    }

    /// Larger than a whole window: waiting never helps.
    pub fn too_large() -> Self {
        Self { label: Some("413".to_owned()), ..Self::of(FaultKind::TooLarge) }
    }

    /// The provider is broken.
    pub fn broken() -> Self {
        Self { health: Health::ProviderFailed, usage: Usage::UNKNOWN, ..Self::of(FaultKind::Broken) }
    }

    /// Only this model of it is broken.
    pub fn model_broken() -> Self {
        Self { health: Health::ModelFailed, ..Self::broken() }
    }

    pub fn timed_out() -> Self {
        Self { label: Some("timeout".to_owned()), kind: FaultKind::TimedOut, ..Self::broken() }
    }

    #[must_use]
    pub fn learned(mut self, hint: Hint) -> Self {
        self.learned.push(hint);
        self
    }

    /// The provider did work before it refused.
    #[must_use]
    pub fn worked(self) -> Self {
        Self { usage: Usage::UNKNOWN, ..self }
    }
}

/// An answer with an error status, or an error inside a 200.
pub(crate) fn refused(candidate: &Candidate, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let refusal = Refusal::new(candidate, status, headers, body);
    let verdict = dialect::judge(&refusal);
    let mut hints = hints::read(&candidate.provider.wire, headers, verdict.limit);
    for learned in verdict.learned {
        match hints.iter_mut().find(|h| h.limit == learned.limit) {
            Some(hint) => {
                hint.max = learned.max.or(hint.max);
                hint.remaining = learned.remaining.or(hint.remaining);
            }
            None => hints.push(learned),
        }
    }
    Fault {
        kind: verdict.kind,
        status: Some(refusal.status),
        label: verdict.label.unwrap_or_else(|| status_label(refusal.status)),
        message: refusal.message,
        code: refusal.code,
        outcome: outcome(verdict.health, verdict.usage, verdict.cooldown, hints),
    }
}

fn status_label(status: u16) -> String {
    match status {
        400..=599 => status.to_string(),
        // A redirect or an oddity: no provider's API answers so.
        _ => "malformed".to_owned(),
    }
}

/// A failure that we saw, not one that was told: label from the closed vocabulary.
pub(crate) fn broken(candidate: &Candidate, label: &str, message: &str) -> Fault {
    let timed_out = label == "timeout";
    // Nothing ever left for the provider.
    let usage = if label == "connect" { Usage::NOT_SENT } else { Usage::UNKNOWN };
    Fault {
        kind: if timed_out { FaultKind::TimedOut } else { FaultKind::Broken },
        status: None,
        label: label.to_owned(),
        message: redact(candidate, message),
        code: None,
        outcome: outcome(Health::ProviderFailed, usage, None, Vec::new()),
    }
}

pub(crate) fn empty(candidate: &Candidate) -> Fault {
    broken(candidate, "empty", "the answer has no content")
}

pub(crate) fn timed_out(candidate: &Candidate, after: Duration) -> Fault {
    broken(candidate, "timeout", &format!("no content within {} ms", after.as_millis()))
}

fn outcome(health: Health, usage: Usage, cooldown: Option<Cooldown>, hints: Vec<Hint>) -> Outcome {
    Outcome { health, usage, cooldown, hints, first_token: None, output_tokens: None }
}

#[cfg(test)]
mod tests;
