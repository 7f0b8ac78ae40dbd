//! The HTTP server on guarded connections.

use std::{net::TcpListener, time::Duration};

use actix_http::{HttpService, Protocol, error::DispatchError};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, map_config};
use actix_web::{
    App as HttpApp, Error,
    dev::{AppConfig, Server, fn_service},
    rt::net::TcpStream,
    web::Data,
};
use anyhow::Context;

use super::guarded_stream::GuardedStream;
use crate::api::{
    edge::{middleware, state::AppState},
    routes,
};

/// How long an idle connection stays open. Longer than the 60 s of usual load balancers, so that they close it first and no
/// request meets a connection that we are closing.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Time for a caller to send the headers of a request. As long as [`KEEP_ALIVE`], because HTTP clients open connections in
/// advance and must not get a 408 for the first request on one.
const HEADERS_TIMEOUT: Duration = KEEP_ALIVE;
/// Time for a caller to read the end of a response when the connection closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Most connections are idle: clients keep them for their next request. Beyond the limit the kernel keeps new ones waiting.
const CONNECTIONS_PER_REQUEST: usize = 2;
/// Also with few requests at a time there are probes and pages.
const MIN_CONNECTIONS: usize = 1_024;

/// Serves on all listeners. Signals are handled elsewhere.
pub(super) fn run(
    state: &Data<AppState>,
    listeners: Vec<TcpListener>,
    workers: usize,
    write_timeout: Duration,
    in_flight: usize,
) -> anyhow::Result<Server> {
    let connections = in_flight.saturating_mul(CONNECTIONS_PER_REQUEST).max(MIN_CONNECTIONS).div_ceil(workers.max(1));
    let mut server = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections)
        .disable_signals()
        .shutdown_timeout(CLOSE_TIMEOUT.as_secs());
    for listener in listeners {
        let address = listener.local_addr()?;
        let stopping = server.graceful_shutdown_signal();
        let state = state.clone();
        let service = move || {
            let app =
                HttpApp::new().wrap_fn(middleware::wrap_request).app_data(state.clone()).configure(routes::configure);
            let app = app.into_factory().map_err(|error: Error| error.as_response_error().error_response());
            let stopping = stopping.clone();
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(HEADERS_TIMEOUT)
                .client_disconnect_timeout(CLOSE_TIMEOUT)
                .h1_allow_half_closed(false) // a caller that disconnects cancels its request and the call to the provider
                .local_addr(address)
                .finish(map_config(app, |()| AppConfig::default()));
            fn_service(move |io: TcpStream| async move {
                // Events must not wait for the acknowledgement of earlier ones.
                let _ = io.set_nodelay(true);
                let peer = io.peer_addr().ok();
                Ok::<_, DispatchError>((GuardedStream::new(io, write_timeout), Protocol::Http1, peer))
            })
            .and_then(http)
        };
        server = server.listen(format!("tollfree-{address}"), listener, service).context("cannot listen")?;
    }
    Ok(server.run())
}
