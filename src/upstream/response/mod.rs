//! Reading a provider's response: bytes → server-sent events → normalised JSON with its facts.

pub(crate) mod event_stream;
pub(crate) mod response_reader;
pub(crate) mod sse_decoder;
pub(crate) mod sse_event;
