//! Schemas of the endpoints for other kinds of models. Requests are read and responses written without types of this form, so
//! the fields are described here.

use serde::Serialize;
use utoipa::ToSchema;

/// The parameters the gateway reads. Others, such as `input_type`, are passed to the provider unchanged.
#[derive(Serialize, ToSchema)]
pub(super) struct EmbeddingsRequest {
    #[schema(example = "gemini/gemini-embedding-001")]
    model: String,
    input: EmbeddingsInput,
    /// The length of the vectors, where the model has several
    #[schema(minimum = 1, maximum = 65_536)]
    dimensions: Option<u32>,
    encoding_format: Option<EncodingFormat>,
    /// Not passed on
    user: Option<String>,
    /// `flex`: may wait longer and uses only what other requests leave. `priority`: needs a key with permission
    service_tier: Option<String>,
}

/// A text, or up to 2048 of them.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum EmbeddingsInput {
    One(String),
    Many(Vec<String>),
}

/// `base64`: little-endian `f32`, as OpenAI's SDKs request by default.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    Float,
    Base64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Embeddings {
    #[schema(example = "list")]
    object: String,
    data: Vec<Embedding>,
    /// `provider/model`
    model: String,
    usage: EmbeddingsUsage,
}

#[derive(Serialize, ToSchema)]
struct Embedding {
    #[schema(example = "embedding")]
    object: String,
    index: u32,
    embedding: Vector,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f32>),
    Base64(String),
}

#[derive(Serialize, ToSchema)]
struct EmbeddingsUsage {
    prompt_tokens: i64,
    total_tokens: i64,
}

/// The parameters the gateway reads. Others are passed to the provider unchanged.
#[derive(Serialize, ToSchema)]
pub(super) struct CompletionRequest {
    #[schema(example = "codestral-latest")]
    model: String,
    prompt: CompletionInput,
    /// What follows the completion
    suffix: Option<String>,
    #[schema(minimum = 1, maximum = 2_147_483_647)]
    max_tokens: Option<i64>,
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    #[schema(minimum = 1, maximum = 128)]
    n: Option<u32>,
    stream: Option<bool>,
    /// A text, or several
    #[schema(value_type = Option<Object>)]
    stop: (),
    seed: Option<i64>,
    /// Puts the prompt before the completion
    echo: Option<bool>,
}

/// One text.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum CompletionInput {
    Text(String),
    List(Vec<String>),
}

#[derive(Serialize, ToSchema)]
pub(super) struct Completion {
    id: String,
    #[schema(example = "text_completion")]
    object: String,
    created: i64,
    /// `provider/model`
    model: String,
    choices: Vec<CompletionChoice>,
    usage: Option<CompletionUsage>,
}

#[derive(Serialize, ToSchema)]
struct CompletionChoice {
    index: u32,
    text: String,
    /// Always null
    #[schema(value_type = Option<Object>)]
    logprobs: (),
    finish_reason: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct CompletionUsage {
    prompt_tokens: i64,
    completion_tokens: i64,
    total_tokens: i64,
}

/// The parameters the gateway reads. Others are passed to the provider unchanged.
#[derive(Serialize, ToSchema)]
pub(super) struct RerankRequest {
    #[schema(example = "cohere/rerank-v3.5")]
    model: String,
    query: String,
    documents: Vec<RerankDocument>,
    /// Only so many of the best documents
    #[schema(minimum = 1)]
    top_n: Option<u32>,
    /// Whether the results have the documents
    return_documents: Option<bool>,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum RerankDocument {
    Text(String),
    Object(RerankText),
}

#[derive(Serialize, ToSchema)]
struct RerankText {
    text: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Ranking {
    id: String,
    /// `provider/model`
    model: String,
    /// The best document first
    results: Vec<RankedDocument>,
    usage: EmbeddingsUsage,
    #[schema(value_type = Object)]
    meta: (),
}

#[derive(Serialize, ToSchema)]
struct RankedDocument {
    /// Position in the request
    index: u32,
    relevance_score: f64,
    document: Option<RerankText>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ModerationRequest {
    /// Absent: the model behind `omni-moderation-latest`
    model: Option<String>,
    input: EmbeddingsInput,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Moderation {
    id: String,
    /// `provider/model`
    model: String,
    results: Vec<ModeratedText>,
}

#[derive(Serialize, ToSchema)]
struct ModeratedText {
    flagged: bool,
    /// OpenAI's categories, and those that only the provider has
    #[schema(value_type = Object)]
    categories: (),
    #[schema(value_type = Object)]
    category_scores: (),
    #[schema(value_type = Object)]
    category_applied_input_types: (),
}

/// The fields the gateway reads. Others, such as `language` and `prompt`, are passed to the provider unchanged.
#[derive(Serialize, ToSchema)]
pub(super) struct TranscriptionRequest {
    /// wav, flac, ogg, mp3, m4a or webm
    #[schema(format = Binary, content_media_type = "application/octet-stream")]
    file: String,
    #[schema(example = "whisper-large-v3-turbo")]
    model: String,
    /// `json`, `text`, `srt`, `verbose_json` or `vtt`
    response_format: Option<String>,
    /// Server-sent events instead of one response
    stream: Option<bool>,
}

/// With `verbose_json` the provider's other fields as well: `language`, `duration`, `segments`, …
#[derive(Serialize, ToSchema)]
pub(super) struct Transcription {
    text: String,
    #[schema(value_type = Option<Object>)]
    usage: (),
}
