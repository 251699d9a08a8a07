//! What the planner is told of the use of instances, where it is to size them.

use planner::{Event, InstanceId};
use provider::{ExitReason, InstanceName};

use super::ControlLoop;
use super::workload::{UsageNow, Workload};
use crate::instances::id_of;

impl Workload {
    /// What follows from the newest reading of an instance and the one before.
    pub(crate) fn sizing_facts(&self, instance: InstanceId, before: Option<&UsageNow>) -> Vec<Event> {
        let (Some(now), Some(before), true) =
            (self.usage.get(&instance), before, self.config.sizing.is_some())
        else {
            return Vec::new();
        };
        let Some(cpu_cores) = now.rates.cpu_cores else { return Vec::new() };
        let throttled = now.total.throttling.zip(before.total.throttling).map(|(now, before)| {
            let periods = now.periods.saturating_sub(before.periods);
            // Without a period nothing ran, and nothing had to wait.
            now.throttled.saturating_sub(before.throttled) as f64 / periods.max(1) as f64
        });
        let observed = Event::UsageObserved {
            workload: self.id.clone(),
            instance,
            cpu_cores,
            memory_bytes: now.total.memory_bytes,
            throttled: throttled.map(|share| share.min(1.0)),
        };
        let killed = |usage: &UsageNow| usage.total.out_of_memory.unwrap_or(0);
        let out_of_memory = (killed(now) > killed(before))
            .then(|| Event::OutOfMemory { workload: self.id.clone(), instance });
        [Some(observed), out_of_memory].into_iter().flatten().collect()
    }
}

impl ControlLoop {
    /// An instance was killed by nobody we know: if it was near its memory limit, that is taken for the cause. Its group,
    /// which could tell for sure, is gone by now.
    pub(crate) fn suspect_memory(&mut self, name: &InstanceName, reason: ExitReason) {
        if reason != ExitReason::Signal(KILLED) {
            return;
        }
        let found = self.workloads.iter().enumerate().find_map(|(index, workload)| {
            let id = id_of(workload.name(), name)?;
            let used = workload.usage.get(&id)?.total.memory_bytes;
            Some((index, id, used))
        });
        let Some((index, instance, used)) = found else { return };
        let workload = self.workloads[index].id.clone();
        let snapshot = self.planner.snapshot();
        let rows = snapshot.workload(&workload).map(|view| view.instances).unwrap_or_default();
        let size = rows.iter().find(|row| row.id() == instance).and_then(|row| row.size());
        if size.is_some_and(|size| used as f64 >= NEAR_LIMIT * size.memory_bytes as f64) {
            self.handle(index, Event::OutOfMemory { workload, instance });
        }
    }
}

const KILLED: i32 = 9;
const NEAR_LIMIT: f64 = 0.8;
