//! A client connection as hyper reads from and writes to it.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::gather::poll_write_gathered;

/// The connection.
#[derive(Debug)]
pub(crate) struct Stream<T> {
    inner: T,
    /// Read before and not yet looked at by hyper.
    ahead: Bytes,
}

impl<T> Stream<T> {
    /// One of which these bytes were already read.
    pub(crate) fn resumed(inner: T, ahead: Bytes) -> Self {
        Self { inner, ahead }
    }

    pub(crate) fn into_inner(self) -> T {
        self.inner
    }
}

/// What the streams of this thread have done so far. Who polls a connection and compares finds out what it has done: hyper
/// does not say, and a stream cannot be asked, since it must be able to leave the thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Reads with at least one byte.
    pub(crate) reads: u64,
    /// Writes that the other side was not ready for.
    pub(crate) blocked: u64,
}

impl Traffic {
    pub(crate) fn so_far() -> Self {
        TRAFFIC.get()
    }

    fn count(act: impl FnOnce(&mut Self)) {
        let mut traffic = TRAFFIC.get();
        act(&mut traffic);
        TRAFFIC.set(traffic);
    }
}

impl<T: AsyncRead + Unpin> Read for Stream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(count));
            Traffic::count(|traffic| traffic.reads += 1);
            return Poll::Ready(Ok(()));
        }
        // SAFETY: nothing is read from it, and `ReadBuf` never makes initialised bytes uninitialised.
        let mut read = ReadBuf::uninit(unsafe { buf.as_mut() });
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
        let length = read.filled().len();
        if length > 0 {
            Traffic::count(|traffic| traffic.reads += 1);
        }
        // SAFETY: so many bytes were filled, and with that initialised.
        unsafe { buf.advance(length) };
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> Write for Stream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        noted(Pin::new(&mut self.inner).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        noted(poll_write_gathered(Pin::new(&mut self.inner), cx, pieces))
    }
}

fn noted(written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    if written.is_pending() {
        Traffic::count(|traffic| traffic.blocked += 1);
    }
    written
}

thread_local! {
    static TRAFFIC: Cell<Traffic> = const { Cell::new(Traffic { reads: 0, blocked: 0 }) };
}
