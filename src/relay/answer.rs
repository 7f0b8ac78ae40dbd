//! Relays a reply to the caller and settles its lease once at the end.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::json;

use super::usage_tap::UsageTap;
use crate::{
    domain::{Candidate, Charge, Health, Hint, Outcome, TokenCharge, Usage},
    ledger::Lease,
    upstream::{EventStream, Reply, ReplyBody, StreamFault, TokenUsage},
};

const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

pub(crate) enum ChatBody {
    Whole(Bytes),
    /// Server-sent events. Polling it reads from the provider; dropping it cancels the call there.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

/// Properties of the request that the relay needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RelayContext {
    /// The caller requested the usage chunk.
    pub include_usage: bool,
    /// Charge at admission.
    pub charge: Charge,
}

/// How a committed reply ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    Complete,
    /// The provider's stream failed; the caller received an error event.
    Broken {
        label: String,
    },
    /// The caller disconnected before the end.
    ClientLeft,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelayOutcome {
    pub ending: Ending,
    pub usage: Option<TokenUsage>,
    /// Seconds of sound that are counted; `None` for a request without a recording.
    pub audio_seconds: Option<i64>,
    /// The provider's finish reason of each choice.
    pub finish_reasons: Vec<String>,
}

/// Turns a reply into the caller's body. `lease` is settled and `done` called exactly once: at the last byte, at a failure, or
/// when the body is dropped because the caller disconnected.
pub(crate) fn answer(
    reply: Reply,
    lease: Lease,
    context: RelayContext,
    done: impl FnOnce(RelayOutcome) + Send + 'static,
) -> ChatBody {
    if matches!(reply.body, ReplyBody::Stream(_)) {
        lease.first_token_received();
    }
    let candidate = reply.candidate.clone();
    let mut end = Settlement {
        charge: context.charge,
        token_charge: reply.candidate.token_charge(),
        audio: reply.audio_seconds.map(|seconds| reply.candidate.model.audio_units(seconds)),
        time_to_first_token: reply.time_to_first_token,
        hints: reply.hints,
        lease: Some(lease),
        done: Some(Box::new(done)),
    };
    match reply.body {
        ReplyBody::Whole { body, usage, finish_reasons } => {
            end.settle(Ending::Complete, &UsageTap::whole(usage, finish_reasons), None);
            ChatBody::Whole(body)
        }
        ReplyBody::Stream(frames) => {
            let (tap, include_usage) = (UsageTap::default(), context.include_usage);
            let relay = Relay { frames: Some(frames), tap, include_usage, candidate, end };
            ChatBody::Stream(Box::pin(stream::unfold(relay, |mut relay| async move {
                let bytes = relay.next().await?;
                Some((bytes, relay))
            })))
        }
    }
}

/// One stream being relayed.
struct Relay {
    /// `None` once the stream has ended for the caller.
    frames: Option<Box<EventStream>>,
    tap: UsageTap,
    include_usage: bool,
    candidate: Arc<Candidate>,
    end: Settlement,
}

impl Relay {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let frames = self.frames.as_mut()?;
            if self.end.is_settled() {
                // `[DONE]` has been sent. Reading to the end of the body returns the connection to the pool.
                frames.next().await;
                self.frames = None;
                return None;
            }
            match frames.next().await {
                Some(Ok(frame)) => {
                    self.tap.observe(&frame.facts);
                    if frame.facts.done {
                        self.note_audio();
                        self.end.settle(Ending::Complete, &self.tap, None);
                    } else if frame.facts.usage_only && !self.include_usage {
                        continue;
                    }
                    return Some(frame.bytes);
                }
                None => {
                    self.note_audio();
                    self.frames = None;
                    self.end.settle(Ending::Complete, &self.tap, None);
                    return Some(DONE);
                }
                Some(Err(fault)) => {
                    self.frames = None;
                    let event = error_event(&self.candidate.provider.id, &fault);
                    self.end.settle(Ending::Broken { label: fault.label.clone() }, &self.tap, Some(fault));
                    return Some(event);
                }
            }
        }
    }
}

impl Relay {
    /// The provider of a transcript counts its sound at the end.
    fn note_audio(&mut self) {
        let seconds = self.frames.as_ref().and_then(|frames| frames.audio_seconds());
        let units = seconds.map(|seconds| self.candidate.model.audio_units(seconds));
        self.end.audio = units.or(self.end.audio);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A caller that disconnects between `finish_reason` and `[DONE]` has received the whole reply.
        let ending = if self.tap.is_finished() { Ending::Complete } else { Ending::ClientLeft };
        self.end.settle(ending, &self.tap, None);
    }
}

/// State for the one settlement at the end.
struct Settlement {
    charge: Charge,
    token_charge: TokenCharge,
    /// Units of windows of sound that the provider counted.
    audio: Option<i64>,
    time_to_first_token: Duration,
    hints: Vec<Hint>,
    lease: Option<Lease>,
    done: Option<Box<dyn FnOnce(RelayOutcome) + Send>>,
}

impl Settlement {
    fn is_settled(&self) -> bool {
        self.lease.is_none()
    }

    /// Settles at the first call; later calls do nothing.
    fn settle(&mut self, ending: Ending, tap: &UsageTap, fault: Option<StreamFault>) {
        let (Some(lease), Some(done)) = (self.lease.take(), self.done.take()) else { return };
        let whole = ending == Ending::Complete;
        let mut outcome = Outcome {
            health: if whole { Health::Good } else { Health::Unknown },
            usage: Usage { audio: self.audio, ..tap.billed(whole, &self.charge, self.token_charge) },
            cooldown: None,
            hints: std::mem::take(&mut self.hints),
            first_token: whole.then_some(self.time_to_first_token),
        };
        if let Some(fault) = fault {
            outcome.health = fault.health;
            outcome.cooldown = fault.cooldown;
            outcome.hints.extend(fault.hints);
        }
        lease.settle(outcome);
        let audio_seconds = self.audio.or((self.charge.audio > 0).then_some(self.charge.audio));
        let finish_reasons = tap.finish_reasons().to_vec();
        done(RelayOutcome { ending, usage: tap.usage(), audio_seconds, finish_reasons });
    }
}

/// The status of a committed stream cannot change any more, so the error is sent as an event, on which OpenAI's SDKs raise. No
/// `[DONE]` follows it.
fn error_event(provider: &str, fault: &StreamFault) -> Bytes {
    let code = if fault.label == "timeout" { "upstream_timeout" } else { "upstream_error" };
    let error = json!({"error": {"message": format!("{provider}: {}", fault.message), "type": "server_error", "param": null, "code": code}});
    Bytes::from(format!("data: {error}\n\n"))
}
