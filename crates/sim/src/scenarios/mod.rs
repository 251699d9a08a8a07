//! Named scenarios: situations that autoscalers are feared for, each with the demand, the physics, and what is expected.
//!
//! Each is a plain value that [`Scenario::run`] plays with single requests ([`crate::requests`]) under any policy. The
//! planner has learned from the history before, as its daemon does at the start, and knows nothing of what comes. What a
//! scenario claims is asserted by its test.

mod curve;
mod list;

use std::ops::Range;

use forecast::Timestamp;

use crate::demand::Demand;
use crate::replay::{PolicyKind, ReplayError};
use crate::requests::{Outcome, Settings, Tally, run};

/// A situation, ready to be played.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    /// What the user has set, beside the defaults.
    pub policy: &'static str,
    /// What is expected of foreshadow, and of a reactive rule.
    pub expected: &'static str,
    /// The demand, history included, in requests per second.
    pub demand: Demand,
    /// The physics, the prices and the policy.
    pub settings: Settings,
    /// The time that matters: from the beginning of the trouble until it must be over.
    pub trouble: Range<Timestamp>,
}

impl Scenario {
    /// The names of all scenarios.
    pub const NAMES: [&'static str; 7] = [
        "spike",
        "outage",
        "level-shift",
        "holiday-announced",
        "holiday-unannounced",
        "silent-gap",
        "slow-start",
    ];

    /// The scenario of this name; the seed makes its noise and its requests.
    pub fn named(name: &str, seed: u64) -> Option<Scenario> {
        Some(match name {
            "spike" => list::spike(seed),
            "outage" => list::outage(seed),
            "level-shift" => list::level_shift(seed),
            "holiday-announced" => list::holiday(seed, true),
            "holiday-unannounced" => list::holiday(seed, false),
            "silent-gap" => list::silent_gap(seed),
            "slow-start" => list::slow_start(seed),
            _ => return None,
        })
    }

    /// Plays it under a policy.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn run(&self, kind: PolicyKind) -> Result<Outcome, ReplayError> {
        run(&self.demand, kind, &self.settings)
    }

    /// What became of the requests that arrived while it mattered.
    pub fn in_trouble(&self, outcome: &Outcome) -> Tally {
        Tally::of(outcome.rows.iter().filter(|row| self.trouble.contains(&row.at)))
    }
}
