//! Timestamps in responses.

use jiff::Timestamp;

/// RFC 3339, from milliseconds since the epoch.
pub(crate) fn timestamp(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}
