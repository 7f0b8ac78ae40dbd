//! Plain values that all rooms share. No I/O, no HTTP, no Redis.

pub mod candidate;
pub mod client;
pub mod client_record;
pub mod client_settings;
pub mod judged;
pub mod key;
pub mod model_findings;
pub mod model_kind;
pub mod model_pattern;
pub mod outcome;
pub mod pool_snapshot;
pub mod provider;
pub mod request;
pub mod route_plan;
pub mod tier;
pub mod time;
pub mod upload;
pub mod vectors;
pub mod window;

pub use candidate::{Account, Candidate, ProviderKey};
pub use client::Client;
pub use client_record::{ClientRecord, ClientSource, KeyRefused};
pub use client_settings::{BadField, ClientSettings, Limits};
pub use judged::{ModeratedText, Moderation, ModerationInputs, RankedDocument, Ranking, RankingInputs};
pub use key::KeyDigest;
pub use model_findings::{FoundModel, ListedModel, ModelFindings, NewModels};
pub use model_kind::ModelKind;
pub use outcome::{Cooldown, CooldownScope, Fault, FaultKind, Health, Hint, Outcome, Until, Usage};
pub use pool_snapshot::{BreakerState, PoolSnapshot, RoutingStrategy, SubjectSnapshot, WindowLevel};
pub use provider::{Capabilities, Model, Provider};
pub use request::{ChatRequest, CompletionPrompt, EmbeddingInputs, PromptSize, Sampling};
pub use route_plan::{Charge, Choice, RoutePlan};
pub use tier::Tier;
pub use upload::{TranscriptForm, Upload, UploadEdit};
pub use vectors::{ComputedVectors, VectorSpace, Vectors};
pub use window::{Limit, Scope, Source, TokenCharge, Unit, Window, WindowKind, Zone};
