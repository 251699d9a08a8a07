//! A small virtual world that carries a planner's orders out: starts take the cold lead time, promotions theirs, everything
//! else is quick. Faults are switched on by tests. The linter runs after every input.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forecast::Timestamp;
use planner::{
    Action, ActionKind, Event, InstanceId, Phase, Planner, Policy, Role, Size, WorkloadId, WorkloadPolicy,
    lint,
};

/// Something that happened in the world, for tests to look at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) action: Action,
}

/// What instances use, and that they serve in proportion to their processor time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uses {
    /// Processor time of a unit of demand, in cores.
    pub(crate) cores: f64,
    /// Memory of each instance, in bytes.
    pub(crate) memory: u64,
}

/// Answers to orders that are on their way.
#[derive(Default)]
pub(crate) struct Answers {
    due: BTreeMap<(Timestamp, u64), Event>,
    sequence: u64,
}

impl Answers {
    pub(crate) fn push(&mut self, due: Timestamp, event: Event) {
        self.sequence += 1;
        self.due.insert((due, self.sequence), event);
    }

    /// What happens next, at `until` at the latest: an answer, or the planner's timer.
    pub(crate) fn next(
        &mut self,
        planner: &Planner,
        now: Timestamp,
        until: Timestamp,
    ) -> Option<(Timestamp, Option<Event>)> {
        let answer = self.due.keys().next().map(|key| key.0);
        let timeout = planner.poll_timeout().map(|(at, _)| at);
        let next = answer.into_iter().chain(timeout).min()?.max(now);
        let due = answer.is_some_and(|at| at <= next);
        if next > until {
            return None;
        }
        let answered = if due { self.due.pop_first() } else { None };
        Some((next, answered.map(|(_, event)| event)))
    }
}

/// Faults that a test may switch on. Each is asked with the instance.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) start_fails: BTreeSet<u64>,
    pub(crate) start_hangs: BTreeSet<u64>,
    pub(crate) restart_fails: BTreeSet<u64>,
    pub(crate) promote_fails: BTreeSet<u64>,
    pub(crate) promote_hangs: BTreeSet<u64>,
    pub(crate) all_starts_fail: bool,
    pub(crate) drops_answers: bool,
    pub(crate) no_resize: bool,
}

pub(crate) struct World {
    pub(crate) planner: Planner,
    pub(crate) now: Timestamp,
    pub(crate) workload: WorkloadId,
    pub(crate) policy: WorkloadPolicy,
    pub(crate) cold: Duration,
    pub(crate) promote: Duration,
    pub(crate) restart: Duration,
    pub(crate) faults: Faults,
    pub(crate) log: Vec<Entry>,
    /// Demand and its missed part over every step so far.
    pub(crate) demand: f64,
    pub(crate) missed: f64,
    pub(crate) active_seconds: f64,
    pub(crate) standby_seconds: f64,
    pub(crate) table: Vec<(InstanceId, u32)>,
    pub(crate) loads: bool,
    /// As given by starts and changes of size.
    pub(crate) sizes: BTreeMap<InstanceId, Size>,
    /// Set where instances report what they use.
    pub(crate) uses: Option<Uses>,
    answers: Answers,
    start: Timestamp,
    missed_in_step: f64,
}

/// How finely the world looks at demand and capacity.
const SLICE: Duration = Duration::from_secs(10);

impl World {
    pub(crate) fn new(policy: WorkloadPolicy) -> World {
        World::with_history(policy, &[])
    }

    /// The world begins where the history ends.
    pub(crate) fn with_history(policy: WorkloadPolicy, history: &[(Timestamp, Option<f64>)]) -> World {
        let start =
            history.last().map_or(Timestamp::from_millis(0), |(at, _)| at.saturating_add(policy.step));
        let workload = policy.id.clone();
        let limits = planner::Limits::default();
        let mut planner =
            Planner::new(Policy { workloads: vec![policy.clone()], limits, ..Policy::default() }, 7, start)
                .unwrap();
        planner.learn(&workload, history);
        World {
            planner,
            now: start,
            workload,
            cold: policy.lead_cold,
            promote: policy.lead_promote,
            restart: policy.stopped.map_or(policy.lead_cold, |level| level.lead),
            policy,
            faults: Faults::default(),
            log: Vec::new(),
            demand: 0.0,
            missed: 0.0,
            active_seconds: 0.0,
            standby_seconds: 0.0,
            table: Vec::new(),
            loads: false,
            sizes: BTreeMap::new(),
            uses: None,
            answers: Answers::default(),
            start,
            missed_in_step: 0.0,
        }
    }

    /// Hands the planner a fact now, and carries out what it orders.
    pub(crate) fn tell(&mut self, event: Event) {
        self.planner.handle(self.now, event);
        self.carry_out();
    }

    /// Runs the world for whole steps under this demand (a rate, by seconds since the start of the world).
    pub(crate) fn run(&mut self, steps: usize, demand: impl Fn(f64) -> f64) {
        for _ in 0..steps {
            let began = self.now;
            let end = began.saturating_add(self.policy.step);
            let mut sum = 0.0;
            let mut slices = 0.0;
            self.missed_in_step = 0.0;
            while self.now < end {
                let rate = demand(self.now.since(self.start).as_secs_f64());
                self.account(rate);
                sum += rate;
                slices += 1.0;
                if self.loads {
                    let event = Event::LoadObserved {
                        workload: self.workload.clone(),
                        demand_now: rate,
                        in_flight: rate * 0.05,
                    };
                    self.tell(event);
                }
                self.report_use(rate);
                self.sleep_until(self.now.saturating_add(SLICE).min(end));
            }
            let missed = self.missed_in_step / slices;
            self.demand += sum / slices;
            self.missed += missed;
            self.tell(Event::DemandObserved {
                workload: self.workload.clone(),
                step_start: began,
                demand: Some(sum / slices),
                missed,
            });
        }
    }

    /// Lets time pass: delivers answers and timeouts in order.
    pub(crate) fn sleep_until(&mut self, until: Timestamp) {
        while let Some((at, event)) = self.answers.next(&self.planner, self.now, until) {
            self.now = at;
            match event {
                Some(event) => self.tell(event),
                None => {
                    self.planner.handle_timeout(at);
                    self.carry_out();
                }
            }
        }
        self.now = self.now.max(until);
    }

    pub(crate) fn sleep(&mut self, duration: Duration) {
        self.sleep_until(self.now.saturating_add(duration));
    }

    /// Lets the first instances come up, and begins the accounts after that.
    pub(crate) fn settle(&mut self, demand: impl Fn(f64) -> f64) {
        self.run(4, demand);
        (self.demand, self.missed, self.active_seconds, self.standby_seconds) = (0.0, 0.0, 0.0, 0.0);
    }

    fn account(&mut self, rate: f64) {
        let capacity = self.capacity();
        self.missed_in_step += (rate - capacity).max(0.0);
        let snapshot = self.planner.snapshot();
        for i in snapshot.workloads()[0].instances {
            match (i.role(), i.phase()) {
                (Role::Active, _) => self.active_seconds += SLICE.as_secs_f64(),
                (Role::Standby, Phase::Ready) => self.standby_seconds += SLICE.as_secs_f64(),
                (Role::Standby, _) => {}
            }
        }
    }

    /// Instances that serve.
    pub(crate) fn serving(&self) -> Vec<InstanceId> {
        self.table.iter().filter(|entry| entry.1 > 0).map(|entry| entry.0).collect()
    }

    /// What all that serve can serve together.
    pub(crate) fn capacity(&self) -> f64 {
        let each = self.policy.capacity.initial();
        let sized = self.policy.sizing.as_ref().map(|sizing| sizing.initial.cpu_cores);
        let first = sized.or_else(|| Some(self.policy.profiles?.active.cpu_cores));
        let part = |id: &InstanceId| match (self.uses, self.sizes.get(id), first) {
            (Some(_), Some(size), Some(first)) => size.cpu_cores / first,
            _ => 1.0,
        };
        self.serving().iter().map(|id| each * part(id)).sum()
    }

    /// What the instances that serve use under this demand, up to their size.
    fn report_use(&mut self, rate: f64) {
        let Some(uses) = self.uses else { return };
        let serving = self.serving();
        for instance in &serving {
            let wanted = rate * uses.cores / serving.len() as f64;
            let limit = self.sizes.get(instance).map_or(f64::INFINITY, |size| size.cpu_cores);
            self.tell(Event::UsageObserved {
                workload: self.workload.clone(),
                instance: *instance,
                cpu_cores: wanted.min(limit),
                memory_bytes: uses.memory,
                throttled: Some((1.0 - limit / wanted.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)),
            });
        }
    }

    fn carry_out(&mut self) {
        self.check();
        while let Some(action) = self.planner.poll_action() {
            self.check();
            self.log.push(Entry { at: self.now, action: action.clone() });
            let (delay, event) = self.answer(&action);
            let Some(event) = event else { continue };
            if !self.faults.drops_answers {
                self.answers.push(self.now.saturating_add(delay), event);
            }
        }
    }

    fn answer(&mut self, action: &Action) -> (Duration, Option<Event>) {
        let id = action.id;
        let quick = Duration::from_millis(100);
        let failed = |instance: InstanceId| {
            Some(Event::ActionFailed { action: id, instance: Some(instance), reason: "injected".to_owned() })
        };
        match &action.kind {
            ActionKind::Start { instance, size, .. } => match instance.get() {
                n if self.faults.all_starts_fail || self.faults.start_fails.contains(&n) => {
                    (quick, failed(*instance))
                }
                n if self.faults.start_hangs.contains(&n) => (quick, None),
                _ => {
                    self.sizes.extend(size.map(|size| (*instance, size)));
                    (
                        self.cold,
                        Some(Event::InstanceReady { action: id, instance: *instance, took: self.cold }),
                    )
                }
            },
            ActionKind::Promote { instance } | ActionKind::Claim { instance, .. } => match instance.get() {
                n if self.faults.promote_fails.contains(&n) => (quick, failed(*instance)),
                n if self.faults.promote_hangs.contains(&n) => (quick, None),
                _ => (
                    self.promote,
                    Some(Event::InstancePromoted { action: id, instance: *instance, took: self.promote }),
                ),
            },
            ActionKind::Park { instance } => {
                (quick, Some(Event::InstanceParked { action: id, instance: *instance }))
            }
            ActionKind::Resize { instance, size } => {
                let event = if self.faults.no_resize {
                    failed(*instance)
                } else {
                    self.sizes.insert(*instance, *size);
                    Some(Event::InstanceResized { action: id, instance: *instance })
                };
                (quick, event)
            }
            ActionKind::SetWeights { weights } => {
                self.table.clone_from(weights);
                (quick, Some(Event::WeightsApplied { action: id, workload: self.workload.clone() }))
            }
            ActionKind::Drain { instance } => {
                (quick, Some(Event::InstanceDrained { action: id, instance: *instance }))
            }
            ActionKind::Halt { instance } => {
                (quick, Some(Event::InstanceHalted { action: id, instance: *instance }))
            }
            ActionKind::Restart { instance } => match instance.get() {
                n if self.faults.restart_fails.contains(&n) => (quick, failed(*instance)),
                _ => (
                    self.restart,
                    Some(Event::InstanceReady { action: id, instance: *instance, took: self.restart }),
                ),
            },
            ActionKind::Stop { instance } => {
                (quick, Some(Event::InstanceStopped { action: id, instance: *instance }))
            }
        }
    }

    fn check(&self) {
        if let Err(violations) = lint::check(&self.planner.snapshot()) {
            panic!("at {}: {violations:?}", self.now);
        }
    }

    pub(crate) fn missed_share(&self) -> f64 {
        self.missed / self.demand.max(f64::MIN_POSITIVE)
    }

    /// Instances with this role that are ready and not on their way out.
    pub(crate) fn ready(&self, role: Role) -> usize {
        let snapshot = self.planner.snapshot();
        snapshot.workloads()[0]
            .instances
            .iter()
            .filter(|i| i.role() == role && i.phase() == Phase::Ready)
            .count()
    }

    pub(crate) fn pin(&mut self, active: u32, standby: u32) {
        self.tell(Event::OverrideSet {
            workload: self.workload.clone(),
            decision: planner::DecisionOverride {
                active: Some(active),
                standby: Some(standby),
                author: "test".to_owned(),
                reason: "a fixed number".to_owned(),
                expires: None,
            },
        });
    }

    /// The orders since an index of the log, in words.
    pub(crate) fn words(&self, since: usize) -> Vec<String> {
        self.log[since..]
            .iter()
            .map(|entry| match &entry.action.kind {
                ActionKind::Start { instance, .. } => format!("start {instance}"),
                ActionKind::Resize { instance, .. } => format!("resize {instance}"),
                ActionKind::Park { instance } => format!("park {instance}"),
                ActionKind::Promote { instance } => format!("promote {instance}"),
                ActionKind::Claim { instance, from } => format!("claim {instance} of {from}"),
                ActionKind::Drain { instance } => format!("drain {instance}"),
                ActionKind::Halt { instance } => format!("halt {instance}"),
                ActionKind::Restart { instance } => format!("restart {instance}"),
                ActionKind::Stop { instance } => format!("stop {instance}"),
                ActionKind::SetWeights { weights } => {
                    let table: Vec<String> = weights.iter().map(|(id, w)| format!("{id}:{w}")).collect();
                    format!("table {}", table.join(" "))
                }
            })
            .collect()
    }
}
