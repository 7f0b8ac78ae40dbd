//! Our words: plain values that every room shares. No I/O, no HTTP, no Redis.

pub mod candidate;
pub mod client;
pub mod glob;
pub mod json;
pub mod kept;
pub mod key;
pub mod member;
pub mod outcome;
pub mod provider;
pub mod read_request;
pub mod request;
pub mod route_plan;
pub mod standing;
pub mod terms;
pub mod tier;
pub mod window;

pub use candidate::{Account, Candidate, ProviderKey};
pub use client::Client;
pub use kept::Kept;
pub use key::KeyDigest;
pub use member::{KeyRefused, Member, MemberSource};
pub use outcome::{Fault, FaultKind, Health, Hint, Outcome, Shut, ShutScope, Spent, Until};
pub use provider::{Capabilities, Model, Provider};
pub use read_request::{BadRequest, read_chat};
pub use request::{ChatRequest, PromptSize, Sampling};
pub use route_plan::{Charge, Choice, RoutePlan};
pub use standing::{BreakerState, Level, Order, Standing, SubjectStanding};
pub use terms::{BadField, Limits, Terms};
pub use tier::Tier;
pub use window::{Limit, Scope, Source, TokenCharge, Unit, Window, WindowKind, Zone};
