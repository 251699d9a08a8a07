//! One listening address on one shard: accepts connections and knows them, so that they can be ended together.
//!
//! It usually has one socket. After a hot restart from a proxy with more shards it has several: closing one would reset
//! the connections that wait in its queue.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

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
    /// In one piece of memory: small pieces among what requests leave behind would keep that from being given back.
    connections: RefCell<HashMap<u64, Weak<ClientConnection>>>,
    next: Cell<u64>,
    is_closed: Cell<bool>,
    /// When another process went on with the sockets.
    given_up: Cell<Option<Instant>>,
    close: Notify,
    accepting: RefCell<Vec<(Rc<TcpListener>, JoinHandle<()>)>>,
}

impl Listener {
    pub(crate) fn new(shard: Rc<Shard>, address: SocketAddr) -> Rc<Self> {
        Rc::new(Self {
            address,
            shard,
            route: RefCell::default(),
            connections: RefCell::default(),
            next: Cell::new(0),
            is_closed: Cell::new(false),
            given_up: Cell::new(None),
            close: Notify::new(),
            accepting: RefCell::default(),
        })
    }

    /// Begins to accept on `socket`.
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime.
    pub(crate) fn open(self: &Rc<Self>, socket: std::net::TcpListener) -> io::Result<()> {
        let socket = Rc::new(TcpListener::from_std(socket)?);
        let task = tokio::task::spawn_local(Rc::clone(self).accept(Rc::clone(&socket)));
        self.accepting.borrow_mut().push((socket, task));
        Ok(())
    }

    /// Its sockets, for another process.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(crate) fn lend(&self) -> io::Result<Vec<OwnedFd>> {
        let accepting = self.accepting.borrow();
        accepting.iter().map(|(socket, _)| socket.as_fd().try_clone_to_owned()).collect()
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
        self.accepting.borrow_mut().clear();
        self.close.notify_waiters();
        self.each_connection(|connection| connection.end(Fate::Closing));
    }

    /// Leaves its sockets, and what waits in their queues, to the process that has them now. When this returns, it accepts
    /// nothing more.
    ///
    /// Ending a connection between two requests would cut off the client that is just sending the next one. So each by HTTP/1.1
    /// may have one more request, which is answered with `Connection: close`, and only those that have none for a while are ended.
    /// HTTP/2 can say which requests were taken, and is told at once.
    pub(crate) async fn give_up(&self) {
        self.given_up.set(Some(Instant::now()));
        self.is_closed.set(true);
        self.close.notify_waiters();
        let accepting = std::mem::take(&mut *self.accepting.borrow_mut());
        for (socket, task) in accepting {
            drop(socket);
            // It ends by panic or because it was told to.
            let _ = task.await;
        }
        self.each_connection(ClientConnection::say_goodbye);
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
        let idle = match self.given_up.get() {
            Some(since) if now.saturating_duration_since(since) < IDLE_WHEN_GIVEN_UP => idle,
            Some(_) => idle.min(IDLE_WHEN_GIVEN_UP),
            None if self.is_closed() => idle.min(IDLE_WHEN_CLOSED),
            None => idle,
        };
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

    async fn accept(self: Rc<Self>, socket: Rc<TcpListener>) {
        while !self.is_closed() {
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
        if self.given_up.get().is_some() {
            return;
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
        let number = self.next.get();
        self.next.set(number + 1);
        let connection = Rc::new(ClientConnection::new(Rc::clone(self), number, peer));
        self.connections.borrow_mut().insert(number, Rc::downgrade(&connection));
        // Two tasks rather than one: it would be as large as the larger of both.
        match self.route().filter(|route| !route.is_plain_http()) {
            None => drop(tokio::task::spawn_local(connection.run(stream))),
            Some(route) => drop(tokio::task::spawn_local(enter(connection, route, stream))),
        }
    }

    /// The connection of this number is over.
    pub(crate) fn forget(&self, number: u64) {
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
/// The same without any request, when another process accepts in its place. Long enough for a client that is about to send one.
const IDLE_WHEN_GIVEN_UP: Duration = Duration::from_secs(5);
/// After an error like "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
