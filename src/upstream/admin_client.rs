//! Another gateway's admin API, for a command that has it change what it holds.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::client::{Upstream, root_cause};

/// Longer than any answer takes.
const WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum AdminClientError {
    #[error("no gateway answers at {url}: {why}")]
    Unreachable { url: String, why: String },
    /// It says why, in its own words.
    #[error("{message}")]
    Refused { status: u16, message: String },
    #[error("{url} is no gateway of ours: it answered {status} without the words we know")]
    UnexpectedResponse { url: String, status: u16 },
}

/// A gateway, and the key to its admin API.
pub(crate) struct AdminClient {
    upstream: Upstream,
    /// Without a slash at its end.
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

    /// One call: `POST`, `/admin/v1/clients`, what is said. Its answer's JSON.
    pub(crate) async fn call(&self, method: &str, path: &str, said: Option<&Value>) -> Result<Value, AdminClientError> {
        let url = format!("{}{path}", self.url);
        let unreachable = |why: String| AdminClientError::Unreachable { url: self.url.clone(), why };
        let method = method.parse::<reqwest::Method>().map_err(|error| unreachable(error.to_string()))?;
        let mut request = self.upstream.http_background().request(method, &url).header(ACCEPT, "application/json");
        request = request.header(AUTHORIZATION, format!("Bearer {}", self.key.expose_secret()));
        if let Some(said) = said {
            request = request.json(said);
        }
        let asking = async {
            let answer = request.send().await?;
            Ok((answer.status(), answer.bytes().await?))
        };
        let asked: Result<_, reqwest::Error> = match tokio::time::timeout(WITHIN, asking).await {
            Ok(asked) => asked,
            Err(_) => return Err(unreachable(format!("nothing came within {} s", WITHIN.as_secs()))),
        };
        let (status, body) = asked.map_err(|error| unreachable(root_cause(&error)))?;
        let unexpected = || AdminClientError::UnexpectedResponse { url: self.url.clone(), status: status.as_u16() };
        let json: Value = serde_json::from_slice(&body).map_err(|_| unexpected())?;
        if status.is_success() {
            return Ok(json);
        }
        let message = json["error"]["message"].as_str().ok_or_else(unexpected)?;
        Err(AdminClientError::Refused { status: status.as_u16(), message: message.to_owned() })
    }
}
