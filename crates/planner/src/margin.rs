//! How far above the median to provision: learned online, so that missed demand meets the error budget.
//!
//! A quantile of the forecast says how often demand is above it, not how much of it is then missed, and capacity comes in
//! whole instances; so the level that spends exactly the budget cannot be computed, only found. Classic adaptive
//! conformal control moves one level by the miss of the level in force, and with budgets of a thousandth it sees a miss too
//! rarely to move well. But demand is observed in full also when it is missed. So every level of a grid is played at
//! every step on paper: what it would have decided, with the same rules and delays, what that would have cost, and what it
//! would have missed. The level in force is the cheapest whose missed share is within the budget; a budget that is
//! overspent in truth tightens the target (the integral term of conformal PID control, Angelopoulos et al. 2023), so
//! that long-run misses meet the budget for any demand that more instances can serve at all. Levels whose extra cost buys
//! nearly nothing (a spike that no level foresaw) are not climbed to.

use std::collections::VecDeque;

/// One level of provisioning: a value is the quantile with `tail` above it, times `factor`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    /// Probability above the quantile, in (0, 1).
    pub(crate) tail: f64,
    /// Applied to the quantile.
    pub(crate) factor: f64,
}

/// What a tier is steered to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Aim {
    /// Share of the demand that may be missed.
    target: f64,
    /// Missing one instance-step is worth at most this many instance-steps.
    worth: f64,
}

impl Aim {
    /// For an error budget, of which `part` belongs to this tier. `debt` is what was missed beyond the budget, as a
    /// share of the largest debt that is carried; below zero it is what was saved. A debt tightens the target and makes
    /// levels worth their price that would be too expensive otherwise.
    pub(crate) fn new(budget: f64, part: f64, debt: f64) -> Aim {
        let owed = debt.clamp(0.0, 1.0);
        let worth = WORTH_MIN + (WORTH_MAX - WORTH_MIN) * owed;
        Aim {
            target: budget * part * (AIM - debt).clamp(TARGET_MIN, TARGET_MAX),
            worth: worth / (budget * part),
        }
    }
}

/// What one level would decide now: what is needed at once, and what is not given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) need: u32,
    pub(crate) keep: u32,
}

/// The rule of both tiers: go up to the need at once, go down only to what is kept.
pub(crate) fn settle(before: u32, call: Call) -> u32 {
    call.need.max(before.min(call.keep))
}

/// Plays all levels of one tier and names the one to use.
#[derive(Debug, Clone)]
pub(crate) struct MarginControl {
    grid: [Level; LEVELS],
    prior: [f64; LEVELS],
    books: [Book; LEVELS],
    demand: f64,
    prior_weight: f64,
    steps: f64,
    demand_mean: f64,
    decisions: VecDeque<[u32; LEVELS]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Book {
    missed: f64,
    cost: f64,
}

impl MarginControl {
    /// Levels are quantiles of a forecast, and beyond the last of them multiples of it.
    pub(crate) fn quantiles() -> Self {
        let mut grid = [Level { tail: 0.5, factor: 1.0 }; LEVELS];
        let mut prior = [0.0; LEVELS];
        for (k, level) in grid.iter_mut().enumerate() {
            let beyond = (k + 1).saturating_sub(TAILS.len());
            level.tail = TAILS[k - beyond];
            level.factor = FACTOR_BEYOND.powi(beyond as i32);
            prior[k] = level.tail * MISS_OF_TAIL / level.factor.powi(4);
        }
        Self::new(grid, prior)
    }

    /// Levels are multiples of the demand of now: target utilisations from 1 down. The prior holds that `utilisation`
    /// spends exactly `budget`.
    pub(crate) fn multiples(utilisation: f64, budget: f64) -> Self {
        let mut grid = [Level { tail: 0.5, factor: 1.0 }; LEVELS];
        let mut prior = [0.0; LEVELS];
        let pinned = (1.0 / utilisation).max(1.0);
        for (k, level) in grid.iter_mut().enumerate() {
            level.factor = MULTIPLE_STEP.powi(k as i32);
            prior[k] = budget * (-(level.factor - pinned) * MULTIPLE_DECAY).exp();
        }
        Self::new(grid, prior)
    }

    fn new(grid: [Level; LEVELS], prior: [f64; LEVELS]) -> Self {
        MarginControl {
            grid,
            prior,
            books: [Book::default(); LEVELS],
            demand: 0.0,
            prior_weight: PRIOR_STEPS,
            steps: 0.0,
            demand_mean: 0.0,
            decisions: VecDeque::new(),
        }
    }

    /// Lets every level decide on the coming step. `lag` is the lead time of the tier in steps: capacity counts only once
    /// it has been wanted for that long.
    pub(crate) fn decide(&mut self, lag: usize, mut call: impl FnMut(Level) -> Call) {
        let before = self.decisions.back().copied();
        let mut decided = [0; LEVELS];
        for (k, slot) in decided.iter_mut().enumerate() {
            *slot = settle(before.map_or(0, |b| b[k]), call(self.grid[k]));
        }
        let keep = lag.min(LAG_MAX) + 1;
        while self.decisions.len() >= keep {
            self.decisions.pop_front();
        }
        self.decisions.push_back(decided);
    }

    /// The demand of the step that was decided on last. `limit` is the number of instances that there were to use at
    /// most; `exposure` the share of a step for which a shortage lasts before it is noticed and mended.
    pub(crate) fn observe(
        &mut self,
        demand: f64,
        capacity: f64,
        limit: u32,
        exposure: f64,
        memory_steps: f64,
    ) {
        let Some(newest) = self.decisions.back() else { return };
        let fade = 1.0 - 1.0 / memory_steps.max(2.0);
        self.demand = self.demand * fade + demand;
        self.prior_weight *= fade;
        self.steps = (self.steps + 1.0).min(memory_steps.max(2.0));
        self.demand_mean += (demand - self.demand_mean) / self.steps;
        let mut available = *newest;
        for earlier in &self.decisions {
            for (a, e) in available.iter_mut().zip(earlier) {
                *a = (*a).min(*e);
            }
        }
        for ((book, available), newest) in self.books.iter_mut().zip(available).zip(newest) {
            let served = f64::from(available.min(limit)) * capacity;
            book.missed = book.missed * fade + (demand - served).max(0.0) * exposure;
            book.cost = book.cost * fade + f64::from(*newest);
        }
    }

    /// The instances that `level` position `at` had available for the step that comes.
    pub(crate) fn available_at(&self, at: f64) -> u32 {
        let k = (at.round().max(0.0) as usize).min(LEVELS - 1);
        self.decisions.iter().map(|d| d[k]).min().unwrap_or(u32::MAX)
    }

    /// The position on the grid to use for this aim, given the capacity of an instance.
    pub(crate) fn position(&self, aim: Aim, capacity: f64) -> f64 {
        let Aim { target, worth } = aim;
        let mut shares = [0.0; LEVELS];
        let prior_demand = self.prior_weight * self.demand_mean.max(f64::MIN_POSITIVE);
        let total = self.demand + prior_demand;
        // What is believed beforehand about misses costs as much per step as what was seen.
        let cost_scale = 1.0 + self.prior_weight / self.steps.max(1.0);
        let mut best = (f64::INFINITY, 0);
        for (k, book) in self.books.iter().enumerate() {
            let missed = book.missed + self.prior[k] * prior_demand;
            shares[k] = missed / total;
            let loss = book.cost * cost_scale + worth * missed / capacity;
            if loss < best.0 * (1.0 - 1e-9) {
                best = (loss, k);
            }
        }
        let last = if self.demand > 0.0 { best.1 as f64 } else { (LEVELS - 1) as f64 };
        let Some(first) = shares.iter().position(|s| *s <= target) else {
            return last;
        };
        if first == 0 {
            return 0.0;
        }
        // Shares fall ever more slowly along the grid, so a straight line between two levels errs on the safe side.
        let (above, below) = (shares[first - 1], shares[first]);
        let part = ((above - target) / (above - below).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        ((first - 1) as f64 + part).min(last)
    }

    /// The level at a position on the grid, interpolated.
    pub(crate) fn level(&self, at: f64) -> Level {
        let at = at.clamp(0.0, (LEVELS - 1) as f64);
        let k = (at as usize).min(LEVELS - 2);
        let part = at - k as f64;
        let mix = |a: f64, b: f64| (a.ln() * (1.0 - part) + b.ln() * part).exp();
        let (low, high) = (self.grid[k], self.grid[k + 1]);
        Level { tail: mix(low.tail, high.tail), factor: mix(low.factor, high.factor) }
    }
}

/// Levels on the grid.
pub(crate) const LEVELS: usize = TAILS.len() + 5;
/// Tail probabilities of the first levels; the further levels are multiples of the last quantile.
const TAILS: [f64; 21] = [
    0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.22, 0.16, 0.12, 0.085, 0.06, 0.04, 0.025, 0.015, 0.008, 0.004, 0.002,
    0.001, 3e-4, 1e-4, 1e-5,
];
const FACTOR_BEYOND: f64 = 1.1;
const MULTIPLE_STEP: f64 = 1.045;
/// Before anything is known: the share of demand that is missed is this part of the tail probability.
const MISS_OF_TAIL: f64 = 0.1;
/// Before anything is known: a multiple higher by 0.1 misses this much less (exponent per unit).
const MULTIPLE_DECAY: f64 = 8.0;
/// The prior counts as much as this many steps of mean demand.
const PRIOR_STEPS: f64 = 150.0;
/// Missing one instance-step is worth this many instance-steps, divided by the budget, without a debt.
const WORTH_MIN: f64 = 0.3;
/// The same with the largest debt.
const WORTH_MAX: f64 = 2.0;
/// Without a debt, a little less than the budget is aimed at.
const AIM: f64 = 0.95;
const TARGET_MIN: f64 = 0.02;
const TARGET_MAX: f64 = 1.25;
/// Decisions remembered for the lead time, in steps.
const LAG_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    /// Demand uniform on 0..100 and honest quantiles of it; instances of 1.
    fn honest(level: Level, widen: f64) -> Call {
        let need = (100.0 * (1.0 - level.tail) * level.factor * widen).ceil() as u32;
        Call { need, keep: need }
    }

    fn play(control: &mut MarginControl, steps: usize, widen: f64, seed: u64) -> (f64, f64) {
        let mut jitter = crate::retry::Jitter::new(seed);
        let (mut missed, mut total) = (0.0, 0.0);
        for _ in 0..steps {
            let at = control.position(Aim::new(0.01, 1.0, 0.0), 1.0);
            let decided = f64::from(honest(control.level(at), widen).need);
            control.decide(0, |level| honest(level, widen));
            let demand = 100.0 * jitter.next();
            missed += (demand - decided).max(0.0);
            total += demand;
            control.observe(demand, 1.0, u32::MAX, 1.0, 2_000.0);
        }
        (missed / total, control.position(Aim::new(0.01, 1.0, 0.0), 1.0))
    }

    #[test]
    fn it_starts_sane() {
        let control = MarginControl::quantiles();
        let tail = control.level(control.position(Aim::new(0.001, 1.0, 0.0), 1.0)).tail;
        assert!((0.005..0.02).contains(&tail), "{tail}");
        let reactive = MarginControl::multiples(0.7, 0.001);
        let factor = reactive.level(reactive.position(Aim::new(0.001, 1.0, 0.0), 1.0)).factor;
        assert!((1.0 / factor - 0.7).abs() < 0.03, "{factor}");
    }

    #[test]
    fn the_budget_is_spent_and_not_more_with_honest_quantiles() {
        let (share, _) = play(&mut MarginControl::quantiles(), 5_000, 1.0, 1);
        assert!((0.004..0.012).contains(&share), "{share}");
    }

    #[test]
    fn the_budget_is_kept_when_the_forecast_is_too_low_and_spent_when_it_is_too_high() {
        let (low, at_low) = play(&mut MarginControl::quantiles(), 5_000, 0.8, 2);
        let (high, at_high) = play(&mut MarginControl::quantiles(), 5_000, 1.5, 3);
        assert!(low < 0.02, "{low}");
        assert!((0.002..0.02).contains(&high), "{high}");
        assert!(at_low > at_high);
    }

    #[test]
    fn a_spike_that_no_level_could_serve_does_not_drive_the_level_up() {
        let mut control = MarginControl::quantiles();
        play(&mut control, 2_000, 1.0, 4);
        let before = control.position(Aim::new(0.01, 1.0, 0.0), 1.0);
        control.decide(0, |level| honest(level, 1.0));
        control.observe(10_000.0, 1.0, 120, 1.0, 2_000.0);
        let after = control.position(Aim::new(0.01, 1.0, 0.0), 1.0);
        assert!(after >= before && after < TAILS.len() as f64, "{before} {after}");
    }

    #[test]
    fn capacity_counts_only_after_the_lead_time() {
        let mut control = MarginControl::quantiles();
        for need in [1, 5, 5, 5] {
            control.decide(2, |_| Call { need, keep: need });
        }
        assert_eq!(control.available_at(3.0), 5);
        control.decide(2, |_| Call { need: 9, keep: 9 });
        assert_eq!(control.available_at(3.0), 5);
    }

    #[test]
    fn a_tier_goes_up_at_once_and_down_only_to_what_is_kept() {
        assert_eq!(settle(3, Call { need: 7, keep: 7 }), 7);
        assert_eq!(settle(7, Call { need: 3, keep: 5 }), 5);
        assert_eq!(settle(7, Call { need: 3, keep: 9 }), 7);
    }
}
