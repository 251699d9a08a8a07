//! The fast controller and the learner of its target, with the conditions under which they may decide.

use std::time::Duration;

use forecast::Timestamp;

use super::captain::Captain;
use super::reason::{BanditOff, SizeReason};
use super::tower::{ARMS, Tower};
use super::usage::Round;

/// Sets the limit of processor time, nowhere above the one that the rules would set.
#[derive(Debug, Clone)]
pub(crate) struct Bandit {
    captain: Captain,
    tower: Tower,
    arm: usize,
    demand: f64,
    /// The minute under way.
    minute: Minute,
    broken_until: Option<Timestamp>,
    /// A latency and a share of throttled periods were heard of last.
    latency_at: Option<Timestamp>,
    throttling_at: Option<Timestamp>,
    on: bool,
}

/// What a minute costs.
#[derive(Debug, Clone, Default)]
struct Minute {
    began: Option<Timestamp>,
    /// Sum of the limit, of what was used, and how often they were read.
    limit: f64,
    used: f64,
    readings: u32,
    /// Some of it was spent under the rules.
    mixed: bool,
}

impl Bandit {
    pub(crate) fn new(seed: u64, limit: f64) -> Bandit {
        Bandit {
            captain: Captain::new(limit),
            tower: Tower::new(seed),
            arm: 0,
            demand: 0.0,
            minute: Minute::default(),
            broken_until: None,
            latency_at: None,
            throttling_at: None,
            on: false,
        }
    }

    /// Whether it decides now.
    pub(crate) fn on(&self) -> bool {
        self.on
    }

    /// What a backend did since its last reading. Returns whether its latency broke the bound, or almost: the rules take
    /// over at once, and before many requests of the minute are late.
    pub(crate) fn latency(&mut self, now: Timestamp, requests: u64, p99: Duration, bound: Duration) -> bool {
        if requests == 0 {
            return false;
        }
        self.latency_at = Some(now);
        let tripped = self.on && p99 > bound.mul_f64(BOUND_NEAR);
        if tripped {
            self.learn(PENALTY);
            self.minute.mixed = true;
            self.broken_until = Some(now.saturating_add(PAUSE));
            self.on = false;
        }
        tripped
    }

    /// Takes in a round of readings. `floor` is the least limit, `None` while nobody knows it; `most` the largest.
    /// Returns the new limit when it decides.
    pub(crate) fn observe(
        &mut self,
        now: Timestamp,
        round: Round,
        demand: f64,
        bounds: (Option<f64>, f64),
    ) -> Option<f64> {
        self.demand = demand;
        if round.throttled.is_some() {
            self.throttling_at = Some(now);
        }
        let was_on = self.on;
        self.on = self.off(now, bounds.0).is_none();
        let (Some(floor), Some(throttled), true) = (bounds.0, round.throttled, self.on) else {
            self.minute.mixed = true;
            self.finish_minute(now);
            return None;
        };
        if !was_on {
            self.captain.set(bounds.1);
        }
        self.captain.observe(round.cpu_most, throttled, ARMS[self.arm]);
        self.captain.set_within(floor.min(bounds.1), bounds.1);
        self.minute.limit += self.captain.limit();
        self.minute.used += round.cpu_mean;
        self.minute.readings += 1;
        self.finish_minute(now);
        Some(self.captain.limit())
    }

    /// At the end of a minute: learns what it cost, and chooses for the next one.
    fn finish_minute(&mut self, now: Timestamp) {
        let began = *self.minute.began.get_or_insert(now);
        if now.since(began) < MINUTE {
            return;
        }
        if !self.minute.mixed {
            self.learn(0.0);
        }
        self.minute = Minute { began: Some(now), ..Minute::default() };
        self.arm = self.tower.choose(self.demand);
    }

    /// What the arm cost so far in this minute, in units of what was used, so that minutes of more demand compare with
    /// those of less.
    fn learn(&mut self, penalty: f64) {
        if self.minute.readings > 0 && self.minute.used > 0.0 {
            let cost = self.minute.limit / self.minute.used + penalty;
            self.tower.learn(self.demand, self.arm, cost);
        }
    }

    /// The limit, while it decides.
    pub(crate) fn limit(&self, now: Timestamp, floor: Option<f64>) -> Option<f64> {
        (self.on && self.off(now, floor).is_none()).then(|| self.captain.limit())
    }

    /// Why it may not decide, if so.
    pub(crate) fn off(&self, now: Timestamp, floor: Option<f64>) -> Option<BanditOff> {
        let recent = |at: Option<Timestamp>| at.is_some_and(|at| now.since(at) <= FRESH);
        if self.broken_until.is_some_and(|until| now < until) {
            Some(BanditOff::LatencyBroken)
        } else if floor.is_none() {
            Some(BanditOff::Untrusted)
        } else if !recent(self.throttling_at) {
            Some(BanditOff::NoThrottling)
        } else if !recent(self.latency_at) {
            Some(BanditOff::NoLatency)
        } else {
            None
        }
    }

    /// Why the limit is what it is.
    pub(crate) fn reason(&self) -> SizeReason {
        SizeReason::Squeezed {
            cpu_cores: self.captain.limit(),
            target: ARMS[self.arm],
            throttled: self.captain.throttled(),
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// From this part of the bound on, a latency counts as breaking it.
const BOUND_NEAR: f64 = 0.7;
/// Breaking the bound costs more than any saving brings.
const PENALTY: f64 = 5.0;
/// After a broken bound the rules decide for so long.
const PAUSE: Duration = Duration::from_secs(300);
/// A latency or throttling that is older says nothing of now.
const FRESH: Duration = Duration::from_secs(120);
