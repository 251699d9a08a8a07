//! What sessions of a workload are like, and how its instances hold them.

use std::collections::BTreeSet;
use std::time::Duration;

use forecast::STEP_MAX;

/// Sessions of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionType {
    /// Its name, such as `tournament` or `casual`.
    pub name: String,
    /// Priority class: a higher one is taken from the queue first, and may use room kept free for it.
    pub class: u8,
    /// Share of an instance that one session takes, above 0; it must fit into one process.
    pub weight: f64,
    /// Room for so many further sessions of this type is not given to types of a lower class. Default 0.
    pub headroom: u32,
}

impl SessionType {
    /// A type with no room of its own.
    pub fn new(name: impl Into<String>, class: u8, weight: f64) -> Self {
        SessionType { name: name.into(), class, weight, headroom: 0 }
    }

    /// What one session takes, in parts of [`INSTANCE`]. Rounded down, so that as many fit as their shares say.
    pub(super) fn units(&self) -> u64 {
        ((self.weight * INSTANCE as f64) as u64).max(1)
    }
}

/// How a workload with sessions is served.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionPolicy {
    /// The types of sessions; names must be distinct.
    pub types: Vec<SessionType>,
    /// Processes in each instance, which share it equally. A session lives in one of them. Default 1.
    pub processes: u32,
    /// An instance that holds sessions is waited for this long before it is given up. Default 1 h.
    pub drain: Duration,
    /// Sessions that may wait for room at one time. Default 1,000.
    pub queue_max: usize,
    /// How long each may wait. Default 60 s.
    pub wait_max: Duration,
}

impl SessionPolicy {
    /// A policy with defaults for everything but the types.
    pub fn new(types: Vec<SessionType>) -> Self {
        SessionPolicy {
            types,
            processes: 1,
            drain: Duration::from_secs(3_600),
            queue_max: 1_000,
            wait_max: Duration::from_secs(60),
        }
    }

    /// Room kept free for the headroom of all types, in instances.
    pub fn reserve(&self) -> f64 {
        self.types.iter().map(|t| f64::from(t.headroom) * t.weight).sum()
    }

    /// What one process holds, in parts of [`INSTANCE`].
    pub(super) fn process_units(&self) -> u64 {
        INSTANCE / u64::from(self.processes.max(1))
    }

    /// The place of a type in the policy.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.types.iter().position(|t| t.name == name)
    }

    /// Every rule with whether it is kept, by field.
    pub(crate) fn rules(&self) -> Vec<(bool, &'static str, &'static str)> {
        let names: BTreeSet<&str> = self.types.iter().map(|t| t.name.as_str()).collect();
        let each = |kept: fn(&SessionType) -> bool| self.types.iter().all(kept);
        let fits =
            |t: &SessionType| t.weight.is_nan() || t.weight <= 0.0 || t.units() <= self.process_units();
        let processes = (1..=PROCESSES_MAX).contains(&self.processes);
        vec![
            (!self.types.is_empty(), "sessions.types", "must not be empty"),
            (self.types.len() <= TYPES_MAX, "sessions.types", "must be at most 100"),
            (each(|t| !t.name.is_empty()), "sessions.types.name", "must not be empty"),
            (names.len() == self.types.len(), "sessions.types.name", "must not be used twice"),
            (each(|t| t.weight > 0.0), "sessions.types.weight", "must be a positive number"),
            (!processes || self.types.iter().all(fits), "sessions.types.weight", "must fit into one process"),
            (each(|t| t.headroom <= SESSIONS_MAX), "sessions.types.headroom", "must be at most 1,000,000"),
            (processes, "sessions.processes", "must be from 1 to 1,000"),
            (!self.drain.is_zero(), "sessions.drain", "must be above 0"),
            (self.drain <= DRAIN_MAX, "sessions.drain", "must be at most 7 days"),
            (self.queue_max <= SESSIONS_MAX as usize, "sessions.queue_max", "must be at most 1,000,000"),
            (self.wait_max <= STEP_MAX, "sessions.wait_max", "must be at most 1 day"),
        ]
    }

    /// Checks the whole policy.
    ///
    /// # Errors
    /// Every rule that is broken, as the field and the rest of a sentence.
    pub fn validate(&self) -> Result<(), Vec<(&'static str, &'static str)>> {
        let broken = self.rules().into_iter().filter(|(kept, ..)| !kept);
        let broken: Vec<_> = broken.map(|(_, field, rule)| (field, rule)).collect();
        if broken.is_empty() { Ok(()) } else { Err(broken) }
    }
}

/// A whole instance in the parts that shares are counted in. Whole numbers keep sums exact in whatever order they are made.
pub(super) const INSTANCE: u64 = 1_000_000_000_000;
const TYPES_MAX: usize = 100;
const PROCESSES_MAX: u32 = 1_000;
const SESSIONS_MAX: u32 = 1_000_000;
const DRAIN_MAX: Duration = Duration::from_secs(7 * 86_400);
