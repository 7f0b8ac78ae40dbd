//! The HTTP clients: connection pools, time-outs, proxy, TLS. No other file builds one.

use std::{
    borrow::Cow,
    collections::HashSet,
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::RwLock;
use reqwest::{
    header::{ACCEPT_ENCODING, HeaderMap, HeaderValue},
    redirect,
};
use rustc_hash::FxHashMap;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::Url;

use crate::{
    domain::{Candidate, ChatRequest, provider::Auth},
    memory::Memory,
};

/// Bot filters of some providers refuse the default agent of an HTTP library (`error code: 1010`).
const USER_AGENT: &str = concat!("tollfree/", env!("CARGO_PKG_VERSION"));
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);
const MAX_IDLE_PER_HOST: usize = 256;
/// A server that closes one kept connection closes the others within this time.
const AFTER_CLOSE_MS: u64 = 1_000;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Number of threads that have sent a request.
static THREADS_SEEN: AtomicUsize = AtomicUsize::new(0);

/// Settings of calls to providers.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamSettings {
    pub connect_ms: u64,
    /// Longest time from sending a request to its first content, unless the provider sets its own.
    pub first_token_ms: u64,
    /// Longest pause between two events of a stream.
    pub stream_idle_ms: u64,
    /// `None`: providers are reached directly.
    pub proxy: Option<ProxySettings>,
}

/// The proxy for `https://` addresses. Providers at plain `http://` (Ollama) are reached directly.
#[derive(Debug, Clone)]
pub(crate) struct ProxySettings {
    /// `http://`, `https://` or `socks5://`.
    pub url: String,
    /// `NO_PROXY`: hosts that are reached directly.
    pub bypass: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("HTTPS_PROXY is not the URL of a proxy: {0}")]
    Proxy(String),
    #[error("the HTTP client could not be built: {0}")]
    Client(String),
}

/// Sends requests to providers. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: UpstreamSettings,
    /// One per server thread, so that a thread drives its own connections and wakes no other thread.
    http: Vec<reqwest::Client>,
    /// Opens a connection for every call: for those that follow a call on a connection that its server had closed.
    unpooled: reqwest::Client,
    /// Endpoints by path and base URL.
    endpoints: RwLock<FxHashMap<&'static str, FxHashMap<String, Arc<Endpoint>>>>,
    /// Hosts by scheme, name and port.
    hosts: RwLock<FxHashMap<String, Arc<Host>>>,
    /// For responses that are read as a whole.
    memory: Arc<Memory>,
    /// Models (`provider/model`) that refused a schema keyword. Their schemas are sent without the listed keywords.
    plain_schemas: RwLock<HashSet<Arc<str>>>,
}

/// Where a provider serves one kind of request.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub url: Url,
    pub host: Arc<Host>,
}

/// What is known of the connections to a host. The pool keeps them by host, whatever paths they have served.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// A response came from here, so that a connection may be reused.
    has_responded: AtomicBool,
    /// Until when no kept connection is used, in ms since the start: its server has closed one, and others probably with it.
    avoids_kept_until_ms: AtomicU64,
}

impl Host {
    pub(super) fn note_response(&self) {
        self.has_responded.store(true, Ordering::Relaxed);
    }

    /// A call has met a connection that its server had closed.
    pub(super) fn note_closed(&self) {
        self.avoids_kept_until_ms.store(since_start_ms() + AFTER_CLOSE_MS, Ordering::Relaxed);
    }
}

fn since_start_ms() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Upstream {
    /// Builds one client for each of `threads` sending threads, at least one.
    pub(crate) fn new(settings: UpstreamSettings, threads: usize, memory: Arc<Memory>) -> Result<Self, BuildError> {
        let http = (0..threads.max(1)).map(|_| build(&settings)).collect::<Result<_, _>>()?;
        let unpooled = build_pooled(&settings, 0, tls())?;
        let (endpoints, hosts, plain_schemas) = (RwLock::default(), RwLock::default(), RwLock::default());
        Ok(Self { inner: Arc::new(Inner { settings, http, unpooled, endpoints, hosts, memory, plain_schemas }) })
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.inner.memory
    }

    pub(crate) fn settings(&self) -> &UpstreamSettings {
        &self.inner.settings
    }

    /// The client for a call to a host, and whether its connection may have been used before.
    pub(super) fn http_for(&self, host: &Host) -> (&reqwest::Client, bool) {
        if since_start_ms() < host.avoids_kept_until_ms.load(Ordering::Relaxed) {
            return (&self.inner.unpooled, false);
        }
        (self.http(), host.has_responded.load(Ordering::Relaxed))
    }

    /// The client of this thread. Threads beyond the number of clients share them.
    pub(super) fn http(&self) -> &reqwest::Client {
        thread_local! {
            static THREAD_INDEX: usize = THREADS_SEEN.fetch_add(1, Ordering::Relaxed);
        }
        &self.inner.http[THREAD_INDEX.with(|index| *index) % self.inner.http.len()]
    }

    /// The client of rare calls outside the server threads, such as model lists.
    pub(super) fn http_background(&self) -> &reqwest::Client {
        &self.inner.http[0]
    }

    /// The endpoint of a model: its own address, or the usual one of its kind below the provider's base URL.
    pub(super) fn endpoint(
        &self,
        candidate: &Candidate,
        request: &ChatRequest,
    ) -> Result<Arc<Endpoint>, url::ParseError> {
        let base_url = &candidate.provider.base_url;
        let (path, own) = (candidate.path(request), candidate.model.url.as_deref());
        let key: Cow<'_, str> = own.map_or(base_url.into(), |own| format!("{base_url} {own}").into());
        if let Some(endpoint) = self.inner.endpoints.read().get(path).and_then(|of_path| of_path.get(&*key)) {
            return Ok(endpoint.clone());
        }
        let url = match own {
            Some(own) => Url::parse(base_url)?.join(own)?,
            None => Url::parse(&format!("{base_url}{path}"))?,
        };
        let host = self.inner.hosts.write().entry(url.origin().ascii_serialization()).or_default().clone();
        let endpoint = Arc::new(Endpoint { url, host });
        let mut endpoints = self.inner.endpoints.write();
        endpoints.entry(path).or_default().insert(key.into_owned(), endpoint.clone());
        Ok(endpoint)
    }

    pub(super) fn needs_plain_schemas(&self, candidate: &Candidate) -> bool {
        !candidate.provider.wire.schema_sanitise.is_empty()
            && self.inner.plain_schemas.read().contains(&*candidate.name)
    }

    pub(super) fn remember_plain_schemas(&self, candidate: &Candidate) {
        self.inner.plain_schemas.write().insert(candidate.name.clone());
    }
}

/// The `Authorization` header of a provider key, marked as sensitive.
pub(super) fn authorization(auth: Auth, key: Option<&SecretString>) -> Option<HeaderValue> {
    let key = key.filter(|_| auth != Auth::None)?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The connection was closed before a byte of the response came.
pub(super) fn is_closed_early(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            // An end without TLS's farewell is an unexpected one.
            return matches!(error.kind(), ConnectionReset | BrokenPipe | UnexpectedEof | ConnectionAborted);
        }
        if error.to_string().contains("connection closed before message completed") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The error is this machine's: it has no file descriptor, memory or port for another connection.
pub(super) fn is_own_failure(error: &reqwest::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    // The numbers of the other two differ between systems.
    const ENOBUFS: i32 = if cfg!(target_os = "linux") { 105 } else { 55 };
    const EADDRNOTAVAIL: i32 = if cfg!(target_os = "linux") { 99 } else { 49 };
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let number = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        if let Some(ENOMEM | ENFILE | EMFILE | ENOBUFS | EADDRNOTAVAIL) = number {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Reads a body up to a bound; what follows is not read. Returns whether it was read to its end.
pub(super) async fn read_bounded(response: &mut reqwest::Response, max: usize) -> reqwest::Result<(Bytes, bool)> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        let room = max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((body.freeze(), false));
        }
    }
    Ok((body.freeze(), true))
}

/// The innermost cause of an HTTP error: reqwest's own message names only the URL.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// A client that posts outside the calls to providers, such as the exporters of telemetry. It neither retries nor follows
/// redirects, and it reads a response up to a bound. Its errors name no address, which may contain a password.
pub(crate) fn http_post(proxy: Option<ProxySettings>) -> Result<Arc<HttpPost>, BuildError> {
    let settings = UpstreamSettings { connect_ms: 3_000, first_token_ms: 0, stream_idle_ms: 0, proxy };
    let http = build(&settings)?;
    Ok(Arc::new(move |url, headers, body| {
        let mut request = http.post(url).body::<Bytes>(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        async move {
            let mut response = request.send().await.map_err(|e| root_cause(&e))?;
            let status = response.status().as_u16();
            let (received, _) =
                read_bounded(&mut response, POST_RESPONSE_BYTES_MAX).await.map_err(|e| root_cause(&e))?;
            Ok((status, received))
        }
        .boxed()
    }))
}

/// Takes an address, headers and a body; returns the status and the response body.
pub(crate) type HttpPost =
    dyn Fn(String, Vec<(String, Vec<u8>)>, Bytes) -> BoxFuture<'static, Result<(u16, Bytes), String>> + Send + Sync;

/// A longer response to a post is cut here.
const POST_RESPONSE_BYTES_MAX: usize = 64 << 10;

pub(super) fn build(settings: &UpstreamSettings) -> Result<reqwest::Client, BuildError> {
    build_pooled(settings, MAX_IDLE_PER_HOST, tls())
}

/// A client that accepts every certificate. What it reads may come from anybody, and it must be given no secret.
pub(super) fn build_unverified(settings: &UpstreamSettings) -> Result<reqwest::Client, BuildError> {
    build_pooled(settings, MAX_IDLE_PER_HOST, super::unverified::tls(tls()))
}

fn build_pooled(
    settings: &UpstreamSettings,
    max_idle_per_host: usize,
    tls: rustls::ClientConfig,
) -> Result<reqwest::Client, BuildError> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(USER_AGENT)
        .default_headers(HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]))
        .connect_timeout(Duration::from_millis(settings.connect_ms))
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(max_idle_per_host)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEP_ALIVE)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        // A redirect would carry the key to another host, or turn the POST into a GET.
        .redirect(redirect::Policy::none())
        .no_proxy();
    let builder = match &settings.proxy {
        Some(ProxySettings { url, bypass }) => {
            let proxy = reqwest::Proxy::https(url).map_err(|e| BuildError::Proxy(e.to_string()))?;
            let bypass = bypass.as_deref().and_then(reqwest::NoProxy::from_string);
            builder.proxy(proxy.no_proxy(bypass))
        }
        None => builder,
    };
    builder.build().map_err(|e| BuildError::Client(e.to_string()))
}

/// The TLS configuration of all clients. Trusts the system's certificates, or Mozilla's, which are built in, where the
/// system has none.
fn tls() -> rustls::ClientConfig {
    static TLS: OnceLock<rustls::ClientConfig> = OnceLock::new();
    TLS.get_or_init(|| {
        // An error means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let mut tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        tls
    })
    .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_in_which_a_server_closes_a_kept_connection_is_known() {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
        for (kind, closed) in [
            (ConnectionReset, true),
            (BrokenPipe, true),
            (UnexpectedEof, true),
            (ConnectionAborted, true),
            (ConnectionRefused, false),
        ] {
            assert_eq!(is_closed_early(&std::io::Error::from(kind)), closed, "{kind}");
        }
    }

    #[test]
    fn an_invalid_proxy_url_is_refused() {
        let settings = |proxy: &str| UpstreamSettings {
            connect_ms: 1,
            first_token_ms: 1,
            stream_idle_ms: 1,
            proxy: Some(ProxySettings { url: proxy.to_owned(), bypass: None }),
        };
        assert!(matches!(Upstream::new(settings("http://"), 1, Memory::new(None)), Err(BuildError::Proxy(_))));
        assert!(Upstream::new(settings("http://proxy:3128"), 1, Memory::new(None)).is_ok());
    }
}
