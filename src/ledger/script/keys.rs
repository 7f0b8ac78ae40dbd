//! Every key of the ledger: its name, type, life and writers. All carry the pool's hash tag: one pool is one slot.
//!
//! | key | type | lives | written by |
//! |---|---|---|---|
//! | `meta` | hash | 40 days after the last sight | admit, sync, control |
//! | `health` | hash | bounded by providers, models, accounts and keys; swept by snapshot | admit, settle, control, snapshot |
//! | `speed` | hash | bounded by models | settle |
//! | `w:…` windows | hash or sorted set | until their state is worthless | admit, settle, renew, repeat, snapshot |
//! | `c:ID` heads of a client's windows | hash | a span and a half after the last request | admit, settle, repeat |
//! | `c:ID:LIMIT` their older sub-buckets | hash | the same | admit, settle, repeat |
//! | `l:ID` leases | string | 30 s, renewed every 10; 5 s once settled | admit, settle, renew, repeat |
//! | `snap:HASH` | string | 5 s | snapshot |
//! | `totals`, `journal` | hash, stream | bounded, capped | record |
//! | `sh:LINE` shares | hash | three spans after the last request | admit, settle |
//! | `queue`, `guests`, `tickets`, `alive`, `fair` | the waiting room, see `lua/lib/queue_keys.lua` | 2 h after the last arrival | admit, settle, stay, leave |
//! | `r:batch:REPLICA` | string | 1 day | record |
//! | `r:STEP:BY:START` roll-ups | hash | see [`crate::ledger::rollup::Step::keep_ms`]; bounded names | record |
//! | `r:alive` | sorted set | 1 min; bounded by replicas | beat |
//! | `m:ID` members | hash | until deleted; bounded by `clients` | clients, touch; read by admit |
//! | `clients` | sorted set | 10,000 members at most | clients |
//! | `audit` | stream | capped | clients, control, sessions |
//! | `sess:DIGEST` | string | 12 h | sessions |
//! | `guess`, `guess:ADDRESS` | sorted set | a minute | guesses |

use std::{fmt::Write, sync::Arc};

use crate::domain::{Candidate, Limit, Scope, Window};
use crate::ledger::reports::rollup::{GroupBy, Step};

/// Changes when an older replica could not understand what a newer one leaves behind.
const LAYOUT: &str = "tf1";

/// A key's name. Cheap to clone.
pub type Key = Arc<str>;

#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
    meta: Key,
    health: Key,
    speed: Key,
    waiting_room: [Key; 5],
}

impl Keys {
    pub fn new(pool: &str) -> Self {
        let prefix = format!("{LAYOUT}:{{{pool}}}:");
        let named = |name: &str| Key::from(format!("{prefix}{name}"));
        Self {
            meta: named("meta"),
            health: named("health"),
            speed: named("speed"),
            waiting_room: ["queue", "guests", "tickets", "alive", "fair"].map(named),
            prefix,
        }
    }

    fn named(&self, name: &str) -> Key {
        self.named_after(name, "")
    }

    fn named_after(&self, kind: &str, id: &str) -> Key {
        let mut key = String::with_capacity(self.prefix.len() + kind.len() + id.len());
        for part in [&self.prefix, kind, id] {
            key.push_str(part);
        }
        key.into()
    }

    pub fn meta(&self) -> Key {
        self.meta.clone()
    }

    pub fn health(&self) -> Key {
        self.health.clone()
    }

    pub fn speed(&self) -> Key {
        self.speed.clone()
    }

    pub fn totals(&self) -> Key {
        self.named("totals")
    }

    pub fn journal(&self) -> Key {
        self.named("journal")
    }

    /// The last batch a replica wrote.
    pub fn batch(&self, replica: &str) -> Key {
        format!("{}r:batch:{replica}", self.prefix).into()
    }

    pub fn alive(&self) -> Key {
        self.named("r:alive")
    }

    /// One stretch of time, by its first ms.
    pub fn rollup(&self, step: Step, by: GroupBy, start_ms: i64) -> Key {
        format!("{}r:{}:{}:{}", self.prefix, step.letter(), by.letter(), start_ms.div_euclid(step.ms())).into()
    }

    /// Ids of all members.
    pub fn clients(&self) -> Key {
        self.named("clients")
    }

    pub fn audit(&self) -> Key {
        self.named("audit")
    }

    /// `digest`: of the cookie, which itself is kept nowhere.
    pub fn session(&self, digest: &str) -> Key {
        format!("{}sess:{digest}", self.prefix).into()
    }

    /// Wrong admin keys shown by one address.
    pub fn guesses_of(&self, address: &str) -> Key {
        format!("{}guess:{address}", self.prefix).into()
    }

    /// Wrong admin keys shown by all.
    pub fn guesses(&self) -> Key {
        self.named("guess")
    }

    /// One per catalogue: replicas of two configurations number their windows differently.
    pub fn snap(&self, hash: &str) -> Key {
        format!("{}snap:{hash}", self.prefix).into()
    }

    pub fn lease(&self, id: &str) -> Key {
        self.named_after("l:", id)
    }

    /// A member's record.
    pub fn member(&self, id: &str) -> Key {
        self.named_after("m:", id)
    }

    /// The waiting room, in the order of `lua/lib/queue_keys.lua`. What is published there has the name of the first.
    pub fn waiting_room(&self) -> [Key; 5] {
        self.waiting_room.clone()
    }

    /// The shares of a candidate's line: an account's, where a window spans its models, else a model's.
    pub fn shares(&self, candidate: &Candidate) -> Key {
        let (provider, account) = (&candidate.provider.id, &candidate.account.id);
        if candidate.lines_up_by_account() {
            format!("{}sh:{provider}/{account}", self.prefix).into()
        } else {
            format!("{}sh:{provider}/{account}/{}", self.prefix, candidate.model.id).into()
        }
    }

    /// Where the heads of a client's windows stand together.
    pub fn client_heads(&self, id: &str) -> Key {
        self.named_after("c:", id)
    }

    pub fn client(&self, id: &str, limit: Limit) -> Key {
        format!("{}c:{id}:{limit}", self.prefix).into()
    }

    pub fn window(&self, candidate: &Candidate, window: &Window) -> Key {
        let mut key = String::with_capacity(self.prefix.len() + 72);
        key.push_str(&self.prefix);
        let (provider, account) = (&candidate.provider.id, &candidate.account.id);
        // Writing into a String cannot fail.
        let _ = match window.scope {
            Scope::Account => write!(key, "w:{provider}/{account}:{}", window.limit),
            Scope::Model => write!(key, "w:{provider}/{account}/{}:{}", candidate.model.id, window.limit),
        };
        key.into()
    }
}

/// The field of `speed` of one candidate's model.
pub(crate) fn speed_field(candidate: &Candidate) -> &str {
    &candidate.name
}
