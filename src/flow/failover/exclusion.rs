//! Which candidates a fault rules out: the outcome table as code.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::info;

use super::{Failover, ending::rejected};
use crate::{
    domain::{Candidate, Choice, Fault, FaultKind, Unit, Until, provider::DialectName},
    flow::FlowError,
};

impl Failover {
    /// Excludes the candidates that a fault rules out. `Err`: none is left, or no time.
    pub(crate) fn exclude(&mut self, candidate: &Arc<Candidate>, fault: &Fault) -> Result<(), FlowError> {
        let name = &candidate.name;
        info!(candidate.name = %name, error.type = %fault.label, "Attempt at `{name}` failed: {}", fault.label);
        self.attempt_log.failed(candidate, fault);
        let Candidate { provider, model, account, key, .. } = &**candidate;
        let same_provider = |c: &Candidate| c.provider.id == provider.id;
        let same_model = |c: &Candidate| same_provider(c) && c.model.id == model.id;
        match fault.kind {
            FaultKind::RateLimited => self.move_to_end(candidate, fault),
            FaultKind::BadKey => self.remove(|c| same_provider(c) && c.key.id == key.id),
            FaultKind::Gone => self.remove(|c| same_model(c) && c.account.id == account.id),
            FaultKind::StaleConnection if !self.reconnected.iter().any(|c| Arc::ptr_eq(c, candidate)) => {
                self.reconnected.push(candidate.clone());
            }
            FaultKind::StaleConnection | FaultKind::Broken | FaultKind::TimedOut
                if self.plan.choices.iter().any(|c| !same_provider(&c.candidate)) =>
            {
                self.remove(same_provider);
            }
            FaultKind::StaleConnection | FaultKind::Broken | FaultKind::TimedOut | FaultKind::Busy => {
                self.remove(same_model);
            }
            FaultKind::TooLarge => {
                let limit = SizeLimit::new(candidate, fault);
                self.remove(|c| std::ptr::eq(c, Arc::as_ptr(candidate)) || !limit.is_below(c));
                if self.plan.choices.is_empty() && self.rejection.is_none() {
                    self.rejection = Some(rejected(candidate, fault, 400, Some("context_length_exceeded")));
                }
            }
            FaultKind::Rejected => {
                let dialect = provider.wire.dialect;
                // One refusal speaks for a dialect; for the servers that share the plain one, two do.
                let speaks_for_dialect = dialect != DialectName::Openai || self.rejected_by.contains(&dialect);
                self.remove(|c| same_provider(c) || speaks_for_dialect && c.provider.wire.dialect == dialect);
                self.rejected_by.push(dialect);
                let status = fault.status.unwrap_or(400);
                self.rejection.get_or_insert_with(|| rejected(candidate, fault, status, fault.code.as_deref()));
            }
        }
        if self.plan.choices.is_empty() || Instant::now() >= self.deadline { Err(self.exhausted()) } else { Ok(()) }
    }

    fn remove(&mut self, excluded: impl Fn(&Candidate) -> bool) {
        self.plan.choices.retain(|c| !excluded(&c.candidate));
    }

    /// Moves a rate-limited candidate to the end of the plan. The settlement that follows puts it in cooldown for all replicas;
    /// keeping it in the plan lets the next admission report when it reopens. A second rate limit removes it.
    fn move_to_end(&mut self, candidate: &Arc<Candidate>, fault: &Fault) {
        let reset_ms = fault.outcome.cooldown.as_ref().and_then(|cooldown| match cooldown.until {
            Until::AfterMs(ms) => Some(ms),
            Until::WindowOpens => None,
        });
        self.earliest_reset_ms = [self.earliest_reset_ms, reset_ms].into_iter().flatten().min();
        let choices = &mut self.plan.choices;
        let Some(at) = choices.iter().position(|c| Arc::ptr_eq(&c.candidate, candidate)) else { return };
        let choice: Choice = choices.remove(at);
        if !self.limited.iter().any(|c| Arc::ptr_eq(c, candidate)) {
            self.limited.push(candidate.clone());
            choices.push(choice);
        }
    }
}

/// The limit that a request exceeded, in tokens.
enum SizeLimit {
    Context(i64),
    /// A whole token window.
    Window(i64),
}

impl SizeLimit {
    fn new(candidate: &Candidate, fault: &Fault) -> Self {
        if fault.status == Some(413) && candidate.provider.wire.permanent_413 {
            Self::Window(smallest_token_window(candidate))
        } else {
            // An assumed context says nothing about the others.
            Self::Context(if candidate.model.context_assumed { 0 } else { candidate.model.context })
        }
    }

    /// Whether the candidate takes larger requests.
    fn is_below(&self, candidate: &Candidate) -> bool {
        match self {
            // A context that is not stated may be enough.
            SizeLimit::Context(tokens) => candidate.model.context_assumed || candidate.model.context > *tokens,
            SizeLimit::Window(tokens) => smallest_token_window(candidate) > *tokens,
        }
    }
}

pub(in crate::flow) fn smallest_token_window(candidate: &Candidate) -> i64 {
    let tokens = candidate.windows.iter().filter(|w| matches!(w.limit.unit(), Unit::Token | Unit::InputToken));
    tokens.map(|w| w.max).min().unwrap_or(i64::MAX)
}
