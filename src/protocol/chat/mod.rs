//! OpenAI's chat completions.

mod decode;
mod messages;
mod parameters;
#[cfg(test)]
mod tests;

pub use self::{
    decode::{BadRequest, decode},
    parameters::KNOWN_PARAMETERS,
};
