//! One binary of tests from outside: they start the real `tollfree` and look at it through its door.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::needless_pass_by_value, reason = "a test hands over what it has just made")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "counts of a test are small"
)]

// In the order of their levels; `support` is shared by all.
mod bench;
mod end_to_end;
mod gateway;
mod ledger;
mod realtime;
mod redis;
mod source;
mod support;
