//! Streamed bodies: paced events, with a regular end or a fault.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::Stream;

use super::{dialects::StreamEvent, in_flight::Call};

/// Written bytes leave the socket before the connection is reset.
const FLUSH_MS: f64 = 20.0;

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Regular,
    /// The connection is lost after this many events.
    CutAfter(usize),
    /// Nothing follows this many events until the client leaves.
    StallAfter(usize),
}

/// The events of a completion. If the body is dropped early, its call is settled as cancelled.
pub(crate) fn completion_body(
    events: Vec<StreamEvent>,
    first_ms: f64,
    chunk_ms: f64,
    ending: Ending,
    call: Call,
) -> impl Stream<Item = io::Result<Bytes>> {
    let last = events.len();
    let body = Body { events: events.into_iter().enumerate(), pieces: 0, call, last, first_ms, chunk_ms, ending };
    futures_util::stream::unfold(body, |mut body| async move {
        let (at, event) = body.events.next()?;
        match body.ending {
            Ending::CutAfter(after) if at >= after => {
                body.call.truncated();
                pause(FLUSH_MS).await;
                return Some((Err(reset()), body));
            }
            Ending::StallAfter(after) if at >= after => std::future::pending().await,
            _ => {}
        }
        let wait = body.wait(at, &event);
        pause(wait).await;
        body.call.emit(event.tokens);
        if at + 1 == body.last {
            body.call.complete();
        }
        Some((Ok(Bytes::from(event.text)), body))
    })
}

struct Body {
    events: std::iter::Enumerate<std::vec::IntoIter<StreamEvent>>,
    pieces: usize,
    call: Call,
    last: usize,
    first_ms: f64,
    chunk_ms: f64,
    ending: Ending,
}

impl Body {
    /// Time before an event in ms: the first event waits for the first token, each paced one but the first for a chunk.
    fn wait(&mut self, at: usize, event: &StreamEvent) -> f64 {
        self.pieces += usize::from(event.paced);
        match at {
            0 => self.first_ms,
            _ if event.paced && self.pieces > 1 => self.chunk_ms,
            _ => 0.0,
        }
    }
}

/// The events of a recorded stream, and the loss of the connection if it is cut.
pub(crate) fn recorded_body(
    events: Vec<&'static [u8]>,
    pause_ms: u64,
    cut: bool,
) -> impl Stream<Item = io::Result<Bytes>> {
    let events = events.into_iter().map(|event| Ok(Bytes::from_static(event)));
    let items = events.chain(cut.then(|| Err(reset()))).enumerate();
    futures_util::stream::unfold(items, move |mut items| async move {
        let (at, item) = items.next()?;
        if at > 0 {
            pause(whole_ms(pause_ms)).await;
        }
        Some((item, items))
    })
}

/// A piece, if there is one, then the loss of the connection.
pub(crate) fn torn_body(piece: Option<Bytes>) -> impl Stream<Item = io::Result<Bytes>> {
    let items = piece.map(Ok).into_iter().chain([Err(reset())]);
    futures_util::stream::unfold((items, false), |(mut items, written)| async move {
        let item = items.next()?;
        if written {
            pause(FLUSH_MS).await;
        }
        Some((item, (items, true)))
    })
}

fn reset() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionReset)
}

pub(crate) fn whole_ms(ms: u64) -> f64 {
    f64::from(u32::try_from(ms).unwrap_or(u32::MAX))
}

/// Sets no timer where there is no wait, so that unlimited profiles stay cheap.
pub(crate) async fn pause(ms: f64) {
    if ms > 0.0 {
        tokio::time::sleep(Duration::from_secs_f64(ms / 1_000.0)).await;
    }
}
