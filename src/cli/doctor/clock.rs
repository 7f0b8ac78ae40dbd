//! This machine's clock against the gateway's.

use jiff::{SignedDuration, Timestamp, fmt::rfc2822};

use super::report::Finding;
use crate::upstream::gateway_client::Reply;

/// Dates in headers have whole seconds, and the response was on its way.
const FAIR: SignedDuration = SignedDuration::from_secs(30);
/// Certificates, and tokens of other services, are refused beyond this.
const BAD: SignedDuration = SignedDuration::from_mins(5);

pub(super) const MEND: &str =
    "set the clock, best by the network (NTP); if this machine's is right, the gateway's operator must";

pub(super) fn check(reply: &Reply, now: Timestamp) -> Finding {
    match off(reply, now) {
        Some(off) => judge(off),
        None => Finding::skipped("clock", "the response has no date"),
    }
}

/// How far this machine's clock is ahead of the one that dated the response.
pub(super) fn off(reply: &Reply, now: Timestamp) -> Option<SignedDuration> {
    let date = reply.headers.get("date")?.to_str().ok()?;
    let theirs = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(theirs.duration_until(now))
}

pub(super) fn is_bad(off: SignedDuration) -> bool {
    off.abs() > BAD
}

pub(super) fn described(off: SignedDuration) -> String {
    format!(
        "this machine's clock is {:#} {} the gateway's",
        SignedDuration::from_secs(off.as_secs().abs()),
        if off.is_negative() { "behind" } else { "ahead of" }
    )
}

fn judge(off: SignedDuration) -> Finding {
    match off {
        off if off.abs() <= FAIR => Finding::good("clock", "agrees with the gateway's"),
        off if is_bad(off) => Finding::bad("clock", described(off), MEND),
        off => Finding::warning("clock", described(off), MEND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::report::State;

    #[test]
    fn an_hour_is_bad_and_some_seconds_are_not() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        for (theirs, state, words) in [
            ("2026-11-30T12:00:05Z", State::Good, "agrees"),
            ("2026-11-30T12:01:00Z", State::Warning, "1m behind"),
            ("2026-11-30T11:00:00Z", State::Bad, "1h ahead of"),
        ] {
            let theirs: Timestamp = theirs.parse().unwrap();
            let finding = judge(theirs.duration_until(now));
            assert!(finding.state == state && finding.message.contains(words), "{theirs}: {finding:?}");
        }
    }
}
