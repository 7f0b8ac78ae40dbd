//! OpenAI's transcriptions and translations of recordings: a form with a file, and a transcript in one of several forms.

mod decode;
mod encode;
mod events;
mod multipart;

pub use self::{
    decode::{Task, Transcription, decode},
    encode::{Answer, encode},
    events::TranscriptEncoder,
};
