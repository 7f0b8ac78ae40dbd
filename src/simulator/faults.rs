//! Faults on demand: which calls go wrong, how, and how often.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{recorded::Case, rng::Rng};

/// A rule for calls that fail, the body of `POST /_control/faults`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultRule {
    /// Absent matches every provider.
    pub provider: Option<String>,
    pub model: Option<String>,
    pub account: Option<String>,
    /// `hang reset slow cut_after_chunks stall_mid_stream empty truncated html`, or a recorded case such as `groq.503-overload`.
    pub fault: String,
    /// Number of calls that fail; absent means until the rules are cleared.
    pub times: Option<u32>,
    /// Only streams, or only responses without streaming.
    pub stream: Option<bool>,
    /// Probability that a call fails; absent means always.
    pub probability: Option<f64>,
    /// Events sent before a cut or a stall.
    pub after: Option<usize>,
    /// `slow`: wait before the first byte. Recorded streams: pause between events.
    pub delay_ms: Option<u64>,
}

/// How a call fails.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FaultKind {
    /// Sends no byte.
    Hang,
    /// The connection is reset before the first byte.
    Reset,
    Slow,
    /// The connection is lost within the response.
    Cut,
    /// The response stops without an end.
    Stall,
    /// 200 without a body.
    Empty,
    /// 200 with half a body.
    Truncated,
    /// A recorded case, verbatim.
    Case(&'static Case),
}

impl FaultRule {
    pub(crate) fn kind(&self) -> Option<FaultKind> {
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
    /// The request is refused before any limit is checked.
    pub(crate) fn precedes_limits(self) -> bool {
        matches!(self, Self::Case(case) if (400..500).contains(&case.status()))
    }

    /// The call fails before any content. A switch decides whether it counts.
    pub(crate) fn is_failure(self) -> bool {
        match self {
            Self::Hang | Self::Reset => true,
            Self::Case(case) => case.status() >= 500,
            Self::Slow | Self::Cut | Self::Stall | Self::Empty | Self::Truncated => false,
        }
    }
}

/// The rules in force. The first that matches applies.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Mutex<Vec<FaultRule>>,
    /// Number of rules, so that calls skip the lock while there are none.
    count: AtomicUsize,
}

impl Faults {
    /// Fails for an unknown fault.
    pub(crate) fn add(&self, fault: FaultRule) -> Result<(), String> {
        if fault.kind().is_none() {
            return Err(format!("`{}` is neither a fault nor a case; see GET /_control/faults", fault.fault));
        }
        let mut rules = self.rules.lock();
        rules.push(fault);
        self.count.store(rules.len(), Relaxed);
        Ok(())
    }

    pub(crate) fn clear(&self) {
        self.rules.lock().clear();
        self.count.store(0, Relaxed);
    }

    pub(crate) fn all(&self) -> Vec<FaultRule> {
        self.rules.lock().clone()
    }

    /// Takes the fault of a call, which uses the rule once.
    pub(crate) fn take(
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
        let mut rules = self.rules.lock();
        let is = |wanted: &Option<String>, given: &str| wanted.as_deref().is_none_or(|wanted| wanted == given);
        let met = rules.iter_mut().find(|fault| {
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

    /// Gives a fault back when a limit refused its call.
    pub(crate) fn give_back(&self, fault: &FaultRule) {
        let mut rules = self.rules.lock();
        let same = |rule: &&mut FaultRule| {
            rule.fault == fault.fault && rule.provider == fault.provider && rule.model == fault.model
        };
        if let Some(times) = rules.iter_mut().find(same).and_then(|rule| rule.times.as_mut()) {
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
    fn a_rule_applies_to_its_number_of_calls() {
        let (faults, rng) = (Faults::default(), Rng::new(1));
        faults.add(fault(r#"{"provider":"groq","fault":"groq.503-overload","times":2,"stream":true}"#)).unwrap();
        let take = |provider, stream| faults.take(provider, "main", "m", stream, &rng).is_some();
        assert!(!take("gemini", true) && !take("groq", false));
        assert!(take("groq", true) && take("groq", true) && !take("groq", true));
    }

    #[test]
    fn a_call_that_a_limit_refused_gives_its_fault_back() {
        let (faults, rng) = (Faults::default(), Rng::new(1));
        faults.add(fault(r#"{"fault":"hang","times":1}"#)).unwrap();
        let met = faults.take("groq", "main", "m", true, &rng).unwrap();
        faults.give_back(&met);
        assert!(faults.take("groq", "main", "m", true, &rng).is_some());
    }

    #[test]
    fn a_probability_of_one_half_applies_to_about_half() {
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
