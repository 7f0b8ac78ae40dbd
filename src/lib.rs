//! Tollfree: one OpenAI-compatible URL over every free LLM tier, on one exact budget shared by any number of replicas.
//!
//! The `mod` lines stand in the order a request walks; arrows between rooms point right only:
//! `main → cli → app → api → flow → {plan, ledger, upstream, relay, record, protocol} → {catalog, config} → domain`.

pub mod api; // ① the HTTP edge; the only room that knows actix
pub(crate) mod app; // composition root: the only place where rooms are handed to each other
pub mod catalog; // providers, models, meta-models as data: one immutable snapshot
pub mod cli; // the commands: serve, demo, keys, providers, data, check, catalog, healthcheck
pub mod config; // what an operator may write: file, environment, cross-field rules
pub mod domain; // plain values shared by all rooms, no I/O
pub(crate) mod flow; // plan → admit → attempt → relay → settle → record
pub(crate) mod json; // JSON with positions, for exact errors and edits in place
pub mod ledger; // ③⑥ the budget all replicas share; every decision is a script in lua/
pub(crate) mod memo; // values made once per name
pub(crate) mod memory; // bounds the bodies that are held at a time
pub(crate) mod plan; // ② request + client + catalogue → route plan; pure
pub mod protocol; // ② one folder per client protocol: decode and encode; pure
pub(crate) mod record; // ⑦ journal and metrics, written once when a request ends
pub(crate) mod relay; // ⑤ upstream bytes → client bytes, and the end of the lease
pub(crate) mod setup; // what tools need to know to use a gateway: one table, and edits of their files; pure
pub mod shutdown; // tracked tasks, drain on SIGTERM
pub mod simulator; // providers on loopback that enforce and audit their limits
pub(crate) mod suggest; // "did you mean …?"
pub(crate) mod telemetry; // tracing set-up
pub mod upstream; // ④ one attempt at one provider
