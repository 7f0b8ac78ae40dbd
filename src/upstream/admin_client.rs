//! A client of a running gateway's admin API, for commands that change its clients.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{
    client::Upstream,
    response_body::{BodyError, ResponseBody},
};

/// Longer than any response takes.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Larger than any response is.
const MAX_ANSWER_BYTES: usize = 16 << 20;

#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum AdminClientError {
    #[error("no gateway responds at {url}: {why}")]
    Unreachable { url: String, why: String },
    /// The message is the gateway's own.
    #[error("{message}")]
    Refused { status: u16, message: String },
    #[error("{url} is not a Tollfree gateway: it responded {status} with an unknown body")]
    UnexpectedResponse { url: String, status: u16 },
}

/// A gateway with the key of its admin API.
pub(crate) struct AdminClient {
    upstream: Upstream,
    /// Without a trailing slash.
    url: String,
    key: SecretString,
}

impl AdminClient {
    pub(crate) fn new(upstream: Upstream, url: &str, key: SecretString) -> Self {
        Self { upstream, url: url.trim_end_matches('/').to_owned(), key }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Calls a path such as `/admin/v1/clients` and returns the JSON of the response.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body_json: Option<&Value>,
    ) -> Result<Value, AdminClientError> {
        let url = format!("{}{path}", self.url);
        let unreachable = |why: String| AdminClientError::Unreachable { url: self.url.clone(), why };
        let method = method.parse::<reqwest::Method>().map_err(|error| unreachable(error.to_string()))?;
        let mut request = self.upstream.http_background().request(method, &url).header(ACCEPT, "application/json");
        request = request.header(AUTHORIZATION, format!("Bearer {}", self.key.expose_secret()));
        if let Some(body_json) = body_json {
            request = request.json(body_json);
        }
        let exchange = async {
            let mut response = ResponseBody::new(request.send().await?);
            Ok((response.status(), response.bytes(MAX_ANSWER_BYTES).await?))
        };
        let result: Result<_, BodyError> = match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(result) => result,
            Err(_) => return Err(unreachable(format!("no response within {} s", TIMEOUT.as_secs()))),
        };
        let (status, body) = result.map_err(|error| unreachable(error.to_string()))?;
        let unexpected = || AdminClientError::UnexpectedResponse { url: self.url.clone(), status: status.as_u16() };
        let json: Value = serde_json::from_slice(&body).map_err(|_| unexpected())?;
        if status.is_success() {
            return Ok(json);
        }
        let message = json["error"]["message"].as_str().ok_or_else(unexpected)?;
        Err(AdminClientError::Refused { status: status.as_u16(), message: message.to_owned() })
    }
}
