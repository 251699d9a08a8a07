//! One client connection: what is under way on it, and the ways in which it ends other than by the client's will.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::forwarded::ClientNames;
use crate::listener::Listener;
use crate::options::Limits;
use crate::shard::Shard;
use crate::stream::Traffic;
use crate::view::ShardRoute;

/// A client connection, as its requests and its listener see it.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    listener: Rc<Listener>,
    /// What the listener knows it by.
    number: u64,
    peer: Cell<SocketAddr>,
    /// What the client connected to, where a proxy in front has said so.
    destination: Cell<Option<SocketAddr>>,
    /// Made when a request needs them, and given back with the rest of what requests need.
    names: RefCell<Option<Rc<ClientNames>>>,
    is_tls: Cell<bool>,
    /// Requests between head and end.
    requests: Cell<u32>,
    /// Requests whose head has come, modulo their number.
    begun: Cell<u32>,
    /// Bodies of requests that have not come to their end.
    uploads: Cell<u32>,
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
    /// It goes on, but what speaks on it ends until there is something to say.
    Resting,
    /// It ends after the requests it is working on.
    Closing,
    /// It ends now.
    Cut,
}

impl ClientConnection {
    pub(crate) fn new(listener: Rc<Listener>, number: u64, peer: SocketAddr) -> Self {
        listener.shard().process().connections.fetch_add(1, Ordering::Relaxed);
        listener.shard().count_connection();
        let moved = Cell::new(listener.shard().coarse_now());
        Self {
            listener,
            number,
            peer: Cell::new(peer),
            destination: Cell::new(None),
            names: RefCell::default(),
            is_tls: Cell::new(false),
            requests: Cell::new(0),
            begun: Cell::new(0),
            uploads: Cell::new(0),
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

    pub(crate) fn names(&self) -> Rc<ClientNames> {
        let mut names = self.names.borrow_mut();
        let names = names.get_or_insert_with(|| {
            let destination = self.destination.get().unwrap_or(self.listener.address());
            Rc::new(ClientNames::new(self.peer.get(), destination, self.is_tls.get()))
        });
        Rc::clone(names)
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
        self.wake();
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

    /// A request's body is on its way.
    pub(crate) fn begin_upload(&self) {
        self.uploads.set(self.uploads.get() + 1);
    }

    /// It has arrived, or nobody wants the rest of it.
    pub(crate) fn end_upload(&self) {
        self.uploads.set(self.uploads.get() - 1);
    }

    /// Whether nothing is under way on it, neither a request nor a part of one.
    pub(crate) fn is_at_rest(&self) -> bool {
        let is_busy = self.requests.get() > 0 || self.uploads.get() > 0 || self.head_since.get().is_some();
        !is_busy && !self.is_http2.get()
    }

    /// Has it give its buffers back if it has been at rest for some time.
    pub(crate) fn may_rest(&self, now: Instant, after: Duration) {
        let is_silent = now.saturating_duration_since(self.moved.get()) >= after;
        if self.fate.get() == Fate::Open && is_silent && self.is_at_rest() {
            self.fate.set(Fate::Resting);
            self.names.take();
            self.wake();
        }
    }

    /// HTTP/2 is spoken on it.
    pub(crate) fn speaks_http2(&self) {
        self.is_http2.set(true);
        self.head_since.set(None);
    }

    pub(crate) fn fate(&self) -> Fate {
        self.fate.get()
    }

    /// It goes on, with what it has to do.
    pub(crate) fn resumes(&self) {
        if self.fate.get() == Fate::Resting {
            self.fate.set(Fate::Open);
        }
    }

    /// Whether a request was begun on it.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.get() > 0
    }

    /// Has the task of `cx` poll it again when its fate changes.
    pub(crate) fn watched_by(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if waker.is_none() {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Polls what speaks on it and notes what that has read. Whether it has nothing left to write.
    pub(crate) fn polled<T>(&self, poll: impl FnOnce() -> Poll<T>) -> (Poll<T>, bool) {
        let (before, begun) = (Traffic::so_far(), self.begun.get());
        let polled = poll();
        let after = Traffic::so_far();
        // What comes on an idle HTTP/2 connection need not be a head.
        let is_head = after.reads != before.reads
            && self.requests.get() == 0
            && self.begun.get() == begun
            && !self.is_http2.get();
        if is_head {
            self.reads_head();
        }
        (polled, after.blocked == before.blocked)
    }

    /// The first byte of a head has come, or another one.
    pub(crate) fn reads_head(&self) {
        if self.head_since.get().is_none() {
            self.head_since.set(Some(self.shard().coarse_now()));
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.shard().process().connections.fetch_sub(1, Ordering::Relaxed);
        self.shard().uncount_connection();
        self.listener.forget(self.number);
    }
}
