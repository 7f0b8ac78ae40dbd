//! Level 4: with real software on the other side: official SDKs, a browser, a model server.

mod dashboard;
mod real_model;
mod sdk;
