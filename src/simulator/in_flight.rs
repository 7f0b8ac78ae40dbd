//! An admitted call until its end: the right to settle it once, and the notice of a caller who left.

use std::sync::Arc;

use super::{
    accounting::usage::{End, Ticket},
    accounting::window::LimitStatus,
    completion::Completion,
    provider::Provider,
    state::{Slot, State},
};

/// Settles when told how it ended; dropped before that, the caller has left.
pub(super) struct Call {
    state: Arc<State>,
    provider: Arc<Provider>,
    account: String,
    model: Arc<super::provider::Model>,
    ticket: Ticket,
    _slot: Slot,
    tokens_in: i64,
    /// Output tokens of the whole answer.
    tokens_out: i64,
    /// Output tokens handed over so far.
    streamed: i64,
    pieces: usize,
    settled: bool,
}

impl Call {
    pub(super) fn new(
        state: &Arc<State>,
        provider: &Arc<Provider>,
        account: String,
        model: &Arc<super::provider::Model>,
        ticket: Ticket,
        slot: Slot,
        answer: &Completion,
    ) -> Self {
        Self {
            state: Arc::clone(state),
            provider: Arc::clone(provider),
            account,
            model: Arc::clone(model),
            ticket,
            _slot: slot,
            tokens_in: answer.prompt_tokens,
            tokens_out: answer.output_tokens,
            streamed: 0,
            pieces: 0,
            settled: false,
        }
    }

    /// A piece with so many output tokens was handed over.
    pub(super) fn emit(&mut self, tokens: i64) {
        self.pieces += 1;
        self.streamed += tokens;
    }

    /// All of the answer is out.
    pub(super) fn complete(&mut self) {
        self.end(200, Some(self.tokens_out), false);
    }

    /// A fault ended it after some of the answer.
    pub(super) fn truncated(&mut self) {
        self.end(200, Some(self.unfinished()), false);
    }

    /// A fault answered in its place: what was reserved stays reserved.
    pub(super) fn failed(&mut self, status: u16) {
        self.end(status, None, false);
    }

    /// How the limits stand now.
    pub(super) fn statuses(&self) -> Vec<LimitStatus> {
        let now = self.state.clock.now_us();
        self.state.usage(&self.provider.id).statuses(&self.provider, now, &self.account, &self.model)
    }

    /// Work that goes on without its caller costs all of it.
    fn unfinished(&self) -> i64 {
        if self.provider.switches.cancel_stops { self.streamed } else { self.tokens_out }
    }

    fn end(&mut self, status: u16, tokens_out: Option<i64>, cancelled: bool) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let end = End { status, tokens_in: self.tokens_in, tokens_out, cancelled, pieces: self.pieces };
        let now = self.state.clock.now_us();
        self.state.usage(&self.provider.id).settle(&self.provider, now, &self.ticket, end);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let status = if self.pieces == 0 { 499 } else { 200 };
        self.end(status, Some(self.unfinished()), true);
    }
}
