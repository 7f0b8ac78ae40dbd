//! Timestamps in responses.

use jiff::Timestamp;

/// RFC 3339, from milliseconds since the epoch. An instant beyond the calendar is the last one.
pub(crate) fn timestamp(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX).to_string()
}
