//! `/_control` and `/_audit`: faults on demand, changed profiles, and the audit.

use std::{collections::BTreeMap, sync::Arc};

use actix_web::{
    HttpResponse,
    web::{self, Data, Json, Query, ServiceConfig},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{faults::FaultRule, profile::Profile, recorded::Case, state::State};

type Shared = Data<Arc<State>>;

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(
            web::resource("/_control/faults")
                .route(web::get().to(list_faults))
                .route(web::post().to(add_fault))
                .route(web::delete().to(clear_faults)),
        )
        .route("/_control/profile", web::post().to(change_profile))
        .route("/_control/reset", web::post().to(reset))
        .route("/_audit", web::get().to(audit))
        .route("/_audit/log", web::get().to(log));
}

/// The rules in force, and the names of faults.
async fn list_faults(state: Shared) -> HttpResponse {
    let cases: Vec<&str> = Case::all().iter().map(|case| case.name).collect();
    let kinds = ["hang", "reset", "slow", "cut_after_chunks", "stall_mid_stream", "empty", "truncated", "html"];
    HttpResponse::Ok().json(json!({ "faults": state.faults.all(), "kinds": kinds, "cases": cases }))
}

async fn add_fault(state: Shared, fault: Json<FaultRule>) -> HttpResponse {
    match state.faults.add(fault.into_inner()) {
        Ok(()) => HttpResponse::Ok().json(json!({ "faults": state.faults.all() })),
        Err(why) => HttpResponse::BadRequest().json(json!({ "error": why })),
    }
}

async fn clear_faults(state: Shared) -> HttpResponse {
    state.faults.clear();
    HttpResponse::Ok().json(json!({ "faults": [] }))
}

async fn change_profile(state: Shared, profile: Json<Profile>) -> HttpResponse {
    match state.change(&profile) {
        Ok(()) => HttpResponse::Ok().json(json!({ "ok": true })),
        Err(why) => HttpResponse::BadRequest().json(json!({ "error": format!("{why:#}") })),
    }
}

async fn reset(state: Shared) -> HttpResponse {
    state.reset();
    HttpResponse::Ok().json(json!({ "ok": true }))
}

async fn audit(state: Shared) -> HttpResponse {
    let now = state.clock.now_us();
    let in_force = state.providers();
    let providers: BTreeMap<&String, Value> =
        in_force.by_id.iter().map(|(id, provider)| (id, state.usage(id).audit(provider, now))).collect();
    HttpResponse::Ok().json(json!({ "now_ms": now / 1_000, "providers": providers }))
}

#[derive(Deserialize)]
struct LogQuery {
    provider: String,
    account: Option<String>,
    model: Option<String>,
    /// Milliseconds since the epoch.
    since: Option<i64>,
}

/// The logged calls in order of arrival.
async fn log(state: Shared, wanted: Query<LogQuery>) -> HttpResponse {
    if !state.providers().by_id.contains_key(&wanted.provider) {
        return HttpResponse::NotFound().json(json!({ "error": "no such provider" }));
    }
    let is = |wanted: &Option<String>, given: &str| wanted.as_deref().is_none_or(|wanted| wanted == given);
    let usage = state.usage(&wanted.provider);
    let lines = usage.log().since(wanted.since.unwrap_or(0));
    let lines: Vec<_> =
        lines.filter(|line| is(&wanted.account, &line.account) && is(&wanted.model, &line.model)).collect();
    HttpResponse::Ok().json(json!({ "calls": lines }))
}
