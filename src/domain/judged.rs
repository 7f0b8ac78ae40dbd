//! Texts that a model judges: documents that are ranked, and texts that are moderated.

use serde::{Deserialize, Serialize};

/// Documents to be ranked by a query.
#[derive(Debug, Clone, Default)]
pub struct RankingInputs {
    /// As a JSON string.
    pub query: String,
    /// Each as a JSON string.
    pub documents: Vec<String>,
    /// Only so many of the best are wanted.
    pub top_n: Option<usize>,
    /// Parameters that pass unchanged, with their values as JSON.
    pub parameters: Vec<(String, String)>,
}

/// The documents of a request, the best first.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    pub results: Vec<RankedDocument>,
    /// As the provider counted them.
    pub tokens: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RankedDocument {
    /// Position in the request.
    pub index: usize,
    #[serde(alias = "score")]
    pub relevance_score: f64,
}

/// Texts to be moderated.
#[derive(Debug, Clone, Default)]
pub struct ModerationInputs {
    /// Each as a JSON string.
    pub texts: Vec<String>,
}

/// What a provider thinks of each text.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Moderation {
    pub results: Vec<ModeratedText>,
}

/// Categories by the provider's names, in its order.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModeratedText {
    pub flagged: Option<bool>,
    pub categories: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    pub category_scores: serde_json::Map<String, serde_json::Value>,
}
