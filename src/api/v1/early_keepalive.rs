//! Streams whose first content is long in coming: nothing for ten seconds, so that an error can still have its status;
//! then 200 and comments that keep the connection alive until there is something to say.

use std::{convert::Infallible, future::Future, pin::Pin, time::Duration};

use actix_web::{HttpResponse, http::header::HeaderMap, web::Bytes};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::timeout;

use crate::{
    api::{
        edge::flow_error,
        v1::responders::{self, Asked},
    },
    flow::{AttemptLog, ChatReply, FlowError},
    relay::ChatBody,
};

/// Shorter than the idle time-outs of proxies and ingresses (60 s and more), longer than a usual first token.
const QUIET: Duration = Duration::from_secs(10);
/// The SSE standard has every reader skip it.
const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

type Events = Pin<Box<dyn Stream<Item = Bytes> + Send>>;
/// On the heap from the start: it is large, and may outlive the response's head.
pub type Answering = Pin<Box<dyn Future<Output = Result<ChatReply, FlowError>>>>;

/// Waits for the answer, at most ten seconds in silence. Dropping the response drops the answer, wherever it stands.
pub async fn respond(mut answer: Answering, asked: Asked) -> HttpResponse {
    if let Ok(result) = timeout(QUIET, answer.as_mut()).await {
        return responders::finish(result, &asked);
    }
    let mut response = HttpResponse::Ok();
    let mut headers = HeaderMap::new();
    responders::asked_headers(&mut headers, &asked);
    let late = Late { asked, stage: Stage::Begun(answer) };
    let events = stream::unfold(late, |mut late| async move { late.next().await.map(|bytes| (bytes, late)) });
    let mut response = responders::event_stream(&mut response).streaming(events.map(Ok::<_, Infallible>));
    for (name, value) in headers {
        response.headers_mut().insert(name, value);
    }
    response
}

/// A stream that has begun before its answer.
struct Late {
    asked: Asked,
    stage: Stage,
}

enum Stage {
    /// The first comment brings the head out.
    Begun(Answering),
    Waiting(Answering),
    Relaying(Events),
    Ended,
}

impl Late {
    async fn next(&mut self) -> Option<Bytes> {
        match &mut self.stage {
            Stage::Begun(_) => {
                if let Stage::Begun(answer) = std::mem::replace(&mut self.stage, Stage::Ended) {
                    self.stage = Stage::Waiting(answer);
                }
                Some(KEEP_ALIVE)
            }
            Stage::Waiting(answer) => match timeout(QUIET, answer.as_mut()).await {
                Err(_) => Some(KEEP_ALIVE),
                Ok(Ok(answer)) => Some(self.commit(answer)),
                Ok(Err(error)) => {
                    self.stage = Stage::Ended;
                    let error = flow_error::told(error, &self.asked.model);
                    Some(responders::error_event(&error).into())
                }
            },
            Stage::Relaying(events) => events.next().await,
            Stage::Ended => None,
        }
    }

    /// What the headers could not say any more.
    fn commit(&mut self, answer: ChatReply) -> Bytes {
        let comment = comment(&answer, &self.asked.attempt_log);
        self.stage = Stage::Relaying(match answer.body {
            ChatBody::Stream(events) => events,
            ChatBody::Whole(body) => Box::pin(stream::iter(as_events(&body))),
        });
        comment.into()
    }
}

fn comment(answer: &ChatReply, attempt_log: &AttemptLog) -> String {
    let ChatReply { provider, model, .. } = answer;
    let lines = format!(
        ": x-tollfree-provider={provider}\n: x-tollfree-model={model}\n: x-tollfree-attempts={}\n\n",
        attempt_log.header()
    );
    lines.replace('\r', "")
}

/// A provider may answer a stream with one whole body: it is then the only event.
fn as_events(body: &Bytes) -> [Bytes; 2] {
    // Newlines would end the event.
    let one_line: String = String::from_utf8_lossy(body).lines().collect::<Vec<_>>().join(" ");
    [Bytes::from(format!("data: {one_line}\n\n")), Bytes::from_static(b"data: [DONE]\n\n")]
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use actix_web::body::{BoxBody, MessageBody};
    use tokio::{
        sync::oneshot::{self, error::TryRecvError},
        time::{Instant, sleep},
    };

    use super::*;

    fn asked() -> Asked {
        Asked { model: "free".into(), attempt_log: AttemptLog::new("r1"), preference_applied: None }
    }

    fn answer() -> ChatReply {
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

    fn after(seconds: u64, result: Result<ChatReply, FlowError>) -> Answering {
        Box::pin(async move {
            sleep(Duration::from_secs(seconds)).await;
            result
        })
    }

    /// Every piece of the body, with the second it came in.
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
    async fn an_answer_within_ten_seconds_has_its_headers() {
        let response = respond(after(9, Ok(answer())), asked()).await;
        assert_eq!(response.headers().get("x-tollfree-provider").unwrap(), "groq");
        assert_eq!(response.headers().get("x-accel-buffering").unwrap(), "no");
        let pieces = pieces(response.into_body(), Instant::now()).await;
        assert_eq!(pieces[0].1, "data: {}\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_within_ten_seconds_has_its_status() {
        let response = respond(after(9, Err(failed())), asked()).await;
        assert_eq!(response.status(), 504);
    }

    #[tokio::test(start_paused = true)]
    async fn later_comments_keep_the_connection_alive_and_name_the_provider() {
        let since = Instant::now();
        let response = respond(after(25, Ok(answer())), asked()).await;
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
    async fn a_late_failure_is_an_event_and_no_done_follows() {
        let since = Instant::now();
        let response = respond(after(15, Err(failed())), asked()).await;
        let pieces = pieces(response.into_body(), since).await;
        let (_, last) = pieces.last().unwrap();
        assert!(last.starts_with("data: {\"error\":") && last.contains("upstream_timeout"), "{last}");
        assert!(!pieces.iter().any(|(_, text)| text.contains("[DONE]")));
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_response_drops_the_search() {
        let (held, mut dropped) = oneshot::channel::<()>();
        let search = Box::pin(async move {
            let _held = held;
            after(60, Ok(answer())).await
        });
        let response = respond(search, asked()).await;
        assert_eq!(dropped.try_recv(), Err(TryRecvError::Empty));
        drop(response);
        assert_eq!(dropped.try_recv(), Err(TryRecvError::Closed));
    }
}
