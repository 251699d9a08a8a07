//! Rules that hold whatever goes wrong, checked from outside the planner.
//!
//! The checker believes only what passed between planner and world: the events that were delivered, the orders that were
//! given, and what is physically there. It shares no state with the planner, so that a mistake in the planner's own table
//! cannot hide itself. The planner's linter runs beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forecast::Timestamp;
use planner::{Action, ActionKind, Event, Snapshot};

use crate::world::{Fleet, Stage};

/// What the checker knows.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    /// Instances that the planner has been told are gone.
    gone: BTreeSet<u64>,
    /// Instances that it has been told are frozen.
    parked: BTreeSet<u64>,
    /// Since when an instance that is known to be gone is still in the table.
    gone_routed_since: BTreeMap<u64, Timestamp>,
    /// The order that thawed an instance last: news of an earlier freeze is old.
    promoted_by: BTreeMap<u64, u64>,
    /// The last reading of the demand that was delivered was above zero.
    demand_known: bool,
    /// An operator wants no capacity at all.
    switched_off: bool,
    /// The route table it ordered last.
    table: BTreeMap<u64, u32>,
    /// Since when demand has been known, and a healthy instance has existed, but none with traffic.
    idle_since: Option<Timestamp>,
}

/// The physical truth at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Truth<'a> {
    /// The time.
    pub now: Timestamp,
    /// The instances.
    pub fleet: &'a Fleet,
    /// The route table in force.
    pub table: &'a BTreeMap<u64, u32>,
    /// Instances that do not answer.
    pub sick: &'a BTreeSet<u64>,
    /// Demand right now.
    pub demand: f64,
}

impl Checks {
    /// The planner was replaced: what it was told is told anew.
    pub fn restart(&mut self, table: &BTreeMap<u64, u32>) {
        *self = Checks { table: table.clone(), ..Checks::default() };
    }

    /// An event was delivered.
    pub fn see_event(&mut self, event: &Event) {
        match event {
            Event::InstanceExited { instance, .. } | Event::InstanceStopped { instance, .. } => {
                self.gone.insert(instance.get());
            }
            Event::InstanceParked { action, instance } => {
                if self.promoted_by.get(&instance.get()).is_none_or(|promoted_by| action.get() > *promoted_by)
                {
                    self.parked.insert(instance.get());
                }
            }
            Event::InstancePromoted { action, instance, .. } => {
                self.parked.remove(&instance.get());
                self.promoted_by.insert(instance.get(), action.get());
            }
            // A pin that has expired unseen only makes the checker more lenient.
            Event::OverrideSet { decision, .. } => self.switched_off = decision.active == Some(0),
            Event::OverrideCleared { .. } => self.switched_off = false,
            Event::InstanceAdopted { instance, parked: true, .. } => {
                self.parked.insert(instance.get());
            }
            Event::DemandObserved { demand: Some(demand), .. }
            | Event::LoadObserved { demand_now: demand, .. } => {
                self.demand_known = *demand > 0.0;
            }
            Event::InstanceAdopted { .. }
            | Event::InstanceReady { .. }
            | Event::DemandObserved { demand: None, .. }
            | Event::BackendObserved { .. }
            | Event::UsageObserved { .. }
            | Event::OutOfMemory { .. }
            | Event::InstanceResized { .. }
            | Event::WeightsApplied { .. }
            | Event::InstanceDrained { .. }
            | Event::ActionFailed { .. }
            | Event::InstanceUnhealthy { .. }
            | Event::InstanceHealthy { .. }
            | Event::NodeAppeared { .. }
            | Event::NodeLost { .. } => {}
        }
    }

    /// An order was given.
    pub fn see_action(&mut self, action: &Action) {
        if let ActionKind::SetWeights { weights } = &action.kind {
            self.table = weights.iter().map(|(instance, weight)| (instance.get(), *weight)).collect();
        }
    }

    /// Checks every rule after the planner has taken an input and given its orders. Returns what is broken.
    pub fn check(&mut self, truth: &Truth<'_>, snapshot: &Snapshot<'_>) -> Vec<String> {
        let mut broken = Vec::new();
        if let Err(violations) = planner::lint::check(snapshot) {
            broken.extend(violations.iter().map(|violation| format!("linter: {violation}")));
        }
        self.check_routes(truth, &mut broken);
        self.check_capacity(truth, &mut broken);
        check_counts(truth, snapshot, &mut broken);
        broken
    }

    fn check_routes(&mut self, truth: &Truth<'_>, broken: &mut Vec<String>) {
        for (instance, weight) in self.table.iter().filter(|(_, weight)| **weight > 0) {
            if !self.gone.contains(instance) {
                self.gone_routed_since.remove(instance);
            } else if truth.now.since(*self.gone_routed_since.entry(*instance).or_insert(truth.now))
                > ROUTE_MAX
            {
                broken.push(format!(
                    "instance {instance} is known to be gone but is routed with weight {weight}"
                ));
            }
            if self.parked.contains(instance) {
                broken.push(format!(
                    "instance {instance} is known to be parked but is routed with weight {weight}"
                ));
            }
        }
        for (instance, weight) in truth.table.iter().filter(|(_, weight)| **weight > 0) {
            if truth.fleet.stage(*instance) == Some(Stage::Parked) {
                broken.push(format!(
                    "instance {instance} was parked while traffic went to it with weight {weight}"
                ));
            }
        }
    }

    fn check_capacity(&mut self, truth: &Truth<'_>, broken: &mut Vec<String>) {
        let mut healthy = truth.fleet.iter().filter(|(instance, _)| !truth.sick.contains(instance));
        let routed = healthy.clone().any(|(_, stage)| stage == Stage::Active);
        let usable =
            healthy.any(|(_, stage)| matches!(stage, Stage::Warm | Stage::Parked | Stage::Promoting));
        let due = usable && self.demand_known && truth.demand > 0.0 && !self.switched_off;
        if routed || !due {
            self.idle_since = None;
            return;
        }
        let since = *self.idle_since.get_or_insert(truth.now);
        if truth.now.since(since) > IDLE_MAX {
            broken
                .push(format!("for {:?} there were demand and a healthy standby but no capacity", IDLE_MAX));
            self.idle_since = None;
        }
    }
}

fn check_counts(truth: &Truth<'_>, snapshot: &Snapshot<'_>, broken: &mut Vec<String>) {
    for view in snapshot.workloads() {
        let leaving = view.instances.iter().filter(|instance| {
            truth.sick.contains(&instance.id().get())
                || match instance.phase() {
                    planner::Phase::Starting | planner::Phase::Ready => !instance.healthy(),
                    planner::Phase::Draining
                    | planner::Phase::Stopping
                    | planner::Phase::Stopped
                    | planner::Phase::Failed => true,
                }
        });
        let present = truth.fleet.len() - truth.fleet.count(Stage::Stopping);
        let bound = view.policy.replicas_max + leaving.count() as u32;
        if present > bound {
            broken.push(format!(
                "{present} instances exist; at most {} may, and {bound} with those being replaced",
                view.policy.replicas_max
            ));
        }
        if let Some(plan) = view.plan
            && plan.active_wanted.saturating_add(plan.standby_wanted) > view.policy.replicas_max
        {
            broken.push(format!(
                "{} active and {} standby are wanted; at most {} may exist",
                plan.active_wanted, plan.standby_wanted, view.policy.replicas_max
            ));
        }
    }
}

/// A table that is being applied may be answered before the next one is ordered: its deadline and some more.
pub const ROUTE_MAX: Duration = Duration::from_secs(15);
/// Demand may wait this long while a healthy standby exists: two failed promotions and late news of each.
pub const IDLE_MAX: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use planner::{ActionId, CapacityPolicy, InstanceId, Limits, Planner, Policy, Trigger, WorkloadPolicy};

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1000);

    struct Scene {
        planner: Planner,
        fleet: Fleet,
        table: BTreeMap<u64, u32>,
        sick: BTreeSet<u64>,
        checks: Checks,
    }

    impl Scene {
        /// One workload, one instance, and the given table ordered and applied.
        fn new(stage: Stage, weight: u32) -> Scene {
            let workload = WorkloadPolicy::new("web", Duration::from_secs(60), CapacityPolicy::Pinned(1.0));
            let policy = Policy { workloads: vec![workload], limits: Limits::default(), ..Policy::default() };
            let mut scene = Scene {
                planner: Planner::new(policy, 1, START).expect("a good policy"),
                fleet: Fleet::new(),
                table: BTreeMap::from([(1, weight)]),
                sick: BTreeSet::new(),
                checks: Checks::default(),
            };
            scene.fleet.set(1, stage);
            scene.checks.see_action(&Action {
                id: ActionId::new(5),
                workload: "web".into(),
                generation: 1,
                kind: ActionKind::SetWeights { weights: vec![(InstanceId::new(1), weight)] },
                deadline: START,
                trigger: Trigger::Startup,
            });
            scene
        }

        fn broken(&mut self, now: Timestamp) -> Vec<String> {
            let Scene { planner, fleet, table, sick, checks } = self;
            checks.check(&Truth { now, fleet, table, sick, demand: 5.0 }, &planner.snapshot())
        }
    }

    #[test]
    fn traffic_to_an_instance_that_is_known_to_be_gone_is_broken_after_a_while() {
        let mut scene = Scene::new(Stage::Active, 1000);
        assert_eq!(scene.broken(START), Vec::<String>::new());
        scene.checks.see_event(&Event::InstanceExited {
            workload: "web".into(),
            instance: InstanceId::new(1),
            reason: String::new(),
        });
        assert_eq!(scene.broken(START), Vec::<String>::new());
        assert_eq!(scene.broken(START + ROUTE_MAX + Duration::from_secs(1)).len(), 1);
    }

    #[test]
    fn traffic_to_a_parked_instance_is_broken_at_once_unless_the_news_is_old() {
        let parked =
            |action| Event::InstanceParked { action: ActionId::new(action), instance: InstanceId::new(1) };
        let mut scene = Scene::new(Stage::Active, 1000);
        scene.checks.see_event(&parked(3));
        assert_eq!(scene.broken(START).len(), 1);
        let (action, instance) = (ActionId::new(4), InstanceId::new(1));
        scene.checks.see_event(&Event::InstancePromoted { action, instance, took: Duration::ZERO });
        scene.checks.see_event(&parked(3));
        assert_eq!(scene.broken(START), Vec::<String>::new());
        assert_eq!(Scene::new(Stage::Parked, 1000).broken(START).len(), 1, "physically frozen, still routed");
    }

    #[test]
    fn known_demand_without_capacity_is_broken_after_a_bound() {
        let mut scene = Scene::new(Stage::Parked, 0);
        let later = START + IDLE_MAX + Duration::from_secs(1);
        assert_eq!((scene.broken(START).len(), scene.broken(later).len()), (0, 0), "nobody knows of demand");
        let event = Event::LoadObserved { workload: "web".into(), demand_now: 5.0, in_flight: 0.0 };
        scene.checks.see_event(&event);
        assert_eq!((scene.broken(START).len(), scene.broken(later).len()), (0, 1));
    }

    #[test]
    fn more_instances_than_allowed_are_broken() {
        let mut scene = Scene::new(Stage::Active, 1000);
        for instance in 2..=1_001 {
            scene.fleet.set(instance, Stage::Warm);
        }
        assert_eq!(scene.broken(START).len(), 1);
    }
}
