//! Clone-trigger levels: the demand at which one more instance is needed, and when it is crossed with which probability.

use crate::snapshot::WorkloadView;

/// A level of demand.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerLevel {
    /// Active instances that are needed above it.
    pub instances: u32,
    /// The demand, in the unit of the workload: what one instance less serves.
    pub demand: f64,
}

/// The next levels above what `active` instances of a capacity serve, and that of their own; none beyond `max` instances.
pub fn trigger_levels(active: u32, capacity: f64, max: u32) -> Vec<TriggerLevel> {
    let first = active.saturating_sub(1);
    (first..first.saturating_add(LEVELS).min(max))
        .map(|served| TriggerLevel { instances: served + 1, demand: f64::from(served) * capacity })
        .filter(|level| level.demand.is_finite())
        .collect()
}

impl WorkloadView<'_> {
    /// The levels around the plan in force, each with the probability that demand has exceeded it by the end of the first,
    /// the second and so on of the next `steps` steps.
    pub fn trigger_levels(&self, steps: usize) -> Vec<(TriggerLevel, Vec<f64>)> {
        let active = self.plan.map_or(self.policy.replicas_min, |plan| plan.active_wanted);
        let share = self.plan.and_then(|plan| plan.inputs.clone_threshold).unwrap_or(1.0);
        let levels = trigger_levels(active, self.capacity * share, self.policy.replicas_max);
        let demands: Vec<f64> = levels.iter().map(|level| level.demand).collect();
        let crossed = self.forecaster.crossings(&demands, steps);
        levels.into_iter().zip(crossed).collect()
    }
}

/// The level below, and the next four.
const LEVELS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_what_the_instances_serve_and_end_at_the_most_there_may_be() {
        let levels = |active, max| -> Vec<(u32, f64)> {
            trigger_levels(active, 50.0, max).into_iter().map(|l| (l.instances, l.demand)).collect()
        };
        assert_eq!(levels(3, 100), [(3, 100.0), (4, 150.0), (5, 200.0), (6, 250.0), (7, 300.0)]);
        assert_eq!(levels(0, 100)[0], (1, 0.0), "any demand at all needs the first");
        assert_eq!(levels(3, 4), [(3, 100.0), (4, 150.0)]);
        assert_eq!(levels(u32::MAX, u32::MAX).len(), 1);
        assert_eq!(trigger_levels(2, f64::INFINITY, 9), []);
    }
}
