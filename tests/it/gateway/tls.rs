//! Providers behind TLS: trusted certificates, HTTP versions and the proxy.

use hyper::Version;

use crate::support::{
    app::{Setup, TestApp},
    tls_upstream::{TlsUpstream, Tunnel},
};

/// A gateway that trusts the provider's authority.
fn trusting(upstream: &TlsUpstream) -> (Setup, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), upstream.authority()).unwrap();
    (setup(upstream).env("SSL_CERT_FILE", file.path().display()), file)
}

fn setup(upstream: &TlsUpstream) -> Setup {
    let address = upstream.address();
    TestApp::setup().file(&format!("[providers.lab]\nbase_url = \"https://{address}/v1\"\n[providers.lab.models.m]\n"))
}

#[tokio::test]
async fn http_2_is_used_if_the_provider_offers_it() {
    for (protocols, version) in
        [(&["h2", "http/1.1"][..], Version::HTTP_2), (&["http/1.1"], Version::HTTP_11), (&[], Version::HTTP_11)]
    {
        let upstream = TlsUpstream::start(protocols).await;
        let (setup, _authority) = trusting(&upstream);
        let app = setup.start().await;
        for _ in 0..2 {
            assert_eq!(app.chat("lab/m").await.content(), "hello");
        }
        assert_eq!(upstream.versions(), [version; 2], "{protocols:?}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_rejected() {
    let upstream = TlsUpstream::start(&["h2"]).await;
    let app = setup(&upstream).start().await;
    let answer = app.chat("lab/m").await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(answer.attempts(), "lab/m;connect");
    assert!(upstream.versions().is_empty());
}

#[tokio::test]
async fn requests_go_through_the_proxy_and_its_password_is_not_logged() {
    let (upstream, tunnel) = (TlsUpstream::start(&["h2", "http/1.1"]).await, Tunnel::start().await);
    let (setup, _authority) = trusting(&upstream);
    let proxy = format!("http://someone:hunter2@{}", tunnel.address());
    let app = setup.env("HTTPS_PROXY", proxy).env("LOG_LEVEL", "debug").start().await;
    assert_eq!(app.chat("lab/m").await.content(), "hello");
    assert_eq!(upstream.versions(), [Version::HTTP_2]);
    let (heads, to) = (tunnel.heads(), format!("CONNECT {} ", upstream.address()));
    assert!(heads.iter().all(|head| head.starts_with(&to)), "{heads:?}");
    // The Base64 form of someone:hunter2, in lower case.
    assert!(heads.iter().any(|head| head.to_lowercase().contains("proxy-authorization: basic c29tzw9uztpodw50zxiy")));
    assert!(!app.log().contains("hunter2"), "{}", app.log());
}

#[tokio::test]
async fn a_host_of_no_proxy_is_called_without_the_proxy() {
    let (upstream, tunnel) = (TlsUpstream::start(&["h2"]).await, Tunnel::start().await);
    for (no_proxy, tunnels) in [("localhost,127.0.0.0/8,.svc", 0), (".svc", 1)] {
        let (setup, _authority) = trusting(&upstream);
        let setup = setup.env("ALL_PROXY", format!("http://{}", tunnel.address())).env("NO_PROXY", no_proxy);
        assert_eq!(setup.start().await.chat("lab/m").await.content(), "hello");
        assert_eq!(tunnel.heads().len(), tunnels, "NO_PROXY={no_proxy}");
    }
}
