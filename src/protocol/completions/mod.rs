//! OpenAI's completions of a prompt, and completions between a prompt and a suffix (fill in the middle).

mod decode;
mod encode;

pub use self::{
    decode::{Form, decode},
    encode::CompletionEncoder,
};
