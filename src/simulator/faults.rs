//! Faults on demand: which calls go wrong, how, and how often.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{recorded::Case, rng::Rng};

/// An order to fail, as `POST /_control/faults` takes it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultRule {
    /// Every provider when unset.
    pub provider: Option<String>,
    pub model: Option<String>,
    pub account: Option<String>,
    /// `hang reset slow cut_after_chunks stall_mid_stream empty truncated html`, or a case of `wire/` such as `groq.503-overload`.
    pub fault: String,
    /// How many calls it meets; unset: until cleared.
    pub times: Option<u32>,
    /// Only streams, or only whole answers.
    pub stream: Option<bool>,
    /// Rng that a call meets it, 0..=1; unset: always.
    pub probability: Option<f64>,
    /// Events handed over before a cut or stall; unset: 2.
    pub after: Option<usize>,
    /// `slow`: wait before the first byte (unset: 10 s); a case's stream: pause between events (unset: 5 ms).
    pub delay_ms: Option<u64>,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum FaultKind {
    /// No byte ever.
    Hang,
    /// The connection is reset before the first byte.
    Reset,
    Slow,
    /// The connection is lost in mid-answer.
    Cut,
    /// Silence in mid-answer.
    Stall,
    /// 200 without a body.
    Empty,
    /// 200 with half a body.
    Truncated,
    /// A case of `wire/`, verbatim.
    Case(&'static Case),
}

impl FaultRule {
    pub(super) fn kind(&self) -> Option<FaultKind> {
        Some(match self.fault.as_str() {
            "hang" => FaultKind::Hang,
            "reset" => FaultKind::Reset,
            "slow" => FaultKind::Slow,
            "cut_after_chunks" => FaultKind::Cut,
            "stall_mid_stream" => FaultKind::Stall,
            "empty" => FaultKind::Empty,
            "truncated" => FaultKind::Truncated,
            "html" => FaultKind::Case(Case::find("custom.502-html")?),
            case => FaultKind::Case(Case::find(case)?),
        })
    }
}

impl FaultKind {
    /// Told before any limit is asked: the request is refused, not failed.
    pub(super) fn comes_first(self) -> bool {
        matches!(self, Self::Case(case) if (400..500).contains(&case.status()))
    }

    /// A failure before any content: whether it counts is a question of its own.
    pub(super) fn is_failure(self) -> bool {
        match self {
            Self::Hang | Self::Reset => true,
            Self::Case(case) => case.status() >= 500,
            Self::Slow | Self::Cut | Self::Stall | Self::Empty | Self::Truncated => false,
        }
    }
}

/// The orders in force, asked in the order they came.
#[derive(Debug, Default)]
pub(super) struct Faults {
    orders: Mutex<Vec<FaultRule>>,
    /// So that nobody takes the lock while there are none.
    count: AtomicUsize,
}

impl Faults {
    /// The error says what the fault may be.
    pub(super) fn add(&self, fault: FaultRule) -> Result<(), String> {
        if fault.kind().is_none() {
            return Err(format!("`{}` is neither a fault nor a case; see GET /_control/faults", fault.fault));
        }
        let mut orders = self.orders.lock();
        orders.push(fault);
        self.count.store(orders.len(), Relaxed);
        Ok(())
    }

    pub(super) fn clear(&self) {
        self.orders.lock().clear();
        self.count.store(0, Relaxed);
    }

    pub(super) fn all(&self) -> Vec<FaultRule> {
        self.orders.lock().clone()
    }

    /// The fault that this call meets, used up by once.
    pub(super) fn take(
        &self,
        provider: &str,
        account: &str,
        model: &str,
        stream: bool,
        rng: &Rng,
    ) -> Option<FaultRule> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let mut orders = self.orders.lock();
        let is = |wanted: &Option<String>, given: &str| wanted.as_deref().is_none_or(|wanted| wanted == given);
        let met = orders.iter_mut().find(|fault| {
            is(&fault.provider, provider)
                && is(&fault.account, account)
                && is(&fault.model, model)
                && fault.stream.is_none_or(|wanted| wanted == stream)
                && fault.times != Some(0)
                && fault.probability.is_none_or(|odds| rng.fraction() < odds)
        })?;
        if let Some(times) = &mut met.times {
            *times -= 1;
        }
        Some(met.clone())
    }

    /// The call was refused by a limit before it met its fault.
    pub(super) fn give_back(&self, fault: &FaultRule) {
        let mut orders = self.orders.lock();
        let same = |order: &&mut FaultRule| {
            order.fault == fault.fault && order.provider == fault.provider && order.model == fault.model
        };
        if let Some(times) = orders.iter_mut().find(same).and_then(|order| order.times.as_mut()) {
            *times += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> FaultRule {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_fault_meets_as_many_calls_as_it_was_told() {
        let (faults, rng) = (Faults::default(), Rng::new(1));
        faults.add(fault(r#"{"provider":"groq","fault":"groq.503-overload","times":2,"stream":true}"#)).unwrap();
        let take = |provider, stream| faults.take(provider, "main", "m", stream, &rng).is_some();
        assert!(!take("gemini", true) && !take("groq", false));
        assert!(take("groq", true) && take("groq", true) && !take("groq", true));
    }

    #[test]
    fn what_a_limit_refused_did_not_meet_its_fault() {
        let (faults, rng) = (Faults::default(), Rng::new(1));
        faults.add(fault(r#"{"fault":"hang","times":1}"#)).unwrap();
        let met = faults.take("groq", "main", "m", true, &rng).unwrap();
        faults.give_back(&met);
        assert!(faults.take("groq", "main", "m", true, &rng).is_some());
    }

    #[test]
    fn half_a_chance_meets_about_half() {
        let (faults, rng) = (Faults::default(), Rng::new(1));
        faults.add(fault(r#"{"fault":"reset","probability":0.5}"#)).unwrap();
        let met = (0..1_000).filter(|_| faults.take("groq", "main", "m", true, &rng).is_some()).count();
        assert!((430..570).contains(&met), "{met}");
    }

    #[test]
    fn an_unknown_fault_is_refused() {
        assert!(Faults::default().add(fault(r#"{"fault":"groq.418"}"#)).is_err());
    }
}
