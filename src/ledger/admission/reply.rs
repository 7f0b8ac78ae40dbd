//! Decodes the reply of `lua/admission/admit.lua`, of which `lua/queue/queue_admit.lua` returns a list.

use super::{
    lease_record::LeaseRecord,
    refusal::{ClientUsage, Refusal, RefusalReason, RefusedBy, WindowState},
    subject::Subject,
};
use crate::{
    domain::{Client, Unit, time::DAY_MS},
    ledger::script::{encode, engine::Reply},
};

/// No refusal names a longer wait.
const MAX_WAIT_MS: i64 = 31 * DAY_MS;

/// The reply of one `admit` call.
pub(super) enum AdmitReply {
    Granted {
        /// Index of the candidate.
        choice: usize,
        now_ms: i64,
        sequence: i64,
        record: LeaseRecord,
        usage: Option<ClientUsage>,
        passed_over: Vec<RefusalReason>,
    },
    Refused {
        now_ms: i64,
        refusal: Refusal,
    },
    /// The request has a ticket, at this place: try again after this time.
    Wait {
        now_ms: i64,
        wait_ms: i64,
        place: String,
    },
    /// The state has another epoch than the call named.
    Sync,
    /// Nothing is admitted for this time, while leases are replayed.
    Hold(i64),
    /// The calendar boundaries were out of range for the ledger's time.
    WrongClock {
        now_ms: i64,
    },
    /// The id of the lease was cancelled before this call arrived.
    Cancelled,
    ClientChanged,
    /// The queue has no such ticket: it expired, or the queue was lost.
    NoTicket,
}

/// `None` if the reply has another form than the header of the script states.
pub(super) fn decode(request: Subject<'_>, reply: &Reply) -> Option<AdmitReply> {
    let Reply::List(items) = reply else { return None };
    Some(match &items[..] {
        [Reply::Int(1), Reply::Int(chosen), Reply::Int(now_ms), Reply::Int(seq), Reply::Bulk(record), reasons @ ..] => {
            let choice = usize::try_from(*chosen - 1).ok().filter(|i| *i < request.choices.len())?;
            let record = LeaseRecord(record.clone());
            AdmitReply::Granted {
                choice,
                now_ms: *now_ms,
                sequence: *seq,
                usage: client_usage(request.client, record.used()),
                record,
                passed_over: decode_reasons(request, RefusedBy::Budget, reasons, *now_ms),
            }
        }
        [Reply::Int(2), Reply::Int(now_ms), Reply::Int(at_ms), Reply::Int(_), place] => {
            AdmitReply::Wait { now_ms: *now_ms, wait_ms: wait_ms(*at_ms, *now_ms), place: place.as_str()?.to_owned() }
        }
        [
            Reply::Int(0),
            Reply::Int(now_ms),
            Reply::Int(at_ms),
            Reply::Int(exact),
            Reply::Int(by),
            used,
            reasons @ ..,
        ] => {
            let by = if *by == 1 { RefusedBy::Client } else { RefusedBy::Budget };
            let used = used.as_str()?.split_ascii_whitespace().map_while(|n| n.parse().ok());
            let reasons = decode_reasons(request, by, reasons, *now_ms);
            let refusal = Refusal {
                by,
                retry_ms: wait_ms(*at_ms, *now_ms),
                exact: *exact == 1,
                client: client_usage(request.client, used).map(|usage| refused_usage(usage, by, &reasons)),
                reasons,
            };
            AdmitReply::Refused { now_ms: *now_ms, refusal }
        }
        [Reply::Int(3)] => AdmitReply::NoTicket,
        [Reply::Int(-1)] => AdmitReply::Sync,
        [Reply::Int(-2), Reply::Int(ms)] => AdmitReply::Hold(*ms),
        [Reply::Int(-3), Reply::Int(now_ms)] => AdmitReply::WrongClock { now_ms: *now_ms },
        [Reply::Int(-4)] => AdmitReply::Cancelled,
        [Reply::Int(-5)] => AdmitReply::ClientChanged,
        _ => return None,
    })
}

fn wait_ms(at_ms: i64, now_ms: i64) -> i64 {
    (at_ms - now_ms).clamp(1, MAX_WAIT_MS)
}

/// Why each candidate in order, or the client, has no room: `why max instant` each.
fn decode_reasons(request: Subject<'_>, by: RefusedBy, words: &[Reply], now_ms: i64) -> Vec<RefusalReason> {
    let reason = |(i, words): (usize, &[Reply; 3])| {
        let [why, Reply::Int(max), Reply::Int(at_ms)] = words else { return None };
        let candidate = match by {
            RefusedBy::Client => request.client.id.clone(),
            RefusedBy::Budget => request.choices.get(i)?.candidate.name.clone(),
        };
        let why = why.as_str()?;
        // The scripts write the limits of an account in capitals.
        let why = encode::limit_by_name(why).map_or_else(|| why.to_owned(), |limit| limit.to_string());
        let max = (*max > 0).then_some(*max);
        Some(RefusalReason { candidate, why, max, retry_in_ms: wait_ms(*at_ms, now_ms) })
    };
    words.as_chunks::<3>().0.iter().enumerate().filter_map(reason).collect()
}

/// The client's tightest windows, given the units in each of its windows in order.
fn client_usage(client: &Client, used: impl Iterator<Item = i64>) -> Option<ClientUsage> {
    let mut usage = ClientUsage::default();
    for (&(limit, max), used) in client.limits.iter().zip(used) {
        let tightest = match limit.unit() {
            Unit::Slot | Unit::AudioSecond => continue,
            Unit::Request => &mut usage.requests,
            Unit::Token | Unit::InputToken => &mut usage.tokens,
        };
        let remaining = (max - used).max(0);
        if tightest.is_none_or(|tight| remaining < tight.remaining) {
            *tightest = Some(WindowState { limit: max, remaining, reset_ms: limit.span_ms() });
        }
    }
    (usage != ClientUsage::default()).then_some(usage)
}

/// If the client's own quota refused, nothing remains of that window until the retry time.
fn refused_usage(mut usage: ClientUsage, by: RefusedBy, reasons: &[RefusalReason]) -> ClientUsage {
    if let (RefusedBy::Client, Some(reason)) = (by, reasons.first()) {
        let is_tokens = reason.why.starts_with('t');
        let refused = WindowState { limit: reason.max.unwrap_or(0), remaining: 0, reset_ms: reason.retry_in_ms };
        *(if is_tokens { &mut usage.tokens } else { &mut usage.requests }) = Some(refused);
    }
    usage
}
