//! Endpoints for administrators.

pub(crate) mod audit;
pub(crate) mod budget;
pub(crate) mod client_list;
pub(crate) mod client_object;
pub(crate) mod clients;
pub(crate) mod config;
pub(crate) mod controls;
pub(crate) mod events;
pub(crate) mod model_changes;
pub(crate) mod models;
pub(crate) mod provider_key_object;
pub(crate) mod provider_key_service;
pub(crate) mod provider_keys;
pub(crate) mod requests;
pub(crate) mod session;
pub(crate) mod usage;
