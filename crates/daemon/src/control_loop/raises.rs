//! More for instances on which requests take more than was reserved for them, while they do.
//!
//! The planner's size of an instance stays what it counts with; a raise is laid on top of it and taken back in steps. So what the
//! planner orders meanwhile is carried out with the raise on top, and the two never undo each other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use planner::{Instance, InstanceId, NodeId, Phase, Size, Snapshot};
use provider::{Provider, ResourceLimits};
use proxy::control::WorkloadStats;

use super::workload::UsageNow;
use super::{ControlLoop, Workload};
use crate::config::RaiseConfig;
use crate::instances::name_of;
use crate::recorder::clock;

/// The raises of one workload.
#[derive(Debug, Default)]
pub(crate) struct Raises {
    of: BTreeMap<InstanceId, Raise>,
    /// The provider could not; it is not asked again before.
    off_until: Option<Instant>,
}

/// On top of a size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Extra {
    cpu: f64,
    memory: u64,
}

#[derive(Debug, Default)]
struct Raise {
    extra: Extra,
    /// When it is taken back in part, if it is not needed until then.
    lower_at: Option<Instant>,
    /// In force, as far as is known.
    set: Option<ResourceLimits>,
    /// Being put in force.
    under_way: bool,
}

/// What became of putting limits in force.
pub(crate) struct Raised {
    workload: usize,
    instance: InstanceId,
    result: Result<ResourceLimits, String>,
}

impl Raises {
    /// What an ordered size becomes with what is on top of it. It is put in force by somebody else.
    pub(crate) fn on_top_of(&mut self, instance: InstanceId, size: Size) -> Size {
        let Some(raise) = self.of.get_mut(&instance) else { return size };
        raise.set = None;
        Size {
            cpu_cores: size.cpu_cores + raise.extra.cpu,
            memory_bytes: size.memory_bytes + raise.extra.memory,
        }
    }
}

impl Raise {
    /// Goes up at once, and down by halves, each after a pause in which less was needed. Returns whether it has changed.
    fn step(&mut self, now: Instant, wanted: Extra, config: &RaiseConfig) -> bool {
        let before = self.extra;
        self.extra.cpu = before.cpu.max(wanted.cpu);
        self.extra.memory = before.memory.max(wanted.memory);
        if self.extra == wanted {
            self.lower_at = None;
        } else if now >= *self.lower_at.get_or_insert(now + config.hold) {
            self.lower_at = None;
            let half = Extra { cpu: self.extra.cpu / 2.0, memory: self.extra.memory / 2 };
            self.extra.cpu = wanted.cpu.max(if half.cpu < config.cpu { 0.0 } else { half.cpu });
            self.extra.memory = wanted.memory.max(if half.memory < config.memory { 0 } else { half.memory });
        }
        self.extra != before
    }
}

/// What so many requests call for on top of `base`, within what is allowed and what the node has left.
fn wanted(config: &RaiseConfig, requests: u32, base: &ResourceLimits, room: Extra) -> Extra {
    let cpu = base.cpu_cores.map_or(0.0, |base| {
        (config.cpu * f64::from(requests)).min(config.cpu_max - base).min(room.cpu).max(0.0)
    });
    let memory = base.memory_bytes.map_or(0, |base| {
        let asked = config.memory.saturating_mul(u64::from(requests));
        asked.min(config.memory_max.saturating_sub(base)).min(room.memory)
    });
    Extra { cpu, memory }
}

/// The limits of an instance without a raise.
fn base(workload: &Workload, row: &Instance) -> Option<ResourceLimits> {
    let limits = &workload.config.limits;
    match (row.size(), &workload.config.sizing) {
        (Some(size), _) => {
            let (cpu, memory) = (Some(size.cpu_cores), Some(size.memory_bytes));
            Some(ResourceLimits::of(cpu, memory))
        }
        // Its size is about to be ordered.
        (None, Some(_)) => None,
        (None, None) => Some(ResourceLimits::of(limits.cpu, limits.memory)),
    }
}

impl ControlLoop {
    /// What is left of each node beside all that is promised and raised on it.
    fn rooms(&self, snapshot: &Snapshot<'_>) -> BTreeMap<NodeId, Extra> {
        let left = snapshot.nodes().into_iter().map(|node| {
            let cpu = node.policy.size.cores() - node.used.cores();
            let memory = node.policy.size.memory.saturating_sub(node.used.memory);
            (node.policy.id.clone(), Extra { cpu, memory })
        });
        let mut rooms: BTreeMap<NodeId, Extra> = left.collect();
        for workload in &self.workloads {
            for row in snapshot.workload(&workload.id).map(|view| view.instances).unwrap_or_default() {
                let (Some(raise), Some(room)) =
                    (workload.raises.of.get(&row.id()), row.node().and_then(|node| rooms.get_mut(node)))
                else {
                    continue;
                };
                room.cpu -= raise.extra.cpu;
                room.memory = room.memory.saturating_sub(raise.extra.memory);
            }
        }
        rooms
    }

    /// Raises and lowers what instances of a workload may use, by a reading of the proxy.
    pub(crate) fn raise(&mut self, index: usize, counted: &WorkloadStats) {
        let Some(config) = self.workloads[index].config.raise else { return };
        self.take_in_raised();
        let now = Instant::now();
        let snapshot = self.planner.snapshot();
        let mut rooms = self.rooms(&snapshot);
        let id = self.workloads[index].id.clone();
        let Some(view) = snapshot.workload(&id) else { return };
        let mut told = Vec::new();
        let workload = &mut self.workloads[index];
        workload.raises.of.retain(|id, _| view.instances.iter().any(|row| row.id() == *id));
        let off = workload.raises.off_until.is_some_and(|until| now < until);
        for row in view.instances.iter().filter(|row| matches!(row.phase(), Phase::Ready | Phase::Draining)) {
            let Some(base) = base(workload, row) else { continue };
            let requests = counted.backend(row.id().get()).map_or(0, |backend| backend.outgrown);
            let used = workload.usage.get(&row.id()).map_or(0, UsageNow::memory);
            let raise = workload.raises.of.entry(row.id()).or_default();
            let mut unbounded = Extra { cpu: f64::INFINITY, memory: u64::MAX };
            let room = row.node().and_then(|node| rooms.get_mut(node)).unwrap_or(&mut unbounded);
            let own = Extra {
                cpu: room.cpu + raise.extra.cpu,
                memory: room.memory.saturating_add(raise.extra.memory),
            };
            let mut wanted = wanted(&config, requests, &base, own);
            // What is taken from under an instance that still uses it would kill it.
            let needed = (used as f64 * USED_SPARE) as u64;
            let floor = needed.saturating_sub(base.memory_bytes.unwrap_or(u64::MAX));
            wanted.memory = wanted.memory.max(floor.min(raise.extra.memory));
            let before = raise.extra;
            if raise.step(now, wanted, &config) {
                told.push((row.id(), before, raise.extra, requests));
                room.cpu += before.cpu - raise.extra.cpu;
                room.memory = room.memory.saturating_add(before.memory).saturating_sub(raise.extra.memory);
            }
            let limits = ResourceLimits::of(
                base.cpu_cores.map(|cores| cores + raise.extra.cpu),
                base.memory_bytes.map(|bytes| bytes + raise.extra.memory),
            );
            if off || raise.under_way || row.pending().is_some() || raise.set == Some(limits) {
                continue;
            }
            raise.under_way = true;
            let (provider, name, instance) =
                (self.provider.clone(), name_of(view.policy.id.as_str(), row.id()), row.id());
            self.raising.spawn(async move {
                let result = provider.resize(&name, limits).await;
                let result = result.map(|()| limits).map_err(|error| crate::error::chain(&error).to_string());
                Raised { workload: index, instance, result }
            });
        }
        for (instance, before, extra, requests) in told {
            self.tell_raise(index, instance, (before, extra), requests);
        }
    }

    fn take_in_raised(&mut self) {
        while let Some(done) = self.raising.try_join_next() {
            let Ok(Raised { workload, instance, result }) = done else { continue };
            let raises = &mut self.workloads[workload].raises;
            let Some(raise) = raises.of.get_mut(&instance) else { continue };
            raise.under_way = false;
            match result {
                Ok(limits) => raise.set = Some(limits),
                Err(reason) => {
                    raises.off_until = Some(Instant::now() + OFF);
                    let message =
                        format!("what {} may use cannot be changed: {reason}", self.name(workload, instance));
                    self.note_raise(workload, instance, "raise_failed", message);
                }
            }
        }
    }

    fn tell_raise(
        &mut self,
        index: usize,
        instance: InstanceId,
        (before, after): (Extra, Extra),
        requests: u32,
    ) {
        let (name, has) = (self.name(index, instance), words(after));
        let more = after.cpu > before.cpu || after.memory > before.memory;
        let (kind, message) = if more {
            let many = if requests == 1 {
                "a request on it has".to_owned()
            } else {
                format!("{requests} requests on it have")
            };
            (
                "raised",
                format!("{name} may use {has} more than its size: {many} taken more than was reserved"),
            )
        } else {
            ("raise_lowered", format!("{name} may use {has} more than its size: less is needed now"))
        };
        self.note_raise(index, instance, kind, message);
    }

    fn name(&self, index: usize, instance: InstanceId) -> String {
        name_of(self.workloads[index].name(), instance).as_str().to_owned()
    }

    fn note_raise(&mut self, index: usize, instance: InstanceId, kind: &str, message: String) {
        self.notes.push(api::Event {
            at_ms: clock().as_millis(),
            workload: Some(self.workloads[index].name().to_owned()),
            kind: kind.to_owned(),
            instance: Some(self.name(index, instance)),
            message,
            took_ms: None,
            shift: None,
        });
    }
}

fn words(extra: Extra) -> String {
    let mib = extra.memory / (1 << 20);
    match (extra.cpu > 0.0, mib > 0) {
        (true, true) => format!("{:.2} cores and {mib} MiB", extra.cpu),
        (true, false) => format!("{:.2} cores", extra.cpu),
        (false, true) => format!("{mib} MiB"),
        (false, false) => "nothing".to_owned(),
    }
}

/// Kinds of events about raises.
pub(crate) const RAISE_KINDS: [&str; 3] = ["raised", "raise_lowered", "raise_failed"];
/// Memory limits are not lowered below what is used, times this.
const USED_SPARE: f64 = 1.2;
/// How long a provider that could not raise is not asked again.
const OFF: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: RaiseConfig = RaiseConfig {
        cpu: 0.5,
        cpu_max: 2.5,
        memory: 64 << 20,
        memory_max: 256 << 20,
        hold: Duration::from_secs(5),
    };

    fn limits() -> ResourceLimits {
        ResourceLimits::of(Some(0.5), Some(128 << 20))
    }

    #[test]
    fn a_raise_is_bounded_by_the_configuration_and_by_the_room_on_the_node() {
        let room = Extra { cpu: 10.0, memory: 1 << 40 };
        let of = |requests, room| wanted(&CONFIG, requests, &limits(), room);
        assert_eq!(of(0, room), Extra::default());
        assert_eq!(of(2, room), Extra { cpu: 1.0, memory: 128 << 20 });
        assert_eq!(of(9, room), Extra { cpu: 2.0, memory: 128 << 20 });
        assert_eq!(of(9, Extra { cpu: 0.25, memory: 1 << 20 }), Extra { cpu: 0.25, memory: 1 << 20 });
        assert_eq!(of(9, Extra { cpu: -1.0, memory: 0 }), Extra::default());
    }

    #[test]
    fn it_goes_up_at_once_and_down_in_steps_after_a_pause() {
        let (start, mut raise) = (Instant::now(), Raise::default());
        let at = |secs| start + Duration::from_secs(secs);
        let cpu = |cpu| Extra { cpu, memory: 0 };
        assert!(raise.step(at(0), cpu(2.0), &CONFIG) && raise.extra == cpu(2.0));
        assert!(!raise.step(at(1), cpu(0.0), &CONFIG), "it is held");
        assert!(!raise.step(at(4), cpu(2.0), &CONFIG), "and needed again");
        assert!(!raise.step(at(7), cpu(0.0), &CONFIG), "the pause begins anew");
        assert!(raise.step(at(12), cpu(0.0), &CONFIG) && raise.extra == cpu(1.0));
        assert!(!raise.step(at(13), cpu(0.0), &CONFIG));
        assert!(raise.step(at(18), cpu(0.0), &CONFIG) && raise.extra == cpu(0.5));
        raise.step(at(19), cpu(0.0), &CONFIG);
        assert!(raise.step(at(24), cpu(0.0), &CONFIG) && raise.extra == cpu(0.0));
    }

    #[test]
    fn what_the_planner_orders_keeps_the_raise_on_top() {
        let mut raises = Raises::default();
        let id = InstanceId::new(1);
        let size = Size { cpu_cores: 1.0, memory_bytes: 100 };
        assert_eq!(raises.on_top_of(id, size), size);
        raises.of.insert(id, Raise { extra: Extra { cpu: 0.5, memory: 20 }, ..Raise::default() });
        assert_eq!(raises.on_top_of(id, size), Size { cpu_cores: 1.5, memory_bytes: 120 });
    }
}
