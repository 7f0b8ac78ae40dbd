//! OpenAI's embeddings.

mod decode;
mod encode;
mod request;

pub use self::{
    decode::decode,
    encode::encode,
    request::{EmbeddingRequest, Format},
};
