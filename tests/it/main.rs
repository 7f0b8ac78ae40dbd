//! Tests of the real `tollfree` through its public interfaces, in one binary.

#![expect(clippy::unwrap_used, reason = "a failing unwrap names its position")]
#![expect(clippy::needless_pass_by_value, reason = "tests pass temporary values")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "counts of a test are small"
)]

// In the order of their levels. All use `support`.
mod bench;
mod end_to_end;
mod gateway;
mod ledger;
mod realtime;
mod redis;
mod source;
mod support;
