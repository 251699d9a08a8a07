//! An HTTP/1 connection to a backend, as whoever has it sends on it and reads from it.
//!
//! What is read and written on it is up to a task of its own. Each of its turns costs a request noticeably, so it is to have one
//! to send and one to receive. hyper would give it a third: it wakes the connection whenever a piece of a body is taken, for there
//! might be room for another one, and be it after the last. Hence a waker that can be held back while one is taken.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::body::RequestBody;
use crate::gather::Gathering;
use crate::patience::Patience;

/// The connection.
#[derive(Debug)]
pub(crate) struct Link {
    sender: SendRequest<RequestBody>,
    bell: Arc<Bell>,
    /// With the backend.
    pub(crate) patience: Patience,
}

impl Link {
    /// Speaks HTTP on a fresh connection.
    ///
    /// # Errors
    /// When hyper does not want to.
    pub(crate) async fn open(builder: &Builder, stream: TcpStream) -> io::Result<Self> {
        let handshake = builder.handshake(TokioIo::new(Gathering(stream))).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        let bell = Arc::new(Bell::default());
        let rings = Arc::clone(&bell);
        tokio::task::spawn_local(async move {
            let waker = Waker::from(Arc::clone(&rings));
            let mut connection = pin!(connection.with_upgrades());
            let ended = poll_fn(|cx| {
                rings.task.get_or_init(|| cx.waker().clone());
                connection.as_mut().poll(&mut Context::from_waker(&waker))
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "connection to a backend ended");
            }
        });
        Ok(Self { sender, bell, patience: Patience::default() })
    }

    /// Sends a request; the future is that of the response's head.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        self.sender.try_send_request(request)
    }

    /// Takes something from the connection, which is woken only if that makes a difference to it.
    pub(crate) fn take<T>(&self, take: impl FnOnce() -> T) -> T {
        self.bell.is_held.store(true, Ordering::Relaxed);
        let taken = take();
        self.bell.is_held.store(false, Ordering::Relaxed);
        // It is ready for the next request only when it is done with this one.
        if self.bell.has_rung.swap(false, Ordering::Relaxed) && !self.is_ready() {
            self.bell.wake_by_ref();
        }
        taken
    }

    /// Whether it can take a request.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until it can take a request. Whether it can.
    pub(crate) async fn becomes_ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }
}

/// Wakes the task of a connection, unless it is held.
#[derive(Debug, Default)]
struct Bell {
    task: OnceLock<Waker>,
    /// All this happens on one thread; these are atomic only because wakers must be.
    is_held: AtomicBool,
    /// While it was held.
    has_rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_held.load(Ordering::Relaxed) {
            self.has_rung.store(true, Ordering::Relaxed);
        } else if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_bell_that_is_held_only_remembers() {
        let (bell, count) = (Arc::new(Bell::default()), Arc::new(Count::default()));
        let (waker, wakes) = (Waker::from(Arc::clone(&bell)), || count.0.load(Ordering::Relaxed));
        waker.wake_by_ref();
        bell.task.get_or_init(|| Waker::from(Arc::clone(&count)));
        assert_eq!(wakes(), 0);
        waker.wake_by_ref();
        assert_eq!(wakes(), 1);
        bell.is_held.store(true, Ordering::Relaxed);
        waker.wake_by_ref();
        assert!(wakes() == 1 && bell.has_rung.load(Ordering::Relaxed));
    }
}
