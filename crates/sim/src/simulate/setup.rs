//! One workload of a simulation, drawn from the seed: demand, times, policy.

use std::time::Duration;

use planner::{
    CapacityPolicy, Deadlines, Margin, Objective, Prices, Retry, ShiftPolicy, StoppedLevel, WorkloadPolicy,
};

use super::calendar::Calendar;
use super::extras::{Sittings, Uses};
use super::shape::{Shape, between};
use crate::world::{ColdStart, Times};

/// The parameters of one workload.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its own seed: what happens to it does not depend on which other workloads there are.
    pub seed: u64,
    /// What is demanded.
    pub shape: Shape,
    /// What was demanded in the history, if it is not its own.
    pub history: Shape,
    /// Noise on the demand, as a share of it.
    pub noise: f64,
    /// How long things take.
    pub times: Times,
    /// What the planner is asked to do.
    pub policy: WorkloadPolicy,
    /// Bounds that hold at some hours only, if there are any.
    pub calendar: Option<Calendar>,
    /// Demand units that an instance really serves.
    pub capacity: f64,
    /// Steps of demand that the planner has learned from before it starts.
    pub history_steps: u32,
    /// Steps that a planner that is started again finds in the store.
    pub retained_steps: usize,
    /// Sessions on its instances, if it has some.
    pub sittings: Option<Sittings>,
    /// What they use, if the planner sizes them.
    pub uses: Option<Uses>,
}

impl Setup {
    /// The parameters of the workload with this number. Steps are drawn from those of the seed.
    pub(super) fn draw(seed: u64, number: usize) -> Setup {
        let mut rng = fastrand::Rng::with_seed(seed);
        let rng = &mut rng;
        let step = Duration::from_secs([10, 60, 300][rng.usize(0..3)]);
        let capacity = between(rng, 5.0, 200.0);
        let scale = capacity * between(rng, 0.5, 12.0);
        let shape = Shape::draw(rng, scale);
        let cold = Duration::from_secs_f64(between(rng, 2.0, 150.0));
        let mut times = Times {
            cold: if rng.bool() {
                ColdStart::Constant(cold)
            } else {
                ColdStart::LogNormal { median: cold, sigma: between(rng, 0.1, 0.5) }
            },
            restart: cold,
            promote: Duration::from_secs_f64(between(rng, 0.005, 2.0)),
            park: Duration::from_secs_f64(between(rng, 0.0, 0.5)),
            table: Duration::from_secs_f64(between(rng, 0.0, 0.5)),
            drain: Duration::from_secs_f64(between(rng, 0.0, 20.0)),
            stop: Duration::from_secs_f64(between(rng, 0.0, 5.0)),
        };
        let stopped = draw_stopped(seed, &mut times);
        let strange = scale * 50f64.powf(between(rng, -1.0, 1.0));
        let mut policy = draw_policy(rng, number, step, capacity, &times);
        let sittings = Sittings::draw(seed, &mut policy);
        let uses = Uses::draw(seed, capacity, &mut policy);
        // What is sized is not kept on a disk.
        policy.stopped = stopped.filter(|_| policy.sizing.is_none());
        Setup {
            seed: rng.u64(..),
            shape,
            history: Shape::draw(rng, strange),
            noise: if rng.bool() { 0.0 } else { between(rng, 0.0, 0.3) },
            policy,
            calendar: None,
            sittings,
            uses,
            times,
            capacity,
            history_steps: draw_history(rng),
            retained_steps: if rng.u32(0..16) == 0 { usize::MAX } else { rng.usize(0..40) },
        }
    }
}

/// Every third workload may stop instances and keep their disk. It is drawn apart, so that the others are what they were.
fn draw_stopped(seed: u64, times: &mut Times) -> Option<StoppedLevel> {
    let rng = &mut fastrand::Rng::with_seed(seed ^ STOPPED_SALT);
    if rng.u32(0..3) > 0 {
        return None;
    }
    times.restart = times.cold.typical().mul_f64(between(rng, 0.02, 0.9));
    let lead = times.restart.mul_f64(between(rng, 0.5, 2.0)).max(Duration::from_millis(1));
    Some(StoppedLevel { price: between(rng, 0.0, 0.3), lead })
}

/// Most have little history: learning costs more than the rest of a short simulation.
fn draw_history(rng: &mut fastrand::Rng) -> u32 {
    match rng.u32(0..16) {
        0 => rng.u32(60..400),
        1..6 => rng.u32(10..40),
        _ => 0,
    }
}

fn draw_policy(
    rng: &mut fastrand::Rng,
    number: usize,
    step: Duration,
    capacity: f64,
    times: &Times,
) -> WorkloadPolicy {
    let learned = rng.u32(0..4) == 0;
    let pinned = CapacityPolicy::Pinned(capacity);
    let guess = CapacityPolicy::Learned { initial: capacity * between(rng, 0.7, 1.3) };
    let name = format!("web-{number}");
    let mut policy = WorkloadPolicy::new(name.as_str(), step, if learned { guess } else { pinned });
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

/// Keeps the draws of the stopped level apart from the others.
const STOPPED_SALT: u64 = 0x570_9BED;
const LATENCY_BOUND: Duration = Duration::from_millis(250);
