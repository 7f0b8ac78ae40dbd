//! The address under which clients reach the gateway.

use actix_web::{HttpRequest, http::header::HOST};

use crate::api::edge::{access_policy::AccessPolicy, error::ApiError};

/// `server.public_url`, or else the address by which the request came, without a slash at its end. It is written into scripts,
/// so that a `Host` with other characters than those of names and addresses is refused.
pub(super) fn public_url(policy: &AccessPolicy, request: &HttpRequest) -> Result<String, ApiError> {
    if let Some(url) = &policy.public_url {
        return Ok(url.to_string());
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_proxied = request.peer_addr().is_some_and(|peer| policy.trusts_proxy(peer.ip().to_canonical()));
    let forwarded = |name: &str| header(name).filter(|_| is_proxied);
    let host = forwarded("x-forwarded-host").or_else(|| header(HOST.as_str())).unwrap_or_default().trim();
    let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(c));
    if !is_host {
        return Err(ApiError::InvalidValue {
            message: "The `Host` of the request is no host. The setting `server.public_url` names the address.".into(),
            param: Some("host".into()),
        });
    }
    let is_https = forwarded("x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
    Ok(format!("{}://{host}{}", if is_https { "https" } else { "http" }, policy.base_path))
}
