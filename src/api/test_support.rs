//! The app as it is served, on state of its own, for the unit tests of this room.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    test,
    web::Data,
};
use arc_swap::ArcSwap;
use serde_json::Value;

use super::{
    edge::{access_policy::AccessPolicy, middleware, state::AppState},
    routes,
};
use crate::{
    catalog::{Catalog, Current},
    config::Settings,
    flow::{Flow, WaitLimits},
    ledger::{Ledger, Rules, embedded::EmbeddedEngine},
    memory::Memory,
    shutdown::Tasks,
    upstream::{Upstream, UpstreamSettings},
};

/// The edge as these settings make it, on state of its own.
fn state(settings: &Settings) -> Data<AppState> {
    let tasks = Tasks::new();
    let catalog: Current = Arc::new(ArcSwap::from_pointee(Catalog::build(settings, &BTreeMap::new()).unwrap()));
    let rules = Rules {
        pool: "test".into(),
        slack_ms: 0,
        failure_threshold: 3,
        success_threshold: 2,
        open_ms: 30_000,
        outage_requests: 1_000,
    };
    let ledger = Ledger::start(Arc::new(EmbeddedEngine::in_memory()), &rules, catalog.clone(), tasks.clone());
    let upstream = UpstreamSettings { connect_ms: 1_000, first_token_ms: 1_000, stream_idle_ms: 1_000, proxy: None };
    let flow = Flow::new(
        catalog,
        ledger,
        Upstream::new(upstream, 1, Memory::new(settings.limits.memory_mb)).unwrap(),
        tasks,
        WaitLimits { max_wait: Duration::ZERO, flex_max_wait: Duration::ZERO },
        Duration::from_secs(1),
    );
    Data::new(AppState::new(AccessPolicy::new(settings, None, false), flow, false))
}

/// The whole app as it is served.
pub(crate) async fn app(
    settings: Settings,
) -> impl Service<actix_http::Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let state = state(&settings);
    test::init_service(App::new().wrap_fn(middleware::wrap_request).app_data(state).configure(routes::configure)).await
}

/// Status, headers and JSON of one call.
pub(crate) async fn call(
    app: &impl Service<actix_http::Request, Response = ServiceResponse<impl MessageBody>, Error = Error>,
    request: test::TestRequest,
) -> (u16, actix_web::http::header::HeaderMap, Value) {
    let response = test::call_service(app, request.to_request()).await;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = test::read_body(response).await;
    (status, headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Calls the app, and returns the status and the body as text.
pub(crate) async fn text(
    app: &impl Service<actix_http::Request, Response = ServiceResponse<impl MessageBody>, Error = Error>,
    request: test::TestRequest,
) -> (u16, String) {
    let response = test::call_service(app, request.to_request()).await;
    let status = response.status().as_u16();
    (status, String::from_utf8(test::read_body(response).await.to_vec()).unwrap())
}
