//! What passes by, measured: the usage a provider reports, else what was relayed at least.

use crate::{
    domain::{Charge, TokenCharge, Usage},
    upstream::{EventFacts, TokenUsage},
};

/// Characters per token of an answer; English has 4, so this never counts too much.
const CHARS_PER_TOKEN: i64 = 4;

#[derive(Debug, Default)]
pub struct UsageTap {
    usage: Option<TokenUsage>,
    /// Of content, in frames; 0 for a whole body.
    chars: i64,
    /// How each choice ended that has.
    finish_reasons: Vec<String>,
}

impl UsageTap {
    /// A whole answer, of which only what it used and how it ended matter.
    pub fn of_whole(usage: Option<TokenUsage>, finish_reasons: Vec<String>) -> Self {
        Self { usage, chars: 0, finish_reasons }
    }

    pub fn see(&mut self, facts: &EventFacts) {
        // Cumulative at some providers: the last one counts.
        self.usage = facts.usage.or(self.usage);
        self.chars += i64::from(facts.chars);
        self.finish_reasons.extend(facts.finish_reason.clone());
    }

    /// Some choice has told how it ended.
    pub fn is_finished(&self) -> bool {
        !self.finish_reasons.is_empty()
    }

    pub fn finish_reasons(&self) -> &[String] {
        &self.finish_reasons
    }

    /// The provider's last word on what it counted.
    pub fn usage(&self) -> Option<TokenUsage> {
        self.usage
    }

    /// What the ledger shall put in the place of `charge`. `whole`: the answer came to its end.
    pub fn spent(&self, whole: bool, charge: &Charge, by: TokenCharge) -> Usage {
        let relayed = (self.chars + CHARS_PER_TOKEN - 1) / CHARS_PER_TOKEN;
        match self.usage {
            Some(usage) if whole => Usage { sent: true, input: Some(usage.input), total: Some(usage.total) },
            // Cut, left or uncounted: a reserve is not given back, and the provider may still be generating.
            _ if by == TokenCharge::Reserve => Usage::UNKNOWN,
            Some(usage) => {
                let total = usage.total.max(usage.input.saturating_add(relayed));
                Usage { sent: true, input: Some(usage.input), total: Some(total) }
            }
            None if relayed > 0 => Usage { total: Some(charge.input.saturating_add(relayed)), ..Usage::UNKNOWN },
            None => Usage::UNKNOWN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHARGE: Charge = Charge { requests: 1, input: 115, tokens: 615 };
    const BY: [TokenCharge; 4] = [TokenCharge::Reserve, TokenCharge::Actual, TokenCharge::Input, TokenCharge::None];

    fn tap(chars: u32, usage: Option<TokenUsage>) -> UsageTap {
        let mut tap = UsageTap::default();
        tap.see(&EventFacts { chars: chars / 2, ..EventFacts::default() });
        tap.see(&EventFacts { chars: chars - chars / 2, usage, ..EventFacts::default() });
        tap
    }

    const USAGE: TokenUsage = TokenUsage { input: 100, output: 50, total: 150 };

    #[test]
    fn a_whole_answer_is_charged_as_its_provider_counted() {
        for by in BY {
            let spent = tap(10, Some(USAGE)).spent(true, &CHARGE, by);
            assert_eq!(spent, Usage { sent: true, input: Some(100), total: Some(150) }, "{by:?}");
        }
    }

    #[test]
    fn the_last_usage_counts_never_the_sum() {
        let mut tap = tap(0, Some(USAGE));
        let last = TokenUsage { input: 100, output: 60, total: 160 };
        tap.see(&EventFacts { usage: Some(last), ..EventFacts::default() });
        tap.see(&EventFacts::default());
        assert_eq!(tap.usage(), Some(last));
    }

    #[test]
    fn a_cut_answer_is_charged_for_what_was_relayed_at_least() {
        assert_eq!(tap(401, None).spent(false, &CHARGE, TokenCharge::Actual).total, Some(115 + 101));
        let told = tap(401, Some(TokenUsage { input: 100, output: 20, total: 120 }));
        assert_eq!(told.spent(false, &CHARGE, TokenCharge::Actual).total, Some(201));
        assert_eq!(told.spent(false, &CHARGE, TokenCharge::Input).input, Some(100));
    }

    #[test]
    fn a_reserve_is_kept_unless_the_whole_answer_was_counted() {
        assert_eq!(tap(401, None).spent(false, &CHARGE, TokenCharge::Reserve), Usage::UNKNOWN);
        assert_eq!(tap(401, Some(USAGE)).spent(false, &CHARGE, TokenCharge::Reserve), Usage::UNKNOWN);
        assert_eq!(tap(401, None).spent(true, &CHARGE, TokenCharge::Reserve), Usage::UNKNOWN);
    }

    #[test]
    fn a_whole_answer_without_usage_keeps_its_charge() {
        for by in BY {
            assert_eq!(UsageTap::of_whole(None, Vec::new()).spent(true, &CHARGE, by), Usage::UNKNOWN);
        }
    }
}
