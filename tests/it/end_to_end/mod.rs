//! Level 4: tests with real software: official SDKs, a browser and a model server.

mod dashboard;
mod real_model;
mod responses;
mod sdk;
