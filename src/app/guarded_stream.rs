//! A caller's connection, with bounds that the HTTP server does not have: the size of heads, the time for a head and for a body,
//! and the time for which a caller may leave a response unread.

use std::{
    future::Future,
    io::{Error, ErrorKind, IoSlice, Result},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::rt::net::TcpStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::head_limit::{HeadLimit, Part};

const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// Time for a caller to send the head of a request that it has begun.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Time for a body that no handler reads. Longer than that of one which is read, whose end has an answer of its own.
const BODY_TIMEOUT: Duration = Duration::from_secs(195);
/// Bytes that a caller takes in the time-out for writing, if more is there for it.
const MIN_TAKEN: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct GuardedStream {
    io: TcpStream,
    heads: HeadLimit,
    /// The part of a request that has begun and not ended, and its time.
    unfinished: Option<(Part, Pin<Box<Sleep>>)>,
    writes: Writes,
}

impl GuardedStream {
    pub(super) fn new(io: TcpStream, write_timeout: Duration) -> Self {
        let writes = Writes { timeout: write_timeout, stalled: None };
        Self { io, heads: HeadLimit::default(), unfinished: None, writes }
    }

    /// Nothing comes now. An error once a head or a body has taken too long.
    fn waits(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(part) = self.heads.unfinished() else {
            self.unfinished = None;
            return Poll::Pending;
        };
        if self.unfinished.as_ref().is_none_or(|(begun, _)| *begun != part) {
            let timeout = if part.is_head { HEAD_TIMEOUT } else { BODY_TIMEOUT };
            self.unfinished = Some((part, Box::pin(sleep(timeout))));
        }
        if let Some((_, timer)) = &mut self.unfinished {
            ready!(timer.as_mut().poll(context));
        }
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the caller does not send the rest of its request")))
    }
}

/// Whether a caller takes what is written for it.
#[derive(Debug)]
struct Writes {
    timeout: Duration,
    /// The time since the connection took no bytes, and the bytes that it has taken in it.
    stalled: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Writes {
    /// An error once too little of what was there could be written for the whole time-out. Dropping the connection then ends the
    /// response, which frees its slot and cancels the call to the provider.
    fn checked(&mut self, context: &mut Context<'_>, all: usize, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        if let Poll::Ready(result) = &written {
            if let (Some((_, taken)), Ok(bytes)) = (&mut self.stalled, result) {
                *taken += bytes;
                if *taken >= MIN_TAKEN || *bytes >= all {
                    self.stalled = None;
                }
            }
            return written;
        }
        let (timer, _) = self.stalled.get_or_insert_with(|| (Box::pin(sleep(self.timeout)), 0));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the caller does not read the response")))
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.io).poll_read(context, buffer) {
            Poll::Pending => return this.waits(context),
            Poll::Ready(result) => result?,
        }
        if this.heads.observe(&buffer.filled()[before..]).is_ok() {
            return Poll::Ready(Ok(()));
        }
        // The parser has not seen this head, so that nothing else answers it.
        let _ = this.io.try_write(TOO_LARGE);
        Poll::Ready(Err(Error::new(ErrorKind::InvalidData, "the head of a request is larger than 64 KiB")))
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(context, bytes);
        this.writes.checked(context, bytes.len(), written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(context, parts);
        this.writes.checked(context, parts.iter().map(|part| part.len()).sum(), written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::{Instant, advance},
    };

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const WHOLE: &str = "GET / HTTP/1.1\r\n\r\n";
    const CHUNKED: &str = "GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// The seconds after which a connection on which this was sent is given up.
    async fn given_up_after(sent: &str) -> u64 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        caller.write_all(sent.as_bytes()).await.unwrap();
        let mut stream = GuardedStream::new(listener.accept().await.unwrap().0, MINUTE);
        stream.read_exact(&mut vec![0; sent.len()]).await.unwrap();
        tokio::time::pause();
        let begun = Instant::now();
        let limit = sleep(2 * BODY_TIMEOUT);
        let after = tokio::select! {
            read = stream.read_u8() => {
                assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
                begun.elapsed().as_secs()
            }
            () = limit => u64::MAX,
        };
        tokio::time::resume();
        after
    }

    #[tokio::test]
    async fn a_head_or_a_body_that_does_not_end_is_given_up_and_an_idle_connection_is_not() {
        for (sent, seconds) in [
            (format!("{WHOLE}GET / HTTP/1.1\r\nHost"), 75),
            ("GET".to_owned(), 75),
            (CHUNKED.to_owned(), 195),
            (format!("{CHUNKED}5\r\nhel"), 195),
            (WHOLE.to_owned(), u64::MAX),
            (format!("{CHUNKED}0\r\n\r\n"), u64::MAX),
        ] {
            assert_eq!(given_up_after(&sent).await, seconds, "{sent}");
        }
    }

    /// What becomes of a write of this many bytes after some time.
    async fn write(writes: &mut Writes, after: Duration, all: usize, written: Poll<usize>) -> Poll<Option<ErrorKind>> {
        advance(after).await;
        let written = || written.map(Ok);
        let checked = poll_fn(|context| Poll::Ready(writes.checked(context, all, written()))).await;
        checked.map(|result| result.err().map(|error| error.kind()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_reads_a_byte_at_times_is_cut_and_a_slow_one_is_not() {
        let half = Duration::from_secs(31);
        let mut writes = Writes { timeout: MINUTE, stalled: None };
        for (after, taken, expected) in [
            (half, Poll::Pending, Poll::Pending),
            (half, Poll::Ready(1), Poll::Ready(None)),
            (Duration::ZERO, Poll::Pending, Poll::Pending),
            (half, Poll::Pending, Poll::Ready(Some(ErrorKind::TimedOut))),
        ] {
            assert_eq!(write(&mut writes, after, 9_000, taken).await, expected);
        }
        for (all, taken) in [(9_000, 9_000), (1 << 20, MIN_TAKEN)] {
            let mut writes = Writes { timeout: MINUTE, stalled: None };
            for taken in [Poll::Pending, Poll::Ready(taken), Poll::Pending, Poll::Pending] {
                assert_eq!(write(&mut writes, half, all, taken).await, taken.map(|_| None));
            }
        }
    }
}
