//! Redis behind TLS with a certificate of a private authority.

use crate::support::{
    app::TestApp, fake_upstream::FakeUpstream, process::free_port, replicated_redis::Node, tls_upstream::certificates,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_through_ssl_cert_file() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, certificate, key) = certificates();
    let write = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.display().to_string()
    };
    let (authority, certificate, key) =
        (write("authority.pem", &authority), write("redis.pem", &certificate), write("key.pem", &key));
    let port = free_port().to_string();
    let tls = ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let redis = Node::start(&[&tls[..], &["--tls-ca-cert-file", &authority, "--tls-auth-clients", "no"]].concat());
    redis.until_up().await;
    let upstream = FakeUpstream::start().await;
    let setup = TestApp::setup().lab("lab", &upstream);
    let app =
        setup.env("REDIS_URL", format!("rediss://localhost:{port}")).env("SSL_CERT_FILE", authority).start().await;
    assert_eq!(app.chat("lab/m").await.status, 200, "{}", app.log());
}
