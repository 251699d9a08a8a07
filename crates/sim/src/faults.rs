//! What can go wrong in the world, and how often.
//!
//! One plain table of rates. All zero is the well-behaved world of `replay`; `simulate` draws a table from its seed.

use std::time::Duration;

/// Rates of faults. Probabilities are per order or per event; rates are per instance or workload and hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// Probability that a start fails part of the way.
    pub start_fails: f64,
    /// Probability that a start never becomes ready and never says so.
    pub start_hangs: f64,
    /// Probability that a promotion takes [`Faults::SLOW`] times as long.
    pub promote_slow: f64,
    /// Probability that a promotion, park, drain, stop or route table fails.
    pub action_fails: f64,
    /// Deaths per ready instance and hour.
    pub deaths_per_hour: f64,
    /// Spells of bad health per ready instance and hour; each lasts up to a few minutes.
    pub sick_per_hour: f64,
    /// Probability that the demand of a step is not seen.
    pub signal_missing: f64,
    /// Probability that the answer to an order, or a report, is late by up to [`Faults::LATE_MAX`].
    pub event_late: f64,
    /// Probability that it comes twice.
    pub event_twice: f64,
    /// Jumps of the clock per hour, forwards or backwards by up to [`Faults::JUMP_MAX`].
    pub clock_jumps_per_hour: f64,
    /// Restarts of the control plane per hour.
    pub restarts_per_hour: f64,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Faults = Faults {
        start_fails: 0.0,
        start_hangs: 0.0,
        promote_slow: 0.0,
        action_fails: 0.0,
        deaths_per_hour: 0.0,
        sick_per_hour: 0.0,
        signal_missing: 0.0,
        event_late: 0.0,
        event_twice: 0.0,
        clock_jumps_per_hour: 0.0,
        restarts_per_hour: 0.0,
    };
    /// A slow promotion takes this many times as long.
    pub const SLOW: u32 = 20;
    /// A late event is at most this late.
    pub const LATE_MAX: Duration = Duration::from_secs(20);
    /// A clock jumps at most this far.
    pub const JUMP_MAX: Duration = Duration::from_secs(2 * 3600);
    /// A spell of bad health lasts at most this long.
    pub const SICK_MAX: Duration = Duration::from_secs(180);
}
