//! Measures a relayed reply: the usage that the provider reports, or a lower bound from the relayed text.

use crate::{
    domain::{Charge, TokenCharge, Usage},
    upstream::{EventFacts, TokenUsage},
};

/// Characters per output token. English text has about 4, so this does not overestimate.
const CHARS_PER_TOKEN: i64 = 4;

#[derive(Debug, Default)]
pub(crate) struct UsageTap {
    usage: Option<TokenUsage>,
    /// Characters of content in the events so far; 0 for a whole body.
    chars: i64,
    /// Finish reasons of the choices that have ended.
    finish_reasons: Vec<String>,
}

impl UsageTap {
    /// A reply that arrived in one body.
    pub(crate) fn whole(usage: Option<TokenUsage>, finish_reasons: Vec<String>) -> Self {
        Self { usage, chars: 0, finish_reasons }
    }

    pub(crate) fn observe(&mut self, facts: &EventFacts) {
        // Some providers send cumulative usage with every event: the last one counts.
        self.usage = facts.usage.or(self.usage);
        self.chars += i64::from(facts.chars);
        self.finish_reasons.extend(facts.finish_reason.clone());
    }

    /// Whether a choice has ended.
    pub(crate) fn is_finished(&self) -> bool {
        !self.finish_reasons.is_empty()
    }

    pub(crate) fn finish_reasons(&self) -> &[String] {
        &self.finish_reasons
    }

    /// The usage that the provider reported last.
    pub(crate) fn usage(&self) -> Option<TokenUsage> {
        self.usage
    }

    /// The usage that replaces `charge` in the ledger. `whole`: the reply is complete.
    pub(crate) fn billed(&self, whole: bool, charge: &Charge, by: TokenCharge) -> Usage {
        let relayed = (self.chars + CHARS_PER_TOKEN - 1) / CHARS_PER_TOKEN;
        match self.usage {
            Some(usage) if whole => Usage { input: Some(usage.input), total: Some(usage.total), ..Usage::UNKNOWN },
            // Incomplete or without usage: a reserve is not refunded, since the provider may still be generating.
            _ if by == TokenCharge::Reserve => Usage::UNKNOWN,
            Some(usage) => {
                let total = usage.total.max(usage.input.saturating_add(relayed));
                Usage { input: Some(usage.input), total: Some(total), ..Usage::UNKNOWN }
            }
            None if relayed > 0 => Usage { total: Some(charge.input.saturating_add(relayed)), ..Usage::UNKNOWN },
            None => Usage::UNKNOWN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHARGE: Charge = Charge { requests: 1, input: 115, tokens: 615, audio: 0 };
    const BY: [TokenCharge; 4] = [TokenCharge::Reserve, TokenCharge::Actual, TokenCharge::Input, TokenCharge::None];

    fn tap(chars: u32, usage: Option<TokenUsage>) -> UsageTap {
        let mut tap = UsageTap::default();
        tap.observe(&EventFacts { chars: chars / 2, ..EventFacts::default() });
        tap.observe(&EventFacts { chars: chars - chars / 2, usage, ..EventFacts::default() });
        tap
    }

    const USAGE: TokenUsage = TokenUsage { input: 100, output: 50, total: 150, cached: 0 };

    #[test]
    fn a_whole_reply_is_charged_as_its_provider_counted() {
        for by in BY {
            let usage = tap(10, Some(USAGE)).billed(true, &CHARGE, by);
            assert_eq!(usage, Usage { input: Some(100), total: Some(150), ..Usage::UNKNOWN }, "{by:?}");
        }
    }

    #[test]
    fn the_last_usage_counts_and_not_the_sum() {
        let mut tap = tap(0, Some(USAGE));
        let last = TokenUsage { input: 100, output: 60, total: 160, cached: 0 };
        tap.observe(&EventFacts { usage: Some(last), ..EventFacts::default() });
        tap.observe(&EventFacts::default());
        assert_eq!(tap.usage(), Some(last));
    }

    #[test]
    fn a_cut_reply_is_charged_at_least_for_the_relayed_text() {
        assert_eq!(tap(401, None).billed(false, &CHARGE, TokenCharge::Actual).total, Some(115 + 101));
        let cut = tap(401, Some(TokenUsage { input: 100, output: 20, total: 120, cached: 0 }));
        assert_eq!(cut.billed(false, &CHARGE, TokenCharge::Actual).total, Some(201));
        assert_eq!(cut.billed(false, &CHARGE, TokenCharge::Input).input, Some(100));
    }

    #[test]
    fn a_reserve_is_kept_unless_a_whole_reply_reports_usage() {
        assert_eq!(tap(401, None).billed(false, &CHARGE, TokenCharge::Reserve), Usage::UNKNOWN);
        assert_eq!(tap(401, Some(USAGE)).billed(false, &CHARGE, TokenCharge::Reserve), Usage::UNKNOWN);
        assert_eq!(tap(401, None).billed(true, &CHARGE, TokenCharge::Reserve), Usage::UNKNOWN);
    }

    #[test]
    fn a_whole_reply_without_usage_keeps_its_charge() {
        for by in BY {
            assert_eq!(UsageTap::whole(None, Vec::new()).billed(true, &CHARGE, by), Usage::UNKNOWN);
        }
    }
}
