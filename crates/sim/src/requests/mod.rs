//! Request level: single requests that wait in line at instances, where the fluid world only knows capacity and demand.
//!
//! Requests arrive as a Poisson process along a demand curve, the router spreads them with the very policy of the built-in
//! proxy ([`balance::p2c`]) by the weights of the route table in force, each instance is a line in front of a number of
//! slots, and a request that is refused or not answered in time has failed. Everything else is the world of
//! [`crate::replay`]: the same planner, fed and obeyed in the same way, the same rivals, start times and prices. So what
//! differs between policies is latency and failure, in the units that users feel.
//!
//! The planner gets what its daemon would give it: the rate of arrivals at each reading of the proxy, what each backend
//! did, and the demand of each step with what was missed. Rivals are given the curve itself, without the noise of
//! counting, which favours them a little.
//!
//! Promises: everything is a function of its arguments and the seed. Not modelled: requests that are retried, connections,
//! and instances whose speed depends on each other.

mod arrivals;
mod histogram;
mod meter;
mod plane;
mod server;
mod service;
mod tally;

pub use histogram::Histogram;
pub use service::ServiceTime;
pub(crate) use service::exponential;
pub use tally::{Row, Tally};

use std::ops::Range;
use std::time::Duration;

use forecast::Timestamp;
use planner::{Event, InstanceId};

use self::meter::Meter;
use self::plane::Plane;
use crate::demand::Demand;
use crate::replay::drive::Driven;
use crate::replay::follow::Follower;
use crate::replay::shadow::Shadow;
use crate::replay::{Options, PolicyKind, Prepared, ReplayError, check, rival};
use crate::score::Score;

/// Everything about a run but the demand and who decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The instances, their start times and prices, and the planner's policy. Its capacity is what one instance serves
    /// within the latency bound, in requests per second.
    pub world: Options,
    /// Work in a request.
    pub service: ServiceTime,
    /// Requests that an instance works on at once.
    pub slots: u32,
    /// Requests on an instance at once, those in line included; more are refused.
    pub in_flight_max: u32,
    /// A request that is not answered by then has failed.
    pub timeout: Duration,
    /// An answer after it is late.
    pub bound: Duration,
    /// When requests begin, at the beginning of a step of the demand. What comes before is history.
    pub from: Timestamp,
    /// Length of the steps in which the planner learns demand: a multiple of that of the demand.
    pub step: Duration,
    /// Time between two readings of the proxy; divides the step.
    pub reading: Duration,
    /// The demand is not seen in this time, though requests go on.
    pub silent: Option<Range<Timestamp>>,
    /// Arrivals, as times after `from`, in place of those drawn along the demand.
    pub arrivals: Option<Vec<Duration>>,
}

/// One policy under one stream of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Who decided.
    pub kind: PolicyKind,
    /// What became of the scored requests.
    pub tally: Tally,
    /// Seconds and cost of instances. What it says of demand and misses is that of the fluid world, for comparison.
    pub score: Score,
    /// One row for each step of the demand from the beginning of the requests.
    pub rows: Vec<Row>,
}

/// Runs the requests under a policy.
///
/// # Errors
/// See [`ReplayError`].
pub fn run(demand: &Demand, kind: PolicyKind, settings: &Settings) -> Result<Outcome, ReplayError> {
    validate(demand, settings)?;
    let end = demand.slot_start(demand.len());
    let plane = Plane::new(demand, settings);
    let seen = settings.silent.as_ref().map(|silent| demand.masked(|at| silent.contains(&at)));
    let seen = seen.as_ref().unwrap_or(demand);
    let prepared = Prepared::new(seen, kind);
    let plane = match rival(kind, seen, &settings.world, &prepared) {
        None => planned(demand, settings, plane, end)?,
        Some(mut rival) => {
            let mut follower = Follower::new(&settings.world, plane);
            follower.run_until(end, &mut Some(settings.from), seen, rival.as_mut());
            follower.account
        }
    };
    let (rows, tally, totals) = plane.finish();
    Ok(Outcome { kind, tally, score: Score::new(totals, settings.world.standby_price), rows })
}

/// The planner's run: its daemon's readings, at the daemon's times.
fn planned(demand: &Demand, settings: &Settings, plane: Plane, end: Timestamp) -> Result<Plane, ReplayError> {
    let policy = settings.world.workload_policy(settings.step);
    let (from, history) = (settings.from, history(demand, settings));
    let mut meter = Meter::new(policy.tick, settings.step);
    let mut shadow = Shadow::new(policy, &settings.world, plane, from, &history)?;
    let silent = |at: Timestamp| settings.silent.as_ref().is_some_and(|silent| silent.contains(&at));
    let (mut now, mut step_start) = (from, from);
    while now < end {
        now = (now + settings.reading).min(end);
        shadow.run_until(now)?;
        let unseen = silent(now);
        if unseen {
            shadow.account.read();
            meter.lose(shadow.account.arrived());
        } else {
            read(&mut shadow, &mut meter, now);
        }
        if now.since(step_start) >= settings.step {
            let (demand, missed) = meter.step(shadow.account.arrived());
            // The first step after a silence was watched only in part.
            let known = !unseen && !silent(step_start);
            let (demand, missed) = if known { (Some(demand), missed) } else { (None, 0.0) };
            shadow.tell_demand(now, step_start, demand, missed);
            step_start = now;
        }
        shadow.run_until(now)?;
    }
    Ok(shadow.account)
}

fn read(shadow: &mut Shadow<Plane>, meter: &mut Meter, now: Timestamp) {
    let (left, backends) = shadow.account.read();
    if let Some(rate) = meter.read(now, shadow.account.arrived(), left.failed + left.late) {
        shadow.tell_load(now, rate, f64::from(shadow.account.in_flight()));
    }
    for backend in backends.iter().filter(|backend| backend.left.requests > 0 || backend.in_flight > 0) {
        let latency = |share| backend.left.latency.quantile(share).unwrap_or_default();
        let event = Event::BackendObserved {
            workload: shadow.workload.clone(),
            instance: InstanceId::new(backend.instance),
            requests: backend.left.requests,
            errors: backend.left.failed,
            latency_p50: latency(0.5),
            latency_p99: latency(0.99),
            latencies: backend.left.latency.counted(),
            in_flight: backend.in_flight,
        };
        shadow.tell(now, event);
    }
}

/// The demand before the requests begin, in the planner's steps: what its daemon would have found recorded.
fn history(demand: &Demand, settings: &Settings) -> Vec<(Timestamp, Option<f64>)> {
    let per_step = (settings.step.as_millis() / demand.step().as_millis()) as usize;
    let slots = demand.slot_at(settings.from).unwrap_or(0);
    let first = slots % per_step;
    let steps = demand.values()[first..slots].chunks(per_step).enumerate();
    steps
        .map(|(n, values)| {
            let known: Vec<f64> = values.iter().flatten().copied().collect();
            let mean = known.iter().sum::<f64>() / known.len() as f64;
            (demand.slot_start(first + n * per_step), (known.len() == per_step).then_some(mean))
        })
        .collect()
}

fn validate(demand: &Demand, settings: &Settings) -> Result<(), ReplayError> {
    check(&settings.world)?;
    let require = |ok: bool, option: &'static str, rule: &'static str| {
        if ok { Ok(()) } else { Err(ReplayError::Option { option, rule }) }
    };
    let multiple = |long: Duration, short: Duration| {
        !long.is_zero() && !short.is_zero() && long.as_millis().is_multiple_of(short.as_millis().max(1))
    };
    require(!settings.service.mean().is_zero(), "service", "must take time")?;
    require((1..=SLOTS_MAX).contains(&settings.slots), "slots", "must be from 1 to 1,000")?;
    require(settings.in_flight_max >= settings.slots, "in_flight_max", "must be at least `slots`")?;
    require(!settings.timeout.is_zero(), "timeout", "must be above 0")?;
    require(multiple(settings.step, demand.step()), "step", "must be a multiple of the demand's step")?;
    require(multiple(settings.step, settings.reading), "reading", "must divide the step")?;
    let begins = demand.slot_at(settings.from).map(|slot| demand.slot_start(slot));
    require(begins == Some(settings.from), "from", "must be the beginning of a step of the demand")
}

const SLOTS_MAX: u32 = 1_000;
