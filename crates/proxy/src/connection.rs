//! One client connection: the protocol on it, and the ways in which it ends other than by the client's will.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use http::HeaderValue;
use hyper::service::service_fn;
use tokio::net::TcpStream;

use crate::forward::serve;
use crate::headers::ClientNames;
use crate::listener::Listener;
use crate::shard::Shard;
use crate::stream::Stream;
use crate::view::ShardRoute;

/// A client connection, as its requests and its listener see it.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    listener: Rc<Listener>,
    names: ClientNames,
    /// Requests between head and end.
    requests: Cell<u32>,
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
        let text = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"));
        let names = ClientNames {
            ip: text(peer.ip().to_canonical().to_string()),
            host: text(listener.address().to_string()),
        };
        let moved = Cell::new(listener.shard().coarse_now());
        Self {
            listener,
            names,
            requests: Cell::new(0),
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
        &self.names
    }

    pub(crate) fn begin_request(&self) {
        self.requests.set(self.requests.get() + 1);
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

    /// Whether nothing has happened on it for too long: no complete request head within `idle`, or a client that takes
    /// nothing of a response for `stalled`.
    pub(crate) fn is_overdue(&self, now: Instant, idle: Duration, stalled: Duration) -> bool {
        let silent = now.saturating_duration_since(self.moved.get());
        silent > if self.requests.get() == 0 { idle } else { stalled }
    }

    /// Speaks HTTP on `stream` until it ends.
    pub(crate) async fn run(self: Rc<Self>, stream: TcpStream) {
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
            connection.as_mut().poll(cx)
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, client = ?self.names.ip, "client connection ended");
        }
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.shard().process().connections.fetch_sub(1, Ordering::Relaxed);
        self.shard().uncount_connection();
    }
}
