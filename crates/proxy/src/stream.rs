//! A connection as hyper reads from and writes to it, with small scattered writes gathered.
//!
//! hyper hands over head and body as separate pieces. For the kernel a vectored write costs noticeably more than a
//! plain send, so up to [`GATHER_BYTES_MAX`] are copied together first; longer bodies are not copied.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The connection.
#[derive(Debug)]
pub(crate) struct Stream<T> {
    inner: T,
    is_new: bool,
}

impl<T> Stream<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, is_new: true }
    }
}

/// What the streams of this thread have read so far. Who polls a connection and compares finds out whether it has read: hyper
/// does not say, and a stream cannot be asked, since it must be able to leave the thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// Reads with at least one byte.
    pub(crate) count: u64,
    /// First reads that began as HTTP/2 does.
    pub(crate) http2: u64,
}

impl Reads {
    pub(crate) fn so_far() -> Self {
        READS.get()
    }
}

impl<T: AsyncRead + Unpin> Read for Stream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: nothing is read from it, and `ReadBuf` never makes initialised bytes uninitialised.
        let mut read = ReadBuf::uninit(unsafe { buf.as_mut() });
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
        let filled = read.filled();
        let length = filled.len();
        if length > 0 {
            let mut reads = READS.get();
            reads.count += 1;
            reads.http2 += u64::from(self.is_new && filled.starts_with(HTTP2_BEGINS));
            READS.set(reads);
            self.is_new = false;
        }
        // SAFETY: so many bytes were filled, and with that initialised.
        unsafe { buf.advance(length) };
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> Write for Stream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
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
        let stream = Pin::new(&mut self.inner);
        if let [piece] = pieces {
            return stream.poll_write(cx, piece);
        }
        if pieces.iter().map(|piece| piece.len()).sum::<usize>() > GATHER_BYTES_MAX {
            return stream.poll_write_vectored(cx, pieces);
        }
        GATHERED.with_borrow_mut(|gathered| {
            gathered.clear();
            pieces.iter().for_each(|piece| gathered.extend_from_slice(piece));
            stream.poll_write(cx, gathered)
        })
    }
}

/// Longest write that is gathered.
const GATHER_BYTES_MAX: usize = 4096;
/// The first bytes of a client's preface (RFC 9113 section 3.4); no method of HTTP/1.1 has this name.
const HTTP2_BEGINS: &[u8] = b"PRI";

thread_local! {
    static GATHERED: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(GATHER_BYTES_MAX));
    static READS: Cell<Reads> = const { Cell::new(Reads { count: 0, http2: 0 }) };
}
