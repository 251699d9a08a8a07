//! A request's use of a backend: counted in flight from the choice to the end of the response, with its slot and, once
//! connected, its connection.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::admission::Charge;
use crate::choice::Choice;
use crate::counters::BackendCounters;
use crate::link::Link;
use crate::multiplex::Place;
use crate::state::Slot;
use crate::view::ShardBackend;

/// The use of a backend by one request; ends when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    backend: Rc<ShardBackend>,
    connection: Option<Link>,
    /// On an HTTP/2 connection.
    place: Option<Place>,
    began: Instant,
    /// The latest moment before the request was sent: differs from the beginning when it had to connect.
    sent: Instant,
    /// Predicted work that is counted on the backend until the end; 0: none is.
    work: u64,
    charge: Option<Rc<Charge>>,
    /// Boxed: few routes have slots, and a lease is part of every response, whose size is copied often.
    _slot: Option<Box<Slot>>,
}

impl Lease {
    pub(crate) fn begin(choice: Choice, began: Instant) -> Self {
        let Choice { backend, slot, work, charge } = choice;
        backend.counters().requests.add(1);
        backend.counters().in_flight.add(1);
        if work != 0 {
            backend.counters().work.add(work);
        }
        Self {
            backend,
            connection: None,
            place: None,
            began,
            sent: began,
            work,
            charge,
            _slot: slot.map(Box::new),
        }
    }

    pub(crate) fn backend(&self) -> &Rc<ShardBackend> {
        &self.backend
    }

    /// What the request has reserved, where that counts.
    pub(crate) fn charge(&self) -> Option<&Charge> {
        self.charge.as_deref()
    }

    fn counters(&self) -> &BackendCounters {
        self.backend.counters()
    }

    /// How long the attempt has taken so far.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// A connection had to be made first; that is not the backend's latency.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.sent = now;
    }

    /// The latest moment before the request was sent.
    pub(crate) fn sent(&self) -> Instant {
        self.sent
    }

    /// How long the backend has been working on it.
    pub(crate) fn latency(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.sent)
    }

    /// Keeps the connection that the response is arriving on.
    pub(crate) fn use_connection(&mut self, connection: Link) {
        self.connection = Some(connection);
    }

    /// That connection.
    pub(crate) fn connection(&self) -> Option<&Link> {
        self.connection.as_ref()
    }

    /// Keeps the place among the requests of the connection that the response is arriving on.
    pub(crate) fn use_place(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// The response has been read to its end: its connection may serve another request.
    pub(crate) fn keep_connection(&mut self) {
        self.place = None;
        if let Some(connection) = self.connection.take() {
            self.backend.put_back(connection);
        }
    }

    /// The attempt did not end well.
    pub(crate) fn failed(&self) {
        self.counters().errors.add(1);
    }

    /// It failed, and the client will not notice.
    pub(crate) fn retried(&self) {
        self.counters().retries.add(1);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.counters().in_flight.subtract(1);
        if self.work != 0 {
            self.counters().work.subtract(self.work);
        }
    }
}
