//! A caller's connection, with bounds that the HTTP server does not have: the size of heads, and the time for which a caller may
//! leave a response unread.

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

use super::head_limit::HeadLimit;

const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

#[derive(Debug)]
pub(super) struct GuardedStream {
    io: TcpStream,
    heads: HeadLimit,
    write_timeout: Duration,
    /// Runs while the connection takes no bytes.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl GuardedStream {
    pub(super) fn new(io: TcpStream, write_timeout: Duration) -> Self {
        Self { io, heads: HeadLimit::default(), write_timeout, stalled: None }
    }

    /// An error once nothing could be written for the whole time-out. Dropping the connection then ends the response, which
    /// frees its slot and cancels the call to the provider.
    fn written(&mut self, context: &mut Context<'_>, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.write_timeout)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the caller does not read the response")))
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
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
        this.written(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(context, parts);
        this.written(context, written)
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
