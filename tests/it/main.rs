//! One binary of tests from outside: they start the real `tollfree` and look at it through its door.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::needless_pass_by_value, reason = "a test hands over what it has just made")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "counts of a test are small"
)]

mod admin;
mod auth;
mod bad_input;
mod bench;
mod breakers;
mod chart;
mod chat;
mod clients;
mod dashboard;
mod failover;
mod fault_table;
mod golden;
mod host_conformance;
mod house_rules;
mod journal;
mod ledger;
mod ledger_door;
mod openapi;
mod outage;
mod real_model;
mod realtime;
mod redis_failover;
mod redis_host;
mod redis_topologies;
mod sdk;
mod streaming;
mod support;
mod telemetry;
mod tls;
