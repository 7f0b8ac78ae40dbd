//! OpenAI's Responses: requests as chat completions, and their answers as events or as one object.

mod answer;
mod calls;
mod compaction;
mod content;
mod conversation;
mod custom_input;
mod decode;
mod echo;
mod encoder;
mod events;
mod node;
mod object;
mod reasoning;
mod seal;
mod stored;
mod tools;
mod transcript;

#[cfg(test)]
mod tests;

pub use self::{
    decode::{Options, Purpose, RequestBody, not_found, parameter_name},
    encoder::{FinishedResponse, Manners},
    seal::Sealer,
    stored::{References, conversation, find_item, referenced_items, response_of_item},
};
