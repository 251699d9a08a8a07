//! Demand counted at the proxy.
//!
//! What a cache answered is no demand: no instance has to be there for it.
//!
//! The proxy's counters only grow, and begin anew with another proxy. A reading is compared with the one before; what
//! arrived between two readings is spread evenly over the time between them, so that a step's demand does not depend on
//! when exactly the proxy was asked. A step that was watched for less than half of its length is missing, not small; so
//! is one in which nothing arrived while nothing could have been served: a service that is down has no demand to show.
//!
//! A request that fails after it has waited may do so in a later step than it arrived in. What fails beyond the demand of a step is
//! told as missed with the next that has room for it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use forecast::Timestamp;
use proxy::control::{Histogram, WorkloadStats};

/// One reading of one workload's counters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) at: Timestamp,
    /// When the proxy started; another value means that counters began anew.
    pub(crate) proxy_started_at: u64,
    pub(crate) stats: &'a WorkloadStats,
    /// Whether at least one instance is in traffic.
    pub(crate) serving: bool,
}

/// What one reading adds to what was known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) load: Option<Load>,
    pub(crate) steps: Vec<StepDone>,
    pub(crate) backends: Vec<BackendDelta>,
    pub(crate) health: Vec<HealthChange>,
}

/// Demand now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// Requests per second, or what they are expected to cost per second.
    pub(crate) rate: f64,
    pub(crate) in_flight: u32,
}

/// A step that is over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StepDone {
    pub(crate) start: Timestamp,
    /// Requests per second; `None` where the step was not watched.
    pub(crate) demand: Option<f64>,
    /// Requests per second that failed or came after the latency bound; at most `demand`.
    pub(crate) missed: f64,
    /// Requests per second that failed.
    pub(crate) errors: f64,
    pub(crate) latency: Histogram,
}

/// What one backend did between two readings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BackendDelta {
    pub(crate) id: u64,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) latency: Histogram,
    pub(crate) in_flight: u32,
}

/// A health check changed its mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HealthChange {
    pub(crate) id: u64,
    pub(crate) healthy: bool,
}

/// Compares readings of one workload.
#[derive(Debug)]
pub(crate) struct Meter {
    step: Duration,
    tick: Duration,
    latency_bound: Option<Duration>,
    /// Demand is what requests are expected to cost, not their number.
    by_cost: bool,
    last: Option<Last>,
    /// Arrivals, and the demand that has come with them, at recent readings, for the rate.
    recent: VecDeque<(Timestamp, u64, f64)>,
    backends: BTreeMap<u64, BackendLast>,
    current: Option<Accumulator>,
    /// Demand that failed and was not told yet: see [`Accumulator::done`].
    owed: f64,
    /// Demand for each request, as far as is known.
    each: f64,
}

#[derive(Debug)]
struct Last {
    at: Timestamp,
    proxy_started_at: u64,
    arrivals: u64,
    /// Requests that were left for the instances: see [`Meter::asked`].
    asked: u64,
    /// Expected of all arrivals, as far as they were predicted: see [`Meter::came`].
    expected: f64,
    /// Demand that has come, all in all.
    came: f64,
    failed: u64,
    latency: Histogram,
}

#[derive(Debug)]
struct BackendLast {
    requests: u64,
    errors: u64,
    latency: Histogram,
    healthy: bool,
}

/// The step that is not over yet.
#[derive(Debug)]
struct Accumulator {
    start: Timestamp,
    watched: Duration,
    arrivals: f64,
    failed: f64,
    late: f64,
    latency: Histogram,
    served: bool,
}

impl Accumulator {
    fn new(start: Timestamp) -> Accumulator {
        Accumulator {
            start,
            watched: Duration::ZERO,
            arrivals: 0.0,
            failed: 0.0,
            late: 0.0,
            latency: Histogram::new(),
            served: false,
        }
    }

    /// `owed` failed and was not told yet.
    fn done(self, step: Duration, owed: &mut f64) -> StepDone {
        *owed += (self.failed - self.arrivals).max(0.0);
        let seconds = self.watched.as_secs_f64();
        let watched_enough = self.watched * 2 >= step && seconds > 0.0;
        let says_something = self.served || self.arrivals > 0.0;
        if !(watched_enough && says_something) {
            return StepDone {
                start: self.start,
                demand: None,
                missed: 0.0,
                errors: 0.0,
                latency: self.latency,
            };
        }
        // One that failed may have been late as well.
        let own = (self.failed + self.late).min(self.arrivals);
        let told = owed.min(self.arrivals - own);
        *owed -= told;
        StepDone {
            start: self.start,
            demand: Some(self.arrivals / seconds),
            missed: (own + told) / seconds,
            errors: self.failed / seconds,
            latency: self.latency,
        }
    }
}

impl Meter {
    pub(crate) fn new(step: Duration, tick: Duration, latency_bound: Option<Duration>) -> Meter {
        Meter {
            step,
            tick,
            latency_bound,
            by_cost: false,
            last: None,
            recent: VecDeque::new(),
            backends: BTreeMap::new(),
            current: None,
            owed: 0.0,
            each: 1.0,
        }
    }

    /// Counts what requests are expected to cost, in the unit of the first cost, instead of requests.
    pub(crate) fn by_cost(mut self, by_cost: bool) -> Meter {
        self.by_cost = by_cost;
        self
    }

    /// Arrivals that no cache answered. A request that waits for another's response arrives before it turns out to be answered;
    /// what has been counted stays counted, and makes up for later ones.
    fn asked(&self, stats: &WorkloadStats) -> u64 {
        let asked = stats.arrivals.saturating_sub(stats.cache.spared());
        self.last.as_ref().map_or(asked, |last| asked.max(last.asked))
    }

    /// What is expected of all arrivals so far, and the demand that has come since the reading before. Expectations are put
    /// right by what requests have cost in truth: few large ones are easily expected too small.
    fn came(&self, stats: &WorkloadStats) -> (f64, f64) {
        let last = self.last.as_ref();
        let arrivals = last.map_or(0, |last| self.asked(stats) - last.asked) as f64;
        match stats.costs.first().filter(|_| self.by_cost) {
            None => (0.0, arrivals),
            Some(cost) => {
                let expected = cost.arrived.as_f64();
                let (said, true_cost) = (cost.expected.as_f64(), cost.measured.as_f64());
                let bias = if said > 0.0 { (true_cost / said).clamp(1.0 / BIAS_MAX, BIAS_MAX) } else { 1.0 };
                let before = last.map_or(expected, |last| last.expected);
                (expected, (expected - before).max(0.0) * bias)
            }
        }
    }

    /// Takes a reading.
    pub(crate) fn read(&mut self, reading: Reading<'_>) -> Observed {
        let mut observed = Observed::default();
        let fresh = self.last.as_ref().is_none_or(|last| {
            last.proxy_started_at != reading.proxy_started_at
                || last.at > reading.at
                || last.arrivals > reading.stats.arrivals
        });
        if fresh {
            // Nothing to compare with: this reading is where counting begins.
            self.recent.clear();
            self.backends.clear();
            self.last = None;
        }
        let (expected, came) = self.came(reading.stats);
        let asked = self.asked(reading.stats);
        let before = self.last.as_ref().map_or(0.0, |last| last.came);
        if let Some(last) = self.last.take() {
            self.accumulate(&last, reading, (asked, came), &mut observed.steps);
        }
        self.last = Some(Last {
            at: reading.at,
            proxy_started_at: reading.proxy_started_at,
            arrivals: reading.stats.arrivals,
            asked,
            expected,
            came: before + came,
            failed: reading.stats.failed,
            latency: reading.stats.latency.clone(),
        });
        observed.load = self.load(reading, asked, before + came);
        self.read_backends(reading.stats, &mut observed);
        observed
    }

    /// Closes the steps that are over although no reading came; call it when time has passed.
    pub(crate) fn advance(&mut self, now: Timestamp) -> Vec<StepDone> {
        let mut done = Vec::new();
        let patience = self.tick.max(PATIENCE_MIN);
        self.close_until(now.saturating_sub(patience), &mut done);
        done
    }

    fn accumulate(
        &mut self,
        last: &Last,
        reading: Reading<'_>,
        (asked, came): (u64, f64),
        done: &mut Vec<StepDone>,
    ) {
        let span = reading.at.since(last.at);
        let arrivals = (asked - last.asked) as f64;
        // Demand for each request, on average: what failed or was late is counted in requests.
        if arrivals > 0.0 {
            self.each = came / arrivals;
        }
        let each = self.each;
        let latency = reading.stats.latency.subtract(&last.latency);
        let mut from = last.at;
        self.close_until(from, done);
        // Failures and latencies are not spread: nearly all of them belong to the step in which the span begins.
        let first = self.current.get_or_insert_with(|| Accumulator::new(from.align_down(self.step)));
        first.failed += reading.stats.failed.saturating_sub(last.failed) as f64 * each;
        first.late += self.latency_bound.map_or(0, |bound| latency.count_above(bound)) as f64 * each;
        first.latency.merge(&latency);
        while from < reading.at {
            let current = self.current.get_or_insert_with(|| Accumulator::new(from.align_down(self.step)));
            let until = (current.start + self.step).min(reading.at);
            let part = until.since(from);
            current.watched += part;
            current.arrivals += came * part.as_secs_f64() / span.as_secs_f64();
            current.served |= reading.serving;
            if until == current.start + self.step {
                done.extend(self.current.take().map(|step| step.done(self.step, &mut self.owed)));
            }
            from = until;
        }
    }

    /// Closes the current step if it ended at or before `until`, and reports the steps after it that nobody watched.
    fn close_until(&mut self, until: Timestamp, done: &mut Vec<StepDone>) {
        while done.len() < STEPS_CLOSED_MAX {
            let Some(current) = &self.current else { return };
            let end = current.start + self.step;
            if end > until {
                return;
            }
            let over = self.current.replace(Accumulator::new(end));
            done.extend(over.map(|step| step.done(self.step, &mut self.owed)));
        }
        // A gap longer than that is one jump: the forecaster counts the steps between by itself.
        self.current = Some(Accumulator::new(until.align_down(self.step)));
    }

    fn load(&mut self, reading: Reading<'_>, asked: u64, came: f64) -> Option<Load> {
        self.recent.push_back((reading.at, asked, came));
        // The rate is taken over the shortest time, from a tick to a step, in which enough arrived to tell it from chance:
        // a surge shows as fast as it is large, and a trickle is not mistaken for one.
        while let Some(&(at, arrivals, _)) = self.recent.get(1) {
            let age = reading.at.since(at);
            let enough = asked.saturating_sub(arrivals) >= RATE_ARRIVALS;
            if !(age >= self.step || age >= self.tick && enough) {
                break;
            }
            self.recent.pop_front();
        }
        if self.recent.len() > READINGS_MAX {
            self.recent.pop_front();
        }
        let (at, _, before) = *self.recent.front()?;
        let seconds = reading.at.since(at).as_secs_f64();
        let rate = (seconds > 0.0).then(|| (came - before).max(0.0) / seconds)?;
        Some(Load { rate, in_flight: reading.stats.in_flight })
    }

    fn read_backends(&mut self, stats: &WorkloadStats, observed: &mut Observed) {
        for backend in &stats.backends {
            let last = self.backends.get(&backend.id);
            if let Some(last) = last.filter(|last| last.requests <= backend.requests) {
                observed.backends.push(BackendDelta {
                    id: backend.id,
                    requests: backend.requests - last.requests,
                    errors: backend.errors.saturating_sub(last.errors),
                    latency: backend.latency.subtract(&last.latency),
                    in_flight: backend.in_flight,
                });
            }
            // A backend that is new in the table is taken for healthy until the checks say otherwise.
            if last.is_none_or(|last| last.healthy) != backend.healthy {
                observed.health.push(HealthChange { id: backend.id, healthy: backend.healthy });
            }
            self.backends.insert(
                backend.id,
                BackendLast {
                    requests: backend.requests,
                    errors: backend.errors,
                    latency: backend.latency.clone(),
                    healthy: backend.healthy,
                },
            );
        }
        self.backends.retain(|id, _| stats.backends.iter().any(|backend| backend.id == *id));
    }
}

/// A step is closed without a reading this long after its end, or a tick if that is longer.
const PATIENCE_MIN: Duration = Duration::from_secs(1);
/// Unwatched steps reported one by one after a gap.
const STEPS_CLOSED_MAX: usize = 64;
/// Arrivals that make a rate: its standard deviation is then a tenth of it.
const RATE_ARRIVALS: u64 = 100;
/// Expectations that are wrong by more than this, as a ratio, are not believed to be.
const BIAS_MAX: f64 = 8.0;
/// Readings kept for the rate.
const READINGS_MAX: usize = 4096;

#[cfg(test)]
mod tests;
