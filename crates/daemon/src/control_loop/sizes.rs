//! What the planner is told of the use of instances, where it is to size them.

use planner::{Event, InstanceId};
use provider::{ExitReason, InstanceName, Strain, Throttling};

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
        // Until a guest has told what it uses, its process says nothing of it.
        let silent = self.config.machine.as_ref().is_some_and(|machine| machine.spec.has_balloon());
        if silent && now.total.working_bytes.is_none() {
            return Vec::new();
        }
        let throttled = now.total.throttling.zip(before.total.throttling).map(|(now, before)| {
            // Without a period nothing ran, and nothing had to wait.
            throttled_share(now, before).unwrap_or(0.0)
        });
        let observed = Event::UsageObserved {
            workload: self.id.clone(),
            instance,
            cpu_cores,
            memory_bytes: now.memory(),
            throttled,
        };
        let killed = |usage: &UsageNow| usage.total.out_of_memory.unwrap_or(0);
        let out_of_memory = (killed(now) > killed(before))
            .then(|| Event::OutOfMemory { workload: self.id.clone(), instance });
        [Some(observed), out_of_memory].into_iter().flatten().collect()
    }
}

impl ControlLoop {
    /// Takes in quick looks at instances that are sized.
    pub(crate) fn strain_read(&mut self, readings: Vec<(InstanceName, Strain)>) {
        for (name, strain) in readings {
            let Some((index, instance)) = self.instance_of(&name) else { continue };
            let workload = &mut self.workloads[index];
            let before = strain.throttling.and_then(|now| workload.looks.insert(instance, now));
            let throttled =
                strain.throttling.zip(before).and_then(|(now, before)| throttled_share(now, before));
            let (workload, memory_bytes) = (workload.id.clone(), strain.working_bytes);
            self.handle(index, Event::StrainObserved { workload, instance, memory_bytes, throttled });
        }
    }

    /// Says so if an instance ended for lack of memory: the kernel told, or it was killed by nobody we know, or its own kernel
    /// gave up, and it was near its limit. Its next ones get more.
    pub(crate) fn blame_memory(&mut self, name: &InstanceName, reason: ExitReason) {
        let Some((index, instance)) = self.instance_of(name) else { return };
        let blamed = match reason {
            ExitReason::OutOfMemory => true,
            ExitReason::Signal(KILLED) | ExitReason::Panicked => self.was_near_limit(index, instance),
            ExitReason::Signal(_) | ExitReason::Code(_) | ExitReason::Lost | ExitReason::Unknown => false,
        };
        if blamed {
            let workload = self.workloads[index].id.clone();
            self.handle(index, Event::OutOfMemory { workload, instance });
        }
    }

    fn was_near_limit(&self, index: usize, instance: InstanceId) -> bool {
        let workload = &self.workloads[index];
        let Some(used) = workload.usage.get(&instance).map(UsageNow::memory) else { return false };
        let snapshot = self.planner.snapshot();
        let rows = snapshot.workload(&workload.id).map(|view| view.instances).unwrap_or_default();
        let size = rows.iter().find(|row| row.id() == instance).and_then(|row| row.size());
        size.is_some_and(|size| used as f64 >= NEAR_LIMIT * size.memory_bytes as f64)
    }

    fn instance_of(&self, name: &InstanceName) -> Option<(usize, InstanceId)> {
        self.workloads.iter().enumerate().find_map(|(index, workload)| {
            let id = id_of(workload.name(), name)?;
            workload.places.contains_key(&id).then_some((index, id))
        })
    }
}

/// Share of throttled periods between two readings; `None` without a period.
fn throttled_share(now: Throttling, before: Throttling) -> Option<f64> {
    let periods = now.periods.checked_sub(before.periods).filter(|periods| *periods > 0)?;
    Some((now.throttled.saturating_sub(before.throttled) as f64 / periods as f64).min(1.0))
}

const KILLED: i32 = 9;
const NEAR_LIMIT: f64 = 0.8;
