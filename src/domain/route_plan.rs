//! The ordered candidates of one request, with their charges.

use std::sync::Arc;

use super::{
    candidate::Candidate,
    window::{TokenCharge, Unit, Window},
};

/// Charge of one request at one candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Charge {
    pub requests: i64,
    /// Prompt tokens, including the safety margin.
    pub input: i64,
    /// Units of token windows, by the candidate's token charge.
    pub tokens: i64,
    /// Seconds of sound.
    pub audio: i64,
}

impl Charge {
    /// Units that this charge takes of a window.
    pub fn units(&self, window: &Window) -> i64 {
        match (window.limit.unit(), window.charge) {
            (Unit::Request, _) => self.requests,
            (Unit::Slot, _) => 1,
            (Unit::AudioSecond, _) => self.audio,
            (Unit::InputToken, _) | (Unit::Token, TokenCharge::Input) => self.input,
            (Unit::Token, TokenCharge::None) => 0,
            (Unit::Token, TokenCharge::Reserve | TokenCharge::Actual) => self.tokens,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Choice {
    pub candidate: Arc<Candidate>,
    pub charge: Charge,
}

#[derive(Debug, Clone)]
pub struct RoutePlan {
    /// The requested name: `free`, `groq/openai/gpt-oss-120b`, …
    pub requested: String,
    /// Not empty in a new plan.
    pub choices: Vec<Choice>,
}
