//! Anthropic's Messages.

mod error;

pub use self::error::{ErrorReply, error};
