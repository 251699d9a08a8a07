//! What a planner may also have to do in a simulation: hold sessions, size instances. Drawn apart from all else, so that
//! what is drawn there is the same with and without.

use std::time::Duration;

use planner::WorkloadPolicy;
use planner::sessions::{SessionPolicy, SessionType};

use super::shape::between;

/// Sessions on the instances of a workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sittings {
    /// How many begin on each instance with traffic in an hour.
    pub per_hour: f64,
    /// How long they last in the mean.
    pub length: Duration,
}

impl Sittings {
    /// For one workload in four; the policy is told.
    pub(super) fn draw(seed: u64, policy: &mut WorkloadPolicy) -> Option<Sittings> {
        let mut rng = fastrand::Rng::with_seed(seed ^ SESSIONS_SALT);
        let rng = &mut rng;
        if rng.u32(0..4) > 0 {
            return None;
        }
        let drain = policy.step.mul_f64(between(rng, 0.5, 15.0)).max(Duration::from_secs(5));
        let length = drain.mul_f64(between(rng, 0.05, 1.5));
        let held = between(rng, 0.1, 4.0);
        let types = vec![SessionType::new("game", 1, 0.01)];
        policy.sessions = Some(SessionPolicy { drain, ..SessionPolicy::new(types) });
        Some(Sittings { per_hour: held * 3600.0 / length.as_secs_f64(), length })
    }
}

const SESSIONS_SALT: u64 = 0x5E55_1045;
