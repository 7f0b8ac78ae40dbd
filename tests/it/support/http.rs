//! HTTP client of the tests: plain requests, and streams with the time of every event.

use std::{
    sync::{LazyLock, Once},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

static CLIENT: LazyLock<()> = LazyLock::new(|| {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().ok();
    });
});

/// A new client. Connections must not be shared between runtimes.
pub(crate) fn client() -> reqwest::Client {
    LazyLock::force(&CLIENT);
    reqwest::Client::builder().tls_certs_only([]).no_proxy().timeout(Duration::from_mins(2)).build().unwrap()
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
    /// Time from the request to the last byte.
    pub took: Duration,
}

impl Answer {
    pub(crate) async fn of(call: reqwest::RequestBuilder) -> Self {
        Self::try_of(call).await.expect("the gateway answers")
    }

    /// Like [`Self::of`], for connections that may break.
    pub(crate) async fn try_of(call: reqwest::RequestBuilder) -> Result<Self, reqwest::Error> {
        let start = Instant::now();
        let reply = call.send().await?;
        let (status, headers) = (reply.status().as_u16(), reply.headers().clone());
        let body = reply.bytes().await?.to_vec();
        Ok(Self { status, headers, body, took: start.elapsed() })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// The assistant's message.
    #[track_caller]
    pub(crate) fn content(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
    }

    /// `x-tollfree-provider`
    pub(crate) fn provider(&self) -> &str {
        self.header("x-tollfree-provider").unwrap_or_default()
    }

    /// `x-tollfree-attempts`
    pub(crate) fn attempts(&self) -> &str {
        self.header("x-tollfree-attempts").unwrap_or_default()
    }

    /// Status, type and code of the error. Panics unless the error object has exactly the documented fields.
    #[track_caller]
    pub(crate) fn error(&self) -> (u16, String, String) {
        let json = self.json();
        let outer: Vec<_> = json.as_object().expect("an object").keys().collect();
        assert_eq!(outer, ["error"], "{json}");
        let mut inner: Vec<_> =
            json["error"].as_object().expect("an error object").keys().map(String::as_str).collect();
        inner.sort_unstable();
        assert_eq!(inner, ["code", "message", "param", "type"], "{json}");
        assert!(!json["error"]["message"].as_str().unwrap().is_empty());
        let text = |name: &str| json["error"][name].as_str().unwrap_or_default().to_owned();
        (self.status, text("type"), text("code"))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }

    /// `retry-after-ms`, after a check that `retry-after` is the same in whole seconds, rounded up.
    #[track_caller]
    pub(crate) fn retry_after(&self) -> Duration {
        let number = |name: &str| -> u64 {
            self.header(name).unwrap_or_else(|| panic!("no {name}: {}", self.text())).parse().unwrap()
        };
        let (seconds, millis) = (number("retry-after"), number("retry-after-ms"));
        assert_eq!(seconds, millis.div_ceil(1000), "retry-after against retry-after-ms {millis}");
        Duration::from_millis(millis)
    }
}

/// A response that is being received.
pub(crate) struct Stream {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    reply: reqwest::Response,
    pub start: Instant,
    text: Vec<u8>,
    read: usize,
}

impl Stream {
    pub(crate) async fn of(call: reqwest::RequestBuilder) -> Self {
        let start = Instant::now();
        let reply = call.send().await.expect("the gateway answers");
        let (status, headers) = (reply.status().as_u16(), reply.headers().clone());
        Self { status, headers, reply, start, text: Vec::new(), read: 0 }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The next event without its blank line, `None` at the end of the body, or an error for a broken connection.
    pub(crate) async fn next(&mut self) -> Option<Result<String, reqwest::Error>> {
        loop {
            let unread = &self.text[self.read..];
            if let Some(end) = unread.windows(2).position(|two| two == b"\n\n") {
                let event = String::from_utf8_lossy(&unread[..end]).into_owned();
                self.read += end + 2;
                return Some(Ok(event));
            }
            match self.reply.chunk().await {
                Ok(Some(piece)) => self.text.extend_from_slice(&piece),
                Ok(None) if unread.is_empty() => return None,
                Ok(None) => {
                    self.read = self.text.len();
                    return Some(Ok(String::from_utf8_lossy(&self.text).into_owned()));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Reads until the end.
    pub(crate) async fn rest(mut self) -> Finished {
        let (mut events, mut broken) = (Vec::new(), false);
        while let Some(event) = self.next().await {
            let Ok(event) = event else {
                broken = true;
                break;
            };
            events.push(event);
        }
        Finished { status: self.status, headers: self.headers, events, broken }
    }
}

/// A completely received stream.
#[derive(Debug)]
pub(crate) struct Finished {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub events: Vec<String>,
    /// The connection broke before the end.
    pub broken: bool,
}

impl Finished {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The JSON of every `data:` line that contains JSON.
    pub(crate) fn chunks(&self) -> Vec<Value> {
        let lines = self.events.iter().flat_map(|event| event.lines());
        lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok()).collect()
    }

    pub(crate) fn content(&self) -> String {
        self.chunks().iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.events.last().is_some_and(|event| event == "data: [DONE]")
    }

    /// The error event's `error`, if there was one.
    pub(crate) fn error(&self) -> Option<Value> {
        self.chunks().iter().find_map(|chunk| chunk.get("error").cloned())
    }
}
