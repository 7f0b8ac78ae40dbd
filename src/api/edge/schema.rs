//! OpenAPI schemas of fields that hold one of a few names. Types of the inner rooms cannot derive them: only this room knows
//! OpenAPI.

use utoipa::openapi::{Object, ObjectBuilder, schema::Type};

use crate::{
    domain::{ModelKind, RoutingStrategy},
    ledger::KeyState,
};

fn one_of<const N: usize>(names: [&'static str; N]) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).build()
}

pub(crate) fn strategy() -> Object {
    one_of(RoutingStrategy::NAMES.map(|(name, _)| name))
}

pub(crate) fn breaker_state() -> Object {
    one_of(["closed", "open", "half_open"])
}

pub(crate) fn window_kind() -> Object {
    one_of(["sliding", "bucket", "calendar", "concurrency"])
}

pub(crate) fn limit_source() -> Object {
    one_of(["catalogue", "file", "learned", "provider"])
}

pub(crate) fn window_source() -> Object {
    one_of(["catalogue", "file", "learned", "provider", "unknown"])
}

pub(crate) fn learned_from() -> Object {
    one_of(["answer", "refusal", "ceiling", "unknown"])
}

pub(crate) fn client_source() -> Object {
    one_of(["store", "file"])
}

pub(crate) fn provider_key_source() -> Object {
    one_of(["environment", "store"])
}

pub(crate) fn provider_key_state() -> Object {
    one_of(KeyState::ALL.map(KeyState::as_str))
}

/// `unverified`: the provider answers without a key as well, or has not said whether it takes the key, so a wrong one would not
/// be noticed.
pub(crate) fn provider_key_test() -> Object {
    one_of(["accepted", "unverified", "refused", "unanswered"])
}

pub(crate) fn provider_status() -> Object {
    one_of(["active", "trial", "gated", "paid", "retired"])
}

pub(crate) fn model_status() -> Object {
    one_of(["active", "trial", "gated", "paid", "retired", "off"])
}

pub(crate) fn model_kind() -> Object {
    one_of(ModelKind::NAMES.map(|(name, _)| name))
}

pub(crate) fn audit_actor() -> Object {
    one_of(["admin", "cli"])
}

pub(crate) fn outcome() -> Object {
    one_of(["success", "error", "rate_limited", "all_providers_failed"])
}

pub(crate) fn usage_subject() -> Object {
    one_of(["client", "provider", "model"])
}

pub(crate) fn usage_step() -> Object {
    one_of(["minute", "hour", "day"])
}
