//! Everything about a simulation, drawn from its seed.
//!
//! Swarm testing: each seed switches a random subset of faults on, at random rates, under random policies and demands. A
//! fault that is always on hides what only happens without it (Groce et al., "Swarm testing", 2012). Most seeds are small,
//! few are long: a fault that needs a long time to show costs as much as a hundred that do not.

use std::time::Duration;

use super::calendar::Calendar;
use super::extras::draw_profiles;
use super::run::START;
use super::setup::Setup;
use super::shape::between;
use super::sharing::Sharing;
use crate::faults::{Fault, Faults};

/// From this seed on, workloads that nothing else is special about may have standbys of another size; the days before are what
/// they were.
pub const PROFILES_FROM: u64 = 1 << 40;

/// The parameters of one simulation.
#[derive(Debug, Clone)]
pub struct Swarm {
    /// What goes wrong, until it stops.
    pub faults: Faults,
    /// The workloads.
    pub setups: Vec<Setup>,
    /// Hosts; none: room for everything everywhere.
    pub nodes: u32,
    /// Instances that fit on each node.
    pub room: u32,
    /// Set where the planner shares out the nodes.
    pub sharing: Option<Sharing>,
    /// How long faults go on.
    pub safety: Duration,
}

impl Swarm {
    /// The parameters of this seed.
    pub fn draw(seed: u64) -> Swarm {
        let mut rng = fastrand::Rng::with_seed(seed);
        let rng = &mut rng;
        let workloads = [1, 1, 1, 1, 1, 2, 2, 3][rng.usize(0..8)];
        let mut setups: Vec<Setup> = (1..=workloads).map(|number| Setup::draw(rng.u64(..), number)).collect();
        let sharing = Sharing::draw(seed, &mut setups);
        if sharing.is_none() {
            share_template(seed, &mut setups);
        }
        if seed >= PROFILES_FROM {
            setups.iter_mut().for_each(|setup| draw_profiles(setup.seed, &mut setup.policy));
        }
        let safety = draw_length(rng, &setups);
        let mut faults = draw_faults(rng, safety);
        faults.set(Fault::ForecastOverride, draw_forecast_override(seed));
        faults.set(Fault::NewVersion, draw_new_versions(seed, safety));
        for setup in &mut setups {
            setup.calendar = Calendar::draw(setup.seed, START, safety, &mut setup.policy);
        }
        let nodes = if rng.bool() { 0 } else { rng.u32(2..7) };
        let most: u32 = setups.iter().map(|setup| setup.policy.replicas_max).sum();
        let full = faults.rate(Fault::NodeFull) > 0.0;
        let share = if full { between(rng, 0.3, 0.9) } else { between(rng, 1.5, 3.0) };
        let room = if nodes == 0 { 0 } else { (f64::from(most) * share / f64::from(nodes)).ceil() as u32 };
        // Where the planner shares them out, it is told what they hold, and nobody else takes it.
        let (nodes, room) =
            sharing.as_ref().map_or((nodes, room), |sharing| (sharing.nodes.len() as u32, u32::MAX));
        Swarm { faults, setups, nodes, room, sharing, safety }
    }
}

/// The workloads of every other seed with several start the same thing, and share their spares, unless some hold sessions or
/// are sized. It is drawn apart, so that
/// the other seeds are what they were.
fn share_template(seed: u64, setups: &mut [Setup]) {
    let step = setups[0].policy.step;
    let special = |setup: &Setup| setup.sittings.is_some() || setup.uses.is_some();
    if setups.len() < 2
        || setups.iter().any(special)
        || !fastrand::Rng::with_seed(seed ^ TEMPLATE_SALT).bool()
    {
        return;
    }
    for setup in setups {
        (setup.policy.tick, setup.policy.step) =
            (setup.policy.tick.mul_f64(step.div_duration_f64(setup.policy.step)), step);
        setup.policy.template = Some("web".to_owned());
    }
}

/// As long as a number of readings takes, so that each seed costs about as much as any other of its kind.
fn draw_length(rng: &mut fastrand::Rng, setups: &[Setup]) -> Duration {
    let readings = match rng.u32(0..32) {
        0 => between(rng, 400.0, 1500.0),
        1..8 => between(rng, 120.0, 400.0),
        _ => between(rng, 40.0, 120.0),
    };
    let per_second: f64 = setups.iter().map(|setup| 1.0 / setup.policy.tick.as_secs_f64()).sum();
    Duration::from_secs((readings / per_second).max(LENGTH_MIN) as u64)
}

/// What happens at a rate happens some times in this simulation, however long it is.
fn draw_faults(rng: &mut fastrand::Rng, length: Duration) -> Faults {
    let hours = length.as_secs_f64() / 3600.0;
    let mut faults = Faults::NONE;
    // Some seeds are calm but for one or two kinds, some have most of them.
    let share = [0.1, 0.25, 0.5][rng.usize(0..3)];
    let apart = [Fault::ForecastOverride, Fault::NewVersion];
    for fault in Fault::ALL.into_iter().filter(|fault| !apart.contains(fault)) {
        let most = match fault {
            Fault::StartFails => 0.4,
            Fault::StartHangs | Fault::StepMissing | Fault::ReadingMissing | Fault::SampleLate => 0.2,
            Fault::StartLies | Fault::PromoteSlow | Fault::EventLate => 0.3,
            Fault::OrderFails | Fault::OrderSlow | Fault::StepSilent | Fault::BadOverride => 0.1,
            Fault::EventTwice => 0.2,
            Fault::Override => 0.04,
            Fault::RestartMidOrder => 0.02,
            Fault::Death | Fault::Sick => 2.0 / hours,
            Fault::Flapping => 1.0 / hours,
            Fault::ClockJump | Fault::Restart | Fault::NodeLoss | Fault::NodeCut => 3.0 / hours,
            // Comes of the sizes alone, or is drawn apart.
            Fault::OutOfMemory | Fault::ForecastOverride | Fault::NewVersion => 0.0,
            Fault::WrongHistory | Fault::FalseEvents | Fault::DemandShift | Fault::NodeFull => 1.0,
        };
        let rate = most * rng.f64();
        if rng.f64() < share {
            faults.set(fault, if most == 1.0 { 1.0 } else { rate });
        }
    }
    faults
}

/// In every fourth seed; drawn apart, so that the others are what they were.
fn draw_forecast_override(seed: u64) -> f64 {
    let mut rng = fastrand::Rng::with_seed(seed ^ FORECAST_SALT);
    if rng.u32(0..4) == 0 { 0.2 * rng.f64() } else { 0.0 }
}

/// The same in every fifth seed: once or twice while faults go on.
fn draw_new_versions(seed: u64, safety: Duration) -> f64 {
    let mut rng = fastrand::Rng::with_seed(seed ^ VERSION_SALT);
    let hours = safety.as_secs_f64() / 3600.0;
    if rng.u32(0..5) == 0 { 2.0 * rng.f64() / hours } else { 0.0 }
}

const VERSION_SALT: u64 = 0x0E35_104E;
const FORECAST_SALT: u64 = 0xF02E_CA57;
/// Keeps the draw of a shared template apart from the others.
const TEMPLATE_SALT: u64 = 0x7E3_91A7E;
/// No simulation is shorter than this, in seconds: instances must have had the time to start.
const LENGTH_MIN: f64 = 300.0;
