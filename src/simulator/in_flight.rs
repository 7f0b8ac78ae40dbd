//! A call that a provider has admitted: it is settled exactly once, also when the client leaves.

use std::sync::Arc;

use super::{
    accounting::{
        usage::{CallEnd, Charged},
        window::LimitStatus,
    },
    completion::Completion,
    provider::{Model, Provider},
    state::{Slot, State},
};

/// Settled by one of its methods. If it is dropped before, the client has left.
pub(crate) struct Call {
    state: Arc<State>,
    provider: Arc<Provider>,
    account: String,
    model: Arc<Model>,
    charged: Charged,
    _slot: Slot,
    tokens_in: i64,
    /// Output tokens of the whole completion.
    tokens_out: i64,
    /// Output tokens sent so far.
    streamed: i64,
    pieces: usize,
    settled: bool,
}

impl Call {
    pub(crate) fn new(
        state: &Arc<State>,
        provider: &Arc<Provider>,
        account: String,
        model: &Arc<Model>,
        charged: Charged,
        slot: Slot,
        completion: &Completion,
    ) -> Self {
        Self {
            state: Arc::clone(state),
            provider: Arc::clone(provider),
            account,
            model: Arc::clone(model),
            charged,
            _slot: slot,
            tokens_in: completion.prompt_tokens,
            tokens_out: completion.output_tokens,
            streamed: 0,
            pieces: 0,
            settled: false,
        }
    }

    /// Records that a piece with this many output tokens was sent.
    pub(crate) fn emit(&mut self, tokens: i64) {
        self.pieces += 1;
        self.streamed += tokens;
    }

    /// The whole completion was sent.
    pub(crate) fn complete(&mut self) {
        self.end(200, Some(self.tokens_out), false);
    }

    /// A fault ended the response after a part of the completion.
    pub(crate) fn truncated(&mut self) {
        self.end(200, Some(self.unfinished()), false);
    }

    /// A fault replaced the response. The reservation stays.
    pub(crate) fn failed(&mut self, status: u16) {
        self.end(status, None, false);
    }

    /// The limits as they are now.
    pub(crate) fn statuses(&self) -> Vec<LimitStatus> {
        let now = self.state.clock.now_us();
        self.state.usage(&self.provider.id).statuses(&self.provider, now, &self.account, &self.model)
    }

    /// Output tokens charged for an unfinished call: all of them where the provider keeps working without its client.
    fn unfinished(&self) -> i64 {
        if self.provider.switches.cancel_stops { self.streamed } else { self.tokens_out }
    }

    fn end(&mut self, status: u16, tokens_out: Option<i64>, cancelled: bool) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let end = CallEnd { status, tokens_in: self.tokens_in, tokens_out, cancelled, pieces: self.pieces };
        let now = self.state.clock.now_us();
        self.state.usage(&self.provider.id).settle(&self.provider, now, &self.charged, end);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let status = if self.pieces == 0 { 499 } else { 200 };
        self.end(status, Some(self.unfinished()), true);
    }
}
