//! Puts sessions on instances.
//!
//! A session goes to the fullest instance that has room, so that others become empty and can be given up; inside it, to
//! the process with the most room. It stays there until it ends. Nobody overtakes in the queue: a session that needs much
//! would otherwise wait for ever behind small ones. Same calls in the same order give the same answers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use forecast::Timestamp;

use super::host::{Host, HostState};
use super::policy::SessionPolicy;
use super::queue::Queue;
use crate::ids::InstanceId;

/// The name of a session, as its owner wrote it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// A session id with this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        SessionId(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a session lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// The instance.
    pub instance: InstanceId,
    /// The process in it, from 0.
    pub process: u32,
}

/// The answer to a session that wants a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allotted {
    /// It has one.
    Placed(Allocation),
    /// It waits; an [`Outcome`] follows.
    Queued {
        /// Sessions before it in the queue.
        position: usize,
    },
    /// It gets none.
    Refused(RefusedSession),
}

/// Why a session gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedSession {
    /// The policy has no such type.
    #[error("no such type of session")]
    UnknownType,
    /// There is no room, and as many wait as may.
    #[error("there is no room, and the queue is full")]
    QueueFull,
    /// There is no room, and it does not want to wait.
    #[error("there is no room now")]
    NoRoom,
}

/// What became of a session that waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It has a place now.
    Placed {
        /// The session.
        session: SessionId,
        /// Where it lives.
        at: Allocation,
    },
    /// It waited for as long as it may.
    Expired(SessionId),
    /// It lost its place in a full queue to one of a higher class.
    Displaced(SessionId),
}

/// A session whose instance is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostSession {
    /// The session.
    pub session: SessionId,
    /// The name of its type.
    pub kind: String,
    /// Its priority class.
    pub class: u8,
}

/// Whether an instance may be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// It may: it holds no session.
    Empty,
    /// It may not: it holds sessions, and is not draining or its time is not over.
    Holds {
        /// How many.
        sessions: u32,
        /// Until when at the latest, if it drains.
        until: Option<Timestamp>,
    },
    /// It may, and its sessions are cut: its time to drain is over.
    Over {
        /// How many.
        sessions: u32,
    },
}

/// An instance as a holder of sessions.
#[derive(Debug, Clone, PartialEq)]
pub struct HostView<'a> {
    /// The instance.
    pub instance: InstanceId,
    /// Whether it may get some.
    pub state: HostState,
    /// The sessions on it.
    pub sessions: &'a BTreeSet<SessionId>,
    /// Share of each of its processes that is taken.
    pub processes: Vec<f64>,
    /// Sessions on it of each type, in the order of the policy.
    pub by_type: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    kind: usize,
    at: Allocation,
    /// How many were placed before it.
    order: u64,
}

/// Keeps account of the sessions of one workload. Times are the caller's, and should not go back.
#[derive(Debug, Clone)]
pub struct Allocator {
    policy: SessionPolicy,
    hosts: BTreeMap<InstanceId, Host>,
    held: BTreeMap<SessionId, Held>,
    queue: Queue,
    outcomes: VecDeque<Outcome>,
    by_type: Vec<u64>,
    placed: u64,
}

impl Allocator {
    /// An allocator without instances.
    ///
    /// # Errors
    /// Every broken rule of the policy, as the field and the rest of a sentence.
    pub fn new(policy: SessionPolicy) -> Result<Self, Vec<(&'static str, &'static str)>> {
        policy.validate()?;
        Ok(Allocator {
            by_type: vec![0; policy.types.len()],
            policy,
            hosts: BTreeMap::new(),
            held: BTreeMap::new(),
            queue: Queue::default(),
            outcomes: VecDeque::new(),
            placed: 0,
        })
    }

    /// Its policy.
    pub fn policy(&self) -> &SessionPolicy {
        &self.policy
    }

    /// Asks for a place for a session of a type. Asking again for one that is known only tells where it is.
    pub fn allocate(&mut self, now: Timestamp, session: &SessionId, kind: &str) -> Allotted {
        self.allocate_within(now, session, kind, self.policy.wait_max)
    }

    /// The same for one that waits for at most so long, and no longer than the policy lets it. Zero: not at all.
    pub fn allocate_within(
        &mut self,
        now: Timestamp,
        session: &SessionId,
        kind: &str,
        wait: Duration,
    ) -> Allotted {
        self.expire(now);
        if let Some(held) = self.held.get(session) {
            return Allotted::Placed(held.at);
        }
        if let Some(position) = self.queue.position(session) {
            return Allotted::Queued { position };
        }
        let Some(kind) = self.policy.find(kind) else {
            return Allotted::Refused(RefusedSession::UnknownType);
        };
        let class = self.policy.types[kind].class;
        if !self.queue.before(class)
            && let Some(at) = self.choose(kind)
        {
            self.put(session.clone(), kind, at);
            return Allotted::Placed(at);
        }
        if wait.is_zero() {
            return Allotted::Refused(RefusedSession::NoRoom);
        }
        if self.queue.len() >= self.policy.queue_max {
            let Some(displaced) = self.queue.displace(class) else {
                return Allotted::Refused(RefusedSession::QueueFull);
            };
            self.outcomes.push_back(Outcome::Displaced(displaced));
        }
        let until = now.saturating_add(wait.min(self.policy.wait_max));
        self.queue.push(session.clone(), kind, class, until);
        Allotted::Queued { position: self.queue.position(session).unwrap_or(0) }
    }

    /// A session ended, or no longer wants a place. Whether it was known.
    pub fn end(&mut self, now: Timestamp, session: &SessionId) -> bool {
        let known = self.remove(session) || self.queue.remove(session).is_some();
        self.serve(now);
        known
    }

    /// An instance is ready and has this weight in the route table (see [`FULL_WEIGHT`](crate::FULL_WEIGHT)); with 0 it
    /// gets no sessions yet. Also for one that drains and is wanted again.
    pub fn instance_ready(&mut self, now: Timestamp, instance: InstanceId, weight: u32) {
        let state = if weight > 0 { HostState::Open } else { HostState::Shut };
        let (processes, size) = (self.policy.processes, self.policy.process_units());
        let host = self.hosts.entry(instance).or_insert_with(|| Host::new(state, now, processes, size));
        host.state = state;
        self.serve(now);
    }

    /// An instance is no longer wanted: it gets no more sessions, and may be given up when it holds none, or after the
    /// time to drain. Whether it was known; told twice, the time runs from the first.
    pub fn instance_draining(&mut self, now: Timestamp, instance: InstanceId) -> bool {
        let until = now.saturating_add(self.policy.drain);
        let Some(host) = self.hosts.get_mut(&instance) else { return false };
        if !matches!(host.state, HostState::Draining(_)) {
            host.state = HostState::Draining(until);
        }
        true
    }

    /// Whether an instance may be given up now. `None`: it is not known.
    pub fn release(&self, now: Timestamp, instance: InstanceId) -> Option<Release> {
        let host = self.hosts.get(&instance)?;
        let sessions = host.sessions.len() as u32;
        Some(match host.state {
            _ if sessions == 0 => Release::Empty,
            HostState::Draining(until) if until <= now => Release::Over { sessions },
            HostState::Draining(until) => Release::Holds { sessions, until: Some(until) },
            HostState::Open | HostState::Shut => Release::Holds { sessions, until: None },
        })
    }

    /// An instance is gone. Returns the sessions that were on it, so that they can be placed anew in this order: higher
    /// classes first, then those placed first.
    pub fn instance_gone(&mut self, instance: InstanceId) -> Vec<LostSession> {
        let Some(host) = self.hosts.remove(&instance) else { return Vec::new() };
        let mut lost = Vec::new();
        for session in host.sessions {
            let Some(held) = self.held.remove(&session) else { continue };
            self.by_type[held.kind] -= 1;
            let kind = &self.policy.types[held.kind];
            let rank = (Reverse(kind.class), held.order);
            lost.push((rank, LostSession { session, kind: kind.name.clone(), class: kind.class }));
        }
        lost.sort_by_key(|(rank, _)| *rank);
        lost.into_iter().map(|(_, lost)| lost).collect()
    }

    /// A session was found running after a restart of the control plane. False, and nothing changed, when it is known
    /// already or the type, the instance or the process is not.
    pub fn found(&mut self, session: &SessionId, kind: &str, at: Allocation) -> bool {
        let known = self.held.contains_key(session) || self.queue.position(session).is_some();
        let Some(kind) = self.policy.find(kind).filter(|_| !known) else { return false };
        if !self.hosts.get(&at.instance).is_some_and(|host| host.has(at.process)) {
            return false;
        }
        self.put(session.clone(), kind, at);
        true
    }

    /// Takes in that time has passed.
    pub fn expire(&mut self, now: Timestamp) {
        let before = self.outcomes.len();
        while let Some(session) = self.queue.expired(now) {
            self.outcomes.push_back(Outcome::Expired(session));
        }
        if self.outcomes.len() > before {
            self.place_waiting();
        }
    }

    /// Until when a session waits for a place at most.
    pub fn waits_until(&self, session: &SessionId) -> Option<Timestamp> {
        self.queue.end_of(session)
    }

    /// When [`expire`](Self::expire) must be called at the latest.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.queue.next_end()
    }

    /// The next thing that became of a session that waited. To be fetched after every call that changes something.
    pub fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// Where a session lives.
    pub fn place_of(&self, session: &SessionId) -> Option<Allocation> {
        self.held.get(session).map(|held| held.at)
    }

    /// Sessions on each instance.
    pub fn held(&self) -> impl Iterator<Item = (InstanceId, u32)> + '_ {
        self.hosts.iter().map(|(id, host)| (*id, host.sessions.len() as u32))
    }

    /// Instances that do not drain yet, those first whose drain costs least: fewest sessions, then none of a high class,
    /// then the youngest.
    pub fn drain_order(&self) -> Vec<InstanceId> {
        let class = |host: &Host| host.types().map(|kind| self.policy.types[kind].class).max();
        let undrained = self.hosts.iter().filter(|(_, host)| !matches!(host.state, HostState::Draining(_)));
        let mut order: Vec<_> = undrained
            .map(|(id, host)| (host.sessions.len(), class(host), Reverse((host.since, *id)), *id))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(.., id)| id).collect()
    }

    /// The name of a session's type; `None` for one that is not known.
    pub fn kind_of(&self, session: &SessionId) -> Option<&str> {
        let kind = self.held.get(session).map(|held| held.kind).or_else(|| self.queue.kind_of(session))?;
        Some(&self.policy.types[kind].name)
    }

    /// Sessions before one that waits; `None` for one that does not.
    pub fn position(&self, session: &SessionId) -> Option<usize> {
        self.queue.position(session)
    }

    /// Whether an instance may get sessions; `None` for one that is not known.
    pub fn state_of(&self, instance: InstanceId) -> Option<HostState> {
        self.hosts.get(&instance).map(|host| host.state)
    }

    /// The instances, and how full each of their processes is.
    pub fn hosts(&self) -> impl Iterator<Item = HostView<'_>> {
        self.hosts.iter().map(|(id, host)| HostView {
            instance: *id,
            state: host.state,
            sessions: &host.sessions,
            processes: host.shares().collect(),
            by_type: (0..self.policy.types.len()).map(|kind| host.of_type(kind)).collect(),
        })
    }

    pub(super) fn open_hosts(&self) -> usize {
        self.open().count()
    }

    pub(super) fn held_by_type(&self) -> &[u64] {
        &self.by_type
    }

    pub(super) fn waiting_kinds(&self) -> impl Iterator<Item = usize> + '_ {
        self.queue.kinds()
    }

    /// Room for so many sessions of a type, by its place in the policy, on all instances that may get some.
    pub fn room_for(&self, kind: usize) -> u64 {
        let units = self.policy.types[kind].units();
        self.open().map(|(_, host)| host.fits(units)).sum()
    }

    /// The same without what is kept free for higher classes, all in all.
    pub fn room_left_for(&self, kind: usize) -> u64 {
        let own = &self.policy.types[kind];
        match self.kept_above(own.class) {
            0 => self.room_for(kind),
            kept => self.room_for(kind).min(self.free().saturating_sub(kept) / own.units().max(1)),
        }
    }

    /// Units that are kept free for classes above this one, together: room for one of several types is not room for each of them.
    fn kept_above(&self, class: u8) -> u64 {
        let above = self.policy.types.iter().filter(|t| t.class > class);
        above.map(|t| u64::from(t.headroom).saturating_mul(t.units())).sum()
    }

    fn free(&self) -> u64 {
        let size = self.policy.process_units() * u64::from(self.policy.processes);
        self.open().map(|(_, host)| size.saturating_sub(host.taken())).sum()
    }

    fn open(&self) -> impl Iterator<Item = (&InstanceId, &Host)> {
        self.hosts.iter().filter(|(_, host)| host.state == HostState::Open)
    }

    /// The fullest instance that has room, the oldest among equals, where what is kept for higher classes stays free.
    fn choose(&self, kind: usize) -> Option<Allocation> {
        let own = &self.policy.types[kind];
        let units = own.units();
        let higher = self.policy.types.iter().enumerate();
        let higher: Vec<(u64, u64)> = higher
            .filter(|(_, t)| t.class > own.class && t.headroom > 0)
            .map(|(kind, t)| (t.units(), self.room_for(kind).saturating_sub(u64::from(t.headroom))))
            .collect();
        if !higher.is_empty() && self.free() < self.kept_above(own.class).saturating_add(units) {
            return None;
        }
        let spared = |host: &Host, process: u32| {
            higher.iter().all(|(other, spare)| host.cost(process, units, *other) <= *spare)
        };
        let fitting = self.open().filter_map(|(id, host)| {
            let process = host.process_for(units, |process| spared(host, process))?;
            let at = Allocation { instance: *id, process };
            Some((Reverse(host.taken()), host.since, *id, at))
        });
        fitting.min_by_key(|(taken, since, id, _)| (*taken, *since, *id)).map(|(.., at)| at)
    }

    fn put(&mut self, session: SessionId, kind: usize, at: Allocation) {
        let units = self.policy.types[kind].units();
        let Some(host) = self.hosts.get_mut(&at.instance) else { return };
        host.put(session.clone(), kind, at.process, units);
        self.held.insert(session, Held { kind, at, order: self.placed });
        self.by_type[kind] += 1;
        self.placed += 1;
    }

    fn remove(&mut self, session: &SessionId) -> bool {
        let Some(Held { kind, at, .. }) = self.held.remove(session) else { return false };
        self.by_type[kind] -= 1;
        let units = self.policy.types[kind].units();
        if let Some(host) = self.hosts.get_mut(&at.instance) {
            host.take(session, kind, at.process, units);
        }
        true
    }

    /// Lets those go whose time is over, then gives room to those that wait.
    fn serve(&mut self, now: Timestamp) {
        self.expire(now);
        self.place_waiting();
    }

    fn place_waiting(&mut self) {
        while let Some(first) = self.queue.first() {
            let (session, kind) = (first.session.clone(), first.kind);
            let Some(at) = self.choose(kind) else { return };
            self.queue.remove(&session);
            self.put(session.clone(), kind, at);
            self.outcomes.push_back(Outcome::Placed { session, at });
        }
    }
}
