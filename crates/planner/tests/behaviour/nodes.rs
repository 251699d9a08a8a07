//! A small world of several workloads on several nodes. It keeps its own account of what runs where, and fails when a node
//! is given more than it has, whatever the planner believes. The linter runs after every input.

use std::collections::BTreeMap;
use std::time::Duration;

use forecast::Timestamp;
use planner::{
    Action, ActionKind, CapacityPolicy, DecisionOverride, Event, InstanceId, Limits, MoveCause, NodeId,
    NodePolicy, Phase, Planner, Policy, Reason, Resources, Role, SharingReason, Size, TenantPolicy,
    WorkloadPolicy, lint,
};

use crate::world::Answers;

pub(crate) const GIB: u64 = 1 << 30;

/// A workload whose instances need a core and a gibibyte and serve 100, with quick starts.
pub(crate) fn workload(name: &str, priority: u8) -> WorkloadPolicy {
    let mut policy = WorkloadPolicy::new(name, Duration::from_secs(60), CapacityPolicy::Pinned(100.0));
    policy.lead_cold = Duration::from_secs(20);
    policy.tick = Duration::from_secs(10);
    policy.shift.first_share = 1.0;
    policy.priority = priority;
    policy.needs = Resources::new(1.0, GIB);
    policy
}

pub(crate) fn node(name: &str, cores: f64) -> NodePolicy {
    NodePolicy::new(name, cores, 64 * GIB)
}

pub(crate) fn spare(name: &str, cores: f64) -> NodePolicy {
    NodePolicy { spare: true, ..node(name, cores) }
}

/// Something ordered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    pub(crate) at: Timestamp,
    pub(crate) action: Action,
}

pub(crate) struct Nodes {
    pub(crate) planner: Planner,
    pub(crate) now: Timestamp,
    pub(crate) log: Vec<Order>,
    policy: Policy,
    /// What runs where, and whose it is.
    pub(crate) running: BTreeMap<InstanceId, (NodeId, String)>,
    /// The size ordered last for each instance that has one.
    pub(crate) sizes: BTreeMap<InstanceId, Size>,
    /// Instances were killed for lack of memory: what they need now is not weighed against the nodes.
    pub(crate) starved: bool,
    /// Where the disk of each instance is that is stopped with its disk kept, and whose it is.
    pub(crate) disks: BTreeMap<InstanceId, (NodeId, String)>,
    /// Every move that a plan spoke of, by instance.
    pub(crate) moves: BTreeMap<InstanceId, MoveCause>,
    answers: Answers,
    /// The fewest that each workload has had in its table since this was cleared.
    pub(crate) served_least: BTreeMap<String, usize>,
}

impl Nodes {
    pub(crate) fn new(workloads: &[WorkloadPolicy], nodes: &[NodePolicy]) -> Nodes {
        Nodes::with(workloads, nodes, &[], &[])
    }

    /// Every workload has learned its history, all of which end at the same time.
    pub(crate) fn with(
        workloads: &[WorkloadPolicy],
        nodes: &[NodePolicy],
        tenants: &[TenantPolicy],
        histories: &[Vec<(Timestamp, Option<f64>)>],
    ) -> Nodes {
        let policy = Policy {
            workloads: workloads.to_vec(),
            limits: Limits::default(),
            nodes: nodes.to_vec(),
            tenants: tenants.to_vec(),
        };
        let end = histories.iter().filter_map(|history| history.last()).map(|(at, _)| *at).max();
        let now = end.map_or(Timestamp::from_millis(0), |at| at.saturating_add(workloads[0].step));
        let mut planner = Planner::new(policy.clone(), 7, now).unwrap();
        for (workload, history) in workloads.iter().zip(histories) {
            planner.learn(&workload.id, history);
        }
        Nodes {
            planner,
            now,
            log: Vec::new(),
            policy,
            running: BTreeMap::new(),
            sizes: BTreeMap::new(),
            starved: false,
            disks: BTreeMap::new(),
            moves: BTreeMap::new(),
            answers: Answers::default(),
            served_least: BTreeMap::new(),
        }
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.planner.handle(self.now, event);
        self.carry_out();
    }

    pub(crate) fn sleep(&mut self, secs: u64) {
        let until = self.now.saturating_add(Duration::from_secs(secs));
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
        self.now = until;
    }

    /// One step of demand for every workload after the other.
    pub(crate) fn step(&mut self, demand: impl Fn(usize, Timestamp) -> f64) {
        let began = self.now;
        self.sleep(self.policy.workloads[0].step.as_secs());
        for (at, workload) in self.policy.workloads.clone().iter().enumerate() {
            self.tell(Event::DemandObserved {
                workload: workload.id.clone(),
                step_start: began,
                demand: Some(demand(at, began)),
                missed: 0.0,
            });
        }
    }

    pub(crate) fn pin(&mut self, workload: &str, active: u32, standby: u32) {
        self.tell(Event::OverrideSet {
            workload: workload.into(),
            decision: DecisionOverride {
                active: Some(active),
                standby: Some(standby),
                author: "test".to_owned(),
                reason: "a fixed number".to_owned(),
                expires: None,
            },
        });
    }

    /// A node goes down, and with it all that runs on it.
    pub(crate) fn lose(&mut self, name: &str) {
        self.running.retain(|_, (node, _)| node.as_str() != name);
        self.disks.retain(|_, (node, _)| node.as_str() != name);
        self.tell(Event::NodeLost { node: name.into() });
    }

    fn carry_out(&mut self) {
        self.check();
        while let Some(action) = self.planner.poll_action() {
            self.log.push(Order { at: self.now, action: action.clone() });
            let (millis, event) = self.answer(&action);
            self.answers.push(self.now.saturating_add(Duration::from_millis(millis)), event);
        }
        self.check();
        let snapshot = self.planner.snapshot();
        for reason in snapshot.workloads().iter().filter_map(|w| w.plan).flat_map(|plan| &plan.reasons) {
            if let Reason::Sharing(SharingReason::Moved { instance, why, .. }) = reason {
                self.moves.insert(*instance, why.clone());
            }
        }
    }

    fn answer(&mut self, action: &Action) -> (u64, Event) {
        let id = action.id;
        match &action.kind {
            ActionKind::Start { instance, node, size, .. } => {
                let node = node.clone().expect("a node is chosen");
                self.sizes.extend(size.map(|size| (*instance, size)));
                self.running.insert(*instance, (node.clone(), action.workload.to_string()));
                self.must_hold(&node);
                let took = Duration::from_secs(20);
                (20_000, Event::InstanceReady { action: id, instance: *instance, took })
            }
            ActionKind::Claim { instance, .. } => panic!("spares are not shared on nodes: {instance}"),
            ActionKind::Resize { instance, size } => {
                self.sizes.insert(*instance, *size);
                self.must_hold(&self.running[instance].0);
                (50, Event::InstanceResized { action: id, instance: *instance })
            }
            ActionKind::Promote { instance } => {
                let took = Duration::from_millis(50);
                (50, Event::InstancePromoted { action: id, instance: *instance, took })
            }
            ActionKind::Park { instance } => (50, Event::InstanceParked { action: id, instance: *instance }),
            ActionKind::SetWeights { weights } => {
                let served = weights.iter().filter(|(id, w)| *w > 0 && self.running.contains_key(id));
                let served = served.count();
                let least = self.served_least.entry(action.workload.to_string()).or_insert(served);
                *least = served.min(*least);
                (50, Event::WeightsApplied { action: id, workload: action.workload.clone() })
            }
            ActionKind::Drain { instance } => {
                (1_000, Event::InstanceDrained { action: id, instance: *instance })
            }
            ActionKind::Halt { instance } => {
                self.disks.extend(self.running.remove(instance).map(|at| (*instance, at)));
                (200, Event::InstanceHalted { action: id, instance: *instance })
            }
            ActionKind::Restart { instance } => {
                let (node, workload) = self.disks.remove(instance).expect("a disk is kept");
                self.running.insert(*instance, (node.clone(), workload));
                self.must_hold(&node);
                let took = Duration::from_secs(5);
                (5_000, Event::InstanceReady { action: id, instance: *instance, took })
            }
            ActionKind::Stop { instance } => {
                self.disks.remove(instance);
                self.running.remove(instance);
                (200, Event::InstanceStopped { action: id, instance: *instance })
            }
        }
    }

    fn must_hold(&self, node: &NodeId) {
        let policy = self.policy.nodes.iter().find(|policy| policy.id == *node).expect("a known node");
        let on = self.running.iter().filter(|(_, (at, _))| at == node);
        let used = on.fold(Resources::NONE, |sum, (id, (_, workload))| sum.plus(self.needs(*id, workload)));
        assert!(used.fits(policy.room()), "{used} on {node}, which has {}", policy.size);
    }

    fn needs(&self, instance: InstanceId, workload: &str) -> Resources {
        let needs = self.policy.workloads.iter().find(|w| w.id.as_str() == workload).unwrap().needs;
        // Processor time is lent.
        let memory = self.sizes.get(&instance).filter(|_| !self.starved).map_or(0, |size| size.memory_bytes);
        needs.at_least(Resources { millicores: 0, memory })
    }

    fn check(&self) {
        if let Err(violations) = lint::check(&self.planner.snapshot()) {
            panic!("at {}: {violations:?}", self.now);
        }
    }

    /// Active and standby instances of a workload that are ready and not on their way out.
    pub(crate) fn ready(&self, workload: &str) -> (usize, usize) {
        let snapshot = self.planner.snapshot();
        let view = snapshot.workload(&workload.into()).unwrap();
        let of = |role| {
            let ready = view.instances.iter().filter(|i| i.role() == role && i.phase() == Phase::Ready);
            ready.count()
        };
        (of(Role::Active), of(Role::Standby))
    }

    /// How many instances of a workload are on a node.
    pub(crate) fn on(&self, node: &str, workload: &str) -> usize {
        self.running.values().filter(|(at, whose)| at.as_str() == node && whose == workload).count()
    }

    pub(crate) fn reasons(&self, workload: &str) -> Vec<Reason> {
        let snapshot = self.planner.snapshot();
        snapshot.workload(&workload.into()).unwrap().plan.unwrap().reasons.clone()
    }

    pub(crate) fn says(&self, workload: &str, what: impl Fn(&SharingReason) -> bool) -> bool {
        self.reasons(workload).iter().any(|r| matches!(r, Reason::Sharing(reason) if what(reason)))
    }
}
