//! A client of a running gateway, as the tools of a person call it: for `setup`, `launch` and `doctor`.

use std::{error::Error, io, time::Duration};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use secrecy::{ExposeSecret, SecretString};

use super::client::{BuildError, ProxySettings, UpstreamSettings, build, build_unverified, read_bounded, root_cause};

const CONNECT_MS: u64 = 10_000;
/// Lists of models have some hundred kilobytes.
const BODY_BYTES_MAX: usize = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why no response came, in the terms in which it can be mended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error("the name has no address")]
    NoAddress,
    #[error("nothing listens there")]
    Refused,
    #[error("no response within {0} s")]
    TimedOut(u64),
    #[error("the server speaks plain HTTP there, not TLS")]
    NotTls,
    #[error("the server speaks TLS there, not plain HTTP")]
    NotPlain,
    #[error("the certificate comes from an authority that this machine does not trust")]
    UnknownAuthority,
    #[error("the certificate is not valid: {0}")]
    Certificate(String),
    /// Expired, or not yet valid, by this machine's clock.
    #[error("the certificate is not valid now: {0}")]
    NotInForce(String),
    #[error("the connection was closed before its end")]
    Closed,
    #[error("{0}")]
    Other(String),
}

pub(crate) struct GatewayClient {
    http: reqwest::Client,
    /// Without `/v1` and without a slash at its end.
    url: String,
    key: Option<SecretString>,
}

/// A complete response.
pub(crate) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A response that is read piece by piece.
pub(crate) struct OpenReply(reqwest::Response);

impl GatewayClient {
    pub(crate) fn new(url: &str, key: Option<SecretString>, proxy: Option<ProxySettings>) -> Result<Self, BuildError> {
        let settings = UpstreamSettings { connect_ms: CONNECT_MS, first_token_ms: 0, stream_idle_ms: 0, proxy };
        Ok(Self { http: build(&settings)?, url: url.to_owned(), key })
    }

    /// A client that accepts every certificate, to find out what is wrong with one. It has no key.
    pub(crate) fn unverified(url: &str, proxy: Option<ProxySettings>) -> Result<Self, BuildError> {
        let settings = UpstreamSettings { connect_ms: CONNECT_MS, first_token_ms: 0, stream_idle_ms: 0, proxy };
        Ok(Self { http: build_unverified(&settings)?, url: url.to_owned(), key: None })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Requests a path such as `/v1/models` and reads the response to its end.
    pub(crate) async fn get(&self, path: &str, header: Option<(&str, &str)>) -> Result<Reply, Unreachable> {
        let exchange = async {
            let OpenReply(mut response) = self.open(path, header).await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let (body, _) = read_bounded(&mut response, BODY_BYTES_MAX).await.map_err(|error| why(&error))?;
            Ok(Reply { status, headers, body })
        };
        let late = || Unreachable::TimedOut(TIMEOUT.as_secs());
        tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| late())?
    }

    /// Requests a path and returns at the head of the response.
    pub(crate) async fn open(&self, path: &str, header: Option<(&str, &str)>) -> Result<OpenReply, Unreachable> {
        let mut request = self.http.get(format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, format!("Bearer {}", key.expose_secret()));
        }
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let late = || Unreachable::TimedOut(TIMEOUT.as_secs());
        let response = tokio::time::timeout(TIMEOUT, request.send()).await.map_err(|_| late())?;
        Ok(OpenReply(response.map_err(|error| why(&error))?))
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The `code` and `message` of an error of a gateway.
    pub(crate) fn error(&self) -> Option<(String, String)> {
        let error = self.json()?["error"].take();
        Some((error["code"].as_str()?.to_owned(), error["message"].as_str()?.to_owned()))
    }
}

impl OpenReply {
    pub(crate) fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Unreachable> {
        self.0.chunk().await.map_err(|error| why(&error))
    }
}

fn why(error: &reqwest::Error) -> Unreachable {
    if error.is_timeout() {
        return Unreachable::TimedOut(CONNECT_MS / 1_000);
    }
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if let Some(known) = known(error) {
            return known;
        }
        cause = error.source();
    }
    let text = root_cause(error);
    match () {
        () if text.contains("invalid HTTP version") || text.contains("HTTP/0.9") => Unreachable::NotPlain,
        () if error.is_body() || error.is_decode() => Unreachable::Closed,
        () => Unreachable::Other(text),
    }
}

fn known(error: &(dyn Error + 'static)) -> Option<Unreachable> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls_fault(tls));
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // The cause is inside, and no source of it.
        if let Some(found) = error.get_ref().and_then(|inner| known(inner)) {
            return Some(found);
        }
        return match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(Unreachable::Refused),
            io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
                Some(Unreachable::Closed)
            }
            _ => None,
        };
    }
    let text = error.to_string();
    match () {
        () if text.starts_with("dns error") => Some(Unreachable::NoAddress),
        () if text.contains("connection closed before message completed") => Some(Unreachable::Closed),
        () => None,
    }
}

fn tls_fault(error: &rustls::Error) -> Unreachable {
    use rustls::{CertificateError as C, Error as E};
    match error {
        E::InvalidCertificate(C::UnknownIssuer) => Unreachable::UnknownAuthority,
        // A certificate that signed itself.
        E::InvalidCertificate(why) if why.to_string().contains("CaUsedAsEndEntity") => Unreachable::UnknownAuthority,
        E::InvalidCertificate(
            why @ (C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. }),
        ) => Unreachable::NotInForce(why.to_string()),
        E::InvalidCertificate(why) => Unreachable::Certificate(why.to_string()),
        E::InvalidMessage(_) => Unreachable::NotTls,
        other => Unreachable::Other(other.to_string()),
    }
}
