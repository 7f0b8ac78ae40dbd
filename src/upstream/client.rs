//! The HTTP clients: connection pools, time-outs, proxy, TLS. The only place that builds one.

use std::{
    collections::HashSet,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::RwLock;
use reqwest::redirect;
use rustc_hash::FxHashMap;
use url::Url;

use super::frames::cause;
use crate::domain::Candidate;

/// Some providers' bot filters refuse the default name of a library (`error code: 1010`).
const USER_AGENT: &str = concat!("tollfree/", env!("CARGO_PKG_VERSION"));
const IDLE: Duration = Duration::from_secs(90);
const IDLE_PER_HOST_MAX: usize = 256;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Threads that have sent something so far.
static SEATS: AtomicUsize = AtomicUsize::new(0);

/// What the operator's settings say about calls to providers.
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    pub connect_ms: u64,
    /// From sending to the first content; a provider's own value wins.
    pub first_content_ms: u64,
    /// Longest pause between two frames of a stream.
    pub silence_ms: u64,
    /// `HTTPS_PROXY`: `http://`, `https://`, `socks5://`; plain `http://` providers (Ollama) are reached directly.
    pub proxy: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("HTTPS_PROXY is not a proxy's URL: {0}")]
    Proxy(String),
    #[error("the HTTP client could not be built: {0}")]
    Client(String),
}

/// Sends requests to providers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Upstream {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: UpstreamSettings,
    /// One per server thread: its connections are driven by the thread that uses them, which wakes no other.
    http: Vec<reqwest::Client>,
    /// Base URL → where its chats go: read once, not for every call.
    chats: RwLock<FxHashMap<String, Url>>,
    /// Models (`provider/model`) that refused a schema keyword: they get schemas without those.
    plain_schemas: RwLock<HashSet<Arc<str>>>,
}

impl Upstream {
    /// `threads`: how many will send requests, at least one.
    pub fn new(settings: UpstreamSettings, threads: usize) -> Result<Self, BuildError> {
        let http = (0..threads.max(1)).map(|_| build(&settings)).collect::<Result<_, _>>()?;
        Ok(Self {
            inner: Arc::new(Inner { settings, http, chats: RwLock::default(), plain_schemas: RwLock::default() }),
        })
    }

    pub fn settings(&self) -> &UpstreamSettings {
        &self.inner.settings
    }

    /// The client of this thread. More threads than clients share them, which costs a little and breaks nothing.
    pub(super) fn http(&self) -> &reqwest::Client {
        thread_local! {
            static SEAT: usize = SEATS.fetch_add(1, Ordering::Relaxed);
        }
        &self.inner.http[SEAT.with(|seat| *seat) % self.inner.http.len()]
    }

    /// The client of calls that are not a server thread's: lists of models, now and then.
    pub(super) fn http_aside(&self) -> &reqwest::Client {
        &self.inner.http[0]
    }

    /// Where chats go below a provider's base URL.
    pub(super) fn chat_url(&self, base_url: &str) -> Result<Url, url::ParseError> {
        if let Some(url) = self.inner.chats.read().get(base_url) {
            return Ok(url.clone());
        }
        let url = Url::parse(&format!("{base_url}/chat/completions"))?;
        self.inner.chats.write().insert(base_url.to_owned(), url.clone());
        Ok(url)
    }

    pub(super) fn wants_plain_schemas(&self, candidate: &Candidate) -> bool {
        !candidate.provider.wire.schema_sanitise.is_empty()
            && self.inner.plain_schemas.read().contains(&*candidate.name)
    }

    pub(super) fn remember_plain_schemas(&self, candidate: &Candidate) {
        self.inner.plain_schemas.write().insert(candidate.name.clone());
    }
}

/// Posts for whoever needs that beside the calls to providers: what telemetry sends to its collector. Not retried, not
/// redirected; an answer is read up to a bound. The error names no address, which may hold a password.
pub fn poster(proxy: Option<String>) -> Result<Arc<Poster>, BuildError> {
    let settings = UpstreamSettings { connect_ms: 3_000, first_content_ms: 0, silence_ms: 0, proxy };
    let http = build(&settings)?;
    Ok(Arc::new(move |url, headers, body| {
        let mut request = http.post(url).body::<Bytes>(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        async move {
            let mut response = request.send().await.map_err(|e| cause(&e))?;
            let (status, mut answer) = (response.status().as_u16(), BytesMut::new());
            while answer.len() < ANSWER_BYTES_MAX
                && let Some(chunk) = response.chunk().await.map_err(|e| cause(&e))?
            {
                answer.extend_from_slice(&chunk);
            }
            Ok((status, answer.freeze()))
        }
        .boxed()
    }))
}

/// Address, headers, body → status and answer.
pub type Poster =
    dyn Fn(String, Vec<(String, Vec<u8>)>, Bytes) -> BoxFuture<'static, Result<(u16, Bytes), String>> + Send + Sync;

/// What an answer to such a post may have to say.
const ANSWER_BYTES_MAX: usize = 64 << 10;

fn build(settings: &UpstreamSettings) -> Result<reqwest::Client, BuildError> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls())
        .user_agent(USER_AGENT)
        .connect_timeout(Duration::from_millis(settings.connect_ms))
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEP_ALIVE)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        // A key must not be carried to another host, nor a POST become a GET.
        .redirect(redirect::Policy::none())
        .no_proxy();
    let builder = match &settings.proxy {
        Some(url) => builder.proxy(reqwest::Proxy::https(url).map_err(|e| BuildError::Proxy(e.to_string()))?),
        None => builder,
    };
    builder.build().map_err(|e| BuildError::Client(e.to_string()))
}

/// Whom to trust, read once for all clients: the system's certificates; in an image without any Mozilla's, which are
/// built in.
fn tls() -> rustls::ClientConfig {
    static TLS: OnceLock<rustls::ClientConfig> = OnceLock::new();
    TLS.get_or_init(|| {
        // An error says that one is installed already: as good.
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
    fn a_proxy_that_is_none_stops_the_start() {
        let settings = |proxy: &str| UpstreamSettings {
            connect_ms: 1,
            first_content_ms: 1,
            silence_ms: 1,
            proxy: Some(proxy.to_owned()),
        };
        assert!(matches!(Upstream::new(settings("http://"), 1), Err(BuildError::Proxy(_))));
        assert!(Upstream::new(settings("http://proxy:3128"), 1).is_ok());
    }
}
