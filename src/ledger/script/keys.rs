//! Every key of the ledger: its name, type, lifetime and writers. All carry the pool's hash tag, so a pool is one slot.
//!
//! | key | type | lifetime | written by |
//! |---|---|---|---|
//! | `meta` | hash | 40 days after its last use | admit, sync, control |
//! | `health` | hash | bounded by providers, models, accounts and keys; swept by snapshot | admit, settle, control, snapshot |
//! | `speed` | hash | bounded by models | settle |
//! | `w:…` windows | hash or sorted set | until their state is worthless | admit, settle, renew, replay, snapshot |
//! | `c:ID` heads of a client's windows | hash | a span and a half after the last request | admit, settle, replay |
//! | `c:ID:LIMIT` their older sub-buckets | hash | a span and a half after the last request | admit, settle, replay |
//! | `l:ID` leases | string | 30 s, renewed every 10 s; 5 s once settled | admit, settle, renew, replay |
//! | `snap:HASH:PART` | string | 5 s | snapshot |
//! | `totals`, `journal` | hash, stream | bounded, capped | record |
//! | `sh:QUEUE` fair shares | hash | three spans after the last request | admit, settle |
//! | `queue`, `guests`, `tickets`, `alive`, `fair` the wait queue, see `lua/lib` | hash or sorted set | 2 h after the last arrival | admit, settle, queue scripts |
//! | `r:batch:REPLICA` | string | 1 day | record |
//! | `r:STEP:BY:START` roll-ups | hash | [`Step::keep_ms`]; bounded names | record |
//! | `r:alive` replicas | sorted set | 1 min; bounded by replicas | heartbeat |
//! | `m:ID` client records | hash | until deleted; bounded by `clients` | client scripts; read by admit |
//! | `clients` | sorted set | 10,000 clients at most | client scripts |
//! | `pk` provider keys | hash | 1,000 keys at most | provider key scripts; read by heartbeat |
//! | `found` findings | hash | bounded by providers | discovery/findings_write |
//! | `allow` what is used of allowances | hash | bounded by accounts | discovery/findings_write |
//! | `gone` models that providers have answered not to have | hash | a week after their end | discovery/model_refused |
//! | `claim:WORK` | string | as long as the claim | claim |
//! | `audit` | stream | capped | client scripts, provider key scripts, control, sessions |
//! | `sess:DIGEST` | string | 12 h | sessions |
//! | `resp:ID`, `resp:ID:until` stored responses | hash, sorted set | `[responses] store`; bounded in bytes per client | response scripts |
//! | `stay:DIGEST` candidates of sessions | string | 30 min after the last request | affinity |
//! | `sig:DIGEST` thought signatures | string | 1 day | thought signatures |
//! | `guess`, `guess:ADDRESS` failed logins | sorted set | a minute | login throttle |

use std::{
    fmt::{Display, Write},
    sync::Arc,
};

use crate::{
    domain::{Candidate, Limit, Scope, Window},
    ledger::reports::rollup_key::{GroupBy, Step},
};

/// Version of the stored layout. Increase it when a replica of the previous version could not read the new data.
const LAYOUT: &str = "tf1";

/// The name of a key. Cheap to clone.
pub type Key = Arc<str>;

/// The type of a key, as `TYPE` names it; "" for a key that is none of ours.
pub(in crate::ledger) fn type_of(key: &str) -> &'static str {
    let Some((_, name)) = key.split_once("}:").filter(|_| key.starts_with(LAYOUT)) else { return "" };
    let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
    match kind {
        "journal" | "audit" => "stream",
        "queue" | "guests" | "alive" | "clients" | "guess" => "zset",
        "w" | "c" if rest.ends_with(":concurrency") => "zset",
        "resp" if rest.ends_with(":until") => "zset",
        "l" | "snap" | "claim" | "sess" | "sig" | "stay" => "string",
        "r" if rest == "alive" => "zset",
        "r" if rest.starts_with("batch:") => "string",
        "meta" | "health" | "speed" | "totals" | "tickets" | "fair" | "pk" | "found" | "w" | "c" | "sh" | "m" | "r"
        | "resp" => "hash",
        _ => "",
    }
}

#[derive(Debug, Clone)]
pub struct Keys {
    pool: String,
    prefix: String,
    meta: Key,
    health: Key,
    speed: Key,
    queue: [Key; 5],
}

impl Keys {
    pub fn new(pool: &str) -> Self {
        let prefix = format!("{LAYOUT}:{{{pool}}}:");
        let named = |name: &str| Key::from(format!("{prefix}{name}"));
        Self {
            meta: named("meta"),
            health: named("health"),
            speed: named("speed"),
            queue: ["queue", "guests", "tickets", "alive", "fair"].map(named),
            pool: pool.to_owned(),
            prefix,
        }
    }

    pub(in crate::ledger) fn pool(&self) -> &str {
        &self.pool
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

    /// Number of the last record of a replica.
    pub fn batch(&self, replica: &str) -> Key {
        format!("{}r:batch:{replica}", self.prefix).into()
    }

    /// Replicas by their last heartbeat.
    pub fn replicas(&self) -> Key {
        self.named("r:alive")
    }

    /// The roll-up of the step that starts at `start_ms`.
    pub fn rollup(&self, step: Step, by: GroupBy, start_ms: i64) -> Key {
        format!("{}r:{}:{}:{}", self.prefix, step.letter(), by.letter(), start_ms.div_euclid(step.ms())).into()
    }

    /// Ids of all client records.
    pub fn clients(&self) -> Key {
        self.named("clients")
    }

    /// Provider keys that were added at run time.
    pub fn provider_keys(&self) -> Key {
        self.named("pk")
    }

    /// What was found in the lists of models.
    pub fn findings(&self) -> Key {
        self.named("found")
    }

    /// What is used of the allowances of accounts.
    pub fn allowances(&self) -> Key {
        self.named("allow")
    }

    /// Models that providers have answered not to have.
    pub fn refused_models(&self) -> Key {
        self.named("gone")
    }

    /// A piece of work that one replica does for all.
    pub fn claim(&self, work: &str) -> Key {
        self.named_after("claim:", work)
    }

    pub fn audit(&self) -> Key {
        self.named("audit")
    }

    /// A dashboard session, by the digest of its cookie; the cookie itself is not stored.
    pub fn session(&self, digest: &str) -> Key {
        format!("{}sess:{digest}", self.prefix).into()
    }

    /// The candidate that serves a session, by the digest of client, model and session.
    pub fn affinity(&self, digest: &str) -> Key {
        self.named_after("stay:", digest)
    }

    /// The thought signature of a client's tool call, by the digest of both.
    pub fn signature(&self, digest: &str) -> Key {
        self.named_after("sig:", digest)
    }

    /// Failed logins from one address.
    pub fn failed_logins_from(&self, address: &str) -> Key {
        format!("{}guess:{address}", self.prefix).into()
    }

    /// Failed logins from all addresses.
    pub fn failed_logins(&self) -> Key {
        self.named("guess")
    }

    /// The slice of the shared snapshot that begins with this window. They are those of one catalogue, because replicas of two
    /// configurations number their windows differently.
    pub fn snapshot(&self, hash: &str, part: impl Display) -> Key {
        format!("{}snap:{hash}:{part}", self.prefix).into()
    }

    pub fn lease(&self, id: &str) -> Key {
        self.named_after("l:", id)
    }

    pub fn client_record(&self, id: &str) -> Key {
        self.named_after("m:", id)
    }

    /// Keys of the wait queue, in the order that the scripts expect. The name of the first is also the pub/sub channel.
    pub fn queue(&self) -> [Key; 5] {
        self.queue.clone()
    }

    /// Fair shares of a candidate's queue: of its account where a window spans all models, else of its model.
    pub fn shares(&self, candidate: &Candidate) -> Key {
        let (provider, account) = (&candidate.provider.id, &candidate.account.id);
        if candidate.queues_by_account() {
            format!("{}sh:{provider}/{account}", self.prefix).into()
        } else {
            format!("{}sh:{provider}/{account}/{}", self.prefix, candidate.model.id).into()
        }
    }

    /// The stored responses of a client, and their ids by expiry.
    pub fn stored_responses(&self, client: &str) -> [Key; 2] {
        [self.named_after("resp:", client), format!("{}resp:{client}:until", self.prefix).into()]
    }

    /// Heads of all windows of a client.
    pub fn client_heads(&self, id: &str) -> Key {
        self.named_after("c:", id)
    }

    pub fn client_window(&self, id: &str, limit: Limit) -> Key {
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
