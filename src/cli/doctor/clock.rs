//! This machine's clock against the gateway's.

use jiff::{SignedDuration, Timestamp, fmt::rfc2822};

use super::report::Finding;
use crate::upstream::gateway_client::Reply;

/// Dates in headers have whole seconds, and the response was on its way.
const FAIR: SignedDuration = SignedDuration::from_secs(30);
/// Certificates, and tokens of other services, are refused beyond this.
const BAD: SignedDuration = SignedDuration::from_mins(5);

pub(super) fn check(reply: &Reply, now: Timestamp) -> Finding {
    let date = reply.headers.get("date").and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok()) else {
        return Finding::skipped("clock", "the response has no date");
    };
    judge(theirs, now)
}

fn judge(theirs: Timestamp, now: Timestamp) -> Finding {
    let off = theirs.duration_until(now);
    let message = format!(
        "this machine's clock is {:#} {} the gateway's",
        SignedDuration::from_secs(off.as_secs().abs()),
        if off.is_negative() { "behind" } else { "ahead of" }
    );
    let mend = "set the clock, best by the network (NTP); if this machine's is right, the gateway's operator must";
    match off.abs() {
        off if off <= FAIR => Finding::good("clock", "agrees with the gateway's"),
        off if off <= BAD => Finding::warning("clock", message, mend),
        _ => Finding::bad("clock", message, mend),
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
            let finding = judge(theirs.parse().unwrap(), now);
            assert!(finding.state == state && finding.message.contains(words), "{theirs}: {finding:?}");
        }
    }
}
