//! The answer on its way to the caller, and the one settle at its end.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::json;

use super::usage_tap::UsageTap;
use crate::{
    domain::{Charge, Health, Hint, Outcome, TokenCharge},
    ledger::Lease,
    upstream::{EventStream, Reply, ReplyBody, StreamFault, TokenUsage},
};

const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

pub enum ChatBody {
    Whole(Bytes),
    /// Server-sent events. Pulling it is what pulls from the provider; dropping it cancels the call there.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

/// What the relay must know of the request.
#[derive(Debug, Clone, Copy)]
pub struct RelayContext {
    /// The caller wants the usage chunk.
    pub include_usage: bool,
    /// What was charged at admission.
    pub charge: Charge,
}

/// How a committed answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Complete,
    /// The provider's stream broke; the caller got an error event.
    Broken {
        label: String,
    },
    /// The caller hung up before the end.
    ClientLeft,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayOutcome {
    pub ending: Ending,
    pub usage: Option<TokenUsage>,
    /// What the provider said of each choice's end.
    pub finish_reasons: Vec<String>,
}

/// Hands a reply over to the caller. `lease` is settled and `done` told exactly once: at the last byte, at a failure, or
/// when the body is dropped by a caller who left.
pub fn answer(
    reply: Reply,
    lease: Lease,
    ask: RelayContext,
    done: impl FnOnce(RelayOutcome) + Send + 'static,
) -> ChatBody {
    if matches!(reply.body, ReplyBody::Stream(_)) {
        lease.first_token_received();
    }
    let provider = reply.candidate.provider.clone();
    let mut end = End {
        charge: ask.charge,
        token_charge: reply.candidate.token_charge(),
        first_content: reply.time_to_first_token,
        hints: reply.hints,
        lease: Some(lease),
        done: Some(Box::new(done)),
    };
    match reply.body {
        ReplyBody::Whole { body, usage, finish_reasons } => {
            end.come(Ending::Complete, &UsageTap::of_whole(usage, finish_reasons), None);
            ChatBody::Whole(body)
        }
        ReplyBody::Stream(frames) => {
            let (tap, include_usage) = (UsageTap::default(), ask.include_usage);
            let relay = Relay { frames: Some(frames), tap, include_usage, provider: provider.id.clone(), end };
            ChatBody::Stream(Box::pin(stream::unfold(relay, |mut relay| async move {
                let bytes = relay.next().await?;
                Some((bytes, relay))
            })))
        }
    }
}

/// One stream being relayed.
struct Relay {
    /// Gone once the stream has ended for the caller.
    frames: Option<EventStream>,
    tap: UsageTap,
    include_usage: bool,
    provider: Arc<str>,
    end: End,
}

impl Relay {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let frames = self.frames.as_mut()?;
            if self.end.has_come() {
                // `[DONE]` is gone; reading the very end, where it is there at once, lets the connection be used again.
                frames.next().await;
                self.frames = None;
                return None;
            }
            match frames.next().await {
                Some(Ok(frame)) => {
                    self.tap.see(&frame.facts);
                    if frame.facts.done {
                        self.end.come(Ending::Complete, &self.tap, None);
                    } else if frame.facts.usage_only && !self.include_usage {
                        continue;
                    }
                    return Some(frame.bytes);
                }
                None => {
                    self.frames = None;
                    self.end.come(Ending::Complete, &self.tap, None);
                    return Some(DONE);
                }
                Some(Err(fault)) => {
                    self.frames = None;
                    let event = error_event(&self.provider, &fault);
                    self.end.come(Ending::Broken { label: fault.label.clone() }, &self.tap, Some(fault));
                    return Some(event);
                }
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Who leaves between `finish_reason` and `[DONE]` has had the whole answer.
        let how = if self.tap.is_finished() { Ending::Complete } else { Ending::ClientLeft };
        self.end.come(how, &self.tap, None);
    }
}

/// All that is to be done once, at the end.
struct End {
    charge: Charge,
    token_charge: TokenCharge,
    first_content: Duration,
    hints: Vec<Hint>,
    lease: Option<Lease>,
    done: Option<Box<dyn FnOnce(RelayOutcome) + Send>>,
}

impl End {
    fn has_come(&self) -> bool {
        self.lease.is_none()
    }

    /// The first call counts; later ones do nothing.
    fn come(&mut self, how: Ending, tap: &UsageTap, fault: Option<StreamFault>) {
        let (Some(lease), Some(done)) = (self.lease.take(), self.done.take()) else { return };
        let whole = how == Ending::Complete;
        let mut outcome = Outcome {
            health: if whole { Health::Good } else { Health::Unknown },
            usage: tap.spent(whole, &self.charge, self.token_charge),
            cooldown: None,
            hints: std::mem::take(&mut self.hints),
            first_token: whole.then_some(self.first_content),
            output_tokens: tap.usage().filter(|_| whole).map(|u| u.output),
        };
        if let Some(fault) = fault {
            outcome.health = fault.health;
            outcome.cooldown = fault.cooldown;
            outcome.hints.extend(fault.hints);
        }
        lease.settle(outcome);
        done(RelayOutcome { ending: how, usage: tap.usage(), finish_reasons: tap.finish_reasons().to_vec() });
    }
}

/// A committed stream cannot become an HTTP error any more; OpenAI's SDKs raise on this event. No `[DONE]` follows it.
fn error_event(provider: &str, fault: &StreamFault) -> Bytes {
    let code = if fault.label == "timeout" { "upstream_timeout" } else { "upstream_error" };
    let error = json!({"error": {"message": format!("{provider}: {}", fault.message), "type": "server_error", "param": null, "code": code}});
    Bytes::from(format!("data: {error}\n\n"))
}
