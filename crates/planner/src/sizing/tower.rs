//! The slow learner above the fast controller: which share of throttled periods costs least without breaking the latency
//! bound, by how much demand there is.
//!
//! A contextual bandit after the Tower of Autothrottle (Wang et al., NSDI 2024), with its arms, but with a table in place
//! of a neural network: context is the order of magnitude of demand, and what was learned at similar demand counts for
//! less the less similar it is. It begins at the most careful arm and tries only neighbours of the best one, so what it
//! costs to learn is bounded.

use std::collections::BTreeMap;

use crate::retry::Jitter;

/// Shares of throttled periods to aim at.
pub(crate) const ARMS: [f64; 9] = [0.0, 0.02, 0.04, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3];

/// What is known of an arm.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    weight: f64,
    cost: f64,
}

/// The learner.
#[derive(Debug, Clone)]
pub(crate) struct Tower {
    records: BTreeMap<i32, [Record; ARMS.len()]>,
    random: Jitter,
    rounds: u64,
}

impl Tower {
    pub(crate) fn new(seed: u64) -> Tower {
        Tower { records: BTreeMap::new(), random: Jitter::new(seed), rounds: 0 }
    }

    /// The arm for the coming minute.
    pub(crate) fn choose(&mut self, demand: f64) -> usize {
        let bucket = bucket(demand);
        let known: Vec<Option<f64>> = (0..ARMS.len()).map(|arm| self.expected(bucket, arm)).collect();
        let tried = known.iter().enumerate().filter_map(|(arm, cost)| Some((arm, (*cost)?)));
        let Some((best, _)) = tried.min_by(|a, b| a.1.total_cmp(&b.1)) else { return 0 };
        self.rounds += 1;
        let explore = EXPLORE.max(EXPLORE_FIRST / (1.0 + self.rounds as f64 / EXPLORE_ROUNDS));
        if self.random.next() >= explore {
            return best;
        }
        let up = self.random.next() < 0.5;
        if up { (best + 1).min(ARMS.len() - 1) } else { best.saturating_sub(1) }
    }

    /// What the arm has cost for a minute of this demand.
    pub(crate) fn learn(&mut self, demand: f64, arm: usize, cost: f64) {
        if !cost.is_finite() || arm >= ARMS.len() {
            return;
        }
        let record = &mut self.records.entry(bucket(demand)).or_default()[arm];
        record.weight = (record.weight * FORGET).min(WEIGHT_MAX) + 1.0;
        record.cost += (cost - record.cost) / record.weight;
    }

    /// Mean cost of an arm at demand like this; `None` when it was not tried.
    fn expected(&self, bucket: i32, arm: usize) -> Option<f64> {
        let (mut weight, mut cost) = (0.0, 0.0);
        for (other, records) in self.records.range(bucket - NEAR..=bucket + NEAR) {
            let w = records[arm].weight * LIKENESS.powi((other - bucket).abs());
            weight += w;
            cost += w * records[arm].cost;
        }
        (weight > 0.0).then(|| cost / weight)
    }
}

/// Half octaves of demand.
fn bucket(demand: f64) -> i32 {
    (2.0 * demand.max(DEMAND_MIN).log2()).floor().clamp(-200.0, 2_000.0) as i32
}

const DEMAND_MIN: f64 = 1e-3;
const EXPLORE: f64 = 0.05;
/// Exploration begins with this probability, halved after so many rounds.
const EXPLORE_FIRST: f64 = 0.4;
const EXPLORE_ROUNDS: f64 = 60.0;
/// Old minutes count less, and no record more than so many minutes: services change.
const FORGET: f64 = 0.99;
const WEIGHT_MAX: f64 = 50.0;
/// What was learned half an octave away counts for this much.
const LIKENESS: f64 = 0.2;
const NEAR: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_cheapest_arm_of_each_demand_and_never_leaps() {
        let mut tower = Tower::new(5);
        // Little demand bears much throttling, a lot of it bears little.
        let cost = |demand: f64, arm: usize| {
            let limit = if demand < 50.0 { 6 } else { 2 };
            2.0 - 0.1 * arm as f64 + if arm > limit { 3.0 } else { 0.0 }
        };
        let (mut right, mut total, mut highest) = (0, 0, 0);
        for n in 0..4_000 {
            let demand = if (n / 500) % 2 == 0 { 10.0 } else { 400.0 };
            let arm = tower.choose(demand);
            assert!(arm <= highest + 1, "round {n}: {arm} after {highest}");
            highest = highest.max(arm);
            tower.learn(demand, arm, cost(demand, arm));
            if n >= 2_000 {
                total += 1;
                right += u32::from(arm == if demand < 50.0 { 6 } else { 2 });
            }
        }
        assert!(right * 10 >= total * 8, "{right} of {total}");
    }

    #[test]
    fn the_same_seed_chooses_the_same() {
        let run = |seed| {
            let mut tower = Tower::new(seed);
            (0..200)
                .map(|n| {
                    let arm = tower.choose(20.0);
                    tower.learn(20.0, arm, f64::from(n % 7) - arm as f64);
                    arm
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
