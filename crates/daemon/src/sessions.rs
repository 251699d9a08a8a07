//! The sessions of one workload: who is where and until when, what they ask for, and what of it is to be kept on disk.
//!
//! The planner's allocator chooses places; this adds leases, so that whoever dies without a word does not keep its slot;
//! what the planner and the history are told; and the way back after a restart. It knows no clock and does no IO: times
//! are the caller's, on a clock that never goes back.

mod demand;
mod seats;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forecast::Timestamp;
use planner::InstanceId;
use planner::sessions::{Allocation, Allocator, Allotted, Outcome, RefusedSession, SessionId};

use crate::config::SessionsConfig;
use demand::StepPeak;
pub(crate) use tell::Telling;

/// All sessions of a workload.
#[derive(Debug)]
pub(crate) struct Sessions {
    allocator: Allocator,
    lease: Duration,
    /// What one instance holds, in the unit of the weights.
    capacity: f64,
    known: BTreeMap<SessionId, Known>,
    /// When each ends unless it is renewed.
    ends: BTreeSet<(Timestamp, SessionId)>,
    /// When it was last looked who has ended.
    looked: Option<Timestamp>,
    /// What the planner was told last.
    told: BTreeMap<InstanceId, u32>,
    /// What is to be written down.
    changes: Vec<Change>,
    /// What the journal is to say.
    news: Vec<String>,
    peak: StepPeak,
    /// When the planner was last told of the demand.
    load_told: Option<Timestamp>,
    totals: Totals,
}

/// Since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    placed: u64,
    ended: u64,
    expired: u64,
    refused: u64,
    lost: u64,
}

#[derive(Clone, Debug)]
struct Known {
    kind: String,
    until: Timestamp,
    /// A change that keeps its place was handed over with somebody waiting for the disk.
    kept: bool,
}

/// What is to be written down of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has a place.
    Kept(SessionId, Seat),
    /// It has none any more.
    Gone(SessionId),
}

/// A place as it is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Seat {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) instance: u64,
    pub(crate) process: u32,
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) session: SessionId,
    pub(crate) kind: String,
    pub(crate) place: Result<Allocation, usize>,
    pub(crate) until: Timestamp,
    /// Not before what is named here is on disk is the place safe.
    pub(crate) to_keep: Option<Seat>,
}

/// Why a session gets no place, or not this one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SessionRefusal {
    #[error("there is no type of session named {kind:?}; there are {known}")]
    UnknownType { kind: String, known: String },
    #[error("the session {session} is known, and of type {kind:?}")]
    OtherType { session: SessionId, kind: String },
    #[error("there is no session {0}")]
    Unknown(SessionId),
    #[error("{0}")]
    NoPlace(RefusedSession),
}

impl Sessions {
    /// `capacity` is what an instance holds.
    pub(crate) fn new(config: &SessionsConfig, capacity: f64) -> Sessions {
        Sessions {
            allocator: Allocator::new(config.policy(capacity)).expect("a checked configuration"),
            lease: config.lease,
            capacity,
            known: BTreeMap::new(),
            ends: BTreeSet::new(),
            looked: None,
            told: BTreeMap::new(),
            changes: Vec::new(),
            news: Vec::new(),
            peak: StepPeak::default(),
            load_told: None,
            totals: Totals::default(),
        }
    }

    /// A session wants a place, or wants to know where it is.
    pub(crate) fn open(
        &mut self,
        now: Timestamp,
        session: &SessionId,
        kind: &str,
        wait: Option<Duration>,
    ) -> Result<Standing, SessionRefusal> {
        if let Some(known) = self.allocator.kind_of(session).filter(|known| *known != kind) {
            return Err(SessionRefusal::OtherType { session: session.clone(), kind: known.to_owned() });
        }
        let wait = wait.unwrap_or(self.allocator.policy().wait_max);
        let allotted = self.allocator.allocate_within(now, session, kind, wait);
        self.take_outcomes();
        match allotted {
            Allotted::Placed(at) if !self.known.contains_key(session) => self.placed(session, kind, at),
            Allotted::Placed(_) | Allotted::Queued { .. } => {}
            Allotted::Refused(RefusedSession::UnknownType) => {
                let known: Vec<&str> =
                    self.allocator.policy().types.iter().map(|t| t.name.as_str()).collect();
                return Err(SessionRefusal::UnknownType { kind: kind.to_owned(), known: known.join(", ") });
            }
            Allotted::Refused(refused) => {
                self.refused(kind);
                return Err(SessionRefusal::NoPlace(refused));
            }
        }
        self.lease_anew(now, session);
        self.measure();
        self.standing(session)
    }

    /// A session is still there.
    pub(crate) fn renew(&mut self, now: Timestamp, session: &SessionId) -> Result<Standing, SessionRefusal> {
        if !self.known.contains_key(session) {
            return Err(SessionRefusal::Unknown(session.clone()));
        }
        self.lease_anew(now, session);
        self.standing(session)
    }

    /// A session is over. Whether it was known.
    pub(crate) fn close(&mut self, now: Timestamp, session: &SessionId) -> bool {
        let known = self.end(now, session);
        self.totals.ended += u64::from(known);
        known
    }

    /// Time has passed: ends the sessions that were not renewed. After a stall nobody is blamed for it.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let stalled = self.looked.replace(now).is_some_and(|looked| now.since(looked) > STALL);
        if stalled {
            let all: Vec<SessionId> = self.known.keys().cloned().collect();
            for session in all {
                self.lease_anew(now, &session);
            }
        }
        self.allocator.expire(now);
        self.take_outcomes();
        while let Some((_, session)) = self.ends.first().filter(|(until, _)| *until <= now).cloned() {
            self.end(now, &session);
            self.totals.expired += 1;
        }
    }

    fn end(&mut self, now: Timestamp, session: &SessionId) -> bool {
        let placed = self.allocator.place_of(session).is_some();
        let known = self.allocator.end(now, session);
        self.forget(session);
        if placed {
            self.changes.push(Change::Gone(session.clone()));
        }
        self.take_outcomes();
        known
    }

    fn lease_anew(&mut self, now: Timestamp, session: &SessionId) {
        let until = now.saturating_add(self.lease);
        let Some(kind) = self.allocator.kind_of(session).map(str::to_owned) else { return };
        let known = self.known.entry(session.clone()).or_insert(Known { kind, until, kept: false });
        self.ends.remove(&(known.until, session.clone()));
        known.until = until;
        self.ends.insert((until, session.clone()));
    }

    fn forget(&mut self, session: &SessionId) -> Option<Known> {
        let known = self.known.remove(session)?;
        self.ends.remove(&(known.until, session.clone()));
        Some(known)
    }

    /// What became of those that waited.
    fn take_outcomes(&mut self) {
        while let Some(outcome) = self.allocator.poll_outcome() {
            match outcome {
                Outcome::Placed { session, at } => {
                    let kind = self.allocator.kind_of(&session).unwrap_or_default().to_owned();
                    self.placed(&session, &kind, at);
                }
                Outcome::Expired(session) | Outcome::Displaced(session) => {
                    if let Some(known) = self.forget(&session) {
                        self.refused(&known.kind);
                    }
                }
            }
        }
    }

    fn placed(&mut self, session: &SessionId, kind: &str, at: Allocation) {
        self.totals.placed += 1;
        if let Some(known) = self.known.get_mut(session) {
            known.kept = false;
        }
        self.changes.push(Change::Kept(session.clone(), seat(kind, at)));
    }

    fn refused(&mut self, kind: &str) {
        self.totals.refused += 1;
        let weight = self.allocator.policy().types.iter().find(|t| t.name == kind).map_or(0.0, |t| t.weight);
        self.peak.refused += weight * self.capacity;
    }

    /// What is known of a session. Whoever asks first after it was placed waits until that is on disk.
    fn standing(&mut self, session: &SessionId) -> Result<Standing, SessionRefusal> {
        let unknown = || SessionRefusal::Unknown(session.clone());
        let kind = self.allocator.kind_of(session).ok_or_else(unknown)?.to_owned();
        let place = self.allocator.place_of(session);
        let position = self.allocator.position(session).unwrap_or(0);
        let known = self.known.get_mut(session).ok_or_else(unknown)?;
        let first = place.filter(|_| !std::mem::replace(&mut known.kept, place.is_some()));
        let to_keep = first.map(|at| seat(&kind, at));
        // Its place in the queue may be lost sooner than its lease.
        let until = self.allocator.waits_until(session).map_or(known.until, |waits| waits.min(known.until));
        if to_keep.is_some() {
            // Whoever waits brings it to the disk.
            self.changes.retain(|change| !matches!(change, Change::Kept(other, _) if other == session));
        }
        Ok(Standing { session: session.clone(), kind, place: place.ok_or(position), until, to_keep })
    }
}

fn seat(kind: &str, at: Allocation) -> Seat {
    Seat { kind: kind.to_owned(), instance: at.instance.get(), process: at.process }
}

/// Who is not looked after for so long cannot have been told of renewals.
const STALL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
