//! What the planner's daemon reads at its proxy: the rate of arrivals every tick, demand and misses every step.

use std::collections::VecDeque;
use std::time::Duration;

use forecast::Timestamp;

/// Compares readings of one workload, by the rules of the daemon.
#[derive(Debug)]
pub(super) struct Meter {
    tick: Duration,
    step: Duration,
    recent: VecDeque<(Timestamp, u64)>,
    step_arrived: u64,
    missed: u64,
}

impl Meter {
    pub(super) fn new(tick: Duration, step: Duration) -> Meter {
        Meter { tick, step, recent: VecDeque::new(), step_arrived: 0, missed: 0 }
    }

    /// A reading: `arrived` since the beginning, and what failed or came late since the last one. Returns the rate, over
    /// the shortest time from a tick to a step in which enough arrived to tell it from chance.
    pub(super) fn read(&mut self, now: Timestamp, arrived: u64, missed: u64) -> Option<f64> {
        self.missed += missed;
        self.recent.push_back((now, arrived));
        while let Some(&(at, before)) = self.recent.get(1) {
            let age = now.since(at);
            if !(age >= self.step || age >= self.tick && arrived - before >= RATE_ARRIVALS) {
                break;
            }
            self.recent.pop_front();
        }
        let (at, before) = *self.recent.front()?;
        let seconds = now.since(at).as_secs_f64();
        (seconds > 0.0).then(|| (arrived - before) as f64 / seconds)
    }

    /// A step is over. Returns arrivals and misses per second.
    pub(super) fn step(&mut self, arrived: u64) -> (f64, f64) {
        let seconds = self.step.as_secs_f64();
        let demand = (arrived - self.step_arrived) as f64 / seconds;
        let missed = (self.missed as f64 / seconds).min(demand);
        self.step_arrived = arrived;
        self.missed = 0;
        (demand, missed)
    }

    /// Nothing could be read for a while: counting begins anew.
    pub(super) fn lose(&mut self, arrived: u64) {
        self.recent.clear();
        self.missed = 0;
        self.step_arrived = arrived;
    }
}

/// Arrivals that make a rate: its standard deviation is then a tenth of it.
const RATE_ARRIVALS: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn a_surge_shows_within_a_tick_and_a_trickle_takes_a_step() {
        let mut meter = Meter::new(Duration::from_millis(500), Duration::from_secs(5));
        for n in 0..20 {
            meter.read(at(250 * n), 5 * n as u64, 0);
        }
        assert_eq!(meter.read(at(5_000), 100, 0), Some(20.0));
        assert_eq!(meter.read(at(5_500), 310, 0), Some(420.0));
    }

    #[test]
    fn a_step_is_counted_from_where_the_last_ended() {
        let mut meter = Meter::new(Duration::from_millis(500), Duration::from_secs(5));
        meter.read(at(0), 0, 3);
        meter.read(at(2_000), 40, 2);
        assert_eq!(meter.step(50), (10.0, 1.0));
        meter.lose(80);
        assert_eq!(meter.step(130), (10.0, 0.0));
    }
}
