//! Every key of the ledger: its name, type, life and writers. All carry the pool's hash tag: one pool is one slot.
//!
//! | key | type | lives | written by |
//! |---|---|---|---|
//! | `meta` | hash | 40 days after the last sight | admit, sync, control |
//! | `health` | hash | bounded by providers, models, accounts and keys; swept by snapshot | admit, settle, control, snapshot |
//! | `speed` | hash | bounded by models | settle |
//! | `w:…` windows | hash or sorted set | until their state is worthless | admit, settle, renew, repeat, snapshot |
//! | `c:…` clients' windows | hash | the same | admit, settle, repeat |
//! | `l:ID` leases | string | 30 s, renewed every 10; 5 s once settled | admit, settle, renew, repeat |
//! | `snap:HASH` | string | 5 s | snapshot |
//! | `totals`, `journal` | hash, stream | bounded, capped | record |
//! | `m:ID` members | hash | until deleted; bounded by `clients` | clients, touch |
//! | `clients` | sorted set | 10,000 members at most | clients |
//! | `audit` | stream | capped | clients, control, sessions |
//! | `sess:DIGEST` | string | 12 h | sessions |
//! | `guess`, `guess:ADDRESS` | sorted set | a minute | guesses |

use std::fmt::Write;

use crate::domain::{Candidate, Limit, Scope, Window};

/// Changes when an older replica could not understand what a newer one leaves behind.
const LAYOUT: &str = "tf1";

#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    pub fn new(pool: &str) -> Self {
        Self { prefix: format!("{LAYOUT}:{{{pool}}}:") }
    }

    fn named(&self, name: &str) -> String {
        let mut key = String::with_capacity(self.prefix.len() + name.len());
        key.push_str(&self.prefix);
        key.push_str(name);
        key
    }

    pub fn meta(&self) -> String {
        self.named("meta")
    }

    pub fn health(&self) -> String {
        self.named("health")
    }

    pub fn speed(&self) -> String {
        self.named("speed")
    }

    pub fn totals(&self) -> String {
        self.named("totals")
    }

    pub fn journal(&self) -> String {
        self.named("journal")
    }

    pub fn member(&self, id: &str) -> String {
        format!("{}m:{id}", self.prefix)
    }

    /// Ids of all members.
    pub fn clients(&self) -> String {
        self.named("clients")
    }

    pub fn audit(&self) -> String {
        self.named("audit")
    }

    /// `digest`: of the cookie, which itself is kept nowhere.
    pub fn session(&self, digest: &str) -> String {
        format!("{}sess:{digest}", self.prefix)
    }

    /// Wrong admin keys shown by one address.
    pub fn guesses_of(&self, address: &str) -> String {
        format!("{}guess:{address}", self.prefix)
    }

    /// Wrong admin keys shown by all.
    pub fn guesses(&self) -> String {
        self.named("guess")
    }

    /// One per catalogue: replicas of two configurations number their windows differently.
    pub fn snap(&self, hash: &str) -> String {
        format!("{}snap:{hash}", self.prefix)
    }

    pub fn lease(&self, id: &str) -> String {
        format!("{}l:{id}", self.prefix)
    }

    pub fn client(&self, id: &str, limit: Limit) -> String {
        format!("{}c:{id}:{limit}", self.prefix)
    }

    pub fn window(&self, candidate: &Candidate, window: &Window) -> String {
        let mut key = String::with_capacity(self.prefix.len() + 72);
        key.push_str(&self.prefix);
        let (provider, account) = (&candidate.provider.id, &candidate.account.id);
        // Writing into a String cannot fail.
        let _ = match window.scope {
            Scope::Account => write!(key, "w:{provider}/{account}:{}", window.limit),
            Scope::Model => write!(key, "w:{provider}/{account}/{}:{}", candidate.model.id, window.limit),
        };
        key
    }
}

/// The field of `speed` of one candidate's model.
pub(crate) fn speed_field(candidate: &Candidate) -> &str {
    &candidate.name
}
