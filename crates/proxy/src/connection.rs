//! One client connection: the protocol on it, and the ways in which it ends other than by the client's will.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::forward::serve;
use crate::forwarded::ClientNames;
use crate::listener::Listener;
use crate::options::Limits;
use crate::shard::Shard;
use crate::stream::{Reads, Stream};
use crate::view::ShardRoute;

/// A client connection, as its requests and its listener see it.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    listener: Rc<Listener>,
    peer: Cell<SocketAddr>,
    /// What the client connected to, where a proxy in front has said so.
    destination: Cell<Option<SocketAddr>>,
    names: OnceCell<ClientNames>,
    is_tls: Cell<bool>,
    /// Requests between head and end.
    requests: Cell<u32>,
    /// Requests whose head has come, modulo their number.
    begun: Cell<u32>,
    /// When the first byte of a head came that is not complete yet; the shard's coarse time.
    head_since: Cell<Option<Instant>>,
    is_http2: Cell<bool>,
    /// When something of each longer response by HTTP/2 was last asked for.
    taken: RefCell<Vec<Weak<Cell<Instant>>>>,
    /// The shard's coarse time of the last request's end, or of the last progress of one.
    moved: Cell<Instant>,
    fate: Cell<Fate>,
    waker: RefCell<Option<Waker>>,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on.
    Open,
    /// It ends after the requests it is working on.
    Closing,
    /// It ends now.
    Cut,
}

impl ClientConnection {
    pub(crate) fn new(listener: Rc<Listener>, peer: SocketAddr) -> Self {
        listener.shard().process().connections.fetch_add(1, Ordering::Relaxed);
        listener.shard().count_connection();
        let moved = Cell::new(listener.shard().coarse_now());
        Self {
            listener,
            peer: Cell::new(peer),
            destination: Cell::new(None),
            names: OnceCell::new(),
            is_tls: Cell::new(false),
            requests: Cell::new(0),
            begun: Cell::new(0),
            head_since: Cell::new(None),
            is_http2: Cell::new(false),
            taken: RefCell::default(),
            moved,
            fate: Cell::new(Fate::Open),
            waker: RefCell::default(),
        }
    }

    pub(crate) fn shard(&self) -> &Rc<Shard> {
        self.listener.shard()
    }

    /// The route behind the address that the client connected to, in the newest table.
    pub(crate) fn route(&self) -> Option<Rc<ShardRoute>> {
        self.listener.route()
    }

    pub(crate) fn names(&self) -> &ClientNames {
        self.names.get_or_init(|| {
            ClientNames::new(
                self.peer.get(),
                self.destination.get().unwrap_or(self.listener.address()),
                self.is_tls.get(),
            )
        })
    }

    /// The client's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer.get()
    }

    /// A proxy in front has made it for this client. Must be said before the first request.
    pub(crate) fn is_made_for(&self, source: SocketAddr, destination: SocketAddr) {
        self.peer.set(source);
        self.destination.set(Some(destination));
        self.moved();
    }

    /// The address that the client connected to.
    ///
    /// # Errors
    /// When the connection has broken.
    pub(crate) fn destination_of(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        self.destination.get().map_or_else(|| stream.local_addr(), Ok)
    }

    /// TLS is spoken on it. Must be said before the first request.
    pub(crate) fn is_encrypted(&self) {
        self.is_tls.set(true);
        self.moved();
    }

    pub(crate) fn begin_request(&self) {
        self.requests.set(self.requests.get() + 1);
        self.begun.set(self.begun.get().wrapping_add(1));
        self.head_since.set(None);
        if self.listener.is_closed() {
            self.end(Fate::Closing);
        }
    }

    pub(crate) fn end_request(&self) {
        self.requests.set(self.requests.get() - 1);
        self.moved();
    }

    /// Something has happened on it.
    pub(crate) fn moved(&self) {
        self.moved.set(self.listener.shard().coarse_now());
    }

    /// The same for a response that takes longer. Other streams of an HTTP/2 connection say nothing about this one, so it has
    /// a clock of its own, kept in `clock`.
    pub(crate) fn taken(&self, clock: &mut Option<Rc<Cell<Instant>>>) {
        self.moved();
        if !self.is_http2.get() {
            return;
        }
        match clock {
            Some(clock) => clock.set(self.moved.get()),
            None => {
                let new = Rc::new(self.moved.clone());
                self.taken.borrow_mut().push(Rc::downgrade(&new));
                *clock = Some(new);
            }
        }
    }

    /// Whether the client leaves a stream alone for longer than `stalled`, to hold what is behind it.
    pub(crate) fn has_stalled_stream(&self, now: Instant, stalled: Duration) -> bool {
        let mut taken = self.taken.borrow_mut();
        taken.retain(|clock| clock.strong_count() > 0);
        let last = |clock: &Weak<Cell<Instant>>| clock.upgrade().map_or(now, |clock| clock.get());
        taken.iter().any(|clock| now.saturating_duration_since(last(clock)) > stalled)
    }

    /// Ends it in this way, unless it is already ending in a quicker one.
    pub(crate) fn end(&self, fate: Fate) {
        if self.fate.get() == fate || self.fate.get() == Fate::Cut {
            return;
        }
        self.fate.set(fate);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Asks a client by HTTP/2 to go on elsewhere; one by HTTP/1.1 can only be told with an answer.
    pub(crate) fn say_goodbye(&self) {
        if self.is_http2.get() {
            self.end(Fate::Closing);
        }
    }

    /// Whether nothing has happened on it for too long: no request within `idle`, no complete head within the limit from its
    /// first byte, or a client that takes nothing of a response for `stalled`.
    pub(crate) fn is_overdue(
        &self,
        now: Instant,
        limits: &Limits,
        idle: Duration,
        stalled: Duration,
    ) -> bool {
        let late = |since| now.saturating_duration_since(since) > limits.head_time;
        if self.head_since.get().is_some_and(late) {
            return true;
        }
        let silent = now.saturating_duration_since(self.moved.get());
        silent > if self.requests.get() == 0 { idle } else { stalled }
    }

    /// Notes that a head has begun, if there were bytes since `reads` and no request began of `begun`.
    fn has_read(&self, before: Reads, begun: u32) {
        let reads = Reads::so_far();
        if reads == before {
            return;
        }
        if reads.http2 != before.http2 {
            self.is_http2.set(true);
        }
        // What comes on an idle HTTP/2 connection need not be a head.
        let is_head = self.requests.get() == 0 && self.begun.get() == begun && !self.is_http2.get();
        if is_head && self.head_since.get().is_none() {
            self.head_since.set(Some(self.shard().coarse_now()));
        }
    }

    /// Speaks HTTP on `stream` until it ends.
    pub(crate) async fn run<T>(self: Rc<Self>, stream: T)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shard = Rc::clone(self.shard());
        let service = service_fn(|request| serve(&self, request));
        let mut connection =
            pin!(shard.server_builder().serve_connection_with_upgrades(Stream::new(stream), service));
        let mut fate = Fate::Open;
        let ended = std::future::poll_fn(|cx| {
            if fate != self.fate.get() {
                fate = self.fate.get();
                match fate {
                    Fate::Open => {}
                    Fate::Closing => connection.as_mut().graceful_shutdown(),
                    Fate::Cut => return Poll::Ready(Ok(())),
                }
            }
            if self.waker.borrow().is_none() {
                *self.waker.borrow_mut() = Some(cx.waker().clone());
            }
            let (reads, begun) = (Reads::so_far(), self.begun.get());
            let polled = connection.as_mut().poll(cx);
            self.has_read(reads, begun);
            polled
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, client = %self.peer(), "client connection ended");
        }
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.shard().process().connections.fetch_sub(1, Ordering::Relaxed);
        self.shard().uncount_connection();
    }
}
