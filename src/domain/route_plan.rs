//! The candidates of one request, in order.

use std::sync::Arc;

use super::candidate::Candidate;

/// What one request would cost at one candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Charge {
    pub requests: i64,
    /// Prompt tokens, with the safety margin.
    pub input: i64,
    /// Units of token windows, by the provider's token charge.
    pub tokens: i64,
}

#[derive(Debug, Clone)]
pub struct Choice {
    pub candidate: Arc<Candidate>,
    pub charge: Charge,
}

#[derive(Debug, Clone)]
pub struct RoutePlan {
    /// What was asked for: `free`, `groq/openai/gpt-oss-120b`, …
    pub asked: String,
    /// Never empty when a plan is made.
    pub choices: Vec<Choice>,
}

impl RoutePlan {
    /// Takes a candidate out for this request.
    pub fn strike(&mut self, struck: &Candidate) {
        self.choices.retain(|c| !std::ptr::eq(c.candidate.as_ref(), struck));
    }

    /// Takes every candidate of a provider out.
    pub fn strike_provider(&mut self, id: &str) {
        self.choices.retain(|c| &*c.candidate.provider.id != id);
    }
}
