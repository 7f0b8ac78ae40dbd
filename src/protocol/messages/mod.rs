//! Anthropic's Messages.

mod blocks;
#[cfg(test)]
mod client_quirks;
mod content;
mod decode;
mod encode;
mod error;
mod mistake;
mod options;
mod pairs;
mod parts;
#[cfg(test)]
mod tests;
mod tool_id;
mod tools;
mod usage;
mod whole;
mod wire;

pub use self::{
    decode::{MessagesRequest, decode, decode_count},
    encode::MessagesEncoder,
    error::{ErrorReply, error},
};
