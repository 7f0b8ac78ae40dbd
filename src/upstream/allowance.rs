//! How much of an account's allowance is used, where a provider reports it.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::{
    client::Upstream,
    model_list::{ModelListError, refused},
};

impl Upstream {
    /// Millionths of the month's allowance that are used: `limits.monthly.usage`. `path` is relative to the base URL.
    pub(crate) async fn allowance(
        &self,
        base_url: &str,
        path: &str,
        key: Option<&SecretString>,
        within_ms: u64,
    ) -> Result<i64, ModelListError> {
        let url = Url::parse(&format!("{base_url}/")).and_then(|base| base.join(path));
        let url = url.map_err(|error| ModelListError::Unreachable(error.to_string()))?;
        let get = self.get_url(url.as_str(), key);
        let (status, body) = tokio::time::timeout(Duration::from_millis(within_ms), get)
            .await
            .map_err(|_| ModelListError::Unreachable(format!("no answer within {within_ms} ms")))?
            .map_err(|error| ModelListError::Unreachable(error.to_string()))?;
        if !status.is_success() {
            return Err(refused(status, key, &body));
        }
        let usage: Value = serde_json::from_slice(&body).unwrap_or_default();
        let share = usage["limits"]["monthly"]["usage"].as_f64().filter(|share| (0.0..=10.0).contains(share));
        let unread =
            || ModelListError::Refused { status: status.as_u16(), message: "it reports no share of a month".into() };
        #[expect(clippy::cast_possible_truncation, reason = "a share of at most ten")]
        share.map(|share| (share * 1e6).round() as i64).ok_or_else(unread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{
        UpstreamSettings,
        test_support::{says, serve},
    };

    #[tokio::test]
    async fn a_share_is_read_from_beside_the_base_url() {
        let settings = UpstreamSettings { connect_ms: 500, first_token_ms: 500, stream_idle_ms: 500, proxy: None };
        let upstream = Upstream::new(settings, 1, crate::memory::Memory::new(None)).unwrap();
        let usage = br#"{"plan":"free","limits":{"monthly":{"usage":0.1234}},"request_count":7}"#;
        let mut server = serve(says(200, "application/json", usage)).await;
        let key = SecretString::from("test-key");
        let used = upstream.allowance(&server.base_url, "../api/usage", Some(&key), 2_000).await.unwrap();
        assert_eq!(used, 123_400);
        let (request, _) = server.requests.recv().await.unwrap();
        assert!(request.starts_with("GET /api/usage HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: Bearer test-key\r\n"), "{request}");
        let other = serve(says(200, "application/json", b"{}")).await;
        assert!(upstream.allowance(&other.base_url, "../api/usage", None, 2_000).await.is_err());
    }
}
