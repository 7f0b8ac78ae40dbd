//! Endpoints for administrators.

pub mod audit;
pub mod budget;
pub mod clients;
pub mod controls;
pub mod events;
pub mod models;
pub mod requests;
pub mod session;
