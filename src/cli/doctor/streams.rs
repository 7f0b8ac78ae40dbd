//! Whether what is between lets a stream through as it is sent, and leaves a silent one open.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::report::Finding;
use crate::{
    cli::progress::Progress,
    upstream::gateway_client::{GatewayClient, OpenReply, Unreachable},
};

/// Events that arrive closer together than this share of the time between their sending were held back.
const HELD_BACK_SHARE: f64 = 0.5;
/// Longer than the pause by which a stream is late on a slow network.
const SPARE: Duration = Duration::from_secs(20);

/// An event and when it came.
struct Arrival {
    sent_ms: f64,
    at: Instant,
    is_last: bool,
}

/// A stream of events that the gateway sends at known times.
struct TestStream {
    reply: OpenReply,
    text: String,
}

impl TestStream {
    /// `None`: this gateway has no such stream.
    async fn open(client: &GatewayClient, silent: Duration) -> Result<Option<Self>, Unreachable> {
        let reply = client.open(&format!("/v1/stream-test?silent_ms={}", silent.as_millis()), None).await?;
        Ok((reply.status() == 200).then(|| Self { reply, text: String::new() }))
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Result<Option<Arrival>, Unreachable> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let rest = Box::<str>::from(rest);
                let json: Option<Value> = event.strip_prefix("data: ").and_then(|data| serde_json::from_str(data).ok());
                self.text = rest.into();
                if let Some(sent_ms) = json.as_ref().and_then(|json| json["sent_ms"].as_f64()) {
                    let is_last = json.is_some_and(|json| json["event"] == json["of"]);
                    return Ok(Some(Arrival { sent_ms, at: Instant::now(), is_last }));
                }
                continue;
            }
            match self.reply.chunk().await? {
                Some(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                None => return Ok(None),
            }
        }
    }
}

const OLDER: &str = "this gateway is an older version, without a stream to test with";

/// Measures the time between events.
pub(super) async fn check_buffering(client: &GatewayClient) -> Finding {
    const CHECK: &str = "streaming";
    let mend = "turn off buffering for this address: `proxy_buffering off` in nginx, `flushInterval: -1` in Caddy and Traefik, no \
                compression of `text/event-stream`; virus scanners and company proxies may need an exception";
    let mut stream = match TestStream::open(client, Duration::ZERO).await {
        Ok(Some(stream)) => stream,
        Ok(None) => return Finding::skipped(CHECK, OLDER),
        Err(error) => return Finding::bad(CHECK, format!("no stream: {error}"), mend),
    };
    let mut arrivals = Vec::new();
    loop {
        match stream.next().await {
            Ok(Some(arrival)) => arrivals.push(arrival),
            Ok(None) => break,
            Err(error) => return Finding::bad(CHECK, format!("the stream broke: {error}"), mend),
        }
    }
    let ([first, .., last], true) = (&arrivals[..], arrivals.last().is_some_and(|last| last.is_last)) else {
        return Finding::bad(CHECK, "the stream ended before its last event", mend);
    };
    let sent_ms = last.sent_ms - first.sent_ms;
    let came_ms = (last.at - first.at).as_secs_f64() * 1_000.0;
    if came_ms < sent_ms * HELD_BACK_SHARE {
        let message = format!(
            "something between holds streams back: events sent over {sent_ms:.0} ms came within {came_ms:.0} ms"
        );
        return Finding::bad(CHECK, message, mend);
    }
    Finding::good(CHECK, format!("not buffered: events sent over {sent_ms:.0} ms came over {came_ms:.0} ms"))
}

/// Keeps a stream silent on purpose.
pub(super) async fn check_idle(client: &GatewayClient, silent: Duration) -> Finding {
    const CHECK: &str = "idle";
    let mend = "raise the idle time of the proxy or load balancer (`proxy_read_timeout` in nginx, the idle timeout of a cloud's) to \
                several minutes: answers that are not streamed may take that long";
    let mut stream = match TestStream::open(client, silent).await {
        Ok(Some(stream)) => stream,
        Ok(None) => return Finding::skipped(CHECK, OLDER),
        Err(error) => return Finding::bad(CHECK, format!("no stream: {error}"), mend),
    };
    let _progress = Progress::start(format!("A stream is kept silent for {} s:", silent.as_secs()));
    let start = Instant::now();
    let whole = async {
        while let Some(arrival) = stream.next().await? {
            if arrival.is_last {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let ended: Result<Result<bool, Unreachable>, _> = tokio::time::timeout(silent + SPARE, whole).await;
    match ended {
        Ok(Ok(true)) => {
            Finding::good(CHECK, format!("a stream that was silent for {} s stayed open", silent.as_secs()))
        }
        Ok(Ok(false) | Err(_)) => {
            let cut_s = start.elapsed().as_secs();
            Finding::bad(CHECK, format!("something between cuts connections that are silent for about {cut_s} s"), mend)
        }
        Err(_) => Finding::bad(CHECK, "the stream went silent and never came back, without being closed", mend),
    }
}
