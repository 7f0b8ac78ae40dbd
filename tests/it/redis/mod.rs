//! Level 2: the script engines and the ledger's typed API on a real Redis, in every form: alone, Sentinel, Cluster.

mod engine_conformance;
mod engines;
mod failover;
mod ledger_api;
mod tls;
mod topologies;
mod unix_socket;
