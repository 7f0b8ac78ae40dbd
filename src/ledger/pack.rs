//! Windows, charges and corrections as the scripts read them: words parted by blanks, fields by tabs.

use std::fmt::Write;

use bytes::Bytes;

use super::keys::Keys;
use crate::domain::{
    Candidate, Charge, Client, Hint, Limit, Scope, Shut, ShutScope, Source, Spent, TokenCharge, Unit, Until, Window,
    WindowKind,
};

/// Units of a window that mean "as they were charged".
const AS_CHARGED: i64 = -1;

/// What one call charges a window at admission.
pub(crate) fn charged(window: &Window, charge: &Charge) -> i64 {
    match (window.limit.unit(), window.charge) {
        (Unit::Request, _) => charge.requests,
        (Unit::Slot, _) => 1,
        (Unit::InputToken, _) | (Unit::Token, TokenCharge::Input) => charge.input,
        (Unit::Token, TokenCharge::None) => 0,
        (Unit::Token, TokenCharge::Reserve | TokenCharge::Actual) => charge.tokens,
    }
}

/// What a window shall hold of a call once it has ended.
pub(crate) fn used(window: &Window, spent: &Spent) -> i64 {
    if !spent.sent {
        return 0;
    }
    let known = match (window.limit.unit(), window.charge) {
        (Unit::Request | Unit::Slot, _) | (Unit::Token, TokenCharge::None) => None,
        (Unit::InputToken, _) | (Unit::Token, TokenCharge::Input) => spent.input,
        (Unit::Token, TokenCharge::Reserve | TokenCharge::Actual) => spent.total,
    };
    known.map_or(AS_CHARGED, |units| units.max(0))
}

/// `units` as they are, or as they were charged where nothing else is known.
pub(crate) fn or_charged(units: i64, charged: i64) -> i64 {
    if units == AS_CHARGED { charged } else { units }
}

fn letter(window: &Window) -> char {
    match window.kind {
        WindowKind::Sliding if window.limit.unit() == Unit::Token && window.charge == TokenCharge::Actual => 'm',
        WindowKind::Sliding => 's',
        WindowKind::Bucket => 'b',
        WindowKind::Calendar => 'c',
        WindowKind::Concurrency => 'n',
    }
}

/// A window's name in the scripts: its limit, in capitals where it spans the whole account. One candidate can have both.
fn word(window: &Window) -> String {
    match window.scope {
        Scope::Account => window.limit.as_str().to_ascii_uppercase(),
        Scope::Model => window.limit.as_str().to_owned(),
    }
}

/// The limit of a window's name in the scripts.
pub(crate) fn limit_of(word: &str) -> Option<Limit> {
    Limit::ALL.into_iter().find(|limit| limit.as_str().eq_ignore_ascii_case(word))
}

/// Appends `limit kind max span units `; a calendar's span is `last,next,after`.
pub(crate) fn push_window(text: &mut String, window: &Window, units: i64, now_ms: i64) {
    let _ = write!(text, "{} {} {} ", word(window), letter(window), window.max);
    let _ = match &window.zone {
        Some(zone) if window.kind == WindowKind::Calendar => {
            let b = zone.boundaries(window.limit, now_ms);
            write!(text, "{},{},{} {units} ", b.last, b.next, b.after)
        }
        _ => write!(text, "{} {units} ", window.span_ms),
    };
}

/// All windows of one candidate; `units` says how many of each.
pub(crate) fn windows(text: &mut String, candidate: &Candidate, now_ms: i64, units: impl Fn(&Window) -> i64) {
    for window in candidate.windows.iter() {
        push_window(text, window, units(window), now_ms);
    }
}

/// One candidate as `admit` and `settle` read it: the fields of `health` to look at, then its windows.
pub(crate) fn candidate(candidate: &Candidate, now_ms: i64, units: impl Fn(&Window) -> i64) -> Bytes {
    let (p, m, a, k) = (&*candidate.provider.id, &*candidate.model.id, &*candidate.account.id, &*candidate.key.id);
    let mut text = String::with_capacity(320);
    let _ = write!(text, "p:{p}\tb:{p}/{m}\tk:{p}/{k}\tm:{p}/{a}/{m}\ta:{p}/{a}\t");
    windows(&mut text, candidate, now_ms, units);
    Bytes::from(text)
}

/// A client's own windows: sliding, and slots; `units` says how many of each, given the most.
pub(crate) fn client(client: &Client, units: impl Fn(Limit, i64) -> i64) -> String {
    let mut text = String::new();
    for (limit, max) in client.limits.iter() {
        let kind = if limit.unit() == Unit::Slot { 'n' } else { 's' };
        let _ = write!(text, "{limit} {kind} {max} {} {} ", limit.span_ms(), units(*limit, *max));
    }
    text
}

/// What one call takes of a client's window at admission; tokens as the dearest of its candidates would charge them, but
/// never more than the whole window: a guess must not shut anybody out.
pub(crate) fn client_charge(limit: Limit, most: i64, tokens: i64) -> i64 {
    if limit.unit() == Unit::Token { tokens.min(most) } else { 1 }
}

/// What a client's window shall hold of a call once it has ended.
pub(crate) fn client_used(limit: Limit, spent: &Spent) -> i64 {
    match (limit.unit(), spent.sent, spent.total) {
        (_, false, _) => 0,
        (Unit::Token, true, Some(total)) => total.max(0),
        _ => AS_CHARGED,
    }
}

/// The keys of a client's windows, then of a candidate's: the order of every script.
pub(crate) fn push_keys(list: &mut Vec<String>, keys: &Keys, client: &Client, candidates: &[&Candidate]) {
    list.extend(client.limits.iter().map(|(limit, _)| keys.client(&client.id, *limit)));
    for candidate in candidates {
        list.extend(candidate.windows.iter().map(|window| keys.window(candidate, window)));
    }
}

fn window_of(candidate: &Candidate, limit: Limit) -> Option<&Window> {
    candidate.windows.iter().find(|w| w.limit == limit)
}

/// A cool-down as `settle` reads it: `scope ms limit cause`.
pub(crate) fn shut(candidate: &Candidate, shut: Option<&Shut>) -> String {
    let Some(shut) = shut else { return String::new() };
    let (scope, limit) = match shut.scope {
        ShutScope::Key => ('k', None),
        ShutScope::AccountModel => ('m', None),
        ShutScope::Account => ('a', None),
        ShutScope::Limit(limit) => match window_of(candidate, limit) {
            Some(window) if window.scope == Scope::Account => ('a', Some(word(window))),
            Some(window) => ('m', Some(word(window))),
            None => ('m', None),
        },
    };
    let ms = match shut.until {
        Until::AfterMs(ms) => ms.max(1),
        Until::WindowOpens => 0,
    };
    format!("{scope} {ms} {} {}", limit.as_deref().unwrap_or("-"), shut.cause)
}

/// Hints as `settle` reads them: `limit max remaining scope raise ` each.
pub(crate) fn hints(candidate: &Candidate, hints: &[Hint]) -> String {
    let mut text = String::new();
    for hint in hints {
        let Some(window) = window_of(candidate, hint.limit) else { continue };
        let scope = if window.scope == Scope::Account { 'a' } else { 'm' };
        let raise = i32::from(window.source == Source::Catalogue);
        let (max, left) = (hint.max.unwrap_or(-1), hint.remaining.unwrap_or(-1));
        let _ = write!(text, "{} {max} {left} {scope} {raise} ", word(window));
    }
    text
}
