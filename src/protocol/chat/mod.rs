//! OpenAI's chat completions.

mod chunk;
mod decode;
mod messages;
mod parameters;
mod reader;
#[cfg(test)]
mod tests;

pub(super) use self::decode::{malformed, utf8};
pub use self::{
    chunk::{CallDelta, Chunk, ChunkChoice, ChunkUsage, Delta, StreamEvent},
    decode::decode,
    parameters::KNOWN_PARAMETERS,
    reader::BadRequest,
};
