//! What one workload costs the planner for each tick, and how that grows with the number of workloads.

use std::time::Duration;

use anyhow::{Context, Result};
use forecast::Timestamp;
use planner::{CapacityPolicy, Event, NodePolicy, Planner, Policy, Resources, WorkloadId, WorkloadPolicy};

use crate::Setting;
use crate::forecasting::cpu_time;
use crate::rows::{Better, Rows, median};

/// Step of the demand, and tick of the planner.
const STEP: Duration = Duration::from_secs(15);
const GIB: u64 = 1 << 30;
/// Steps that every workload learns before the clock runs. Two days for the figures of one workload; less where the number of
/// workloads is what grows.
const STEPS_LEARNED: i64 = 2 * 5_760;
const STEPS_LEARNED_BY_MANY: i64 = 120;
const FLEETS: &[usize] = &[100, 1_000, 10_000, 100_000];
const FLEETS_QUICK: &[usize] = &[10, 100];
/// Workloads whose figures are those of one: so many that what the process itself takes is little beside them.
const SAMPLE: usize = 200;
/// Nodes are tried with fewer: their plans depend on each other.
const FLEETS_ON_NODES: &[usize] = &[10, 100, 1_000];
const TICKS: i64 = 20;
const CORES: f64 = 2.0;
const BAR_MICROSECONDS: f64 = 20.0;
const BAR_GIGABYTES: f64 = 8.0;
/// From so many workloads on, what earlier runs have left behind is little beside them.
const FLEET_WEIGHED: usize = 10_000;

/// What a run has measured.
struct Measured {
    /// Processor time, median over ticks, for one workload and tick.
    microseconds: f64,
    /// Memory of one workload, as the kernel counts it.
    bytes: f64,
    /// The part of it that its forecaster says it holds.
    forecaster: f64,
}

impl Measured {
    /// Where the memory goes.
    fn parts(&self) -> String {
        format!("{:.0} bytes each, {:.0} of them the forecaster's", self.bytes, self.forecaster)
    }
}

pub(crate) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    // The first run of all also loads the program and sets up the allocator.
    run(10, STEPS_LEARNED_BY_MANY, None, 0.0)?;
    let before = resident_bytes()?;
    let run = |workloads, learned, nodes| run(workloads, learned, nodes, before);
    let (learned, said) =
        if setting.quick { (STEPS_LEARNED_BY_MANY, "half an hour") } else { (STEPS_LEARNED, "two days") };
    let one = run(SAMPLE, learned, None)?;
    let name = format!("scale: planner, one workload and tick with its forecast, {said} of 15 s learned");
    rows.at_most(&name, one.microseconds, "us", BAR_MICROSECONDS, None);
    let name = "scale: planner, memory of 100,000 such workloads";
    rows.at_most(name, one.bytes * 1e5 / 1e9, "GB", BAR_GIGABYTES, Some(one.parts()));
    for &workloads in if setting.quick { FLEETS_QUICK } else { FLEETS } {
        let many = run(workloads, STEPS_LEARNED_BY_MANY, None)?;
        let name = format!("scale: planner, one workload and tick, {workloads} workloads");
        rows.note(&name, many.microseconds, "us", Better::Lower, None);
        if workloads >= FLEET_WEIGHED {
            let name = format!("scale: planner, memory of {workloads} workloads, half an hour learned");
            rows.at_most(&name, many.bytes * workloads as f64 / 1e9, "GB", BAR_GIGABYTES, Some(many.parts()));
        }
        let share = many.microseconds * 1e-6 * workloads as f64 / STEP.as_secs_f64() / CORES;
        let name = format!("scale: planner, {workloads} workloads at a tick of 15 s, share of two cores");
        rows.at_most(&name, share, "share", 0.5, None);
    }
    for &workloads in if setting.quick { &FLEETS_ON_NODES[..1] } else { FLEETS_ON_NODES } {
        for (scarce, word) in [(false, "enough"), (true, "scarce")] {
            let value = run(workloads, STEPS_LEARNED_BY_MANY, Some(scarce))?.microseconds;
            let name =
                format!("scale: planner, one workload and tick, {workloads} workloads on {word} nodes");
            rows.note(&name, value, "us", Better::Lower, None);
        }
    }
    Ok(())
}

/// Runs ticks of: one sample for each workload, all plans, all orders taken and answered by nobody. `nodes`: whether there are
/// any, and too few for all. `before`: bytes that the process took without workloads.
fn run(workloads: usize, learned: i64, nodes: Option<bool>, before: f64) -> Result<Measured> {
    let ids: Vec<WorkloadId> = (0..workloads).map(|k| WorkloadId::from(format!("w{k}").as_str())).collect();
    let mut planner = Planner::new(policy(&ids, nodes), 1, at(learned))?;
    for (k, id) in ids.iter().enumerate() {
        let history: Vec<_> = (0..learned).map(|step| (at(step), Some(demand(k, step)))).collect();
        planner.learn(id, &history);
    }
    let mut ticks = Vec::new();
    for step in learned..learned + TICKS {
        let begin = cpu_time();
        for (k, id) in ids.iter().enumerate() {
            let (workload, demand) = (id.clone(), Some(demand(k, step)));
            let event = Event::DemandObserved { workload, step_start: at(step), demand, missed: 0.0 };
            planner.handle(at(step + 1), event);
        }
        planner.handle_timeout(at(step + 1));
        while planner.poll_action().is_some() {}
        ticks.push((cpu_time() - begin).as_secs_f64() * 1e6 / workloads as f64);
    }
    let bytes = (resident_bytes()? - before).max(0.0) / workloads as f64;
    let forecasters: usize = planner.snapshot().workloads().iter().map(|w| w.forecaster.bytes()).sum();
    let forecaster = forecasters as f64 / workloads as f64;
    Ok(Measured { microseconds: median(&ticks), bytes, forecaster })
}

fn policy(ids: &[WorkloadId], nodes: Option<bool>) -> Policy {
    let workloads = ids.iter().enumerate().map(|(k, id)| WorkloadPolicy {
        needs: Resources::new(1.0, GIB),
        priority: 100 + (k % 4) as u8,
        ..WorkloadPolicy::new(id.clone(), STEP, CapacityPolicy::Pinned(100.0))
    });
    // The sum of demand needs about three instances for each workload, and a little more to be on the safe side.
    let cores = nodes.map_or(0, |scarce| ids.len() * if scarce { 3 } else { 8 });
    let nodes = (0..cores.div_ceil(64)).map(|k| NodePolicy::new(format!("n{k}"), 64.0, 256 * GIB));
    Policy { workloads: workloads.collect(), nodes: nodes.collect(), ..Policy::default() }
}

/// Memory of this process as the kernel counts it.
fn resident_bytes() -> Result<f64> {
    let pages = std::fs::read_to_string("/proc/self/statm").context("failed to read /proc/self/statm")?;
    let resident = pages.split_whitespace().nth(1).context("/proc/self/statm has another shape")?;
    Ok(resident.parse::<f64>()? * PAGE_BYTES)
}

const PAGE_BYTES: f64 = 4_096.0;

fn at(step: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 / 60_000 * 60_000 + step * 15_000)
}

/// A day's wave with a little deterministic unrest, different for each workload.
fn demand(workload: usize, step: i64) -> f64 {
    let phase = step as f64 / 5_760.0 * std::f64::consts::TAU + workload as f64;
    let unrest = ((step * 7_919 + workload as i64 * 104_729) % 97) as f64 / 97.0 - 0.5;
    300.0 + 200.0 * phase.sin() + 30.0 * unrest
}
