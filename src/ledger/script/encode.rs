//! Encodes windows, charges, cooldowns and hints as the scripts read them: words separated by blanks, fields by tabs.

use std::fmt::Write;

use bytes::Bytes;

use super::keys::{Key, Keys};
use crate::domain::{
    Candidate, Client, Cooldown, CooldownScope, Hint, Limit, Scope, Source, TokenCharge, Unit, Until, Usage, Window,
    WindowKind, Zone,
};

/// Units of a window that mean "as charged at admission".
const AS_CHARGED: i64 = -1;

/// Units that a window counts for a call that has ended.
pub(crate) fn used(window: &Window, usage: &Usage) -> i64 {
    if !usage.sent {
        return 0;
    }
    let known = match (window.limit.unit(), window.charge) {
        (Unit::Request | Unit::Slot, _) | (Unit::Token, TokenCharge::None) => None,
        (Unit::InputToken, _) | (Unit::Token, TokenCharge::Input) => usage.input,
        (Unit::AudioSecond, _) => usage.audio,
        (Unit::Token, TokenCharge::Reserve | TokenCharge::Actual) => usage.total,
    };
    known.map_or(AS_CHARGED, |units| units.max(0))
}

/// Replaces "as charged" by the charge itself.
pub(crate) fn or_charged(units: i64, charged: i64) -> i64 {
    if units == AS_CHARGED { charged } else { units }
}

fn kind_letter(window: &Window) -> char {
    match window.kind {
        WindowKind::Sliding if window.limit.unit() == Unit::Token && window.charge == TokenCharge::Actual => 'm',
        WindowKind::Sliding => 's',
        WindowKind::Bucket => 'b',
        WindowKind::Calendar => 'c',
        WindowKind::Concurrency => 'n',
    }
}

/// A window's name in the scripts: its limit, in capitals where it spans the whole account. A candidate can have both.
fn window_name(window: &Window) -> String {
    match window.scope {
        Scope::Account => window.limit.as_str().to_ascii_uppercase(),
        Scope::Model => window.limit.as_str().to_owned(),
    }
}

/// The limit of a window, by its name in the scripts.
pub(crate) fn limit_by_name(name: &str) -> Option<Limit> {
    Limit::ALL.into_iter().find(|limit| limit.as_str().eq_ignore_ascii_case(name))
}

fn calendar_zone(window: &Window) -> Option<&Zone> {
    window.zone.as_deref().filter(|_| window.kind == WindowKind::Calendar)
}

/// The part of a window that never changes: `limit kind max span `, without the span for a calendar window.
pub(crate) fn window_head(window: &Window) -> String {
    let mut text = format!("{} {} {} ", window_name(window), kind_letter(window), window.max);
    if calendar_zone(window).is_none() {
        let _ = write!(text, "{} ", window.span_ms);
    }
    text
}

/// Appends the part that follows [`window_head`]: a calendar's boundaries as `last,next,after `, then `units `.
pub(crate) fn push_window_tail(text: &mut String, window: &Window, units: i64, now_ms: i64) {
    if let Some(zone) = calendar_zone(window) {
        let b = zone.boundaries(window.limit, now_ms);
        let _ = write!(text, "{},{},{} ", b.last, b.next, b.after);
    }
    push_number(text, units);
    text.push(' ');
}

/// Appends a whole number; cheaper than `write!`.
pub(crate) fn push_number(text: &mut String, number: impl itoa::Integer) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// A whole number as an argument.
pub(crate) fn number(number: impl itoa::Integer) -> Bytes {
    Bytes::copy_from_slice(itoa::Buffer::new().format(number).as_bytes())
}

/// A copy of a text as an argument.
pub(crate) fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Appends a complete window: `limit kind max span units `.
pub(crate) fn push_window(text: &mut String, window: &Window, units: i64, now_ms: i64) {
    text.push_str(&window_head(window));
    push_window_tail(text, window, units, now_ms);
}

/// A client's own windows (sliding, and slots), with the units that `units` returns for a limit and its maximum.
pub(crate) fn client_windows(client: &Client, units: impl Fn(Limit, i64) -> i64) -> String {
    let mut text = String::new();
    for (limit, max) in client.limits.iter() {
        let kind = if limit.unit() == Unit::Slot { 'n' } else { 's' };
        let _ = write!(text, "{limit} {kind} {max} {} {} ", limit.span_ms(), units(*limit, *max));
    }
    text
}

/// Units that a call takes of a client's window at admission. Tokens are an estimate, so they are cut to the window's
/// maximum: an estimate must not lock a client out.
pub(crate) fn client_charge(limit: Limit, max: i64, tokens: i64) -> i64 {
    if limit.unit() == Unit::Token { tokens.min(max) } else { 1 }
}

/// Units that a client's window counts for a call that has ended.
pub(crate) fn client_used(limit: Limit, usage: &Usage) -> i64 {
    match (limit.unit(), usage.sent, usage.total) {
        (_, false, _) => 0,
        (Unit::Token, true, Some(total)) => total.max(0),
        _ => AS_CHARGED,
    }
}

/// Keys of a client's windows, the key of their heads first. In every script they precede those of the candidate.
pub(crate) fn client_keys<'a>(keys: &'a Keys, client: &'a Client) -> impl Iterator<Item = Key> + 'a {
    let heads = (!client.limits.is_empty()).then(|| keys.client_heads(&client.id));
    heads.into_iter().chain(client.limits.iter().map(|(limit, _)| keys.client_window(&client.id, *limit)))
}

fn window_of(candidate: &Candidate, limit: Limit, scope: Scope) -> Option<&Window> {
    candidate.windows.iter().find(|window| (window.limit, window.scope) == (limit, scope))
}

fn scope_letter(scope: Scope) -> char {
    match scope {
        Scope::Account => 'a',
        Scope::Model => 'm',
    }
}

/// A cooldown as `settle` reads it: `scope ms limit cause`.
pub(crate) fn cooldown(candidate: &Candidate, cooldown: Option<&Cooldown>) -> String {
    let Some(cooldown) = cooldown else { return String::new() };
    let (scope, limit) = match cooldown.scope {
        CooldownScope::Key => ('k', None),
        CooldownScope::AccountModel => ('m', None),
        CooldownScope::Account => ('a', None),
        CooldownScope::Limit(limit, scope) => {
            (scope_letter(scope), window_of(candidate, limit, scope).map(window_name))
        }
    };
    let ms = match cooldown.until {
        Until::AfterMs(ms) => ms.max(1),
        Until::WindowOpens => 0,
    };
    format!("{scope} {ms} {} {}", limit.as_deref().unwrap_or("-"), cooldown.cause)
}

/// Hints as `settle` reads them: `limit max remaining scope raise ` each.
pub(crate) fn hints(candidate: &Candidate, hints: &[Hint]) -> String {
    let mut text = String::new();
    for hint in hints {
        let Some(window) = window_of(candidate, hint.limit, hint.scope) else { continue };
        let scope = scope_letter(hint.scope);
        let raise = i32::from(window.source == Source::Catalogue);
        let (max, left) = (hint.max.unwrap_or(-1), hint.remaining.unwrap_or(-1));
        let _ = write!(text, "{} {max} {left} {scope} {raise} ", window_name(window));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::test_support::candidate;

    fn limit() -> impl Strategy<Value = (Limit, Scope)> {
        let limits = prop::sample::select(vec![Limit::Rpm, Limit::Rpd, Limit::Tpm]);
        (limits, prop::sample::select(vec![Scope::Account, Scope::Model]))
    }

    proptest! {
        /// A hint or a cooldown is laid on the window of its limit and scope, or on none.
        #[test]
        fn a_scope_is_never_mistaken(
            tracked in prop::collection::hash_set(limit(), 0..6),
            hints in prop::collection::vec((limit(), 1..99_i64), 0..6),
            (refused, scope) in limit(),
        ) {
            let mut one = candidate("groq/m").limits(&tracked.iter().map(|(limit, _)| (*limit, 50)).collect::<Vec<_>>()).build();
            let mut windows = one.windows.to_vec();
            for (window, (_, scope)) in windows.iter_mut().zip(&tracked) {
                window.scope = *scope;
            }
            std::sync::Arc::get_mut(&mut one).unwrap().windows = windows.into();
            let name = |limit: Limit, scope| match scope {
                Scope::Account => format!("{} a", limit.as_str().to_uppercase()),
                Scope::Model => format!("{limit} m"),
            };
            let mut expected = String::new();
            for ((limit, scope), max) in hints.iter().filter(|(at, _)| tracked.contains(at)) {
                let name = name(*limit, *scope);
                let (limit, scope) = name.split_once(' ').unwrap();
                let _ = write!(expected, "{limit} {max} -1 {scope} 1 ");
            }
            let hint = |((limit, scope), max): &((Limit, Scope), i64)| Hint { limit: *limit, scope: *scope, max: Some(*max), remaining: None };
            prop_assert_eq!(super::hints(&one, &hints.iter().map(hint).collect::<Vec<_>>()), expected);

            let until = Until::WindowOpens;
            let cooldown = Cooldown { scope: CooldownScope::Limit(refused, scope), until, cause: "429".to_owned() };
            let named = name(refused, scope);
            let (limit, letter) = named.split_once(' ').unwrap();
            let limit = if tracked.contains(&(refused, scope)) { limit } else { "-" };
            prop_assert_eq!(super::cooldown(&one, Some(&cooldown)), format!("{letter} 0 {limit} 429"));
        }
    }
}
