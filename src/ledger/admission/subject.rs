//! The part of an admission's request that stays the same through all of its calls, and how the scripts read it.

use bytes::Bytes;

use super::lease_state::PendingWrite;
use crate::{
    domain::{Choice, Client, Tier},
    ledger::script::{
        encode,
        keys::{Key, Keys},
    },
};

/// A ticket without a heartbeat for this time is dropped from the queue.
pub(super) const TICKET_TIMEOUT_MS: i64 = 3_000;

/// Who asks for which candidates: what a call says of a request, apart from how long it waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub client: &'a Client,
    pub choices: &'a [Choice],
    pub tier: Tier,
}

impl Subject<'_> {
    /// Tokens that the client's own windows are charged: the largest charge of any candidate.
    pub(super) fn client_tokens(&self) -> i64 {
        self.choices.iter().map(|choice| choice.charge.tokens.max(choice.charge.input)).max().unwrap_or(0)
    }

    /// The request as the scripts read it: `client version weight class wait again alive`.
    pub(super) fn describe(&self, wait_ms: i64, has_ticket: bool) -> String {
        let client = self.client;
        let mut text = String::with_capacity(client.id.len() + 56);
        text.push_str(&client.id);
        let (class, weight) = (i64::from(self.tier == Tier::Flex), self.tier.weight(client.weight));
        for number in [client.version, weight, class, wait_ms, i64::from(has_ticket), TICKET_TIMEOUT_MS] {
            text.push(' ');
            encode::push_number(&mut text, number);
        }
        text
    }

    /// The client's windows as the scripts read them, with what the request takes of each.
    pub(super) fn client_windows(&self) -> Bytes {
        let tokens = self.client_tokens();
        Bytes::from(encode::client_windows(self.client, |limit, max| encode::client_charge(limit, max, tokens)))
    }

    /// The write that takes back what a call may have granted under this id, where its reply is never read.
    pub(super) fn cancellation(&self, id: String) -> PendingWrite {
        PendingWrite::Cancel { id, client: self.client.clone(), choices: self.choices.to_vec() }
    }

    /// Keys of the client: its record, and its windows behind their heads.
    pub(super) fn client_keys<'k>(&'k self, keys: &'k Keys) -> impl Iterator<Item = Key> + 'k {
        // A client without a record has version 0, and the script does not read this key.
        let record = if self.client.version == 0 { keys.meta() } else { keys.client_record(&self.client.id) };
        [record].into_iter().chain(encode::client_keys(keys, self.client))
    }
}
