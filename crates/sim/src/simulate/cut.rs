//! What is left out of a seed: the way from a failure to its smallest form, and the options that say so.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::swarm::Swarm;
use crate::faults::Fault;

/// What of a seed's simulation is left out. Nothing by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cut {
    /// Faults that do not happen.
    pub without: BTreeSet<Fault>,
    /// Workloads that there are, counted from 1; empty: all.
    pub only: BTreeSet<usize>,
    /// The safety phase ends after this time, if not before.
    pub length: Option<Duration>,
}

impl Cut {
    /// Leaves it out.
    pub(super) fn apply(&self, swarm: &mut Swarm) {
        for fault in &self.without {
            swarm.faults.set(*fault, 0.0);
        }
        if let Some(length) = self.length {
            swarm.safety = swarm.safety.min(length);
        }
        if !self.only.is_empty() {
            let mut number = 0;
            swarm.setups.retain(|_| {
                number += 1;
                self.only.contains(&number)
            });
        }
    }
}

/// The options of `foreshadow simulate` that say the same, each with a space before it.
impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.without.is_empty() {
            write!(f, " --without {}", joined(&self.without))?;
        }
        if !self.only.is_empty() {
            write!(f, " --only {}", joined(&self.only))?;
        }
        match self.length {
            Some(length) => write!(f, " --for {}s", length.as_secs()),
            None => Ok(()),
        }
    }
}

fn joined<T: fmt::Display>(parts: &BTreeSet<T>) -> String {
    parts.iter().map(T::to_string).collect::<Vec<String>>().join(",")
}
