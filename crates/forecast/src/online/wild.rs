//! Undoes what a few wild values have done to a series that then goes on as before.
//!
//! Nobody knows at first whether a wild value is a mistake or the beginning of a surge, so it is followed at once. When the
//! series is back within a few steps where it was expected, the wild values were no part of its course: levels are put back
//! as they were, and history remembers that there was something, but not how wild: risks are counted by it.

use serde::{Deserialize, Serialize};

use crate::online::experts::Levels;
use crate::online::model::Record;
use crate::online::spread::Calm;

/// Wild values one after the other, the last one just now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wild {
    /// The first step of it, and how many there were.
    pub(crate) first: u64,
    pub(crate) steps: u64,
    /// What was expected of the first, how far it was from that, and how far a value may be without being wild.
    expected: f64,
    error: f64,
    tolerated: f64,
    pub(crate) before: Before,
}

/// How things stood before a wild value, to be put back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Before {
    pub(crate) levels: Levels,
    pub(crate) calm: Calm,
    pub(crate) record: Record,
    /// What three quarters of the values are below.
    pub(crate) high: f64,
}

/// What a value makes of wild ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// The value is wild, too, or is missing.
    GoesOn,
    /// The series is back where it was expected.
    IsOver,
    /// So many in a row are no accident: it is how the series is now.
    IsReal,
}

impl Wild {
    /// Whether an error is wild where errors usually are as large as `scale`.
    pub(crate) fn is(error: f64, scale: f64) -> bool {
        error.abs() > WILD * scale
    }

    /// Begins with the value of step `first`, where `expected` was expected and errors usually are as large as `scale`.
    pub(crate) fn new(first: u64, value: f64, (expected, scale): (f64, f64), before: Before) -> Wild {
        Wild { first, steps: 1, expected, error: value - expected, tolerated: WILD * scale, before }
    }

    /// Takes the next value, if there is one.
    pub(crate) fn judge(&mut self, value: Option<f64>) -> Course {
        if value.is_some_and(|value| (value - self.expected).abs() <= BACK * self.error.abs()) {
            return Course::IsOver;
        }
        self.steps += 1;
        if self.steps > STEPS_MAX { Course::IsReal } else { Course::GoesOn }
    }

    /// What was expected in place of the first.
    pub(crate) fn expected(&self) -> f64 {
        self.expected
    }

    /// How much of what a wild value makes of the forecast is said so many steps after it: all of it at first, nothing from
    /// [`FOLLOWED`](Wild::FOLLOWED) on.
    pub(crate) fn followed(ahead: usize) -> f64 {
        let span = (Wild::FOLLOWED as f64 / WHOLLY_FOLLOWED).ln();
        (1.0 - (ahead as f64 / WHOLLY_FOLLOWED).ln() / span).clamp(0.0, 1.0)
    }

    /// From so many steps ahead on it is as though it had not been.
    pub(crate) const FOLLOWED: usize = 24;

    /// The value, or as much of it as is not wild.
    pub(crate) fn tamed(&self, value: f64) -> f64 {
        value.clamp(self.expected - self.tolerated, self.expected + self.tolerated)
    }
}

/// Errors larger than so many usual ones are wild.
pub(crate) const WILD: f64 = 25.0;
/// Back is what is off by no more than this share of the first wild value's error.
const BACK: f64 = 0.1;
/// So many steps ahead it is said as though it were real.
const WHOLLY_FOLLOWED: f64 = 3.0;
/// A longer run is no accident.
const STEPS_MAX: u64 = 3;
