//! A provider behind TLS with its own certificate authority, and an HTTP proxy.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http_body_util::Full;
use hyper::{
    Request, Response, Version,
    body::Bytes,
    body::Incoming,
    header::{CONTENT_TYPE, DATE},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{fake_upstream::answer, listen};

/// Host name of the certificate.
const HOST: &str = "localhost";

pub(crate) struct TlsUpstream {
    port: u16,
    authority: String,
    versions: Arc<Mutex<Vec<Version>>>,
    /// Stops when the upstream is dropped.
    _tasks: JoinSet<()>,
}

impl TlsUpstream {
    /// Replies "hello". `protocols` are offered in the TLS handshake in order of preference (`h2`, `http/1.1`).
    pub(crate) async fn start(protocols: &[&str]) -> Self {
        Self::dated(protocols, SignedDuration::ZERO, |_| ()).await
    }

    /// Its clock is `ahead` of this machine's. `adjust` changes its certificate.
    pub(crate) async fn dated(
        protocols: &[&str],
        ahead: SignedDuration,
        adjust: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let (authority, tls) = certified(protocols, adjust);
        let versions = Arc::new(Mutex::new(Vec::new()));
        let (acceptor, seen) = (TlsAcceptor::from(Arc::new(tls)), versions.clone());
        let (port, tasks) = listen(0, move |stream| {
            let (acceptor, seen) = (acceptor.clone(), seen.clone());
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| {
                    let mut answer = serve(&request, &seen);
                    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&(Timestamp::now() + ahead)).unwrap();
                    answer.headers_mut().insert(DATE, date.try_into().unwrap());
                    async move { Ok::<_, Infallible>(answer) }
                });
                let server = auto::Builder::new(TokioExecutor::new());
                server.serve_connection(TokioIo::new(stream), service).await.ok();
            }
        })
        .await;
        Self { port, authority, versions, _tasks: tasks }
    }

    pub(crate) fn address(&self) -> String {
        format!("{HOST}:{}", self.port)
    }

    /// The authority's certificate in the format of `SSL_CERT_FILE`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// HTTP versions of the chat requests so far.
    pub(crate) fn versions(&self) -> Vec<Version> {
        self.versions.lock().unwrap().clone()
    }
}

/// An authority, and a certificate of it for `localhost` with its key, as PEM.
pub(crate) fn certificates() -> (String, String, String) {
    let (authority, certificate, key) = issue(|_| ());
    (authority, certificate.pem(), key.serialize_pem())
}

fn issue(adjust: impl FnOnce(&mut CertificateParams)) -> (String, Certificate, KeyPair) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([HOST.to_owned()]).unwrap();
    adjust(&mut params);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (authority, certificate, key)
}

fn certified(protocols: &[&str], adjust: impl FnOnce(&mut CertificateParams)) -> (String, ServerConfig) {
    let (authority, certificate, key) = issue(adjust);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = key.serialize_der().try_into().unwrap();
    let mut tls = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    tls.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    (authority, tls)
}

fn serve(request: &Request<Incoming>, versions: &Mutex<Vec<Version>>) -> Response<Full<Bytes>> {
    let body = if request.uri().path().ends_with("/chat/completions") {
        versions.lock().unwrap().push(request.version());
        answer("hello")
    } else {
        r#"{"object":"list","data":[]}"#.to_owned()
    };
    Response::builder().header(CONTENT_TYPE, "application/json").body(body.into()).unwrap()
}

/// An HTTP proxy that supports `CONNECT`.
pub(crate) struct Tunnel {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Tunnel {
    pub(crate) async fn start() -> Self {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        let (port, tasks) = listen(0, move |near| pass(near, seen.clone())).await;
        Self { port, heads, _tasks: tasks }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Request line and headers of each request to the proxy.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn pass(mut near: TcpStream, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(1..) = near.read_buf(&mut head).await else { return };
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
    heads.lock().unwrap().push(head);
    let Some(target) = target else { return };
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    if near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok() {
        tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
    }
}
