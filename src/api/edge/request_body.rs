//! The body of a request on its way to a handler: deadlines for every route, and whether it has arrived.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    dev::Payload,
    error::PayloadError,
    web::{Bytes, Data},
};
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::api::edge::state::{AppState, InFlight};

/// A caller that sends nothing of its body for this long is taken to have left.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a whole body. 16 MiB take three minutes at 750 kbit/s.
const TIMEOUT: Duration = Duration::from_mins(3);

/// What a drain waits for: set once the body of a request has arrived.
pub(crate) type Arrived = Rc<RefCell<Option<InFlight>>>;

/// Puts deadlines on a body. A request without a body counts as arrived.
pub(crate) fn guard(payload: Payload, state: Option<&Data<AppState>>) -> (Payload, Arrived) {
    let arrived = Arrived::default();
    if matches!(payload, Payload::None) {
        *arrived.borrow_mut() = state.map(|state| state.track_request());
        return (payload, arrived);
    }
    let now = Instant::now();
    let body = GuardedBody {
        payload,
        timer: Box::pin(sleep_until(now + IDLE_TIMEOUT)),
        deadline: now + TIMEOUT,
        state: state.cloned(),
        arrived: arrived.clone(),
    };
    (Payload::Stream { payload: Box::pin(body) }, arrived)
}

struct GuardedBody {
    payload: Payload,
    timer: Pin<Box<Sleep>>,
    deadline: Instant,
    state: Option<Data<AppState>>,
    arrived: Arrived,
}

impl Stream for GuardedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        match Pin::new(&mut this.payload).poll_next(context) {
            Poll::Ready(Some(Ok(bytes))) => {
                let next = (Instant::now() + IDLE_TIMEOUT).min(this.deadline);
                this.timer.as_mut().reset(next);
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(None) => {
                *this.arrived.borrow_mut() = this.state.take().map(|state| state.track_request());
                Poll::Ready(None)
            }
            Poll::Pending if this.timer.as_mut().poll(context).is_ready() => {
                let why = if Instant::now() >= this.deadline {
                    format!("it took more than {} s", TIMEOUT.as_secs())
                } else {
                    format!("no data for {} s", IDLE_TIMEOUT.as_secs())
                };
                Poll::Ready(Some(Err(PayloadError::Io(io::Error::new(io::ErrorKind::TimedOut, why)))))
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};

    use super::*;

    fn endless(every: Duration) -> Payload {
        let bytes = stream::unfold((), move |()| async move {
            tokio::time::sleep(every).await;
            Some((Ok(Bytes::from_static(b"x")), ()))
        });
        Payload::Stream { payload: Box::pin(bytes) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_and_one_that_never_ends_are_given_up() {
        for (every, after, words) in
            [(IDLE_TIMEOUT * 2, IDLE_TIMEOUT, "no data"), (IDLE_TIMEOUT / 2, TIMEOUT, "more than")]
        {
            let begun = Instant::now();
            let (mut body, arrived) = guard(endless(every), None);
            let error = loop {
                match body.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error,
                    None => panic!("it has no end"),
                }
            };
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(begun.elapsed().as_secs(), after.as_secs());
            assert!(arrived.borrow().is_none());
        }
    }
}
