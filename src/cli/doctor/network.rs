//! From the name to a response of the gateway: DNS, proxy, TCP, TLS, and the path.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use url::{Host, Url};

use super::{clock, report::Finding};
use crate::{
    cli::gateway_access::{client, proxy},
    setup::Places,
    upstream::gateway_client::{GatewayClient, Reply, Unreachable},
};

/// The proxy that is used for this address, if any.
pub(super) fn check_proxy(places: &Places, url: &Url) -> Finding {
    let plain = plain_proxy(places, url).filter(|_| url.scheme() == "http");
    match (proxy(places), plain) {
        (Some(proxy), _) if url.scheme() == "https" => Finding::good(
            "proxy",
            format!(
                "{}{}",
                shown(&proxy.url),
                proxy.bypass.map_or_else(String::new, |hosts| format!(", except for {hosts}"))
            ),
        ),
        (_, Some(proxy)) => Finding::warning(
            "proxy",
            format!(
                "HTTP_PROXY is set, {}: tools may send requests to this address through it; this command does not",
                shown(proxy)
            ),
            format!("add the host to NO_PROXY: `export NO_PROXY={}`", url.host_str().unwrap_or_default()),
        ),
        (Some(_), None) => Finding::good("proxy", "none: HTTPS_PROXY does not apply to http:// addresses"),
        (None, None) => Finding::good("proxy", "none"),
    }
}

/// The proxy that tools take for addresses without TLS, unless the host is excepted.
fn plain_proxy<'a>(places: &'a Places, url: &Url) -> Option<&'a str> {
    let var = |name: &str| places.var(name).or_else(|| places.var(&name.to_lowercase()));
    let host = url.host_str().unwrap_or_default();
    let is_excepted = |name: &str| {
        let name = name.trim().trim_start_matches('.');
        let below = host.strip_suffix(name).is_some_and(|above| above.is_empty() || above.ends_with('.'));
        name == "*" || (!name.is_empty() && below)
    };
    let excepted = var("NO_PROXY").is_some_and(|names| names.split(',').any(is_excepted));
    var("HTTP_PROXY").or_else(|| var("ALL_PROXY")).filter(|_| !excepted)
}

/// Without the password.
fn shown(proxy: &str) -> String {
    let Ok(mut url) = Url::parse(proxy) else { return "a proxy with an unreadable address".to_owned() };
    if url.password().is_some() {
        // Only addresses without a host refuse one.
        let _ = url.set_password(Some("…"));
    }
    url.to_string()
}

pub(super) async fn check_name(places: &Places, url: &Url) -> Finding {
    let Some(Host::Domain(name)) = url.host() else {
        return Finding::good("dns", "not needed: the URL has an address");
    };
    if url.scheme() == "https" && proxy(places).is_some() {
        return Finding::skipped("dns", "left to the proxy");
    }
    match tokio::net::lookup_host((name, 0)).await {
        Ok(addresses) => {
            let addresses: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
            let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Finding::good("dns", format!("{name} is {list}"))
        }
        Err(error) => Finding::bad(
            "dns",
            format!("{name} has no address: {error}"),
            "check the spelling of the name, and whether it needs a VPN or another DNS server",
        ),
    }
}

/// Connects, and sees whether a gateway responds. Returns its response with it.
pub(super) async fn check_connection(
    places: &Places,
    client: &GatewayClient,
    url: &Url,
) -> anyhow::Result<(Finding, Option<Reply>)> {
    let reply = match client.get("/healthz", None).await {
        Ok(reply) => reply,
        Err(error) => {
            if matches!(error, Unreachable::NotInForce(_)) {
                return Ok((not_in_force(&error, clock_off(places, url).await?), None));
            }
            let may_be_tls = matches!(error, Unreachable::Closed | Unreachable::NotPlain | Unreachable::Other(_));
            let is_tls = url.scheme() == "http" && may_be_tls && speaks_tls(places, url).await?;
            return Ok((unreachable(if is_tls { &Unreachable::NotPlain } else { &error }, url), None));
        }
    };
    if is_gateway(&reply) {
        let how = if url.scheme() == "https" { "over TLS" } else { "over plain HTTP" };
        let good = Finding::good("connection", format!("a gateway responds {how}"));
        let is_private = url.scheme() == "https" || is_local(url);
        let finding = if is_private {
            good
        } else {
            Finding::warning(
                "connection",
                format!("a gateway responds {how}"),
                "the key can be read on the way: use https:// where others share the network",
            )
        };
        return Ok((finding, Some(reply)));
    }
    let message = format!("something responds with {} there, but it is no gateway", reply.status);
    let mend = match right_path(places, url).await? {
        Some(right) => format!("the gateway is at {right}: use --url {right}"),
        None => "check the host, the port and the path of the URL; the path ends before /v1".to_owned(),
    };
    Ok((Finding::bad("path", message, mend), None))
}

/// By how much this machine's clock differs from the server's, if it says the time. Its certificate is not verified, and no key is
/// sent.
async fn clock_off(places: &Places, url: &Url) -> anyhow::Result<Option<SignedDuration>> {
    let client = GatewayClient::unverified(url.as_str().trim_end_matches('/'), proxy(places))?;
    let reply = client.get("/healthz", None).await;
    Ok(reply.ok().and_then(|reply| clock::off(&reply, Timestamp::now())))
}

/// A wrong clock makes a good certificate seem expired, or not yet valid.
fn not_in_force(error: &Unreachable, off: Option<SignedDuration>) -> Finding {
    match off {
        Some(off) if clock::is_bad(off) => {
            Finding::bad("clock", format!("{}, so that {error}", clock::described(off)), clock::MEND)
        }
        Some(_) => Finding::bad("tls", error.to_string(), "the operator of the gateway must renew the certificate"),
        None => Finding::bad(
            "tls",
            error.to_string(),
            format!(
                "check this machine's clock (it says {:.0}); if it is right, the operator of the gateway must renew the certificate",
                Timestamp::now()
            ),
        ),
    }
}

/// Whether the server responds to TLS, with whichever certificate. To plain HTTP such servers close the connection or send
/// what is no HTTP.
async fn speaks_tls(places: &Places, url: &Url) -> anyhow::Result<bool> {
    let client = client(places, &with_scheme(url, "https"), None::<SecretString>)?;
    let reply = client.get("/healthz", None).await;
    Ok(matches!(
        reply,
        Ok(_) | Err(Unreachable::UnknownAuthority | Unreachable::Certificate(_) | Unreachable::NotInForce(_))
    ))
}

fn with_scheme(url: &Url, scheme: &str) -> String {
    let address = format!("{scheme}://{}", &url[url::Position::BeforeHost..]);
    address.trim_end_matches('/').to_owned()
}

fn is_gateway(reply: &Reply) -> bool {
    reply.status == 200 && reply.json().is_some_and(|json| json["status"] == "ok")
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// Where a gateway responds, on the same host with fewer segments of the path.
async fn right_path(places: &Places, url: &Url) -> anyhow::Result<Option<String>> {
    let mut path = url.path().trim_end_matches('/');
    while let Some((shorter, _)) = path.rsplit_once('/') {
        let mut other = url.clone();
        other.set_path(shorter);
        let other = other.as_str().trim_end_matches('/').to_owned();
        if client(places, &other, None::<SecretString>)?
            .get("/healthz", None)
            .await
            .is_ok_and(|reply| is_gateway(&reply))
        {
            return Ok(Some(other));
        }
        path = shorter;
    }
    Ok(None)
}

fn unreachable(error: &Unreachable, url: &Url) -> Finding {
    let place = url
        .socket_addrs(|| None)
        .ok()
        .and_then(|all| all.first().copied())
        .map_or_else(|| url.to_string(), |a| a.to_string());
    let (check, message, mend) = match error {
        Unreachable::NoAddress => ("dns", error.to_string(), "check the spelling of the name".to_owned()),
        Unreachable::Refused => (
            "connection",
            format!("nothing listens at {place}: the gateway is down, or it is elsewhere"),
            "start the gateway, or check the host and the port".to_owned(),
        ),
        Unreachable::TimedOut(_) => (
            "connection",
            format!("{place}: {error}"),
            "a firewall may drop the packets: check the network, the VPN and the port".to_owned(),
        ),
        Unreachable::NotTls => ("tls", error.to_string(), format!("use --url {}", with_scheme(url, "http"))),
        Unreachable::NotPlain => ("tls", error.to_string(), format!("use --url {}", with_scheme(url, "https"))),
        Unreachable::UnknownAuthority => (
            "tls",
            error.to_string(),
            "install the certificate of that authority on this machine, or name its file: SSL_CERT_FILE for this command, \
             NODE_EXTRA_CA_CERTS for Claude Code, opencode and Qwen Code, SSL_CERT_FILE for aider and llm, \
             CODEX_CA_CERTIFICATE for Codex"
                .to_owned(),
        ),
        Unreachable::Certificate(_) | Unreachable::NotInForce(_) => (
            "tls",
            error.to_string(),
            "the operator of the gateway must renew the certificate, or the URL must have the name that is in it".to_owned(),
        ),
        Unreachable::Closed => (
            "connection",
            format!("{place}: {error}"),
            "something between closes connections: check the proxy, and whether the URL should begin with https://".to_owned(),
        ),
        Unreachable::Other(_) => ("connection", format!("{place}: {error}"), "check the URL and the network".to_owned()),
    };
    Finding::bad(check, message, mend)
}
