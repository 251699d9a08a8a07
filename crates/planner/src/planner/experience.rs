//! What was measured of the instances of a workload, for the next planner of it: with its guesses alone that would begin anew.

use std::time::Duration;

use super::Planner;
use crate::ids::WorkloadId;
use crate::policy::CapacityPolicy;

/// Measurements of one workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Experience {
    /// The capacity that was learned, and the guess it began with, in demand units for an instance of the initial size; `None`
    /// where it is pinned.
    pub capacity: Option<(f64, f64)>,
    /// How long the last starts from nothing took, the oldest first.
    pub starts: Vec<Duration>,
    /// How long the last promotions took, the oldest first.
    pub promotions: Vec<Duration>,
}

impl Planner {
    /// What is known of a workload; `None` when there is no such workload.
    pub fn experience(&self, workload: &WorkloadId) -> Option<Experience> {
        let workload = self.workloads.get(*self.names.get(workload)?)?;
        let outlook = &workload.outlook;
        let capacity = match workload.policy.capacity {
            CapacityPolicy::Pinned(_) => None,
            CapacityPolicy::Learned { initial } => Some((outlook.capacity.unscaled(), initial)),
        };
        let (starts, promotions) = (outlook.lead_cold.samples(), outlook.lead_promote.samples());
        Some(Experience { capacity, starts: starts.collect(), promotions: promotions.collect() })
    }

    /// Begins with what an earlier planner knew. A capacity that began with another guess is left out: somebody knew better.
    pub fn recall(&mut self, workload: &WorkloadId, experience: &Experience) {
        let Some(workload) = self.names.get(workload).and_then(|index| self.workloads.get_mut(*index)) else {
            return;
        };
        let outlook = &mut workload.outlook;
        if let (Some((learned, guess)), CapacityPolicy::Learned { initial }) =
            (experience.capacity, workload.policy.capacity)
            && guess == initial
        {
            outlook.capacity.resume(learned);
        }
        experience.starts.iter().for_each(|took| outlook.lead_cold.observe(*took));
        experience.promotions.iter().for_each(|took| outlook.lead_promote.observe(*took));
    }
}

#[cfg(test)]
mod tests {
    use forecast::Timestamp;

    use super::*;
    use crate::policy::{Policy, WorkloadPolicy};

    fn planner(guess: f64) -> Planner {
        let capacity = CapacityPolicy::Learned { initial: guess };
        let workload = WorkloadPolicy::new("web", Duration::from_secs(60), capacity);
        let policy = Policy { workloads: vec![workload], ..Policy::default() };
        Planner::new(policy, 1, Timestamp::EPOCH).expect("a good policy")
    }

    #[test]
    fn the_next_planner_begins_with_what_was_measured() {
        let (web, took) = (WorkloadId::from("web"), [3, 4, 5].map(Duration::from_secs));
        let known = Experience {
            capacity: Some((70.0, 50.0)),
            starts: took.to_vec(),
            promotions: vec![Duration::from_millis(2)],
        };
        let mut next = planner(50.0);
        next.recall(&web, &known);
        assert_eq!(next.experience(&web), Some(known.clone()));
        assert_eq!(next.workloads[0].outlook.lead_cold.estimate(), took[2]);
        let mut other = planner(60.0);
        other.recall(&web, &known);
        assert_eq!(
            other.experience(&web).expect("there").capacity,
            Some((60.0, 60.0)),
            "somebody knew better"
        );
        next.recall(&web, &Experience { capacity: Some((f64::NAN, 50.0)), ..known.clone() });
        assert_eq!(next.experience(&web).expect("there").capacity, known.capacity);
        assert_eq!(next.experience(&"shop".into()), None);
    }
}
