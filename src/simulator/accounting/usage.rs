//! A provider's usage: what each account used of each limit, and what the judge saw.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::simulator::{
    accounting::audit::{CallRecord, Log, Tally},
    accounting::limit::Charge,
    accounting::meter::Limit,
    accounting::window::{HitReason, LimitHit, LimitStatus, Units, Window},
    provider::{Model, Provider},
};

/// A call that asks to be counted.
pub(crate) struct Entry<'a> {
    pub account: &'a str,
    pub model: &'a Arc<Model>,
    pub prompt_tokens: i64,
    /// Output tokens the caller allows, as sent.
    pub max_tokens: Option<i64>,
    pub stream: bool,
    /// The fault it will take, if any; with whether that counts.
    pub fault: Option<(&'a str, bool)>,
}

/// An admitted call, until it is settled.
#[derive(Debug)]
pub(crate) struct Ticket {
    id: u64,
    account: String,
    model: Arc<Model>,
    line: u64,
    settles: Charge,
    counted: bool,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub status: u16,
    pub tokens_in: i64,
    /// `None`: nothing was answered; a reservation stays as it is.
    pub tokens_out: Option<i64>,
    pub cancelled: bool,
    pub pieces: usize,
}

/// Everything counted at one provider.
#[derive(Debug, Default)]
pub(crate) struct UsageCounters {
    /// (account, bucket) → windows; the bucket `""` is the account over all its models.
    windows: HashMap<(String, String), Vec<Window>>,
    /// (account, model id) → what became of its calls.
    tallies: BTreeMap<(String, String), Tally>,
    /// Calls turned away before any limit, by status.
    rejected: BTreeMap<u16, u64>,
    log: Log,
    ids: u64,
}

impl UsageCounters {
    pub(crate) fn with_log(lines: usize) -> Self {
        Self { log: Log::with_capacity(lines), ..Self::default() }
    }

    /// A call that was unauthorised, malformed or unknown: no limit hears of it.
    pub(crate) fn rejected(&mut self, status: u16) {
        *self.rejected.entry(status).or_default() += 1;
    }

    /// Counts a call that has arrived, or says why not. The statuses are of after the charge.
    pub(crate) fn admit(
        &mut self,
        provider: &Provider,
        now_us: i64,
        entry: &Entry<'_>,
        enforce: bool,
    ) -> Result<(Ticket, Vec<LimitStatus>), (LimitHit, Vec<LimitStatus>)> {
        let now = now_us + provider.clock_offset_us;
        let id = self.next_id();
        let units = units(provider, entry);
        let later = provider.charge == Charge::Actual;
        let tally = self.tallies.entry((entry.account.to_owned(), entry.model.id.clone())).or_default();
        tally.arrived(now_us / 1_000);
        let mut windows = Windows::of(&mut self.windows, provider, entry.account, entry.model);
        let hit = if enforce { windows.check(now, units, later) } else { None };
        // What is refused for its size alone never reaches a counter.
        if hit.as_ref().is_none_or(|hit| hit.reason == HitReason::Full) {
            windows.each(|window| window.arrived(now, id, units));
        }
        let counts = entry.fault.is_none_or(|(_, counts)| counts);
        if let Some(hit) = hit {
            if provider.switches.refused_count && hit.reason == HitReason::Full {
                windows.each(|window| window.charge(now, id, Units::default(), false));
            }
            let statuses = windows.statuses(now);
            *tally.refused.entry(hit.limit.name.as_str()).or_default() += 1;
            self.log.add(|| CallRecord {
                status: 429,
                refused_by: Some(hit.limit.name.as_str()),
                ..line(entry, now_us, units)
            });
            return Err((hit, statuses));
        }
        if counts {
            windows.each(|window| window.charge(now, id, units, provider.charge == Charge::Reserve));
        }
        let statuses = windows.statuses(now);
        tally.admitted += 1;
        tally.tokens_in += entry.prompt_tokens;
        tally.began();
        if let Some((name, _)) = entry.fault {
            *tally.faults.entry(name.to_owned()).or_default() += 1;
        }
        let line = self.log.add(|| line(entry, now_us, units));
        let model = Arc::clone(entry.model);
        let ticket =
            Ticket { id, account: entry.account.to_owned(), model, line, settles: provider.charge, counted: counts };
        Ok((ticket, statuses))
    }

    /// A call that found no slot.
    pub(crate) fn no_slot(&mut self, now_us: i64, entry: &Entry<'_>) {
        let tally = self.tallies.entry((entry.account.to_owned(), entry.model.id.clone())).or_default();
        tally.arrived(now_us / 1_000);
        *tally.refused.entry("concurrency").or_default() += 1;
        let refused_by = Some("concurrency");
        self.log.add(|| CallRecord { status: 429, refused_by, ..line(entry, now_us, Units::default()) });
    }

    /// A fault served before any limit: only remembered.
    pub(crate) fn faulted(&mut self, now_us: i64, entry: &Entry<'_>, status: u16) {
        let tally = self.tallies.entry((entry.account.to_owned(), entry.model.id.clone())).or_default();
        tally.arrived(now_us / 1_000);
        if let Some((name, _)) = entry.fault {
            *tally.faults.entry(name.to_owned()).or_default() += 1;
        }
        self.log.add(|| CallRecord { status, ended_ms: Some(now_us / 1_000), ..line(entry, now_us, Units::default()) });
    }

    /// The end of an admitted call: true tokens replace the reservation, or are debited now.
    pub(crate) fn settle(&mut self, provider: &Provider, now_us: i64, ticket: &Ticket, end: End) {
        let now = now_us + provider.clock_offset_us;
        let total = end.tokens_out.map(|out| end.tokens_in + out);
        let id = self.next_id();
        if ticket.counted {
            let mut windows = Windows::of(&mut self.windows, provider, &ticket.account, &ticket.model);
            match (ticket.settles, total) {
                (Charge::Reserve, Some(total)) => windows.each(|window| window.correct(now, ticket.id, total)),
                (Charge::Reserve, None) => windows.each(|window| window.close(ticket.id)),
                (Charge::Actual, Some(total)) => windows.each(|window| window.debit(now, id, total)),
                _ => {}
            }
        }
        let tally = self.tallies.entry((ticket.account.clone(), ticket.model.id.clone())).or_default();
        tally.in_flight -= 1;
        tally.tokens_out += end.tokens_out.unwrap_or(0);
        tally.cancelled += u64::from(end.cancelled);
        self.log.update(ticket.line, |line| {
            line.status = end.status;
            line.tokens = total.unwrap_or(line.tokens);
            line.cancelled = end.cancelled;
            line.ended_ms = Some(now_us / 1_000);
            line.pieces = end.pieces;
        });
    }

    /// How the windows of an account and model stand.
    pub(crate) fn statuses(
        &mut self,
        provider: &Provider,
        now_us: i64,
        account: &str,
        model: &Arc<Model>,
    ) -> Vec<LimitStatus> {
        Windows::of(&mut self.windows, provider, account, model).statuses(now_us + provider.clock_offset_us)
    }

    /// Limits changed: counts are kept where the name and kind are the same.
    pub(crate) fn limits_changed(&mut self, provider: &Provider) {
        for ((_, bucket), windows) in &mut self.windows {
            let model = provider.models.iter().find(|model| model.bucket == *bucket);
            let wanted = if bucket.is_empty() { Some(&provider.limits) } else { model.map(|model| &model.limits) };
            let mut old = std::mem::take(windows);
            for limit in wanted.into_iter().flatten() {
                let same = |window: &Window| window.limit.name == limit.name && window.limit.kind == limit.kind;
                let kept = old.iter().position(same).map(|place| old.swap_remove(place));
                windows.push(kept.map_or_else(|| Window::new(limit.clone()), |kept| kept.under(limit)));
            }
        }
    }

    pub(crate) fn audit(&mut self, provider: &Provider, now_us: i64) -> Value {
        let now = now_us + provider.clock_offset_us;
        let mut accounts: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
        for ((account, model), tally) in &self.tallies {
            accounts.entry(account).or_default().insert(model, json!({ "tally": tally }));
        }
        let mut report = json!({ "rejected": self.rejected, "accounts": accounts });
        for ((account, bucket), windows) in &mut self.windows {
            let windows: BTreeMap<&str, _> =
                windows.iter_mut().map(|window| (window.limit.name.as_str(), window.report(now))).collect();
            if bucket.is_empty() {
                report["account_windows"][account] = json!(windows);
            } else {
                report["accounts"][account][bucket]["windows"] = json!(windows);
            }
        }
        report
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }
}

/// The windows that a call of one account for one model concerns: the account's, then the bucket's.
struct Windows<'a>(Vec<&'a mut Window>);

impl<'a> Windows<'a> {
    fn of(
        all: &'a mut HashMap<(String, String), Vec<Window>>,
        provider: &Provider,
        account: &str,
        model: &Model,
    ) -> Windows<'a> {
        for (bucket, limits) in [("", &provider.limits), (model.bucket.as_str(), &model.limits)] {
            if !limits.is_empty() {
                all.entry((account.to_owned(), bucket.to_owned())).or_insert_with(|| fresh(limits));
            }
        }
        let mine =
            |(owner, bucket): &(String, String)| owner == account && (bucket.is_empty() || *bucket == model.bucket);
        Windows(all.iter_mut().filter(|(key, _)| mine(key)).flat_map(|(_, windows)| windows).collect())
    }

    fn each(&mut self, mut act: impl FnMut(&mut Window)) {
        for window in &mut self.0 {
            act(window);
        }
    }

    /// The reply that lasts longest; what can never pass before what may later.
    fn check(&mut self, now: i64, units: Units, later: bool) -> Option<LimitHit> {
        let hits = self.0.iter_mut().filter_map(|window| window.check(now, units, later).err());
        hits.max_by_key(|hit| (hit.reason != HitReason::Full, hit.reason == HitReason::Zero, hit.wait_us))
    }

    fn statuses(&mut self, now: i64) -> Vec<LimitStatus> {
        self.0.iter_mut().map(|window| window.status_of(now)).collect()
    }
}

fn fresh(limits: &[Limit]) -> Vec<Window> {
    limits.iter().cloned().map(Window::new).collect()
}

/// What a call is charged before it runs.
fn units(provider: &Provider, entry: &Entry<'_>) -> Units {
    let input = entry.prompt_tokens;
    let reserved = if entry.stream || provider.switches.reserve_whole {
        entry.max_tokens.filter(|max| *max > 0).unwrap_or(provider.reserve_default).min(provider.reserve_cap)
    } else {
        0
    };
    let tokens = match provider.charge {
        Charge::Reserve => input + reserved,
        Charge::Input => input,
        Charge::Actual | Charge::None => 0,
    };
    Units { tokens, input }
}

fn line(entry: &Entry<'_>, now_us: i64, units: Units) -> CallRecord {
    CallRecord {
        time_ms: now_us / 1_000,
        account: entry.account.to_owned(),
        model: entry.model.id.clone(),
        status: 0,
        tokens: units.tokens,
        stream: entry.stream,
        cancelled: false,
        ended_ms: None,
        pieces: 0,
        refused_by: None,
        fault: entry.fault.map(|(name, _)| name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::simulator::{profile_merge, settings::Profile};

    const MODEL: &str = "openai/gpt-oss-120b";

    /// Groq with switches, and one call admitted with 10 prompt tokens and 100 reserved.
    fn one_call(switches: &Value, fault: Option<(&str, bool)>) -> (Provider, UsageCounters, Ticket) {
        let over: Profile = serde_json::from_value(json!({"providers": {"groq": {"switches": switches}}})).unwrap();
        let provider = Provider::build("groq", &profile_merge::real().overlaid(&over).providers["groq"]).unwrap();
        let mut usage = UsageCounters::with_log(10);
        let (ticket, _) = usage.admit(&provider, 0, &entry(&provider, fault), true).unwrap();
        (provider, usage, ticket)
    }

    fn entry<'a>(provider: &'a Provider, fault: Option<(&'a str, bool)>) -> Entry<'a> {
        let model = provider.model(MODEL).unwrap();
        Entry { account: "main", model, prompt_tokens: 10, max_tokens: Some(100), stream: false, fault }
    }

    fn end(tokens_out: Option<i64>) -> End {
        End { status: 200, tokens_in: 10, tokens_out, cancelled: false, pieces: 1 }
    }

    /// (requests of the minute, tokens of the minute)
    fn used(usage: &mut UsageCounters, provider: &Provider) -> (Value, Value) {
        let windows = usage.audit(provider, 0)["accounts"]["main"][MODEL]["windows"].take();
        (windows["rpm"]["now"].clone(), windows["tpm"]["now"].clone())
    }

    #[test]
    fn what_was_used_replaces_what_was_reserved() {
        let (provider, mut usage, ticket) = one_call(&json!({}), None);
        assert_eq!(used(&mut usage, &provider), (json!(1.0), json!(110.0)));
        usage.settle(&provider, 0, &ticket, end(Some(30)));
        assert_eq!(used(&mut usage, &provider), (json!(1.0), json!(40.0)));
    }

    #[test]
    fn a_failure_keeps_its_reservation_where_failures_count() {
        let (provider, mut usage, ticket) = one_call(&json!({}), Some(("hang", true)));
        usage.settle(&provider, 0, &ticket, end(None));
        assert_eq!(used(&mut usage, &provider), (json!(1.0), json!(110.0)));
        let (provider, mut usage, ticket) = one_call(&json!({"failed_count": false}), Some(("hang", false)));
        usage.settle(&provider, 0, &ticket, end(None));
        assert_eq!(used(&mut usage, &provider), (json!(0.0), json!(0.0)));
    }

    #[test]
    fn a_whole_answer_reserves_only_its_prompt_where_the_switch_says_so() {
        let (provider, mut usage, _) = one_call(&json!({"reserve_whole": false}), None);
        assert_eq!(used(&mut usage, &provider).1, 10.0);
    }

    #[test]
    fn refusals_count_where_the_switch_says_so() {
        for (counts, after) in [(false, 30.0), (true, 31.0)] {
            let (provider, mut usage, _) = one_call(&json!({"refused_count": counts}), None);
            for _ in 0..29 {
                usage.admit(&provider, 0, &entry(&provider, None), true).unwrap();
            }
            let (hit, _) = usage.admit(&provider, 0, &entry(&provider, None), true).unwrap_err();
            assert_eq!((hit.limit.name.as_str(), hit.wait_us), ("rpm", 2_000_000));
            assert_eq!(used(&mut usage, &provider).0, after);
        }
    }
}
