//! How much of a provider's response is read, kept and believed. Beyond these bounds a response is damaged (`malformed`).

/// Some servers write it before a text, where it means nothing.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// Bytes of a stream before its first content: comments, roles, and other events without content.
pub(crate) const MAX_UNCOMMITTED_BYTES: usize = 1 << 20;
/// Memory that an event takes beside its bytes while it is held before the first content.
pub(crate) const EVENT_OVERHEAD_BYTES: usize = 128;
/// One event of a stream. An image inside an event takes some MiB.
pub(crate) const MAX_EVENT_BYTES: usize = 8 << 20;
/// Events that one event may be, where a server leaves out the blank lines between them.
pub(crate) const MAX_JOINED_LINES: usize = 1_000;
/// A whole response.
pub(crate) const MAX_RESPONSE_BYTES: usize = 16 << 20;
/// A whole stream, with its comments: 128,000 tokens with an event for each take some 40 MiB.
pub(crate) const MAX_STREAM_BYTES: u64 = 64 << 20;
/// The body of an error, or an error inside a stream. What follows is not read.
pub(crate) const MAX_ERROR_BYTES: usize = 64 << 10;
/// A list of models, or the description of one.
pub(crate) const MAX_LIST_BYTES: usize = 4 << 20;
/// Models of one list. What follows is ignored.
pub(crate) const MAX_LISTED_MODELS: usize = 2_000;
/// Characters of a model's id.
pub(crate) const MAX_MODEL_ID_CHARS: usize = 200;
/// Choices of one response. OpenAI's `n` is at most 128.
pub(crate) const MAX_CHOICES: usize = 128;
/// Tool calls of one choice.
pub(crate) const MAX_CALLS: usize = 256;
/// Ids and names of all tool calls of one response.
pub(crate) const MAX_KEPT_BYTES: usize = 256 << 10;
/// The provider's id of a response and its name of the model, as spans show them.
pub(crate) const MAX_IDENTITY_CHARS: usize = 128;
/// Characters of the message of an error.
pub(crate) const MAX_MESSAGE_CHARS: usize = 1_000;
/// Characters of the code of an error.
pub(crate) const MAX_CODE_CHARS: usize = 64;
