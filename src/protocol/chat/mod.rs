//! OpenAI's chat completions.

mod decode;
mod messages;
mod parameters;
mod reader;
#[cfg(test)]
mod tests;

pub use self::{decode::decode, parameters::KNOWN_PARAMETERS, reader::BadRequest};
