//! Windows, charges and corrections as the scripts read them: words parted by blanks, fields by tabs.

use std::fmt::Write;

use bytes::Bytes;

use crate::domain::{
    Candidate, Client, Cooldown, CooldownScope, Hint, Limit, Scope, Source, TokenCharge, Unit, Until, Usage, Window,
    WindowKind, Zone,
};
use crate::ledger::script::keys::{Key, Keys};

/// Units of a window that mean "as they were charged".
const AS_CHARGED: i64 = -1;

/// What a window shall hold of a call once it has ended.
pub(crate) fn used(window: &Window, spent: &Usage) -> i64 {
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

/// The zone of a window that a calendar empties.
fn calendar(window: &Window) -> Option<&Zone> {
    window.zone.as_deref().filter(|_| window.kind == WindowKind::Calendar)
}

/// What never changes of a window's words: `limit kind max span `, of a calendar's without the span.
pub(crate) fn head(window: &Window) -> String {
    let mut text = format!("{} {} {} ", word(window), letter(window), window.max);
    if calendar(window).is_none() {
        let _ = write!(text, "{} ", window.span_ms);
    }
    text
}

/// What comes behind its head: a calendar's span as `last,next,after `; `units `.
pub(crate) fn push_tail(text: &mut String, window: &Window, units: i64, now_ms: i64) {
    if let Some(zone) = calendar(window) {
        let b = zone.boundaries(window.limit, now_ms);
        let _ = write!(text, "{},{},{} ", b.last, b.next, b.after);
    }
    push_number(text, units);
    text.push(' ');
}

/// Appends a whole number, which costs less than to format it.
pub(crate) fn push_number(text: &mut String, number: impl itoa::Integer) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// A whole number in words.
pub(crate) fn number(number: i64) -> Bytes {
    Bytes::copy_from_slice(itoa::Buffer::new().format(number).as_bytes())
}

/// Appends one window whole: `limit kind max span units `.
pub(crate) fn push_window(text: &mut String, window: &Window, units: i64, now_ms: i64) {
    text.push_str(&head(window));
    push_tail(text, window, units, now_ms);
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
pub(crate) fn client_used(limit: Limit, spent: &Usage) -> i64 {
    match (limit.unit(), spent.sent, spent.total) {
        (_, false, _) => 0,
        (Unit::Token, true, Some(total)) => total.max(0),
        _ => AS_CHARGED,
    }
}

/// The keys of a client's windows, that of their heads first: before a candidate's, in every script.
pub(crate) fn client_keys<'a>(keys: &'a Keys, client: &'a Client) -> impl Iterator<Item = Key> + 'a {
    let heads = (!client.limits.is_empty()).then(|| keys.client_heads(&client.id));
    heads.into_iter().chain(client.limits.iter().map(|(limit, _)| keys.client(&client.id, *limit)))
}

fn window_of(candidate: &Candidate, limit: Limit) -> Option<&Window> {
    candidate.windows.iter().find(|w| w.limit == limit)
}

/// A cool-down as `settle` reads it: `scope ms limit cause`.
pub(crate) fn shut(candidate: &Candidate, shut: Option<&Cooldown>) -> String {
    let Some(shut) = shut else { return String::new() };
    let (scope, limit) = match shut.scope {
        CooldownScope::Key => ('k', None),
        CooldownScope::AccountModel => ('m', None),
        CooldownScope::Account => ('a', None),
        CooldownScope::Limit(limit) => match window_of(candidate, limit) {
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
