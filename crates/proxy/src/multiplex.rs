//! The HTTP/2 connections to one backend, of one shard: few, each with many requests at once.
//!
//! Requests that come while a connection is being made wait for it instead of making one each. A connection that the
//! backend is closing gets no new request; those on it finish.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::client::conn::http2::SendRequest;
use tokio::sync::oneshot;

use crate::body::RequestBody;

/// A connection as whoever made it hands it over.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<RequestBody>,
    /// Dropped with the last request on a connection that gets no more: tells what drives it.
    pub(crate) _kept: oneshot::Sender<Infallible>,
}

/// The connections.
#[derive(Debug, Default)]
pub(crate) struct Multiplex {
    open: RefCell<Vec<Rc<Shared>>>,
    /// Who waits for the connection that is being made; empty while none is.
    waiting: RefCell<Vec<oneshot::Sender<Made>>>,
}

/// What came of connecting, for everyone who waits for it.
type Made = Result<Rc<Shared>, io::ErrorKind>;

/// One of them.
#[derive(Debug)]
struct Shared {
    connection: Connection,
    streams: Cell<u32>,
    /// When its last request ended, by the sweep's clock; None while it has one.
    idle_since: Cell<Option<Instant>>,
}

impl Shared {
    fn is_closed(&self) -> bool {
        self.connection.sender.is_closed()
    }
}

/// A request's place on one of them; given up when dropped.
#[derive(Debug)]
pub(crate) struct Place(Rc<Shared>);

impl Place {
    fn on(shared: &Rc<Shared>) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        shared.idle_since.set(None);
        Self(Rc::clone(shared))
    }

    /// What a request can be sent with.
    pub(crate) fn sender(&self) -> SendRequest<RequestBody> {
        self.0.connection.sender.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}

impl Multiplex {
    /// A place on an open connection.
    pub(crate) fn take(&self) -> Option<Place> {
        let mut open = self.open.borrow_mut();
        open.retain(|shared| !shared.is_closed());
        let with_room = open.iter().find(|shared| shared.streams.get() < STREAMS_MAX);
        let shared = match with_room {
            None if open.len() >= CONNECTIONS_MAX => open.iter().min_by_key(|shared| shared.streams.get()),
            with_room => with_room,
        };
        shared.map(Place::on)
    }

    /// Waits for a new connection; `connect` makes it, unless one is being made already.
    ///
    /// # Errors
    /// When it could not be made.
    pub(crate) async fn opened<F>(self: &Rc<Self>, connect: impl FnOnce() -> F) -> io::Result<Place>
    where
        F: Future<Output = io::Result<Connection>> + 'static,
    {
        let (sender, made) = oneshot::channel();
        let is_first = self.waiting.borrow().is_empty();
        self.waiting.borrow_mut().push(sender);
        if is_first {
            let (this, connecting) = (Rc::clone(self), connect());
            // A task of its own: who asked first may leave, and the others still wait.
            tokio::task::spawn_local(async move { this.made(connecting.await) });
        }
        let shared = made.await.unwrap_or(Err(io::ErrorKind::ConnectionAborted));
        Ok(Place::on(&shared?))
    }

    fn made(&self, made: io::Result<Connection>) {
        let made = made.map_err(|error| error.kind()).map(|connection| {
            let idle_since = Cell::new(Some(Instant::now()));
            let shared = Rc::new(Shared { connection, streams: Cell::new(0), idle_since });
            self.open.borrow_mut().push(Rc::clone(&shared));
            shared
        });
        for waiter in self.waiting.take() {
            // Who has left needs no connection.
            let _ = waiter.send(made.clone());
        }
    }

    /// Sends no new request on the connection of this one.
    pub(crate) fn forget(&self, place: &Place) {
        self.open.borrow_mut().retain(|shared| !Rc::ptr_eq(shared, &place.0));
    }

    /// Closes what has been without a request for longer than `limit`.
    pub(crate) fn sweep(&self, now: Instant, limit: Duration) {
        let keep = |shared: &Rc<Shared>| {
            if shared.streams.get() > 0 {
                return true;
            }
            let since = shared.idle_since.get().unwrap_or(now);
            shared.idle_since.set(Some(since));
            now.saturating_duration_since(since) < limit && !shared.is_closed()
        };
        self.open.borrow_mut().retain(keep);
    }

    /// Closes all; requests on them finish.
    pub(crate) fn clear(&self) {
        self.open.borrow_mut().clear();
    }
}

/// Requests at once on a connection before another is made; a backend that allows fewer makes them wait.
pub(crate) const STREAMS_MAX: u32 = 100;
/// Connections per backend and shard; beyond that, the least busy takes more than [`STREAMS_MAX`].
const CONNECTIONS_MAX: usize = 16;
