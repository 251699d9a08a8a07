//! Sessions that wait for room: higher classes first, then in order of arrival.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use forecast::Timestamp;

use super::allocator::SessionId;

/// Higher classes first, then who came first.
type Rank = (Reverse<u8>, u64);

/// One that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) session: SessionId,
    pub(super) kind: usize,
    until: Timestamp,
}

/// All that wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    ranks: BTreeMap<SessionId, Rank>,
    line: BTreeMap<Rank, Waiting>,
    ends: BTreeSet<(Timestamp, Rank)>,
    arrivals: u64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    /// How many are before it.
    pub(super) fn position(&self, session: &SessionId) -> Option<usize> {
        self.ranks.get(session).map(|rank| self.line.range(..*rank).count())
    }

    /// When its time is over.
    pub(super) fn end_of(&self, session: &SessionId) -> Option<Timestamp> {
        self.ranks.get(session).and_then(|rank| self.line.get(rank)).map(|waiting| waiting.until)
    }

    pub(super) fn kind_of(&self, session: &SessionId) -> Option<usize> {
        self.ranks.get(session).and_then(|rank| self.line.get(rank)).map(|waiting| waiting.kind)
    }

    /// Somebody waits whom a session of this class, coming now, would have to let go first.
    pub(super) fn before(&self, class: u8) -> bool {
        self.line.first_key_value().is_some_and(|((first, _), _)| first.0 >= class)
    }

    pub(super) fn push(&mut self, session: SessionId, kind: usize, class: u8, until: Timestamp) {
        let rank = (Reverse(class), self.arrivals);
        self.arrivals += 1;
        self.ranks.insert(session.clone(), rank);
        self.ends.insert((until, rank));
        self.line.insert(rank, Waiting { session, kind, until });
    }

    pub(super) fn first(&self) -> Option<&Waiting> {
        self.line.first_key_value().map(|(_, first)| first)
    }

    /// Takes the last one out if its class is below this one.
    pub(super) fn displace(&mut self, class: u8) -> Option<SessionId> {
        let ((last, _), waiting) = self.line.last_key_value()?;
        let session = (last.0 < class).then(|| waiting.session.clone())?;
        self.remove(&session);
        Some(session)
    }

    pub(super) fn remove(&mut self, session: &SessionId) -> Option<Waiting> {
        let rank = self.ranks.remove(session)?;
        let waiting = self.line.remove(&rank)?;
        self.ends.remove(&(waiting.until, rank));
        Some(waiting)
    }

    /// Takes out one whose time is over.
    pub(super) fn expired(&mut self, now: Timestamp) -> Option<SessionId> {
        let (_, rank) = *self.ends.first().filter(|(until, _)| *until <= now)?;
        let session = self.line.get(&rank)?.session.clone();
        self.remove(&session);
        Some(session)
    }

    /// When the next one's time is over.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// Types of all that wait.
    pub(super) fn kinds(&self) -> impl Iterator<Item = usize> + '_ {
        self.line.values().map(|waiting| waiting.kind)
    }
}
