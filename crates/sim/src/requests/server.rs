//! One instance as a queue: a number of slots that each work on one request at a time, and a line in front of them.
//!
//! First come, first served, because that is what a pool of workers does (threads, processes, connections to a database), and
//! because the fate of a request is then known when it arrives: it begins when the slot that is free first is free. So nothing
//! needs to be computed again when the next one comes, which processor sharing would need, and a run costs little. The line
//! is bounded, and whoever waits gives up at the time-out; who gives up while waiting costs no work, who gives up while
//! being served costs all of it, as work usually goes on when its client is gone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use balance::PeakEwma;

use super::histogram::Histogram;

/// What one instance can do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    pub(super) slots: u32,
    /// Requests on the instance at once, those in line included.
    pub(super) in_flight_max: u32,
    /// In nanoseconds.
    pub(super) timeout: u64,
    /// Later answers are late. In nanoseconds.
    pub(super) bound: u64,
}

/// An instance and what it has.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// When each slot is free.
    free: Vec<u64>,
    departures: BinaryHeap<Reverse<Departure>>,
    ewma: PeakEwma,
    /// What left since somebody looked.
    pub(super) left: Left,
}

/// Requests that left an instance.
#[derive(Debug, Clone, Default)]
pub(super) struct Left {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) late: u64,
    pub(super) latency: Histogram,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Departure {
    at: u64,
    latency: u64,
    failed: bool,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Answered after so many nanoseconds.
    Answered(u64),
    /// Nobody answered within the time-out.
    TimedOut,
    /// The line was full.
    Refused,
}

impl Server {
    pub(super) fn new(slots: u32) -> Server {
        Server {
            free: vec![0; slots.max(1) as usize],
            departures: BinaryHeap::new(),
            ewma: PeakEwma::new(),
            left: Left::default(),
        }
    }

    /// Lets everything leave that is over at `now`.
    pub(super) fn settle(&mut self, now: u64, limits: &Limits, baseline_s: f64) {
        while let Some(Reverse(departure)) = self.departures.peek().copied().filter(|next| next.0.at <= now) {
            self.departures.pop();
            self.left.requests += 1;
            self.left.failed += u64::from(departure.failed);
            self.left.late += u64::from(!departure.failed && departure.latency > limits.bound);
            self.left.latency.record(departure.latency);
            let (at, latency) = (Duration::from_nanos(departure.at), Duration::from_nanos(departure.latency));
            if departure.failed {
                self.ewma.observe_failure(at, latency, DECAY);
            } else {
                self.ewma.observe(at, latency, baseline_s, DECAY);
            }
        }
    }

    /// Requests on it. [`Server::settle`] first.
    pub(super) fn in_flight(&self) -> u32 {
        self.departures.len() as u32
    }

    /// Whether it takes another one.
    pub(super) fn has_room(&self, limits: &Limits) -> bool {
        self.in_flight() < limits.in_flight_max
    }

    /// Its latency as the router sees it, in seconds; none before the first answer.
    pub(super) fn latency_s(&self, now: u64, baseline_s: f64) -> Option<f64> {
        (!self.ewma.is_fresh()).then(|| self.ewma.estimate(Duration::from_nanos(now), baseline_s, DECAY))
    }

    /// Takes a request in that needs `work` nanoseconds of a slot.
    pub(super) fn take(&mut self, now: u64, work: u64, limits: &Limits) -> Fate {
        if !self.has_room(limits) {
            return Fate::Refused;
        }
        let mut first = 0;
        for slot in 1..self.free.len() {
            if self.free[slot] < self.free[first] {
                first = slot;
            }
        }
        let begin = self.free[first].max(now);
        if begin - now < limits.timeout {
            self.free[first] = begin + work;
            let latency = begin + work - now;
            if latency <= limits.timeout {
                self.departures.push(Reverse(Departure { at: now + latency, latency, failed: false }));
                return Fate::Answered(latency);
            }
        }
        let gives_up = Departure { at: now + limits.timeout, latency: limits.timeout, failed: true };
        self.departures.push(Reverse(gives_up));
        Fate::TimedOut
    }

    /// When the last request leaves.
    pub(super) fn last_departure(&self) -> Option<u64> {
        self.departures.iter().map(|departure| departure.0.at).max()
    }
}

/// How fast the router forgets a latency: as the built-in proxy does.
pub(super) const DECAY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { slots: 2, in_flight_max: 4, timeout: 100, bound: 50 };

    #[test]
    fn requests_wait_for_the_slot_that_is_free_first() {
        let mut server = Server::new(2);
        let fates: Vec<_> = [(0, 40), (0, 30), (0, 20), (10, 10)]
            .iter()
            .map(|(at, work)| server.take(*at, *work, &LIMITS))
            .collect();
        // Slots are free at 40 and 30; the third begins at 30, the fourth at 40.
        assert_eq!(fates, [40, 30, 50, 40].map(Fate::Answered));
        assert_eq!(server.last_departure(), Some(50));
    }

    #[test]
    fn a_full_line_refuses_and_a_long_one_times_out() {
        let mut server = Server::new(2);
        let fates: Vec<_> = [90, 95, 20, 1, 1].iter().map(|work| server.take(0, *work, &LIMITS)).collect();
        assert_eq!(fates[2..], [Fate::TimedOut, Fate::Answered(96), Fate::Refused]);
        // The third was being served when it gave up: its slot is busy to the end.
        server.settle(100, &LIMITS, 0.0);
        assert_eq!((server.left.requests, server.left.failed, server.left.late), (4, 1, 3));
        assert_eq!(server.in_flight(), 0);
        assert_eq!(server.take(100, 5, &LIMITS), Fate::Answered(5));
    }

    #[test]
    fn who_gives_up_in_line_costs_no_work() {
        let limits = Limits { in_flight_max: 100, ..LIMITS };
        let mut server = Server::new(1);
        assert_eq!(server.take(0, 100, &limits), Fate::Answered(100));
        assert_eq!(server.take(0, 1000, &limits), Fate::TimedOut);
        assert_eq!(server.take(50, 10, &limits), Fate::Answered(60));
    }
}
