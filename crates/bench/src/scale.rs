//! What one workload costs the planner for each tick, and how that grows with the number of workloads.

use std::time::{Duration, Instant};

use anyhow::Result;
use forecast::Timestamp;
use planner::{CapacityPolicy, Event, NodePolicy, Planner, Policy, Resources, WorkloadId, WorkloadPolicy};

use crate::Setting;
use crate::rows::{Better, Rows, median};

const STEP: Duration = Duration::from_secs(60);
const GIB: u64 = 1 << 30;
/// Steps of two synthetic days that every workload learns before the clock runs.
const STEPS_LEARNED: i64 = 2 * 1_440;

pub(crate) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let fleets: &[usize] = if setting.quick { &[10] } else { &[10, 100, 1_000] };
    for &workloads in fleets {
        let ticks = if setting.quick { 5 } else { 60 };
        let name = format!("scale: planner, one workload and step, {workloads} workloads");
        rows.note(&name, microseconds_per_tick(workloads, ticks, None)?, "us", Better::Lower, None);
        for (scarce, word) in [(false, "enough"), (true, "scarce")] {
            let value = microseconds_per_tick(workloads, ticks, Some(scarce))?;
            let name = format!("{name} on {word} nodes");
            rows.note(&name, value, "us", Better::Lower, None);
        }
    }
    Ok(())
}

/// Median over ticks (`nodes`: whether there are any, and too few for all) of: one sample for each workload, all plans, all actions taken and answered by nobody.
fn microseconds_per_tick(workloads: usize, ticks: i64, nodes: Option<bool>) -> Result<f64> {
    let ids: Vec<WorkloadId> = (0..workloads).map(|k| WorkloadId::from(format!("w{k}").as_str())).collect();
    let policies = ids.iter().enumerate().map(|(k, id)| WorkloadPolicy {
        needs: Resources::new(1.0, GIB),
        priority: 100 + (k % 4) as u8,
        ..WorkloadPolicy::new(id.clone(), STEP, CapacityPolicy::Pinned(100.0))
    });
    // The sum of demand needs about three instances for each workload, and a little more to be on the safe side.
    let cores = nodes.map_or(0, |scarce| workloads * if scarce { 3 } else { 8 });
    let nodes = (0..cores.div_ceil(64)).map(|k| NodePolicy::new(format!("n{k}"), 64.0, 256 * GIB));
    let policy = Policy { workloads: policies.collect(), nodes: nodes.collect(), ..Policy::default() };
    let mut planner = Planner::new(policy, 1, at(STEPS_LEARNED))?;
    for (k, id) in ids.iter().enumerate() {
        let history: Vec<_> = (0..STEPS_LEARNED).map(|step| (at(step), Some(demand(k, step)))).collect();
        planner.learn(id, &history);
    }
    let mut measured = Vec::new();
    for step in STEPS_LEARNED..STEPS_LEARNED + ticks {
        let now = at(step + 1);
        let begin = Instant::now();
        for (k, id) in ids.iter().enumerate() {
            let demand = Some(demand(k, step));
            planner.handle(
                now,
                Event::DemandObserved { workload: id.clone(), step_start: at(step), demand, missed: 0.0 },
            );
        }
        planner.handle_timeout(now);
        while planner.poll_action().is_some() {}
        measured.push(begin.elapsed().as_secs_f64() * 1e6 / workloads as f64);
    }
    Ok(median(&measured))
}

fn at(step: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 / 60_000 * 60_000 + step * 60_000)
}

/// A day's wave with a little deterministic unrest, different for each workload.
fn demand(workload: usize, step: i64) -> f64 {
    let phase = step as f64 / 1_440.0 * std::f64::consts::TAU + workload as f64;
    let unrest = ((step * 7_919 + workload as i64 * 104_729) % 97) as f64 / 97.0 - 0.5;
    300.0 + 200.0 * phase.sin() + 30.0 * unrest
}
