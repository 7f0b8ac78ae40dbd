//! The usage counters of a provider: what each account has used of each limit, and the audit.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::simulator::{
    accounting::audit::{CallRecord, Log, Tally},
    accounting::limit::TokenCharge,
    accounting::meter::Limit,
    accounting::window::{HitReason, LimitHit, LimitStatus, Units, Window},
    provider::{Model, Provider},
};

/// A call that arrives.
pub(crate) struct Arrival<'a> {
    pub account: &'a str,
    pub model: &'a Arc<Model>,
    pub prompt_tokens: i64,
    /// Seconds of sound, as they are counted.
    pub sound: i64,
    /// The maximum of output tokens in the request.
    pub max_tokens: Option<i64>,
    pub stream: bool,
    /// The fault that applies, and whether such a call counts.
    pub fault: Option<(&'a str, bool)>,
}

/// What an admitted call was charged, for its settlement.
#[derive(Debug)]
pub(crate) struct Charged {
    id: u64,
    account: String,
    model: Arc<Model>,
    call: u64,
    settles: TokenCharge,
    counted: bool,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallEnd {
    pub status: u16,
    pub tokens_in: i64,
    /// `None` keeps the reservation, since there was no response.
    pub tokens_out: Option<i64>,
    pub cancelled: bool,
    pub pieces: usize,
}

/// All counters of one provider.
#[derive(Debug, Default)]
pub(crate) struct UsageCounters {
    /// Windows by account and bucket. The bucket `""` is the account over all its models.
    windows: HashMap<(String, String), Vec<Window>>,
    /// Totals by account and model id.
    tallies: BTreeMap<(String, String), Tally>,
    /// Calls refused before any limit, by status.
    rejected: BTreeMap<u16, u64>,
    log: Log,
    ids: u64,
}

impl UsageCounters {
    pub(crate) fn with_log(calls: usize) -> Self {
        Self { log: Log::with_capacity(calls), ..Self::default() }
    }

    /// Records a call that was refused before any limit was checked.
    pub(crate) fn rejected(&mut self, status: u16) {
        *self.rejected.entry(status).or_default() += 1;
    }

    /// Charges a call, or returns the limit that refuses it. The statuses are those after the charge.
    pub(crate) fn admit(
        &mut self,
        provider: &Provider,
        now_us: i64,
        arrival: &Arrival<'_>,
        enforce: bool,
    ) -> Result<(Charged, Vec<LimitStatus>), (LimitHit, Vec<LimitStatus>)> {
        let now = now_us + provider.clock_offset_us;
        let id = self.next_id();
        let units = units(provider, arrival);
        let later = provider.charge == TokenCharge::Actual;
        let tally = self.tallies.entry((arrival.account.to_owned(), arrival.model.id.clone())).or_default();
        tally.arrived(now_us / 1_000);
        let mut windows = Windows::of(&mut self.windows, provider, arrival.account, arrival.model);
        let hit = if enforce { windows.check(now, units, later) } else { None };
        // A request refused for its size alone never reaches a counter.
        if hit.as_ref().is_none_or(|hit| hit.reason == HitReason::Full) {
            windows.each(|window| window.arrived(now, id, units));
        }
        let counts = arrival.fault.is_none_or(|(_, counts)| counts);
        if let Some(hit) = hit {
            if provider.switches.refused_count && hit.reason == HitReason::Full {
                windows.each(|window| window.charge(now, id, Units::default(), false));
            }
            let statuses = windows.statuses(now);
            *tally.refused.entry(hit.limit.name.as_str()).or_default() += 1;
            self.log.add(|| CallRecord {
                status: 429,
                refused_by: Some(hit.limit.name.as_str()),
                ..call_record(arrival, now_us, units)
            });
            return Err((hit, statuses));
        }
        if counts {
            windows.each(|window| window.charge(now, id, units, provider.charge == TokenCharge::Reserve));
        }
        let statuses = windows.statuses(now);
        tally.admitted += 1;
        tally.tokens_in += arrival.prompt_tokens;
        tally.began();
        if let Some((name, _)) = arrival.fault {
            *tally.faults.entry(name.to_owned()).or_default() += 1;
        }
        let call = self.log.add(|| call_record(arrival, now_us, units));
        let model = Arc::clone(arrival.model);
        let charged =
            Charged { id, account: arrival.account.to_owned(), model, call, settles: provider.charge, counted: counts };
        Ok((charged, statuses))
    }

    /// Records a call that found no slot.
    pub(crate) fn no_slot(&mut self, now_us: i64, arrival: &Arrival<'_>) {
        let tally = self.tallies.entry((arrival.account.to_owned(), arrival.model.id.clone())).or_default();
        tally.arrived(now_us / 1_000);
        *tally.refused.entry("concurrency").or_default() += 1;
        let refused_by = Some("concurrency");
        self.log.add(|| CallRecord { status: 429, refused_by, ..call_record(arrival, now_us, Units::default()) });
    }

    /// Records a fault that was applied before any limit.
    pub(crate) fn faulted(&mut self, now_us: i64, arrival: &Arrival<'_>, status: u16) {
        let tally = self.tallies.entry((arrival.account.to_owned(), arrival.model.id.clone())).or_default();
        tally.arrived(now_us / 1_000);
        if let Some((name, _)) = arrival.fault {
            *tally.faults.entry(name.to_owned()).or_default() += 1;
        }
        self.log.add(|| CallRecord {
            status,
            ended_ms: Some(now_us / 1_000),
            ..call_record(arrival, now_us, Units::default())
        });
    }

    /// Ends an admitted call: the tokens used replace the reservation, or are debited now.
    pub(crate) fn settle(&mut self, provider: &Provider, now_us: i64, charged: &Charged, end: CallEnd) {
        let now = now_us + provider.clock_offset_us;
        let total = end.tokens_out.map(|out| end.tokens_in + out);
        let id = self.next_id();
        if charged.counted {
            let mut windows = Windows::of(&mut self.windows, provider, &charged.account, &charged.model);
            match (charged.settles, total) {
                (TokenCharge::Reserve, Some(total)) => windows.each(|window| window.correct(now, charged.id, total)),
                (TokenCharge::Reserve, None) => windows.each(|window| window.close(charged.id)),
                (TokenCharge::Actual, Some(total)) => windows.each(|window| window.debit(now, id, total)),
                _ => {}
            }
        }
        let tally = self.tallies.entry((charged.account.clone(), charged.model.id.clone())).or_default();
        tally.in_flight -= 1;
        tally.tokens_out += end.tokens_out.unwrap_or(0);
        tally.cancelled += u64::from(end.cancelled);
        self.log.update(charged.call, |call| {
            call.status = end.status;
            call.tokens = total.unwrap_or(call.tokens);
            call.cancelled = end.cancelled;
            call.ended_ms = Some(now_us / 1_000);
            call.pieces = end.pieces;
        });
    }

    /// The windows of an account and model.
    pub(crate) fn statuses(
        &mut self,
        provider: &Provider,
        now_us: i64,
        account: &str,
        model: &Arc<Model>,
    ) -> Vec<LimitStatus> {
        Windows::of(&mut self.windows, provider, account, model).statuses(now_us + provider.clock_offset_us)
    }

    /// Applies changed limits. Counts are kept where a limit keeps its name and kind.
    pub(crate) fn limits_changed(&mut self, provider: &Provider) {
        for ((_, bucket), windows) in &mut self.windows {
            let model = provider.models.iter().find(|model| model.bucket == *bucket);
            let wanted = if bucket.is_empty() { Some(&provider.limits) } else { model.map(|model| &model.limits) };
            let mut old = std::mem::take(windows);
            for limit in wanted.into_iter().flatten() {
                let same = |window: &Window| window.limit.name == limit.name && window.limit.kind == limit.kind;
                let kept = old.iter().position(same).map(|at| old.swap_remove(at));
                windows.push(kept.map_or_else(|| Window::new(limit.clone()), |kept| kept.with_limit(limit)));
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

/// The windows of a call: those of the account, then those of the bucket.
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
        self.0.iter_mut().map(|window| window.status(now)).collect()
    }
}

fn fresh(limits: &[Limit]) -> Vec<Window> {
    limits.iter().cloned().map(Window::new).collect()
}

/// Units charged before a call runs.
fn units(provider: &Provider, arrival: &Arrival<'_>) -> Units {
    let input = arrival.prompt_tokens;
    let reserved = if arrival.stream || provider.switches.reserve_whole {
        arrival.max_tokens.filter(|max| *max > 0).unwrap_or(provider.reserve_default).min(provider.reserve_cap)
    } else {
        0
    };
    let tokens = match provider.charge {
        TokenCharge::Reserve => input + reserved,
        TokenCharge::Input => input,
        TokenCharge::Actual | TokenCharge::None => 0,
    };
    Units { tokens, input, sound: arrival.sound }
}

fn call_record(arrival: &Arrival<'_>, now_us: i64, units: Units) -> CallRecord {
    CallRecord {
        time_ms: now_us / 1_000,
        account: arrival.account.to_owned(),
        model: arrival.model.id.clone(),
        status: 0,
        tokens: units.tokens,
        stream: arrival.stream,
        cancelled: false,
        ended_ms: None,
        pieces: 0,
        refused_by: None,
        fault: arrival.fault.map(|(name, _)| name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::simulator::profile::Profile;

    const MODEL: &str = "openai/gpt-oss-120b";

    /// Groq with switches, and one call admitted with 10 prompt tokens and 100 reserved.
    fn one_call(switches: &Value, fault: Option<(&str, bool)>) -> (Provider, UsageCounters, Charged) {
        let over: Profile = serde_json::from_value(json!({"providers": {"groq": {"switches": switches}}})).unwrap();
        let provider =
            Provider::build("groq", &Profile::real().merged(&over).unwrap().settings().unwrap().providers["groq"])
                .unwrap();
        let mut usage = UsageCounters::with_log(10);
        let (charged, _) = usage.admit(&provider, 0, &entry(&provider, fault), true).unwrap();
        (provider, usage, charged)
    }

    fn entry<'a>(provider: &'a Provider, fault: Option<(&'a str, bool)>) -> Arrival<'a> {
        let model = provider.model(MODEL).unwrap();
        Arrival { account: "main", model, prompt_tokens: 10, sound: 0, max_tokens: Some(100), stream: false, fault }
    }

    fn end(tokens_out: Option<i64>) -> CallEnd {
        CallEnd { status: 200, tokens_in: 10, tokens_out, cancelled: false, pieces: 1 }
    }

    /// (requests of the minute, tokens of the minute)
    fn used(usage: &mut UsageCounters, provider: &Provider) -> (Value, Value) {
        let windows = usage.audit(provider, 0)["accounts"]["main"][MODEL]["windows"].take();
        (windows["rpm"]["now"].clone(), windows["tpm"]["now"].clone())
    }

    #[test]
    fn usage_replaces_the_reservation() {
        let (provider, mut usage, charged) = one_call(&json!({}), None);
        assert_eq!(used(&mut usage, &provider), (json!(1.0), json!(110.0)));
        usage.settle(&provider, 0, &charged, end(Some(30)));
        assert_eq!(used(&mut usage, &provider), (json!(1.0), json!(40.0)));
    }

    #[test]
    fn a_failure_keeps_its_reservation_where_failures_count() {
        let (provider, mut usage, charged) = one_call(&json!({}), Some(("hang", true)));
        usage.settle(&provider, 0, &charged, end(None));
        assert_eq!(used(&mut usage, &provider), (json!(1.0), json!(110.0)));
        let (provider, mut usage, charged) = one_call(&json!({"failed_count": false}), Some(("hang", false)));
        usage.settle(&provider, 0, &charged, end(None));
        assert_eq!(used(&mut usage, &provider), (json!(0.0), json!(0.0)));
    }

    #[test]
    fn a_call_without_streaming_reserves_only_its_prompt_where_the_switch_is_off() {
        let (provider, mut usage, _) = one_call(&json!({"reserve_whole": false}), None);
        assert_eq!(used(&mut usage, &provider).1, 10.0);
    }

    #[test]
    fn refusals_count_where_the_switch_is_on() {
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
