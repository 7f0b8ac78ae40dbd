//! Reading a provider's response: bytes → server-sent events → normalised JSON with its facts.

pub(super) mod arguments;
mod choice_reader;
pub(crate) mod choice_state;
#[cfg(test)]
mod damage_tests;
mod delta_reader;
pub(crate) mod event_stream;
mod finish_reason;
pub(crate) mod response_reader;
pub(crate) mod sse_decoder;
pub(crate) mod sse_event;
#[cfg(test)]
mod tests;
pub(super) mod text_completion;
mod tool_calls;
mod transcript_events;
mod usage;
pub(crate) mod whole_response;
