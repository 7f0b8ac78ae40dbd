//! Level 3: the real program through HTTP and its command line, with scripted or simulated providers.

mod admin;
mod auth;
mod bad_input;
mod base_path;
pub(crate) mod breakers;
mod chat;
mod clients;
mod command_line;
mod doctor;
mod failover;
mod fault_table;
mod http_versions;
mod journal;
mod messages;
mod model_lists;
mod openapi;
mod outage;
mod provider_keys;
mod responses;
mod sessions;
mod setup;
mod setup_scripts;
mod streaming;
mod telemetry;
mod tls;
mod token_counts;
