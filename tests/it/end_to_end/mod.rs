//! Level 4: tests with real software: official SDKs, a browser and a model server.

mod dashboard;
mod dialects;
mod documents;
mod loops;
mod messages_sdk;
mod proof;
mod real_model;
mod responses;
mod sdk;
