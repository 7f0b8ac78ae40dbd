//! OpenAI's chat completions.

mod chunk;
mod decode;
mod messages;
mod names;
mod opening;
mod parameters;
mod reader;
mod remote_url;
mod signatures;
#[cfg(test)]
mod tests;

pub use self::{
    chunk::{CallDelta, Chunk, ChunkChoice, ChunkUsage, Delta, StreamEvent},
    decode::decode,
    opening::opening,
    parameters::KNOWN_PARAMETERS,
    reader::BadRequest,
    signatures::{UnsignedCall, sign, unsigned_calls},
};
pub(super) use self::{
    decode::{malformed, utf8},
    messages::measure,
    names::{FREE_FORM, OTHERS},
};
