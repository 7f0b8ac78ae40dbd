//! Client protocols, one folder for each: what its requests mean, and how its replies are written. Pure: no I/O.

mod audio;
pub mod chat;
pub mod completions;
pub mod embeddings;
mod encoder;
mod failure;
#[cfg(test)]
mod json_schema;
mod json_view;
pub mod messages;
pub mod moderations;
#[cfg(test)]
mod random_answers;
pub mod rerank;
pub mod responses;
mod tool_name;
pub mod transcription;

use bytes::Bytes;

pub use self::{
    chat::BadRequest,
    encoder::{Decoded, Encoder, Protocol, ReplyInfo},
    failure::Failure,
};

/// U+FEFF in UTF-8. Windows tools, such as PowerShell, put it before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The body without a byte order mark, which is not part of its JSON.
pub(crate) fn skip_byte_order_mark(body: Bytes) -> Bytes {
    if body.starts_with(BYTE_ORDER_MARK) { body.slice(BYTE_ORDER_MARK.len()..) } else { body }
}
