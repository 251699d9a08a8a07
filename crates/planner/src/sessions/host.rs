//! One instance as a holder of sessions: its processes and the room in them.

use std::collections::{BTreeMap, BTreeSet};

use forecast::Timestamp;

use super::allocator::SessionId;

/// Whether an instance may get sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostState {
    /// It may.
    Open,
    /// It is ready, but nothing is routed to it yet.
    Shut,
    /// It gets no more, and may be given up with sessions on it from then on.
    Draining(Timestamp),
}

/// An instance.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) state: HostState,
    /// When it became ready first.
    pub(super) since: Timestamp,
    pub(super) sessions: BTreeSet<SessionId>,
    /// What is taken of each process.
    taken: Vec<u64>,
    /// What each process holds.
    size: u64,
    /// Sessions on it, by type.
    types: BTreeMap<usize, u32>,
}

impl Host {
    pub(super) fn new(state: HostState, since: Timestamp, processes: u32, size: u64) -> Self {
        let taken = vec![0; processes as usize];
        Host { state, since, sessions: BTreeSet::new(), taken, size, types: BTreeMap::new() }
    }

    /// Of the processes that may be used, the one with the most room, the first among equals, if it has this much.
    pub(super) fn process_for(&self, units: u64, may: impl Fn(u32) -> bool) -> Option<u32> {
        let processes = (0u32..).zip(&self.taken).filter(|(process, _)| may(*process));
        let (process, taken) = processes.min_by_key(|(_, taken)| **taken)?;
        (taken + units <= self.size).then_some(process)
    }

    /// Room for so many sessions of this size.
    pub(super) fn fits(&self, units: u64) -> u64 {
        self.taken.iter().map(|taken| self.size.saturating_sub(*taken) / units).sum()
    }

    /// How many of this size would fit no more, were this much of a process taken.
    pub(super) fn cost(&self, process: u32, taken: u64, units: u64) -> u64 {
        let free = self.size.saturating_sub(self.taken[process as usize]);
        free / units - free.saturating_sub(taken) / units
    }

    /// What is taken of all processes.
    pub(super) fn taken(&self) -> u64 {
        self.taken.iter().sum()
    }

    /// Share of each process that is taken.
    pub(super) fn shares(&self) -> impl Iterator<Item = f64> + '_ {
        self.taken.iter().map(|taken| *taken as f64 / self.size.max(1) as f64)
    }

    /// Sessions of a type on it.
    pub(super) fn of_type(&self, kind: usize) -> u32 {
        self.types.get(&kind).copied().unwrap_or(0)
    }

    /// Types of the sessions on it.
    pub(super) fn types(&self) -> impl Iterator<Item = usize> + '_ {
        self.types.keys().copied()
    }

    pub(super) fn has(&self, process: u32) -> bool {
        (process as usize) < self.taken.len()
    }

    pub(super) fn put(&mut self, session: SessionId, kind: usize, process: u32, units: u64) {
        self.sessions.insert(session);
        self.taken[process as usize] += units;
        *self.types.entry(kind).or_default() += 1;
    }

    pub(super) fn take(&mut self, session: &SessionId, kind: usize, process: u32, units: u64) {
        self.sessions.remove(session);
        self.taken[process as usize] -= units;
        if let Some(left) = self.types.get_mut(&kind) {
            *left -= 1;
            if *left == 0 {
                self.types.remove(&kind);
            }
        }
    }
}
