//! A streamed answer as a body: events in their time, ends proper and improper.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::Stream;

use super::{dialects::Event, in_flight::Call};

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Proper,
    /// The connection is lost after so many events.
    CutAfter(usize),
    /// Silence after so many events, until the caller leaves.
    StallAfter(usize),
}

/// The events of an answer, each in its time. Dropped early, its call is settled as left by the caller.
pub(super) fn of_answer(
    events: Vec<Event>,
    first_ms: f64,
    chunk_ms: f64,
    ending: Ending,
    call: Call,
) -> impl Stream<Item = io::Result<Bytes>> {
    let last = events.len();
    let state = State { events: events.into_iter().enumerate(), pieces: 0, call, last, first_ms, chunk_ms, ending };
    futures_util::stream::unfold(state, |mut state| async move {
        let (at, event) = state.events.next()?;
        match state.ending {
            Ending::CutAfter(after) if at >= after => {
                state.call.truncated();
                pause(20.0).await; // what was written goes out before the connection does
                return Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), state));
            }
            Ending::StallAfter(after) if at >= after => std::future::pending().await,
            _ => {}
        }
        let wait = state.wait(at, &event);
        pause(wait).await;
        state.call.emit(event.tokens);
        if at + 1 == state.last {
            state.call.complete();
        }
        Some((Ok(Bytes::from(event.text)), state))
    })
}

struct State {
    events: std::iter::Enumerate<std::vec::IntoIter<Event>>,
    pieces: usize,
    call: Call,
    last: usize,
    first_ms: f64,
    chunk_ms: f64,
    ending: Ending,
}

impl State {
    /// The first event waits for the first token; so does no other, but each paced one after the first paced one waits a chunk's time.
    fn wait(&mut self, at: usize, event: &Event) -> f64 {
        self.pieces += usize::from(event.paced);
        match at {
            0 => self.first_ms,
            _ if event.paced && self.pieces > 1 => self.chunk_ms,
            _ => 0.0,
        }
    }
}

/// A recorded stream, event by event.
pub(super) fn of_case(events: Vec<&'static [u8]>, pause_ms: u64, cut: bool) -> impl Stream<Item = io::Result<Bytes>> {
    let ending = cut.then(|| Err(io::Error::from(io::ErrorKind::ConnectionReset)));
    let items = events.into_iter().map(|event| Ok(Bytes::from_static(event))).chain(ending);
    futures_util::stream::unfold((items, 0), move |(mut items, at): (_, usize)| async move {
        let item = items.next()?;
        if at > 0 {
            pause(f64::from(u32::try_from(pause_ms).unwrap_or(u32::MAX))).await;
        }
        Some((item, (items, at + 1)))
    })
}

/// A body that only loses the connection.
pub(super) fn lost() -> impl Stream<Item = io::Result<Bytes>> {
    futures_util::stream::iter([Err(io::Error::from(io::ErrorKind::ConnectionReset))])
}

/// No timer where there is no wait: the cheap path stays cheap.
pub(super) async fn pause(ms: f64) {
    if ms > 0.0 {
        tokio::time::sleep(Duration::from_secs_f64(ms / 1_000.0)).await;
    }
}

/// A piece, then the loss of the connection.
pub(super) fn torn(piece: Bytes) -> impl Stream<Item = io::Result<Bytes>> {
    futures_util::stream::unfold(Some(piece), |piece| async move {
        if let Some(piece) = piece {
            return Some((Ok(piece), None));
        }
        pause(20.0).await;
        Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), None))
    })
}
