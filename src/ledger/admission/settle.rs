//! Settlements: replacing what a lease reserved by what was used, and repeating the writes that an outage prevented.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;

use super::{
    lease_record::LeaseRecord,
    lease_state::{Granted, LeaseState, PendingWrite, TOMBSTONE_MS},
};
use crate::{
    domain::{Choice, Client, Health, Outcome, Usage},
    ledger::{
        error::LedgerError,
        script::{
            encode,
            engine::{Reply, ScriptCall},
            scripts::Script,
        },
        shared::Shared,
    },
};

/// Writes of an outage that are repeated at the same time.
const BATCH: usize = 32;

/// What a settlement does with the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SettleMode {
    /// The attempt has ended, and its request with it.
    Final,
    /// The attempt has ended, but its request continues at another candidate, where the client is charged.
    Continue,
    /// The answer has begun: settles only the verdict of a probe, and keeps the lease.
    FirstByte,
    /// Returns the record of the lease. If there is none, marks the id so that the lease can never be made.
    Recover,
}

impl SettleMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Final | Self::Continue => "end",
            Self::FirstByte => "commit",
            Self::Recover => "find",
        }
    }
}

impl Shared {
    pub(super) fn settlement(&self, lease: &LeaseState, outcome: &Outcome, mode: SettleMode) -> ScriptCall {
        let (provider, model) = match outcome.health {
            Health::Good => ("good", "good"),
            Health::ProviderFailed => ("failed", "nothing"),
            Health::ModelFailed => ("nothing", "failed"),
            Health::Unknown => ("nothing", "nothing"),
        };
        let client_usage = if mode == SettleMode::Continue { Usage::NOT_SENT } else { outcome.usage };
        let candidate = &lease.candidate;
        let encoded = self.args.get(&self.keys, candidate);
        let mut keys = Vec::with_capacity(11 + candidate.windows.len() + lease.client.limits.len());
        keys.extend([self.keys.meta(), self.keys.health(), self.keys.lease(&lease.id), self.keys.speed()]);
        keys.extend(self.keys.queue());
        keys.push(encoded.shares.clone());
        keys.extend(encode::client_keys(&self.keys, &lease.client));
        keys.extend_from_slice(&encoded.windows);
        let now_ms = self.epoch().now_ms();
        let first_token_ms = outcome.first_token.map_or(-1, |d| i64::try_from(d.as_millis()).unwrap_or(-1));
        let args = vec![
            self.slack_ms.clone(),
            Bytes::from(encode::client_windows(&lease.client, |limit, _| encode::client_used(limit, &client_usage))),
            encoded.candidate(candidate, now_ms, |w| encode::used(w, &outcome.usage)),
            Bytes::from_static(provider.as_bytes()),
            Bytes::from_static(model.as_bytes()),
            self.breaker_rules.clone(),
            Bytes::from(encode::cooldown(candidate, outcome.cooldown.as_ref())),
            Bytes::from(encode::hints(candidate, &outcome.hints)),
            encode::number(first_token_ms),
            encode::text(&candidate.name),
            Bytes::from_static(TOMBSTONE_MS.as_bytes()),
            Bytes::from_static(mode.as_str().as_bytes()),
            encode::text(&lease.client.id),
        ];
        ScriptCall { script: Script::Settle, keys, args }
    }

    pub(super) async fn settle_now(&self, lease: Arc<LeaseState>, outcome: Outcome) {
        let call = self.settlement(&lease, &outcome, SettleMode::Final);
        if let Err(LedgerError::Unreachable { .. }) = self.run(&call).await {
            self.pending.push(PendingWrite::Settle(lease, outcome));
        }
    }

    pub(super) async fn settle_probe(&self, lease: &LeaseState) {
        let outcome = Outcome { health: Health::Good, ..Outcome::unknown() };
        // A verdict that is lost in an outage is settled again at the end of the attempt.
        let _ = self.run(&self.settlement(lease, &outcome, SettleMode::FirstByte)).await;
    }

    /// Repeats the writes that an outage prevented, in batches, until one fails again.
    pub(super) async fn flush_pending(&self) {
        loop {
            let writes = self.pending.take(BATCH);
            if writes.is_empty() {
                return;
            }
            // Calls made at the same time travel together.
            let results = join_all(writes.iter().map(|write| self.write(write))).await;
            let mut is_away = false;
            for (write, result) in writes.into_iter().zip(results) {
                // A script that failed would fail again.
                if let Err(LedgerError::Unreachable { .. }) = result {
                    self.pending.push(write);
                    is_away = true;
                }
            }
            if is_away {
                return;
            }
        }
    }

    async fn write(&self, write: &PendingWrite) -> Result<(), LedgerError> {
        match write {
            PendingWrite::Settle(lease, outcome) => {
                self.run(&self.settlement(lease, outcome, SettleMode::Final)).await.map(drop)
            }
            PendingWrite::Cancel { id, client, choices } => self.cancel(id, client, choices).await,
        }
    }

    /// Prevents that a lease is made under this id, or gives the lease back if it has been made.
    async fn cancel(&self, id: &str, client: &Client, choices: &[Choice]) -> Result<(), LedgerError> {
        let Some(first) = choices.first() else { return Ok(()) };
        let lease = |choice: &Choice, record: LeaseRecord| {
            let granted = Granted {
                id: id.to_owned(),
                epoch: Arc::from(""),
                charge: choice.charge,
                client_tokens: 0,
                now_ms: 0,
                record,
            };
            LeaseState::new(&choice.candidate, client, granted)
        };
        let not_sent = Outcome { usage: Usage::NOT_SENT, ..Outcome::unknown() };
        let recover = self.settlement(&lease(first, LeaseRecord::default()), &not_sent, SettleMode::Recover);
        if let Reply::Bulk(record) = self.run(&recover).await? {
            let record = LeaseRecord(record);
            if let Some(choice) = record.candidate().and_then(|n| choices.get(n.wrapping_sub(1))) {
                self.run(&self.settlement(&lease(choice, record), &not_sent, SettleMode::Final)).await?;
            }
        }
        Ok(())
    }
}
