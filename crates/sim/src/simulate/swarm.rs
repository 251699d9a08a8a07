//! Everything about a simulation, drawn from its seed.
//!
//! Swarm testing: each seed switches a random subset of faults on, at random rates, under a random policy and demand. A
//! fault that is always on hides what only happens without it (Groce et al., "Swarm testing", 2012).

use std::time::Duration;

use planner::{CapacityPolicy, Deadlines, Margin, Objective, Prices, Retry, ShiftPolicy, WorkloadPolicy};

use super::shape::{Shape, between};
use crate::faults::Faults;
use crate::world::{ColdStart, Times};

/// The parameters of one simulation.
#[derive(Debug, Clone)]
pub struct Swarm {
    /// What goes wrong, until it stops.
    pub faults: Faults,
    /// What is demanded.
    pub shape: Shape,
    /// Noise on the demand, as a share of it.
    pub noise: f64,
    /// How long things take.
    pub times: Times,
    /// What the planner is asked to do.
    pub policy: WorkloadPolicy,
    /// Demand units that an instance really serves.
    pub capacity: f64,
    /// Steps of demand that the planner has learned from before it starts.
    pub history_steps: u32,
    /// How long faults go on.
    pub safety: Duration,
    /// Probability that an operator pins or frees the counts, per step.
    pub operator: f64,
}

impl Swarm {
    /// The parameters of this seed.
    pub fn draw(seed: u64) -> Swarm {
        let mut rng = fastrand::Rng::with_seed(seed);
        let rng = &mut rng;
        let step = Duration::from_secs([10, 60, 300][rng.usize(0..3)]);
        let capacity = between(rng, 5.0, 200.0);
        let scale = capacity * between(rng, 0.5, 12.0);
        let shape = Shape::draw(rng, scale);
        let cold = Duration::from_secs_f64(between(rng, 2.0, 150.0));
        let times = Times {
            cold: if rng.bool() {
                ColdStart::Constant(cold)
            } else {
                ColdStart::LogNormal { median: cold, sigma: between(rng, 0.1, 0.5) }
            },
            promote: Duration::from_secs_f64(between(rng, 0.005, 2.0)),
            park: Duration::from_secs_f64(between(rng, 0.0, 0.5)),
            table: Duration::from_secs_f64(between(rng, 0.0, 0.5)),
            drain: Duration::from_secs_f64(between(rng, 0.0, 20.0)),
            stop: Duration::from_secs_f64(between(rng, 0.0, 5.0)),
        };
        Swarm {
            faults: draw_faults(rng),
            shape,
            noise: if rng.bool() { 0.0 } else { between(rng, 0.0, 0.3) },
            policy: draw_policy(rng, step, capacity, &times),
            times,
            capacity,
            history_steps: if rng.bool() { 0 } else { rng.u32(100..600) },
            safety: step * rng.u32(120..360),
            operator: if rng.u32(0..4) == 0 { 0.02 } else { 0.0 },
        }
    }
}

fn draw_faults(rng: &mut fastrand::Rng) -> Faults {
    let mut some = |most: f64| if rng.bool() { 0.0 } else { most * rng.f64() };
    Faults {
        start_fails: some(0.4),
        start_hangs: some(0.2),
        promote_slow: some(0.3),
        action_fails: some(0.1),
        deaths_per_hour: some(2.0),
        sick_per_hour: some(2.0),
        signal_missing: some(0.2),
        event_late: some(0.3),
        event_twice: some(0.2),
        clock_jumps_per_hour: some(0.5),
        restarts_per_hour: some(0.7),
    }
}

fn draw_policy(rng: &mut fastrand::Rng, step: Duration, capacity: f64, times: &Times) -> WorkloadPolicy {
    let learned = rng.u32(0..4) == 0;
    let pinned = CapacityPolicy::Pinned(capacity);
    let guess = CapacityPolicy::Learned { initial: capacity * between(rng, 0.7, 1.3) };
    let mut policy = WorkloadPolicy::new("web", step, if learned { guess } else { pinned });
    policy.tick = step.div_f64(between(rng, 1.0, 6.0));
    policy.replicas_min = rng.u32(0..4);
    policy.replicas_max = policy.replicas_min + rng.u32(1..30);
    policy.standby_min = if rng.bool() { 0 } else { rng.u32(0..3).min(policy.replicas_max) };
    policy.standby_max = policy.replicas_max;
    policy.objective = Objective {
        error_budget: [0.0001, 0.001, 0.01][rng.usize(0..3)],
        latency_bound: learned.then_some(LATENCY_BOUND),
    };
    policy.lead_cold = times.cold.typical().mul_f64(between(rng, 0.5, 2.0));
    policy.lead_promote = times.promote.mul_f64(between(rng, 0.5, 2.0));
    policy.prices = Prices { active: 1.0, standby: between(rng, 0.0, 1.2), start: policy.lead_cold };
    policy.margin = if rng.u32(0..4) == 0 {
        Margin::Fixed { safety_margin: between(rng, 0.0, 0.5) }
    } else {
        Margin::Controlled
    };
    policy.shift = ShiftPolicy {
        first_share: if rng.bool() { 1.0 } else { 0.1 },
        step_every: Duration::from_secs_f64(between(rng, 0.5, 5.0)),
        ..ShiftPolicy::default()
    };
    policy.retry = Retry { first: Duration::from_secs(1), max: Duration::from_secs(120) };
    policy.deadlines =
        Deadlines { start: times.cold.upper() * 3 + Duration::from_secs(30), ..Deadlines::default() };
    policy
}

const LATENCY_BOUND: Duration = Duration::from_millis(250);
