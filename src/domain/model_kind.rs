//! What a model is for.

use serde::Deserialize;

/// What a model is for, and what a request needs. A request never goes to a model of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    #[default]
    Chat,
    /// Computes a vector for each text.
    #[serde(alias = "embeddings")]
    Embedding,
    /// Continues a text, without a chat.
    Completion,
    /// Ranks documents by a query.
    Rerank,
    /// Decides which texts are harmful.
    Moderation,
    /// Writes down what is said in a recording.
    #[serde(alias = "audio_transcriptions")]
    Transcription,
    /// Known to the catalogue, and served by no endpoint.
    Other,
}

impl ModelKind {
    pub const NAMES: [(&'static str, Self); 7] = [
        ("chat", Self::Chat),
        ("embedding", Self::Embedding),
        ("completion", Self::Completion),
        ("rerank", Self::Rerank),
        ("moderation", Self::Moderation),
        ("transcription", Self::Transcription),
        ("other", Self::Other),
    ];

    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Whether the gateway has an endpoint for it.
    pub fn is_served(self) -> bool {
        self.endpoint().is_some()
    }

    /// The gateway's endpoint for such models.
    pub fn endpoint(self) -> Option<&'static str> {
        match self {
            Self::Chat => Some("/v1/chat/completions"),
            Self::Embedding => Some("/v1/embeddings"),
            Self::Completion => Some("/v1/completions"),
            Self::Rerank => Some("/v1/rerank"),
            Self::Moderation => Some("/v1/moderations"),
            Self::Transcription => Some("/v1/audio/transcriptions"),
            Self::Other => None,
        }
    }

    /// A provider's endpoint below its base URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat | Self::Other => "/chat/completions",
            Self::Embedding => "/embeddings",
            Self::Completion => "/completions",
            Self::Rerank => "/rerank",
            Self::Moderation => "/moderations",
            Self::Transcription => "/audio/transcriptions",
        }
    }

    /// The operation in OpenTelemetry's conventions for generative AI.
    pub fn operation(self) -> &'static str {
        match self {
            Self::Chat | Self::Other => "chat",
            Self::Embedding => "embeddings",
            Self::Completion => "text_completion",
            Self::Rerank => "rerank",
            Self::Moderation => "moderation",
            Self::Transcription => "transcription",
        }
    }
}
