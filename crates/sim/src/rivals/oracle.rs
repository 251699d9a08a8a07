//! The cheapest way to serve the trace for somebody who knows all of it but must wait for starts like everybody else.
//!
//! The reference that costs are compared with. Instances are interchangeable, so the fleet splits into levels: level `k` is
//! needed while demand exceeds `k - 1` instances. For each level a dynamic program over the steps chooses between active,
//! standby and gone, paying active seconds, standby seconds at their price, promotions, and a cold start at full price for
//! each return from nothing. An error budget is spent where it saves most: missed demand gets a price, the same at every
//! level and step, and the smallest price that keeps the budget is found by bisection (Everett, 1963). The cost of that
//! schedule is the least possible on the grid of steps, up to the last level that the budget could not split.
//!
//! It is hindsight: no policy can reach it, and it is exempt from the rule that decisions use the past only.

use std::time::Duration;

use forecast::Timestamp;

use super::{Rival, View, Wanted};
use crate::demand::Demand;

/// What the oracle is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OracleInputs {
    /// Demand units that one instance serves.
    pub capacity: f64,
    /// Time from a start order to ready.
    pub cold: Duration,
    /// Time from a promotion order to active.
    pub promote: Duration,
    /// Share of the demand that may be missed.
    pub budget: f64,
    /// Price of a standby second; an active second costs 1.
    pub standby_price: f64,
    /// Least replicas, always active.
    pub replicas_min: u32,
    /// Most replicas.
    pub replicas_max: u32,
    /// Instances that are active when the trace begins.
    pub initial: u32,
    /// Steps before this moment are served but their misses are not held against the budget.
    pub score_from: Timestamp,
}

/// The schedule: instances per step, and the rule that carries it out early enough.
#[derive(Debug, Clone)]
pub struct Oracle {
    start: Timestamp,
    step: Duration,
    lead_cold: Duration,
    lead_promote: Duration,
    wanted: Vec<Wanted>,
}

impl Oracle {
    /// Finds the schedule for a whole trace.
    pub fn new(demand: &Demand, inputs: &OracleInputs) -> Oracle {
        Oracle {
            start: demand.start(),
            step: demand.step(),
            lead_cold: inputs.cold,
            lead_promote: inputs.promote.min(inputs.cold),
            wanted: schedule(demand, inputs),
        }
    }

    /// Instances per step.
    pub fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    /// The schedule of the steps that overlap the time from `from` to `to`, both included.
    fn between(&self, from: Timestamp, to: Timestamp) -> &[Wanted] {
        let slot = |at: Timestamp| (at.since(self.start).as_millis() / self.step.as_millis()) as usize;
        let last = self.wanted.len().saturating_sub(1);
        self.wanted.get(slot(from).min(last)..=slot(to).min(last)).unwrap_or_default()
    }

    /// The next moment after `now` that lies `early` before the beginning of a step.
    fn next_boundary(&self, now: Timestamp, early: Duration) -> Timestamp {
        let step = self.step.as_millis() as i64;
        let origin = self.start.as_millis() - early.as_millis() as i64;
        let passed = (now.as_millis() - origin).div_euclid(step) + 1;
        Timestamp::from_millis(origin + passed * step)
    }
}

impl Rival for Oracle {
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        [Duration::ZERO, self.lead_cold, self.lead_promote]
            .map(|early| self.next_boundary(now, early))
            .into_iter()
            .min()
    }

    fn decide(&mut self, view: &View<'_>) -> Wanted {
        let now = view.past.now();
        let soon = self.between(now, now + self.lead_promote);
        let active = soon.iter().map(|wanted| wanted.active).max().unwrap_or(0);
        let later = self.between(now, now + self.lead_cold);
        let total = later.iter().map(|wanted| wanted.active + wanted.standby).max().unwrap_or(0).max(active);
        Wanted { active, standby: total - active }
    }
}

fn schedule(demand: &Demand, inputs: &OracleInputs) -> Vec<Wanted> {
    let levels = (demand.peak() / inputs.capacity - super::ROUNDING_SLACK).ceil().max(0.0) as u32;
    let levels = levels.max(inputs.initial).max(inputs.replicas_min).min(inputs.replicas_max);
    let problem = Problem { demand, inputs, levels };
    let allowed = inputs.budget * problem.scored_demand();
    let mut price = f64::INFINITY;
    if inputs.budget > 0.0 && problem.missed(price) <= allowed {
        let rounds =
            (WORK_MAX / (demand.len() as f64 * f64::from(levels)).max(1.0)).clamp(ROUNDS_MIN, ROUNDS_MAX);
        // Bisection over the logarithm of the price: one capacity-second costs about one instance-second.
        let (mut low, mut high) = (PRICE_LOG_MIN, PRICE_LOG_MAX);
        for _ in 0..rounds as u32 {
            let middle = 0.5 * (low + high);
            if problem.missed(middle.exp2() / inputs.capacity) <= allowed {
                high = middle;
                price = middle.exp2() / inputs.capacity;
            } else {
                low = middle;
            }
        }
    }
    problem.wanted(price)
}

struct Problem<'a> {
    demand: &'a Demand,
    inputs: &'a OracleInputs,
    levels: u32,
}

impl Problem<'_> {
    fn scored_demand(&self) -> f64 {
        let step = self.demand.step().as_secs_f64();
        let scored = self.demand.values().iter().enumerate();
        scored.filter(|(slot, _)| self.scored(*slot)).filter_map(|(_, value)| *value).sum::<f64>() * step
    }

    fn scored(&self, slot: usize) -> bool {
        self.demand.slot_start(slot) >= self.inputs.score_from
    }

    fn missed(&self, price: f64) -> f64 {
        (self.fixed()..self.levels).map(|level| self.solve(level, price, |_, _| {}).1).sum()
    }

    fn fixed(&self) -> u32 {
        self.inputs.replicas_min.min(self.levels)
    }

    fn wanted(&self, price: f64) -> Vec<Wanted> {
        let mut wanted = vec![Wanted { active: self.fixed(), standby: 0 }; self.demand.len()];
        let mut came_from = vec![[OFF; STATES]; self.demand.len()];
        for level in self.fixed()..self.levels {
            let (mut state, _) = self.solve(level, price, |slot, from| came_from[slot] = from);
            for slot in (0..wanted.len()).rev() {
                wanted[slot].active += u32::from(state == ACTIVE);
                wanted[slot].standby += u32::from(state == STANDBY);
                state = came_from[slot][state];
            }
        }
        wanted
    }

    /// The cheapest path of one level. Returns its last state and the demand it misses in scored steps; `remember` gets,
    /// for each step, the state before it on the best path to each state.
    fn solve(
        &self,
        level: u32,
        price: f64,
        mut remember: impl FnMut(usize, [usize; STATES]),
    ) -> (usize, f64) {
        let step = self.demand.step().as_secs_f64();
        let floor = f64::from(level) * self.inputs.capacity;
        let entry = self.entry_costs();
        let mut paths = [Path { cost: f64::INFINITY, missed: 0.0 }; STATES];
        paths[if level < self.inputs.initial { ACTIVE } else { OFF }].cost = 0.0;
        for (slot, value) in self.demand.values().iter().enumerate() {
            let (needed, seconds) = match value {
                Some(value) => {
                    let above = value - floor;
                    let needed = above.clamp(0.0, self.inputs.capacity);
                    // What rounding leaves of an exact multiple is not a demand.
                    (if above > value * super::ROUNDING_SLACK { needed } else { 0.0 }, step)
                }
                None => (0.0, step * GAP_WEIGHT),
            };
            let fine = if needed > 0.0 { price * needed * step } else { 0.0 };
            let missed = if self.scored(slot) { needed * step } else { 0.0 };
            let stay = [fine, self.inputs.standby_price * seconds + fine, seconds];
            let misses = [missed, missed, 0.0];
            let mut from = [OFF; STATES];
            let mut next = paths;
            for state in [OFF, STANDBY, ACTIVE] {
                let mut best = Path { cost: f64::INFINITY, missed: 0.0 };
                for before in [OFF, STANDBY, ACTIVE] {
                    let cost = paths[before].cost + entry[before][state];
                    if cost < best.cost {
                        best = Path { cost, missed: paths[before].missed };
                        from[state] = before;
                    }
                }
                next[state] = Path { cost: best.cost + stay[state], missed: best.missed + misses[state] };
            }
            paths = next;
            remember(slot, from);
        }
        let mut last = OFF;
        for state in [STANDBY, ACTIVE] {
            if paths[state].cost < paths[last].cost {
                last = state;
            }
        }
        (last, paths[last].missed)
    }

    /// What it costs to go from one state (row) to another (column), in active seconds.
    fn entry_costs(&self) -> [[f64; STATES]; STATES] {
        let cold = self.inputs.cold.as_secs_f64();
        let promote = self.inputs.promote.as_secs_f64();
        [[0.0, cold, cold], [0.0, 0.0, promote], [0.0, 0.0, 0.0]]
    }
}

/// The best way to a state so far: what it cost and what it missed.
#[derive(Clone, Copy)]
struct Path {
    cost: f64,
    missed: f64,
}

/// The states of one level, in order of preference when costs are equal.
const OFF: usize = 0;
const STANDBY: usize = 1;
const ACTIVE: usize = 2;
const STATES: usize = 3;
/// Time in a gap is not scored; a little cost makes the schedule release there what it does not need.
const GAP_WEIGHT: f64 = 1e-3;
/// Bounds of the price of missed demand, as powers of two of the price of capacity.
const PRICE_LOG_MIN: f64 = -16.0;
const PRICE_LOG_MAX: f64 = 24.0;
/// Rounds of the bisection: as many as a bounded amount of work (steps times levels) allows.
const WORK_MAX: f64 = 2e7;
const ROUNDS_MIN: f64 = 6.0;
const ROUNDS_MAX: f64 = 24.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(values: &[f64]) -> Demand {
        let points: Vec<_> =
            values.iter().enumerate().map(|(i, v)| (Timestamp::from_secs(i as i64 * 60), Some(*v))).collect();
        Demand::from_points(&points, Duration::from_secs(60)).unwrap()
    }

    fn inputs() -> OracleInputs {
        OracleInputs {
            capacity: 100.0,
            cold: Duration::from_secs(150),
            promote: Duration::from_secs(5),
            budget: 0.0,
            standby_price: 1.0,
            replicas_min: 1,
            replicas_max: 100,
            initial: 1,
            score_from: Timestamp::from_secs(0),
        }
    }

    fn active(values: &[f64], inputs: &OracleInputs) -> Vec<u32> {
        Oracle::new(&demand(values), inputs).wanted().iter().map(|wanted| wanted.active).collect()
    }

    #[test]
    fn a_gap_shorter_than_a_start_is_held_and_a_longer_one_is_not() {
        assert_eq!(active(&[150.0, 50.0, 50.0, 150.0, 50.0], &inputs()), [2, 2, 2, 2, 1]);
        assert_eq!(active(&[150.0, 50.0, 50.0, 50.0, 150.0], &inputs()), [2, 1, 1, 1, 2]);
    }

    #[test]
    fn a_cheap_standby_bridges_a_gap() {
        let cheap = OracleInputs { standby_price: 0.1, ..inputs() };
        let oracle = Oracle::new(&demand(&[150.0, 50.0, 50.0, 50.0, 50.0, 150.0]), &cheap);
        assert_eq!(oracle.wanted()[2], Wanted { active: 1, standby: 1 });
    }

    #[test]
    fn the_budget_is_spent_where_it_saves_most_and_never_overspent() {
        let mut values = vec![90.0; 50];
        values[10] = 101.0;
        values[30] = 190.0;
        let total: f64 = values.iter().sum();
        let generous = OracleInputs { budget: 2.0 / total, ..inputs() };
        let wanted = active(&values, &generous);
        assert_eq!((wanted[10], wanted[30]), (1, 2), "one unit may be missed, not ninety");
    }

    #[test]
    fn every_step_is_served_without_a_budget() {
        let values: Vec<f64> = (0..500).map(|i| 400.0 + 350.0 * (f64::from(i) / 9.0).sin()).collect();
        for (wanted, value) in active(&values, &inputs()).iter().zip(&values) {
            assert!(f64::from(*wanted) * 100.0 >= *value);
        }
    }
}
