//! Classifies error responses. One file per dialect handles its special cases; [`openai`] handles the rest.

mod cerebras;
mod classification;
mod cloudflare;
mod cohere;
mod gemini;
mod groq;
mod mistral;
mod nvidia;
mod ollama;
mod openai;
mod openrouter;
mod zai;

pub(crate) use classification::Classification;

use super::error_response::ErrorResponse;
use crate::domain::provider::DialectName;

/// Classifies an error response by provider, status and code, in that order.
pub(crate) fn classify(error: &ErrorResponse<'_>) -> Classification {
    let own = match error.candidate.provider.wire.dialect {
        DialectName::Openai => None,
        DialectName::Groq => groq::classify(error),
        DialectName::Gemini => gemini::classify(error),
        DialectName::Cerebras => cerebras::classify(error),
        DialectName::Mistral => mistral::classify(error),
        DialectName::Ollama => ollama::classify(error),
        DialectName::Openrouter => openrouter::classify(error),
        DialectName::Cloudflare => cloudflare::classify(error),
        DialectName::Zai => zai::classify(error),
        DialectName::Nvidia => nvidia::classify(error),
        DialectName::Cohere => cohere::classify(error),
    };
    own.unwrap_or_else(|| openai::classify(error))
}
