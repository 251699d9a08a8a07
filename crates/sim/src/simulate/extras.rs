//! What a planner may also have to do in a simulation: hold sessions, size instances. Drawn apart from all else, so that
//! what is drawn there is the same with and without.

use std::time::Duration;

use planner::sessions::{SessionPolicy, SessionType};
use planner::{Profiles, Size, SizingMode, SizingPolicy, WorkloadPolicy};

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
        // Whole milliseconds, as clocks have them.
        let drain = Duration::from_millis(policy.step.mul_f64(between(rng, 0.5, 15.0)).as_millis() as u64);
        let length = drain.mul_f64(between(rng, 0.05, 1.5));
        let held = between(rng, 0.1, 4.0);
        let types = vec![SessionType::new("game", 1, 0.01)];
        policy.sessions = Some(SessionPolicy { drain, ..SessionPolicy::new(types) });
        Some(Sittings { per_hour: held * 3600.0 / length.as_secs_f64(), length })
    }
}

/// Larger standbys for three workloads in four that nothing else is special about; the policy is told.
pub(super) fn draw_profiles(seed: u64, policy: &mut WorkloadPolicy) {
    let mut rng = fastrand::Rng::with_seed(seed ^ PROFILES_SALT);
    let alone = policy.sizing.is_none() && policy.sessions.is_none() && policy.stopped.is_none();
    if rng.u32(0..4) == 0 || !alone || policy.template.is_some() {
        return;
    }
    let size = |cpu_cores| Size { cpu_cores, memory_bytes: GIB as u64 };
    let standby = size(between(&mut rng, 1.0, 4.0));
    policy.profiles = Some(Profiles { active: size(1.0), standby });
}

/// What the instances of a workload use, where the planner sizes them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Uses {
    /// Processor time of a unit of demand, in cores.
    pub cores: f64,
    /// Memory of an idle instance and of one with as much as it can serve, in bytes.
    pub memory: (f64, f64),
    /// The size with which an instance serves the workload's capacity.
    pub initial: Size,
    /// With more processor time it serves more.
    pub bound: bool,
}

impl Uses {
    /// For one workload in four; the policy is told.
    pub(super) fn draw(seed: u64, capacity: f64, policy: &mut WorkloadPolicy) -> Option<Uses> {
        let mut rng = fastrand::Rng::with_seed(seed ^ SIZING_SALT);
        let rng = &mut rng;
        if rng.u32(0..4) > 0 {
            return None;
        }
        let size = |cores: f64, bytes: f64| Size { cpu_cores: cores, memory_bytes: bytes as u64 };
        let (cores, memory) = (between(rng, 0.2, 4.0), between(rng, 0.05, 2.0) * GIB);
        let initial = size(cores, memory);
        let (smaller, larger) = (between(rng, 0.05, 1.0), between(rng, 1.0, 4.0));
        let least = size(cores * smaller, memory * smaller);
        let most = size(cores * larger, memory * larger);
        let bound = rng.bool();
        let bandit = policy.objective.latency_bound.is_some() && rng.bool();
        policy.sizing = Some(SizingPolicy {
            mode: if bandit { SizingMode::Bandit } else { SizingMode::Rules },
            every: policy.step.mul_f64(between(rng, 0.0, 5.0)),
            step: policy.step,
            cpu_bound: rng.bool().then_some(bound),
            ..SizingPolicy::new(least, most, initial)
        });
        let idle = memory * between(rng, 0.1, 0.8);
        // The largest size is enough.
        let busy = (idle * between(rng, 1.0, 2.5)).min(0.8 * memory * larger);
        // What is bounded by something else leaves enough of it for that to be seen.
        let spare = if bound { 1.0 } else { between(rng, 0.3, 0.6) };
        Some(Uses { cores: spare * cores / capacity, memory: (idle, busy), initial, bound })
    }

    /// What an instance of this size serves, where one of the first size serves `capacity`: as much as it has processor
    /// time for, and not more unless that is what bounds it.
    pub(super) fn capacity(&self, size: Option<Size>, capacity: f64) -> f64 {
        let most = size.unwrap_or(self.initial).cpu_cores / self.cores;
        if self.bound { most } else { most.min(capacity) }
    }

    /// Memory in use at this share of what it serves.
    pub(super) fn memory(&self, load: f64) -> u64 {
        (self.memory.0 + (self.memory.1 - self.memory.0) * load.min(1.0)) as u64
    }
}

const GIB: f64 = (1u64 << 30) as f64;
const SIZING_SALT: u64 = 0x0051_2E05;
const PROFILES_SALT: u64 = 0x5AAD_0115;
const SESSIONS_SALT: u64 = 0x5E55_1045;
