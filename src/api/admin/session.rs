//! `/admin/v1/session`: login and logout of an admin in the browser.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::header::SET_COOKIE, web::Json};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::edge::{
        access_policy::PresentedKey,
        auth_context::AuthContext,
        error::ApiError,
        flow_error,
        session::{RequestOrigin, cookie, csrf_token, remaining_lifetime, token_of_request},
    },
    domain::{KeyDigest, key},
    ledger::{SESSION, SessionKey},
};

/// The body of a login.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogIn {
    key: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Session {
    /// To send as `x-csrf-token` with every request other than GET
    csrf: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl Session {
    fn new(token: &str, lifetime: Duration) -> Self {
        let lifetime = SignedDuration::try_from(lifetime).unwrap_or_default();
        let at = Timestamp::now().saturating_add(lifetime).unwrap_or(Timestamp::MAX);
        Self { csrf: csrf_token(token), expires_at: Timestamp::from_second(at.as_second()).unwrap_or(at) }
    }
}

/// Logs an admin in
///
/// The cookie `tf_session` then replaces the admin key. Every request other than GET also needs `csrf` as `x-csrf-token`.
#[utoipa::path(
    post, path = "/admin/v1/session", tag = "admin", operation_id = "create_session",
    request_body(content = LogIn, example = json!({ "key": "my-admin-key" })),
    responses(
        (
            status = 200, description = "The session; its cookie is set", body = Session,
            headers(("set-cookie" = String, description = "`tf_session`")),
        ),
        (status = 401, description = "invalid_api_key"),
        (status = 403, description = "admin_required, cross_site_request"),
        (status = 429, description = "too_many_attempts"),
        (status = 503, description = "ledger_unavailable, admin_key_not_set"),
    ),
)]
pub(crate) async fn create(request: HttpRequest, body: Json<LogIn>) -> Result<HttpResponse, ApiError> {
    let context = AuthContext::new(&request)?;
    if context.policy.admin_key.is_none() {
        return Err(ApiError::AdminKeyNotSet);
    }
    if RequestOrigin::new(request.headers()) == RequestOrigin::Other {
        return Err(ApiError::CrossSite);
    }
    let admin = match context.policy.identify(&body.key) {
        PresentedKey::Admin(admin) => admin,
        PresentedKey::Shared(_) => return Err(ApiError::AdminRequired),
        PresentedKey::Client | PresentedKey::Unknown => return Err(context.failed_login().await),
    };
    let token = key::fresh_secret().map_err(|error| {
        tracing::error!(%error, "Cannot create a session: {error}");
        ApiError::Internal
    })?;
    let session = SessionKey { cookie: &KeyDigest::of(&token), admin: &admin };
    let ledger = &context.state.flow.ledger;
    let lifetime = ledger.open_session(session, &context.by()).await.map_err(|e| flow_error::from_ledger(&e))?;
    tracing::info!("An admin logged in");
    let cookie = cookie(&context, &request, &token, SESSION);
    Ok(HttpResponse::Ok().insert_header((SET_COOKIE, cookie)).json(Session::new(&token, lifetime)))
}

/// The session of this browser
#[utoipa::path(
    get, path = "/admin/v1/session", tag = "admin", operation_id = "show_session",
    security(("session" = [])),
    responses((status = 200, description = "The session is valid", body = Session)),
)]
pub(crate) async fn show(request: HttpRequest) -> Result<Json<Session>, ApiError> {
    let context = AuthContext::new(&request)?;
    match (token_of_request(&request), remaining_lifetime(&context, &request).await?) {
        (Some(token), Some(lifetime)) => Ok(Json(Session::new(&token, lifetime))),
        _ => Err(ApiError::InvalidKey("There is no session. Log in first.".into())),
    }
}

/// Logs an admin out, on all replicas
#[utoipa::path(
    delete, path = "/admin/v1/session", tag = "admin", operation_id = "delete_session",
    security(("session" = [])),
    responses((
        status = 204, description = "The session has ended",
        headers(("set-cookie" = String, description = "Removes the cookie")),
    )),
)]
pub(crate) async fn delete(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let context = AuthContext::new(&request)?;
    let lifetime = remaining_lifetime(&context, &request).await?;
    let (Some(token), Some(_), Some(admin)) = (token_of_request(&request), lifetime, context.policy.admin_key) else {
        return Err(ApiError::InvalidKey("There is no session to end.".into()));
    };
    let session = SessionKey { cookie: &KeyDigest::of(&token), admin: &admin };
    let ledger = &context.state.flow.ledger;
    ledger.end_session(session, &context.by()).await.map_err(|e| flow_error::from_ledger(&e))?;
    tracing::info!("An admin logged out");
    let removed = cookie(&context, &request, "", Duration::ZERO);
    Ok(HttpResponse::NoContent().insert_header((SET_COOKIE, removed)).finish())
}
