//! ① The HTTP edge: who asks, what is asked, what is told. The only room that knows actix.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

pub mod admin;
pub mod around;
pub mod audit;
pub mod auth;
pub mod budget;
pub mod chat;
pub mod clients;
pub mod cors;
pub mod dashboard;
pub mod docs;
pub mod door;
pub mod error;
pub mod events;
pub mod failure;
pub mod health;
pub mod late_commit;
pub mod metrics;
pub mod model_list;
pub mod models;
pub mod names;
pub mod openapi;
pub mod page;
pub mod prefer;
pub mod query;
pub mod request_id;
pub mod requests;
pub mod respond;
pub mod routes;
pub mod session;
pub mod status;
mod traced;
pub mod usage;

pub use door::Door;
pub use error::ApiError;

use self::{events::Events, names::Names};
use crate::{
    flow::Flow,
    ledger::{Page, Reading},
};

/// What every handler shares: one for the whole process.
pub struct Edge {
    /// Who may enter; swapped whole on reload.
    pub door: ArcSwap<Door>,
    pub flow: Arc<Flow>,
    /// The journal as this replica last saw it; shown while the ledger is away.
    seen: ArcSwap<Page>,
    pub names: Names,
    pub events: Events,
    draining: AtomicBool,
    /// Every request at work holds a receiver.
    in_flight: watch::Sender<()>,
}

/// Held by a request until its last byte is gone.
pub struct InFlight(#[expect(dead_code, reason = "held, never read")] watch::Receiver<()>);

impl Edge {
    pub fn new(door: Door, flow: Arc<Flow>) -> Self {
        Self {
            door: ArcSwap::from_pointee(door),
            flow,
            seen: ArcSwap::default(),
            names: Names::default(),
            events: Events::default(),
            draining: AtomicBool::new(false),
            in_flight: watch::Sender::new(()),
        }
    }

    /// From here on `/readyz` says 503 and every answer closes its connection.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
        self.events.end();
    }

    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub fn enter(&self) -> InFlight {
        InFlight(self.in_flight.subscribe())
    }

    /// Resolves when no request is at work.
    pub async fn idle(&self) {
        self.in_flight.closed().await;
    }

    /// Totals and the last finished requests of the whole pool, the newest first.
    pub async fn journal(&self, last: usize) -> Arc<Page> {
        match self.flow.ledger.journal(last, Reading::Newest).await {
            Ok(journal) => {
                let journal = Arc::new(journal);
                self.seen.store(journal.clone());
                journal
            }
            Err(_) => self.seen.load_full(),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use actix_web::{
        App, Error,
        body::MessageBody,
        dev::{Service, ServiceResponse},
        test,
        web::Data,
    };
    use serde_json::Value;

    use super::*;
    use crate::{
        catalog::{Catalog, Current},
        config::Settings,
        ledger::{Ledger, Rules, embedded::Embedded},
        shutdown::Tasks,
        upstream::{Upstream, UpstreamSettings},
    };

    /// The edge as these settings make it, on state of its own.
    fn edge(settings: &Settings) -> Data<Edge> {
        let tasks = Tasks::new();
        let catalog: Current = Arc::new(ArcSwap::from_pointee(Catalog::build(settings, &BTreeMap::new()).unwrap()));
        let rules =
            Rules { pool: "test".into(), slack_ms: 0, failure_threshold: 3, success_threshold: 2, open_ms: 30_000 };
        let ledger = Ledger::start(Arc::new(Embedded::in_memory()), rules, catalog.clone(), tasks.clone());
        let upstream = UpstreamSettings { connect_ms: 1_000, first_content_ms: 1_000, silence_ms: 1_000, proxy: None };
        let flow = Flow::new(
            catalog,
            ledger,
            Upstream::new(upstream, 1).unwrap(),
            tasks,
            crate::flow::Queue { max_wait: Duration::ZERO, flex_max_wait: Duration::ZERO },
            Duration::from_secs(1),
        );
        Data::new(Edge::new(Door::new(settings, None, false), flow))
    }

    /// The whole app as it is served.
    pub async fn app(
        settings: Settings,
    ) -> impl Service<actix_http::Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
        let edge = edge(&settings);
        test::init_service(App::new().wrap_fn(around::around).app_data(edge).configure(routes::all)).await
    }

    /// Status, headers and JSON of one call.
    pub async fn call(
        app: &impl Service<actix_http::Request, Response = ServiceResponse<impl MessageBody>, Error = Error>,
        request: test::TestRequest,
    ) -> (u16, actix_web::http::header::HeaderMap, Value) {
        let response = test::call_service(app, request.to_request()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = test::read_body(response).await;
        (status, headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}
