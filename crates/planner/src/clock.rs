//! Monotone internal time.
//!
//! The driver's clock may be set back or jump ahead (NTP, a suspended machine). Deadlines and pauses must neither fire all
//! at once nor freeze because of it, so they are kept on a clock of our own that only ever moves forward, by the steps of
//! the driver's clock, and by a single short step when that one jumps. Wall time is kept beside it for what people see
//! and for samples, which carry their own times.

use std::time::Duration;

use forecast::Timestamp;

/// Two clocks: what the driver said last, and what is counted from it.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    wall: Timestamp,
    internal: Timestamp,
    step_max: Duration,
    jumps: u64,
}

impl Clock {
    /// A clock that takes steps longer than `step_max` for jumps.
    pub(crate) fn new(now: Timestamp, step_max: Duration) -> Self {
        Clock { wall: now, internal: now, step_max, jumps: 0 }
    }

    /// Takes in the driver's time.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        let forward = now.since(self.wall);
        if now < self.wall || forward > self.step_max {
            self.jumps += 1;
        } else {
            self.internal = self.internal.saturating_add(forward);
        }
        self.wall = now;
    }

    /// Monotone time: for deadlines and pauses.
    pub(crate) fn internal(&self) -> Timestamp {
        self.internal
    }

    /// The driver's time: for people and for samples.
    pub(crate) fn wall(&self) -> Timestamp {
        self.wall
    }

    /// An internal time on the driver's clock.
    pub(crate) fn to_wall(&self, internal: Timestamp) -> Timestamp {
        if internal >= self.internal {
            self.wall.saturating_add(internal.since(self.internal))
        } else {
            self.wall.saturating_sub(self.internal.since(internal))
        }
    }

    /// How many jumps there were, either way.
    pub(crate) fn jumps(&self) -> u64 {
        self.jumps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn internal_time_follows_the_driver_in_small_steps() {
        let mut clock = Clock::new(at(100), Duration::from_secs(60));
        clock.advance(at(110));
        clock.advance(at(110));
        assert_eq!(clock.internal(), at(110));
        assert_eq!(clock.jumps(), 0);
    }

    #[test]
    fn a_step_back_neither_freezes_nor_reverses_internal_time() {
        let mut clock = Clock::new(at(10_000), Duration::from_secs(60));
        clock.advance(at(1_000));
        assert_eq!(clock.internal(), at(10_000));
        clock.advance(at(1_005));
        assert_eq!(clock.internal(), at(10_005), "it goes on at once");
        assert_eq!(clock.to_wall(at(10_015)), at(1_015), "deadlines are told on the driver's clock");
        assert_eq!(clock.jumps(), 1);
    }

    #[test]
    fn a_jump_ahead_does_not_use_up_deadlines() {
        let mut clock = Clock::new(at(0), Duration::from_secs(60));
        clock.advance(at(1_000_000));
        assert_eq!(clock.internal(), at(0));
        assert_eq!(clock.to_wall(at(30)), at(1_000_030));
    }
}
