//! When a target that gets no new work is done.

use std::time::Duration;

/// A drain: begun at one moment, to be over by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    until: Duration,
}

/// How a drain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainState {
    /// Work is left, and time for it.
    Busy {
        /// Time until the deadline.
        left: Duration,
    },
    /// No work is left.
    Done,
    /// The deadline is over and work is left.
    Overdue {
        /// How much.
        in_flight: u32,
    },
}

impl Drain {
    /// A drain that begins at `now` and may take `limit`.
    pub fn begin(now: Duration, limit: Duration) -> Self {
        Self { until: now.saturating_add(limit) }
    }

    /// How it stands at `now` with this much work left.
    pub fn state(&self, now: Duration, in_flight: u32) -> DrainState {
        match (in_flight, self.until.saturating_sub(now)) {
            (0, _) => DrainState::Done,
            (in_flight, Duration::ZERO) => DrainState::Overdue { in_flight },
            (_, left) => DrainState::Busy { left },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_done_without_work_and_overdue_after_its_deadline() {
        let second = Duration::from_secs(1);
        let drain = Drain::begin(second, second * 3);
        assert_eq!(drain.state(second * 2, 5), DrainState::Busy { left: second * 2 });
        assert_eq!(drain.state(second * 4, 5), DrainState::Overdue { in_flight: 5 });
        assert_eq!(drain.state(second * 9, 0), DrainState::Done);
    }
}
