//! Streaming responses that wait long for their first content. For ten seconds nothing is sent, so that an error can still
//! have its own status. After that a 200 is sent, followed by something that keeps the connection alive.

use std::{convert::Infallible, future::Future, pin::Pin};

use actix_web::{HttpResponse, http::header::HeaderMap, web::Bytes};
use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use crate::{
    api::{
        edge::{
            flow_error,
            keep_alive::{KEEP_ALIVE, KEEP_ALIVE_INTERVAL, NeverSilent, event_stream},
        },
        v1::{
            encoded::{Encoding, Events},
            responders::{self, RequestContext},
        },
    },
    flow::{AttemptLog, ChatReply, FlowError},
    memory::Reservation,
    relay::ChatBody,
};

/// Boxed from the start because it is large and may have to move into the response body.
pub(crate) type PendingReply = Pin<Box<dyn Future<Output = Result<ChatReply, FlowError>>>>;

/// A reply that keeps the memory of the request's body until it is there. It may be waited for in the body of the response,
/// when the request of the server is gone.
pub(crate) fn pending(
    reply: impl Future<Output = Result<ChatReply, FlowError>> + 'static,
    memory: Option<Reservation>,
) -> PendingReply {
    Box::pin(async move {
        let _memory = memory;
        reply.await
    })
}

/// Waits for the reply before the headers, or in the body if it takes longer than the protocol holds its status. Dropping the
/// response cancels the request.
pub(crate) async fn respond(
    mut reply: PendingReply,
    encoding: Option<Encoding>,
    context: RequestContext,
) -> HttpResponse {
    let hold = encoding.as_ref().map_or(KEEP_ALIVE_INTERVAL, |encoding| encoding.encoder().hold());
    if let Ok(result) = timeout(hold, reply.as_mut()).await {
        return match (result, encoding) {
            (Err(error), Some(encoding)) => refuse(error, encoding, context),
            (result, encoding) => responders::respond(result, encoding, &context),
        };
    }
    respond_early(Stage::Begun(reply), encoding, context)
}

/// A refusal with its own status, or in a stream where the protocol's clients handle it better there.
fn refuse(error: FlowError, encoding: Encoding, context: RequestContext) -> HttpResponse {
    let failure = flow_error::from_flow(&error, &context.model).failure();
    if encoding.encoder().refuses_in_stream(&failure) {
        return respond_early(Stage::Failed(error), Some(encoding), context);
    }
    responders::respond(Err(error), Some(encoding), &context)
}

/// Sends a 200 with the headers that are known by now.
fn respond_early(stage: Stage, encoding: Option<Encoding>, context: RequestContext) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    let mut headers = HeaderMap::new();
    responders::routing_headers(&mut headers, &context);
    let stream = EarlyStream { context, encoding, stage };
    let events = stream::unfold(stream, |mut stream| async move { stream.next().await.map(|bytes| (bytes, stream)) });
    let mut response = event_stream(&mut response).streaming(events.map(Ok::<_, Infallible>));
    for (name, value) in headers {
        response.headers_mut().insert(name, value);
    }
    response
}

/// A response body that has begun before its reply.
struct EarlyStream {
    context: RequestContext,
    /// `None` where the reply is sent as it comes, or is sent already.
    encoding: Option<Encoding>,
    stage: Stage,
}

enum Stage {
    /// The headers are sent together with a first sign of life.
    Begun(PendingReply),
    Waiting(PendingReply),
    Failed(FlowError),
    Relaying(Events),
    Ended,
}

impl EarlyStream {
    async fn next(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Begun(reply) => {
                self.stage = Stage::Waiting(reply);
                Some(self.keep_alive())
            }
            Stage::Waiting(mut reply) => match timeout(KEEP_ALIVE_INTERVAL, reply.as_mut()).await {
                Err(_) => {
                    self.stage = Stage::Waiting(reply);
                    Some(self.keep_alive())
                }
                Ok(Ok(reply)) => Some(self.commit(reply)),
                Ok(Err(error)) => Some(self.fail(&error)),
            },
            Stage::Failed(error) => Some(self.fail(&error)),
            Stage::Relaying(mut events) => {
                let event = events.next().await;
                self.stage = Stage::Relaying(events);
                event
            }
            Stage::Ended => None,
        }
    }

    fn keep_alive(&mut self) -> Bytes {
        self.encoding.as_mut().map_or(KEEP_ALIVE, Encoding::keep_alive)
    }

    fn fail(&mut self, error: &FlowError) -> Bytes {
        let error = flow_error::from_flow(error, &self.context.model);
        match &mut self.encoding {
            Some(encoding) => encoding.fail(&error.failure()),
            None => responders::error_event(&error).into(),
        }
    }

    /// Sends as a comment what the headers should have contained.
    fn commit(&mut self, reply: ChatReply) -> Bytes {
        let comment = comment(&reply, &self.context.attempt_log);
        let events: Events = match reply.body {
            ChatBody::Stream(events) => Box::pin(NeverSilent::new(events)),
            ChatBody::Whole(body) => Box::pin(stream::iter(as_events(&body))),
        };
        self.stage = Stage::Relaying(match self.encoding.take() {
            Some(encoding) => encoding.events(reply.model, events),
            None => events,
        });
        comment.into()
    }
}

fn comment(reply: &ChatReply, attempt_log: &AttemptLog) -> String {
    let ChatReply { provider, model, .. } = reply;
    let lines = format!(
        ": x-tollfree-provider={provider}\n: x-tollfree-model={model}\n: x-tollfree-attempts={}\n\n",
        attempt_log.header()
    );
    lines.replace('\r', "")
}

/// A provider may reply a streaming request with one whole body, which becomes the only event.
fn as_events(body: &Bytes) -> [Bytes; 2] {
    // Newlines would end the event.
    let one_line: String = String::from_utf8_lossy(body).lines().collect::<Vec<_>>().join(" ");
    [Bytes::from(format!("data: {one_line}\n\n")), Bytes::from_static(b"data: [DONE]\n\n")]
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use actix_web::body::{BoxBody, MessageBody};
    use tokio::{
        sync::oneshot::{self, error::TryRecvError},
        time::{Instant, sleep},
    };

    use super::*;
    use crate::{memory::Memory, protocol::Protocol};

    fn context() -> RequestContext {
        RequestContext {
            protocol: Protocol::Chat,
            model: "free".into(),
            attempt_log: AttemptLog::new("r1"),
            preference_applied: None,
            dropped: String::new(),
        }
    }

    fn reply() -> ChatReply {
        let events = stream::iter([Bytes::from_static(b"data: {}\n\n"), Bytes::from_static(b"data: [DONE]\n\n")]);
        ChatReply {
            provider: "groq".into(),
            model: "groq/llama".into(),
            body: ChatBody::Stream(Box::pin(events)),
            client: None,
        }
    }

    fn failed() -> FlowError {
        FlowError::AllFailed { attempts: Vec::new(), timed_out: true }
    }

    fn after(seconds: u64, result: Result<ChatReply, FlowError>) -> PendingReply {
        Box::pin(async move {
            sleep(Duration::from_secs(seconds)).await;
            result
        })
    }

    /// Every chunk of the body with the second in which it arrived.
    async fn pieces(body: BoxBody, since: Instant) -> Vec<(u64, String)> {
        let mut body = pin!(body);
        let mut pieces = Vec::new();
        while let Some(piece) = std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            let text = String::from_utf8(piece.unwrap().to_vec()).unwrap();
            pieces.push((since.elapsed().as_secs(), text));
        }
        pieces
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_within_ten_seconds_has_its_headers() {
        let response = respond(after(9, Ok(reply())), None, context()).await;
        assert_eq!(response.headers().get("x-tollfree-provider").unwrap(), "groq");
        assert_eq!(response.headers().get("x-accel-buffering").unwrap(), "no");
        let pieces = pieces(response.into_body(), Instant::now()).await;
        assert_eq!(pieces[0].1, "data: {}\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_within_ten_seconds_has_its_status() {
        let response = respond(after(9, Err(failed())), None, context()).await;
        assert_eq!(response.status(), 504);
    }

    #[tokio::test(start_paused = true)]
    async fn after_ten_seconds_comments_keep_the_connection_alive_and_name_the_provider() {
        let since = Instant::now();
        let response = respond(after(25, Ok(reply())), None, context()).await;
        assert_eq!((response.status().as_u16(), since.elapsed().as_secs()), (200, 10));
        assert_eq!(response.headers().get("x-tollfree-provider"), None);
        assert_eq!(response.headers().get("x-tollfree-waited-ms").unwrap(), "0");
        let pieces = pieces(response.into_body(), since).await;
        let keep_alive = ": keep-alive\n\n".to_owned();
        assert_eq!(pieces[..2], [(10, keep_alive.clone()), (20, keep_alive)]);
        assert!(pieces[2].1.starts_with(": x-tollfree-provider=groq\n: x-tollfree-model=groq/llama\n"), "{pieces:?}");
        assert_eq!(pieces[2].0, 25);
        assert_eq!((pieces[3].1.as_str(), pieces[4].1.as_str()), ("data: {}\n\n", "data: [DONE]\n\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_of_a_body_is_reserved_until_its_reply_is_there() {
        let memory = Memory::new(Some(8));
        let mut reservation = memory.reserve("ann".into());
        reservation.grow(1_000).unwrap();
        let response = respond(pending(after(25, Ok(reply())), Some(reservation)), None, context()).await;
        assert_eq!(memory.reserved(), 2_000, "the response has begun");
        let mut body = pin!(response.into_body());
        let mut reserved = Vec::new();
        while std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await.is_some() {
            reserved.push(memory.reserved());
        }
        assert_eq!(reserved, [2_000, 2_000, 0, 0, 0], "two comments, the provider, two events");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_failure_is_an_event_without_done() {
        let since = Instant::now();
        let response = respond(after(15, Err(failed())), None, context()).await;
        let pieces = pieces(response.into_body(), since).await;
        let (_, last) = pieces.last().unwrap();
        assert!(last.starts_with("data: {\"error\":") && last.contains("upstream_timeout"), "{last}");
        assert!(!pieces.iter().any(|(_, text)| text.contains("[DONE]")));
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_response_cancels_the_request() {
        let (held, mut dropped) = oneshot::channel::<()>();
        let search = Box::pin(async move {
            let _held = held;
            after(60, Ok(reply())).await
        });
        let response = respond(search, None, context()).await;
        assert_eq!(dropped.try_recv(), Err(TryRecvError::Empty));
        drop(response);
        assert_eq!(dropped.try_recv(), Err(TryRecvError::Closed));
    }
}
