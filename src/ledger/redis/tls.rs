//! TLS to Redis trusts the same certificates as TLS to providers: those of the system, or of `SSL_CERT_FILE` and
//! `SSL_CERT_DIR`, and Mozilla's where there are none.

use std::sync::OnceLock;

use data_encoding::BASE64;
use redis::{Client, ConnectionAddr, ConnectionInfo, RedisError, TlsCertificates};

/// A client for one node. It connects when it is first used.
pub(super) fn client(node: ConnectionInfo) -> Result<Client, RedisError> {
    let is_tls = matches!(node.addr(), ConnectionAddr::TcpTls { .. });
    match system_roots().filter(|_| is_tls) {
        Some(roots) => {
            Client::build_with_tls(node, TlsCertificates { client_tls: None, root_cert: Some(roots.to_vec()) })
        }
        None => Client::open(node),
    }
}

/// The system's certificates as PEM. `None`: the system has none.
fn system_roots() -> Option<&'static [u8]> {
    static ROOTS: OnceLock<String> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let certificates = rustls_native_certs::load_native_certs().certs;
        let pem = certificates.iter().map(|certificate| {
            format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64.encode(certificate))
        });
        pem.collect()
    });
    (!roots.is_empty()).then_some(roots.as_bytes())
}
