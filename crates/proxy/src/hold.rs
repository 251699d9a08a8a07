//! Where requests wait while no backend is usable.
//!
//! One room per workload, shared by all shards: the order of waiting is the order of arrival whichever shard a request
//! came in on. This is the slow path; only here requests meet a lock. Two things end a wait: a freed slot is handed
//! to the first in line, or a change (new table, backend healthy again) makes everyone look again in their order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::state::{RouteState, Slot};

/// Why a wait ended.
#[derive(Debug)]
pub(crate) enum Grant {
    /// Something has changed: choose again.
    Look,
    /// This backend has room, reserved for the receiver.
    Slot(Slot),
}

/// The waiting requests of one workload.
#[derive(Debug, Default)]
pub(crate) struct WaitingRoom {
    queue: Mutex<BTreeMap<u64, oneshot::Sender<Grant>>>,
    /// Tickets given out, a moment more than the queue holds while someone looks again.
    occupied: AtomicUsize,
    next: AtomicU64,
}

impl WaitingRoom {
    /// How many requests wait.
    pub(crate) fn occupied(&self) -> usize {
        self.occupied.load(Ordering::SeqCst)
    }

    /// Takes the first in line out of it; whoever calls must send a grant.
    pub(crate) fn pop_first(&self) -> Option<oneshot::Sender<Grant>> {
        if self.occupied() == 0 {
            return None;
        }
        self.lock().pop_first().map(|(_, waiter)| waiter)
    }

    /// Makes everyone look again, first come first.
    pub(crate) fn release(&self) {
        if self.occupied() == 0 {
            return;
        }
        let waiters = std::mem::take(&mut *self.lock());
        for (_, waiter) in waiters {
            let _ = waiter.send(Grant::Look);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Grant>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the room; given up when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    route: Arc<RouteState>,
    number: u64,
}

impl Ticket {
    /// A place at the end of the queue, unless `max` are taken.
    pub(crate) fn enter(route: &Arc<RouteState>, max: usize) -> Option<Self> {
        let room = &route.waiting;
        let free = |occupied| (occupied < max).then_some(occupied + 1);
        room.occupied.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free).ok()?;
        let number = room.next.fetch_add(1, Ordering::Relaxed);
        Some(Self { route: Arc::clone(route), number })
    }

    /// Waits in line for a grant. The caller must look once more after this call and before awaiting: a slot
    /// freed before it was handed to nobody.
    pub(crate) fn listen(&self) -> oneshot::Receiver<Grant> {
        let (sender, receiver) = oneshot::channel();
        self.route.waiting.lock().insert(self.number, sender);
        receiver
    }

    /// The workload it waits for.
    pub(crate) fn route(&self) -> &Arc<RouteState> {
        &self.route
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.route.waiting.lock().remove(&self.number);
        self.route.waiting.occupied.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::BackendSpec;
    use crate::state::{BackendState, Process};

    fn route() -> Arc<RouteState> {
        Arc::new(RouteState::new("web", 1))
    }

    #[test]
    fn the_room_has_a_last_place() {
        let route = route();
        let first = Ticket::enter(&route, 1);
        assert!(first.is_some() && Ticket::enter(&route, 1).is_none());
        drop(first);
        assert!(Ticket::enter(&route, 1).is_some());
    }

    #[test]
    fn a_freed_slot_goes_to_the_first_in_line_and_passes_by_those_who_left() {
        let route = route();
        let process = Arc::new(Process::new());
        let spec = BackendSpec { id: 1, addr: "127.0.0.1:9".parse().expect("literal"), weight: 1000 };
        let backend = Arc::new(BackendState::new(spec, 1));
        let slot = Slot::take(&backend, &route, &process, 1).expect("free");
        assert!(Slot::take(&backend, &route, &process, 1).is_none());
        let tickets: Vec<_> = (0..3).map(|_| Ticket::enter(&route, 9).expect("room")).collect();
        let mut waits: Vec<_> = tickets.iter().map(Ticket::listen).collect();
        // The first has gone without giving up its ticket yet.
        drop(waits.remove(0));
        drop(slot);
        let granted = waits[0].try_recv().expect("granted");
        assert!(matches!(granted, Grant::Slot(_)));
        assert!(waits[1].try_recv().is_err());
        drop(granted);
        assert!(matches!(waits[1].try_recv(), Ok(Grant::Slot(_))));
        drop((tickets, waits));
        assert_eq!(route.waiting.occupied(), 0);
        assert!(backend.has_slot(1));
    }
}
