//! Where requests wait while no backend is usable.
//!
//! One room per workload, shared by all shards: the order of waiting is the order of arrival whichever shard a request
//! came in on. This is the slow path; only here requests meet a lock. Two things end a wait: a freed slot is handed
//! to the first in line, or a change (new table, backend healthy again) makes everyone look again in their order.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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
    /// Its place was needed for one of a higher class.
    Leave,
}

/// The waiting requests of one workload.
#[derive(Debug, Default)]
pub(crate) struct WaitingRoom {
    queue: Mutex<Queue>,
    /// Tickets given out.
    occupied: AtomicUsize,
    next: AtomicU64,
    /// Those in it wait for more than a free place: see [`WaitingRoom::set_by_cost`].
    is_by_cost: AtomicBool,
}

/// Who waits, by class and then by arrival.
#[derive(Debug, Default)]
struct Queue {
    listening: BTreeMap<Place, oneshot::Sender<Grant>>,
    /// Were told to look, and have neither gone nor listened again. Where requests are placed by cost, their turn is still
    /// before that of those behind them; elsewhere whoever listens is given what becomes free meanwhile.
    told: BTreeSet<Place>,
}

/// A class, 0 goes first, and a number that grows.
type Place = (u8, u64);

impl Queue {
    fn first(&self) -> Option<Place> {
        let listening = self.listening.first_key_value().map(|(place, _)| *place);
        listening.into_iter().chain(self.told.first().copied()).min()
    }

    /// Takes the first that listens, to be told to look.
    fn tell_first(&mut self) -> Option<oneshot::Sender<Grant>> {
        let (place, waiter) = self.listening.pop_first()?;
        self.told.insert(place);
        Some(waiter)
    }

    fn leave(&mut self, place: &Place) {
        self.listening.remove(place);
        self.told.remove(place);
    }
}

impl WaitingRoom {
    /// How many requests wait.
    pub(crate) fn occupied(&self) -> usize {
        self.occupied.load(Ordering::SeqCst)
    }

    /// Takes the first in line that listens out of it; whoever calls must send a grant.
    pub(crate) fn pop_first(&self) -> Option<oneshot::Sender<Grant>> {
        if self.occupied() == 0 {
            return None;
        }
        self.lock().listening.pop_first().map(|(_, waiter)| waiter)
    }

    /// Makes the first in line look again: something has become free, and only its own need says whether it is enough.
    /// One that looks already will look once more before it waits, and where requests are placed by cost, nudge the next
    /// when it goes.
    pub(crate) fn nudge(&self) {
        if self.occupied() == 0 {
            return;
        }
        let mut queue = self.lock();
        let is_listening = queue.first().is_some_and(|first| queue.listening.contains_key(&first));
        if is_listening && let Some(waiter) = queue.tell_first() {
            let _ = waiter.send(Grant::Look);
        }
    }

    /// Requests of this route are placed by their cost, or are not.
    pub(crate) fn set_by_cost(&self, is_by_cost: bool) {
        self.is_by_cost.store(is_by_cost, Ordering::Relaxed);
    }

    pub(crate) fn is_by_cost(&self) -> bool {
        self.is_by_cost.load(Ordering::Relaxed)
    }

    /// Whether somebody waits whose turn is before that of a newcomer of this class.
    pub(crate) fn is_before(&self, class: u8) -> bool {
        self.occupied() > 0 && self.lock().first().is_some_and(|first| first.0 <= class)
    }

    /// How many wait whose turn is before that of a newcomer of this class.
    pub(crate) fn ahead_of(&self, class: u8) -> usize {
        if self.occupied() == 0 {
            return 0;
        }
        let queue = self.lock();
        let ahead = ..=(class, u64::MAX);
        queue.listening.range(ahead).count() + queue.told.range(ahead).count()
    }

    /// Whether the last in line is of a lower class than this.
    fn could_make_room(&self, class: u8) -> bool {
        self.lock().listening.last_key_value().is_some_and(|(last, _)| last.0 > class)
    }

    /// Makes everyone look again, first come first.
    pub(crate) fn release(&self) {
        if self.occupied() == 0 {
            return;
        }
        let waiters: Vec<_> = {
            let mut queue = self.lock();
            std::iter::from_fn(|| queue.tell_first()).collect()
        };
        for waiter in waiters {
            let _ = waiter.send(Grant::Look);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the room; given up when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    route: Arc<RouteState>,
    place: Place,
    /// Somebody of a lower class has to go for it.
    must_push: Cell<bool>,
}

impl Ticket {
    /// A place behind those of the same class, unless `max` are taken and nobody of a lower class can be sent away.
    pub(crate) fn enter(route: &Arc<RouteState>, max: usize, class: u8) -> Option<Self> {
        let room = &route.waiting;
        let free = |occupied| (occupied < max).then_some(occupied + 1);
        let mut must_push = false;
        if room.occupied.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free).is_err() {
            if !room.could_make_room(class) {
                return None;
            }
            // One too many until the one that is sent away has noticed.
            room.occupied.fetch_add(1, Ordering::SeqCst);
            must_push = true;
        }
        let number = room.next.fetch_add(1, Ordering::Relaxed);
        Some(Self { route: Arc::clone(route), place: (class, number), must_push: Cell::new(must_push) })
    }

    /// Whether nobody's turn is before it.
    pub(crate) fn is_first(&self) -> bool {
        self.route.waiting.lock().first().is_none_or(|first| first >= self.place)
    }

    /// Waits in line for a grant. The caller must look once more after this call and before awaiting: a slot
    /// freed before it was handed to nobody.
    pub(crate) fn listen(&self) -> oneshot::Receiver<Grant> {
        let (sender, receiver) = oneshot::channel();
        let mut queue = self.route.waiting.lock();
        queue.told.remove(&self.place);
        queue.listening.insert(self.place, sender);
        // At one moment with its own entry, so that nobody behind it is let in between.
        if self.must_push.take()
            && let Some(last) = queue.listening.last_entry().filter(|last| last.key().0 > self.place.0)
        {
            let _ = last.remove().send(Grant::Leave);
        }
        receiver
    }

    /// The workload it waits for.
    pub(crate) fn route(&self) -> &Arc<RouteState> {
        &self.route
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.route.waiting.lock().leave(&self.place);
        self.route.waiting.occupied.fetch_sub(1, Ordering::SeqCst);
        // It may have been made to look and not have done so.
        if self.route.waiting.is_by_cost() {
            self.route.waiting.nudge();
        }
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
        let first = Ticket::enter(&route, 1, 0);
        assert!(first.is_some() && Ticket::enter(&route, 1, 0).is_none());
        drop(first);
        assert!(Ticket::enter(&route, 1, 0).is_some());
    }

    #[test]
    fn a_higher_class_goes_first_and_takes_the_place_of_a_lower_one() {
        let route = route();
        let low = Ticket::enter(&route, 2, 2).expect("room");
        let later = Ticket::enter(&route, 2, 2).expect("room");
        let mut waits = [low.listen(), later.listen()];
        assert!(route.waiting.is_before(2) && !route.waiting.is_before(1));
        let high = Ticket::enter(&route, 2, 0).expect("the last one of a lower class leaves");
        let mut wait = high.listen();
        assert!(matches!(waits[1].try_recv(), Ok(Grant::Leave)) && waits[0].try_recv().is_err());
        assert!(Ticket::enter(&route, 2, 2).is_none());
        drop(later);
        assert!(high.is_first() && !low.is_first());
        route.waiting.nudge();
        assert!(matches!(wait.try_recv(), Ok(Grant::Look)) && waits[0].try_recv().is_err());
    }

    #[test]
    fn whoever_looks_keeps_its_turn_until_it_goes() {
        let route = route();
        route.waiting.set_by_cost(true);
        let [first, second] = [1, 2].map(|class| Ticket::enter(&route, 9, class).expect("room"));
        let mut waits = [first.listen(), second.listen()];
        route.waiting.nudge();
        assert!(matches!(waits[0].try_recv(), Ok(Grant::Look)));
        // What becomes free meanwhile is for the one that looks, too.
        route.waiting.nudge();
        assert!(first.is_first() && !second.is_first() && waits[1].try_recv().is_err());
        assert!(route.waiting.is_before(1) && !route.waiting.is_before(0) && route.waiting.ahead_of(2) == 2);
        waits[0] = first.listen();
        route.waiting.nudge();
        assert!(matches!(waits[0].try_recv(), Ok(Grant::Look)) && waits[1].try_recv().is_err());
        drop(first);
        assert!(second.is_first() && matches!(waits[1].try_recv(), Ok(Grant::Look)));
    }

    #[test]
    fn a_freed_slot_goes_to_the_first_in_line_and_passes_by_those_who_left() {
        let route = route();
        let process = Arc::new(Process::new());
        let spec = BackendSpec { id: 1, addr: "127.0.0.1:9".parse().expect("literal"), weight: 1000 };
        let backend = Arc::new(BackendState::new(spec, 1));
        let slot = Slot::take(&backend, &route, &process, 1).expect("free");
        assert!(Slot::take(&backend, &route, &process, 1).is_none());
        let tickets: Vec<_> = (0..3).map(|_| Ticket::enter(&route, 9, 0).expect("room")).collect();
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
