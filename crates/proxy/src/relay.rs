//! Bytes both ways between a client and a backend, until both have ended or nothing has moved for too long.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::{Instant, sleep_until};

use crate::exchange::Delivery;

/// Passes bytes on. When one side has no more to say, the other is told, and may go on.
///
/// # Errors
/// When a side breaks, or both are silent for `idle`.
pub(crate) async fn relay<C, B>(client: C, backend: B, idle: Duration, delivery: &Delivery) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let moved = Cell::new(Instant::now());
    let mut client = Metered { inner: client, moved: &moved, delivery, is_client: true };
    let mut backend = Metered { inner: backend, moved: &moved, delivery, is_client: false };
    let watch = async {
        // Not set anew for every read: it looks whether there was one when it is due.
        loop {
            let until = moved.get() + idle;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    };
    tokio::select! {
        copied = copy_bidirectional(&mut client, &mut backend) => copied.map(drop),
        () = watch => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// One side, with its bytes counted as they come from it.
struct Metered<'a, T> {
    inner: T,
    moved: &'a Cell<Instant>,
    delivery: &'a Delivery,
    is_client: bool,
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let bytes = (buf.filled().len() - before) as u64;
        self.moved.set(Instant::now());
        let (bytes_in, bytes_out) = if self.is_client { (bytes, 0) } else { (0, bytes) };
        self.delivery.passed_on(bytes_in, bytes_out);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<'_, T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.moved.set(Instant::now());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
