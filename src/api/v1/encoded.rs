//! Answers in the form of a protocol other than chat completions.

use std::{pin::Pin, sync::Arc};

use actix_web::web::Bytes;
use futures_util::{Stream, StreamExt, stream};

use crate::{
    api::edge::keep_alive::KEEP_ALIVE,
    domain::PromptSize,
    flow::Flow,
    memory::Reservation,
    protocol::{
        Encoder, Failure, ReplyInfo,
        chat::{Chunk, StreamEvent},
    },
};

/// Server-sent events, one to an item.
pub(crate) type Events = Pin<Box<dyn Stream<Item = Bytes>>>;

/// The encoder of one answer, with what it needs to know of the request.
pub(crate) struct Encoding {
    encoder: Box<dyn Encoder>,
    flow: Arc<Flow>,
    size: PromptSize,
    /// Memory for what the encoder keeps of the answer.
    memory: Reservation,
}

impl Encoding {
    pub(crate) fn new(encoder: Box<dyn Encoder>, flow: Arc<Flow>, size: PromptSize, memory: Reservation) -> Self {
        Self { encoder, flow, size, memory }
    }

    pub(crate) fn encoder(&self) -> &dyn Encoder {
        &*self.encoder
    }

    pub(crate) fn keep_alive(&mut self) -> Bytes {
        let mut out = Vec::new();
        self.encoder.keep_alive(&mut out);
        out.into()
    }

    pub(crate) fn fail(&mut self, failure: &Failure) -> Bytes {
        let mut out = Vec::new();
        self.encoder.fail(failure, &mut out);
        out.into()
    }

    /// The body of an answer that is not streamed.
    pub(crate) fn whole(mut self, model: Arc<str>, completion: &[u8]) -> Result<Bytes, Failure> {
        self.memory.grow(completion.len()).map_err(|_| Failure::no_memory())?;
        let info = self.info(model);
        let body = self.encoder.whole(&info, Chunk::read(completion)?);
        self.memory.cover(body.len()).map_err(|_| Failure::no_memory())?;
        Ok(self.memory.hold(body.into()))
    }

    /// The events of a stream. `events` are those of a chat completion.
    pub(crate) fn events(mut self, model: Arc<str>, events: Events) -> Events {
        let mut begun = Vec::new();
        let info = self.info(model);
        self.encoder.begin(&info, &mut begun);
        let stream = EncodedStream { encoding: self, events, begun, ended: false };
        Box::pin(stream::unfold(stream, |mut stream| async move {
            let bytes = stream.next().await?;
            Some((bytes, stream))
        }))
    }

    fn info(&self, model: Arc<str>) -> ReplyInfo {
        let prompt_tokens = self.flow.estimates.prompt_tokens(&model, &self.size);
        ReplyInfo { model, prompt_tokens }
    }
}

struct EncodedStream {
    encoding: Encoding,
    events: Events,
    /// What comes before the first event.
    begun: Vec<u8>,
    /// The last event has been written; the rest is only read.
    ended: bool,
}

impl EncodedStream {
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = std::mem::take(&mut self.begun);
        let encoder = &mut *self.encoding.encoder;
        while let Some(event) = self.events.next().await {
            if self.ended {
                continue;
            }
            if event == KEEP_ALIVE {
                encoder.keep_alive(&mut out);
            } else {
                match StreamEvent::read(&event) {
                    StreamEvent::Chunk(chunk) => {
                        encoder.chunk(*chunk, &mut out);
                        if self.encoding.memory.resize(encoder.kept_bytes()).is_err() {
                            self.ended = true;
                            encoder.fail(&Failure::no_memory(), &mut out);
                            // The call is cancelled, too.
                            self.events = Box::pin(stream::empty());
                        }
                    }
                    StreamEvent::Done => {
                        self.ended = true;
                        encoder.finish(&mut out);
                    }
                    StreamEvent::Failed(failure) => {
                        self.ended = true;
                        encoder.fail(&failure, &mut out);
                    }
                    StreamEvent::Comment => out.extend_from_slice(&event),
                }
            }
            if !out.is_empty() {
                return Some(out.into());
            }
        }
        if !self.ended {
            self.ended = true;
            encoder.fail(&Failure::upstream("The provider's answer ended early."), &mut out);
        }
        (!out.is_empty()).then(|| out.into())
    }
}
