//! Small scattered writes, gathered: for the kernel a vectored write costs noticeably more than a plain send.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection on which pieces of up to [`GATHER_BYTES_MAX`] together are copied into one; longer ones are not copied.
#[derive(Debug)]
pub(crate) struct Gathering<T>(pub(crate) T);

impl<T: AsyncRead + Unpin> AsyncRead for Gathering<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathering<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write_gathered(Pin::new(&mut self.0), cx, pieces)
    }
}

/// Writes `pieces` in one call.
pub(crate) fn poll_write_gathered<T: AsyncWrite>(
    stream: Pin<&mut T>,
    cx: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [piece] = pieces {
        return stream.poll_write(cx, piece);
    }
    if pieces.iter().map(|piece| piece.len()).sum::<usize>() > GATHER_BYTES_MAX {
        return stream.poll_write_vectored(cx, pieces);
    }
    // Taken out, not borrowed: TLS gathers what it makes of what was gathered for it.
    let mut gathered = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    gathered.clear();
    pieces.iter().for_each(|piece| gathered.extend_from_slice(piece));
    let written = stream.poll_write(cx, &gathered);
    SPARE.with_borrow_mut(|spare| spare.push(gathered));
    written
}

/// Longest write that is gathered.
const GATHER_BYTES_MAX: usize = 4096;

thread_local! {
    /// As many as were ever in use at once, which is two.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}
