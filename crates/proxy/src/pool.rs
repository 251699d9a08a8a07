//! Idle connections to one backend, of one shard. Last in, first out: the most recently used is the least likely to
//! be closed by the backend, and the others can grow old and go.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::link::Link;

/// Idle connections.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Idle>>,
    max: usize,
    /// A coarse clock, moved by [`Pool::sweep`], so that returning a connection reads none.
    now: Cell<Instant>,
}

#[derive(Debug)]
struct Idle {
    connection: Link,
    since: Instant,
}

impl Pool {
    pub(crate) fn new(max: usize) -> Self {
        Self { idle: RefCell::default(), max, now: Cell::new(Instant::now()) }
    }

    /// The most recently used connection that is still open.
    pub(crate) fn take(&self) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { connection, .. }) = idle.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection; gives it back when it is still sending. Closed ones and those beyond the limit are dropped.
    pub(crate) fn put(&self, connection: Link) -> Option<Link> {
        if connection.is_closed() {
            return None;
        }
        if !connection.is_ready() {
            return Some(connection);
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.max {
            idle.push(Idle { connection, since: self.now.get() });
        }
        None
    }

    /// Closes what has been idle for longer than `limit` or was closed by the backend.
    pub(crate) fn sweep(&self, now: Instant, limit: Duration) {
        self.now.set(now);
        let keep =
            |idle: &Idle| now.saturating_duration_since(idle.since) < limit && !idle.connection.is_closed();
        self.idle.borrow_mut().retain(keep);
    }

    /// Closes all.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
