//! `GET /admin/v1/config`: the settings in force.

use std::sync::Arc;

use actix_web::web::{Data, Json};

use crate::api::edge::{auth::Admin, config_view::ConfigView, state::AppState};

/// The settings in force, each with its source
///
/// The value of a secret is `set`.
#[utoipa::path(
    get, path = "/admin/v1/config", tag = "admin", operation_id = "show_config",
    security(("admin_key" = [])),
    responses((status = 200, description = "The settings", body = ConfigView)),
)]
pub(crate) async fn show(state: Data<AppState>, _: Admin) -> Json<Arc<ConfigView>> {
    Json(state.policy.load().config.clone())
}
