//! Where a step stands, as far as effects depend on it.

use super::usual::hour;
use crate::grid::Local;

/// A step's place in the day and the week.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) local: Local,
    /// Part of the day, below [`PARTS`].
    pub(super) part: usize,
    /// Whether people are off work.
    pub(super) is_free: bool,
    /// Logarithm of what a Sunday has at this hour over what this day of the week has.
    pub(super) to_sunday: f64,
}

impl Moment {
    pub(super) fn at(local: Local, to_sunday: f64) -> Moment {
        Moment { local, part: part_of_day(&local), is_free: local.weekday >= 5, to_sunday }
    }
}

/// Below [`PARTS`].
pub(super) fn part_of_day(local: &Local) -> usize {
    match hour(local) {
        6..=9 => 1,
        10..=15 => 2,
        16..=19 => 3,
        _ => 0,
    }
}

/// Night, morning rush, middle of the day, evening rush.
pub(super) const PARTS: usize = 4;
