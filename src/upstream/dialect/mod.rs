//! What is odd about each provider's refusals. One file per dialect; each judges what it knows and leaves the rest
//! to [`openai`], which knows what every server does.

mod cerebras;
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

use super::{fault::Verdict, refusal::Refusal};
use crate::domain::provider::DialectName;

/// By provider, status and code, in that order.
pub(crate) fn judge(refusal: &Refusal<'_>) -> Verdict {
    let own = match refusal.candidate.provider.wire.dialect {
        DialectName::Openai => None,
        DialectName::Groq => groq::judge(refusal),
        DialectName::Gemini => gemini::judge(refusal),
        DialectName::Cerebras => cerebras::judge(refusal),
        DialectName::Mistral => mistral::judge(refusal),
        DialectName::Ollama => ollama::judge(refusal),
        DialectName::Openrouter => openrouter::judge(refusal),
        DialectName::Cloudflare => cloudflare::judge(refusal),
        DialectName::Zai => zai::judge(refusal),
        DialectName::Nvidia => nvidia::judge(refusal),
        DialectName::Cohere => cohere::judge(refusal),
    };
    own.unwrap_or_else(|| openai::judge(refusal))
}
