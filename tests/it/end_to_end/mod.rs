//! Level 4: tests with real software: official SDKs, a browser and a model server.

mod dashboard;
mod loops;
mod messages_sdk;
mod real_model;
mod responses;
mod sdk;
