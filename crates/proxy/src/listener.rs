//! One listening address on one shard: accepts connections and knows them, so that they can be ended together.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::connection::{ClientConnection, Fate};
use crate::enter::enter;
use crate::options::Limits;
use crate::shard::Shard;
use crate::view::ShardRoute;

/// A listening address.
#[derive(Debug)]
pub(crate) struct Listener {
    address: SocketAddr,
    shard: Rc<Shard>,
    route: RefCell<Option<Rc<ShardRoute>>>,
    connections: RefCell<BTreeMap<u64, Weak<ClientConnection>>>,
    next: Cell<u64>,
    is_closed: Cell<bool>,
    close: Notify,
}

impl Listener {
    /// Begins to accept on `socket`.
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime.
    pub(crate) fn open(
        shard: Rc<Shard>,
        address: SocketAddr,
        socket: std::net::TcpListener,
    ) -> io::Result<Rc<Self>> {
        let socket = TcpListener::from_std(socket)?;
        let listener = Rc::new(Self {
            address,
            shard,
            route: RefCell::default(),
            connections: RefCell::default(),
            next: Cell::new(0),
            is_closed: Cell::new(false),
            close: Notify::new(),
        });
        tokio::task::spawn_local(Rc::clone(&listener).accept(socket));
        Ok(listener)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    pub(crate) fn route(&self) -> Option<Rc<ShardRoute>> {
        self.route.borrow().clone()
    }

    pub(crate) fn set_route(&self, route: Option<Rc<ShardRoute>>) {
        *self.route.borrow_mut() = route;
    }

    /// Stops accepting; open connections end after what they are working on.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        self.close.notify_one();
        self.each_connection(|connection| connection.end(Fate::Closing));
    }

    /// Whether it takes no new connections.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// Whether it has an open connection.
    pub(crate) fn has_connections(&self) -> bool {
        !self.connections.borrow().is_empty()
    }

    /// Cuts what has been idle or stalled for too long.
    pub(crate) fn sweep(&self, now: Instant, limits: &Limits) {
        let idle = limits.client_idle;
        let idle = if self.is_closed() { idle.min(IDLE_WHEN_CLOSED) } else { idle };
        let stalled = self.route().map_or(idle, |route| {
            let timeouts = &route.spec.timeouts;
            // Whatever a request may legitimately wait for.
            (timeouts.response_head.max(timeouts.body_idle) + route.spec.hold + timeouts.connect) * 2
        });
        self.each_connection(|connection| {
            if connection.is_overdue(now, limits, idle, stalled) {
                connection.end(Fate::Cut);
            } else if connection.has_stalled_stream(now, stalled) {
                // What else is on it may finish; then it stands still as a whole, and is cut.
                connection.end(Fate::Closing);
            } else {
                connection.may_rest(now, limits.rest_after);
            }
        });
    }

    fn each_connection(&self, mut act: impl FnMut(&ClientConnection)) {
        // Ending a connection only wakes its task, so the map does not change under the loop.
        for connection in self.connections.borrow().values().filter_map(Weak::upgrade) {
            act(&connection);
        }
    }

    async fn accept(self: Rc<Self>, socket: TcpListener) {
        loop {
            tokio::select! {
                () = self.close.notified() => break,
                () = self.shard.connection_room() => {}
            }
            let accepted = tokio::select! {
                () = self.close.notified() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.serve(stream, peer),
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    tracing::warn!(listen = %self.address, %error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // What the kernel has already accepted would be reset with the socket; each gets one request answered.
        while let Some(Ok((stream, peer))) = futures_util::FutureExt::now_or_never(socket.accept()) {
            self.serve(stream, peer);
        }
    }

    fn serve(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection gone before it began");
            return;
        }
        let connection = Rc::new(ClientConnection::new(Rc::clone(self), peer));
        let number = self.next.get();
        self.next.set(number + 1);
        self.connections.borrow_mut().insert(number, Rc::downgrade(&connection));
        let listener = Rc::clone(self);
        // Two tasks rather than one: it would be as large as the larger of both.
        match self.route().filter(|route| !route.is_plain_http()) {
            None => drop(tokio::task::spawn_local(async move {
                connection.run(stream).await;
                listener.forget(number);
            })),
            Some(route) => drop(tokio::task::spawn_local(async move {
                enter(connection, route, stream).await;
                listener.forget(number);
            })),
        }
    }

    fn forget(&self, number: u64) {
        self.connections.borrow_mut().remove(&number);
    }
}

/// Errors of one connection rather than of the listener.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// How long a connection to a closed listener may take to send its first request.
const IDLE_WHEN_CLOSED: Duration = Duration::from_secs(1);
/// After an error like "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
