//! Each rule is broken once on purpose.

use std::time::Duration;

use planner::{
    ActionId, ActionKind, CapacityPolicy, InstanceId, Limits, Planner, Policy, Trigger, WorkloadPolicy,
};

use super::*;
use crate::world::{ColdStart, Times};

const START: Timestamp = Timestamp::from_secs(1000);
const SECOND: Duration = Duration::from_secs(1);

struct Scene {
    planner: Planner,
    policy: WorkloadPolicy,
    agent: Agent,
    sick: BTreeSet<u64>,
    checks: Checks,
    orders: u64,
    faults: u64,
    within: Option<Within>,
}

impl Scene {
    /// One workload that allows one to five instances.
    fn new() -> Scene {
        let mut policy = WorkloadPolicy::new("web", Duration::from_secs(60), CapacityPolicy::Pinned(1.0));
        policy.replicas_max = 5;
        let workloads = vec![policy.clone()];
        let times = Times::new(ColdStart::Constant(SECOND), SECOND);
        Scene {
            planner: Planner::new(
                Policy { workloads, limits: Limits::default(), ..Policy::default() },
                1,
                START,
            )
            .expect("a good policy"),
            policy,
            agent: Agent::new("web".into(), times, 1),
            sick: BTreeSet::new(),
            checks: Checks::default(),
            orders: 0,
            faults: 0,
            within: None,
        }
    }

    /// With an instance that was taken over, and the given table in force.
    fn with(stage: Stage, weight: u32) -> Scene {
        let mut scene = Scene::new();
        scene.agent.place(1, stage, Some(weight));
        scene.adopt(1, stage == Stage::Parked);
        scene.checks.routes = routes::Routes::restart(scene.agent.table());
        scene
    }

    fn adopt(&mut self, instance: u64, parked: bool) {
        let (role, instance) = (planner::Role::Active, InstanceId::new(instance));
        self.see(Event::InstanceAdopted { workload: "web".into(), instance, role, parked, node: None });
    }

    fn see(&mut self, event: Event) {
        self.checks.see_event(&event, START);
    }

    fn see_demand(&mut self, step: i64, demand: Option<f64>) {
        let step_start = START + Duration::from_secs(60) * step as u32;
        let event = Event::DemandObserved { workload: "web".into(), step_start, demand, missed: 0.0 };
        self.checks.see_event(&event, step_start);
    }

    fn order_at(&mut self, now: Timestamp, kind: ActionKind) -> Vec<String> {
        self.orders += 1;
        let action = Action {
            id: ActionId::new(self.orders),
            workload: "web".into(),
            generation: 1,
            kind,
            deadline: now,
            trigger: Trigger::Startup,
        };
        let Scene { agent, sick, checks, policy, faults, .. } = self;
        checks.see_action(&action, &truth(now, agent, sick, *faults), policy);
        std::mem::take(&mut checks.broken)
    }

    fn order(&mut self, kind: ActionKind) -> Vec<String> {
        self.order_at(START, kind)
    }

    fn broken(&mut self, now: Timestamp) -> Vec<String> {
        let Scene { planner, agent, sick, checks, faults, within, .. } = self;
        let truth = Truth { within: *within, ..truth(now, agent, sick, *faults) };
        checks.check(&truth, &planner.snapshot().workloads()[0])
    }
}

fn truth<'a>(now: Timestamp, agent: &'a Agent, sick: &'a BTreeSet<u64>, faults: u64) -> Truth<'a> {
    Truth { now, told: now, agent, sick, demand: 5.0, faults, steady: true, scarce: false, within: None }
}

fn table(weights: &[(u64, u32)]) -> ActionKind {
    let weights = weights.iter().map(|(instance, weight)| (InstanceId::new(*instance), *weight)).collect();
    ActionKind::SetWeights { weights }
}

fn exited(instance: u64) -> Event {
    let instance = InstanceId::new(instance);
    Event::InstanceExited { workload: "web".into(), instance, reason: String::new() }
}

#[test]
fn traffic_to_an_instance_that_is_known_to_be_gone_is_broken_after_a_while() {
    let mut scene = Scene::with(Stage::Active, 1000);
    assert_eq!(scene.broken(START), Vec::<String>::new());
    scene.see(exited(1));
    assert_eq!(scene.broken(START), Vec::<String>::new());
    assert_eq!(scene.broken(START + ROUTE_MAX + SECOND).len(), 1);
    assert_eq!(scene.order(table(&[(1, 1000)])).len(), 1, "and a new table must not have it at all");
}

#[test]
fn traffic_to_a_parked_instance_is_broken_at_once_unless_the_news_is_old() {
    let parked =
        |action| Event::InstanceParked { action: ActionId::new(action), instance: InstanceId::new(1) };
    let mut scene = Scene::with(Stage::Active, 1000);
    scene.see(parked(3));
    assert_eq!(scene.broken(START).len(), 1);
    let (action, instance) = (ActionId::new(4), InstanceId::new(1));
    scene.see(Event::InstancePromoted { action, instance, took: Duration::ZERO });
    scene.see(parked(3));
    assert_eq!(scene.broken(START), Vec::<String>::new());
    let (action, instance) = (ActionId::new(2), InstanceId::new(1));
    scene.see(Event::InstancePromoted { action, instance, took: Duration::ZERO });
    scene.see(parked(3));
    assert_eq!(scene.broken(START), Vec::<String>::new(), "however late news of an earlier promotion comes");
    let mut frozen = Scene::with(Stage::Warm, 1000);
    frozen.agent.place(1, Stage::Parked, None);
    assert_eq!(frozen.broken(START).len(), 1, "physically frozen, still routed");
}

#[test]
fn a_table_with_an_instance_that_was_never_verified_is_broken() {
    let mut scene = Scene::with(Stage::Active, 1000);
    scene.agent.place(2, Stage::Warm, None);
    scene.adopt(2, false);
    assert_eq!(scene.order(table(&[(1, 1000), (2, 0)])), Vec::<String>::new());
    assert_eq!(scene.order(table(&[(1, 1000), (2, 100)])).len(), 1);
}

#[test]
fn stopping_or_parking_what_has_traffic_is_broken_unless_it_is_unhealthy() {
    let stop = ActionKind::Stop { instance: InstanceId::new(1) };
    let park = ActionKind::Park { instance: InstanceId::new(1) };
    assert_eq!(Scene::with(Stage::Active, 1).order(stop.clone()).len(), 1);
    assert_eq!(Scene::with(Stage::Active, 1).order(park).len(), 1);
    assert_eq!(Scene::with(Stage::Draining, 0).order(stop.clone()), Vec::<String>::new());
    let mut scene = Scene::with(Stage::Active, 1000);
    let (workload, instance) = ("web".into(), InstanceId::new(1));
    scene.see(Event::InstanceUnhealthy { workload, instance, reason: String::new() });
    assert_eq!(scene.order(stop), Vec::<String>::new());
}

#[test]
fn known_demand_without_capacity_is_broken_after_a_bound() {
    let mut scene = Scene::with(Stage::Parked, 0);
    scene.policy.replicas_min = 0;
    let later = START + IDLE_MAX + SECOND;
    assert_eq!((scene.broken(START).len(), scene.broken(later).len()), (0, 0), "nobody knows of demand");
    scene.see(Event::LoadObserved { workload: "web".into(), demand_now: 5.0, in_flight: 0.0 });
    assert_eq!((scene.broken(START).len(), scene.broken(later).len()), (0, 1));
    let (workload, instance) = ("web".into(), InstanceId::new(1));
    scene.see(Event::InstanceUnhealthy { workload, instance, reason: String::new() });
    assert_eq!((scene.broken(START).len(), scene.broken(later).len()), (0, 0), "it is told otherwise");
    scene.see(Event::InstanceHealthy { workload: "web".into(), instance });
    assert_eq!((scene.broken(START).len(), scene.broken(later).len()), (0, 1));
}

#[test]
fn more_instances_than_allowed_are_broken_unless_they_are_told_to_stop() {
    let mut scene = Scene::with(Stage::Active, 1000);
    for instance in 2..=5 {
        scene.agent.place(instance, Stage::Warm, None);
    }
    assert_eq!(scene.broken(START), Vec::<String>::new());
    scene.agent.place(6, Stage::Starting, None);
    assert_eq!(scene.broken(START).len(), 1);
    scene.adopt(2, false);
    assert_eq!(scene.order(ActionKind::Stop { instance: InstanceId::new(2) }), Vec::<String>::new());
    assert_eq!(scene.broken(START), Vec::<String>::new());
}

#[test]
fn taking_the_last_healthy_instance_out_of_service_is_broken_unless_an_operator_wants_it() {
    assert_eq!(Scene::with(Stage::Active, 1000).order(table(&[(1, 0)])).len(), 1);
    let mut sick = Scene::with(Stage::Active, 1000);
    sick.sick.insert(1);
    assert_eq!(sick.order(table(&[])), Vec::<String>::new());
    let mut pinned = Scene::with(Stage::Active, 1000);
    let decision = planner::DecisionOverride {
        active: Some(0),
        standby: None,
        author: String::new(),
        reason: String::new(),
        expires: Some(START + SECOND),
    };
    pinned.see(Event::OverrideSet { workload: "web".into(), decision });
    assert_eq!(pinned.order(table(&[(1, 0)])), Vec::<String>::new());
    assert_eq!(pinned.order(table(&[(1, 1000)])), Vec::<String>::new());
    assert_eq!(pinned.order_at(START + SECOND * 3, table(&[(1, 0)])).len(), 1, "the pin is over");
}

#[test]
fn too_few_in_service_are_broken_after_a_time_without_faults() {
    let mut scene = Scene::new();
    let bound = 2 * (scene.policy.start_deadline() + scene.policy.retry.max)
        + scene.policy.deadlines.drain
        + 3 * scene.policy.tick
        + Duration::from_secs(61);
    assert_eq!(scene.broken(START), Vec::<String>::new());
    scene.faults = 1;
    assert_eq!(scene.broken(START + bound), Vec::<String>::new(), "a fault may have taken it");
    assert_eq!(scene.broken(START + bound + bound).len(), 1);
}

#[test]
fn orders_about_unknown_instances_and_out_of_order_are_broken() {
    for kind in [
        ActionKind::Promote { instance: InstanceId::new(9) },
        ActionKind::Park { instance: InstanceId::new(9) },
        ActionKind::Drain { instance: InstanceId::new(9) },
        ActionKind::Stop { instance: InstanceId::new(9) },
        table(&[(9, 0)]),
    ] {
        assert_eq!(Scene::new().order(kind.clone()).len(), 1, "{kind:?}");
    }
    let mut scene = Scene::with(Stage::Active, 1000);
    let start = ActionKind::Start { instance: InstanceId::new(1), park: false, size: None, node: None };
    assert_eq!(scene.order(start).len(), 1, "it exists");
    scene.orders -= 1;
    assert_eq!(scene.order(table(&[(1, 1000)])).len(), 1, "the same number twice");
    scene.see(exited(1));
    assert_eq!(scene.order(ActionKind::Promote { instance: InstanceId::new(1) }).len(), 1, "it is gone");
}

#[test]
fn a_storm_of_orders_is_broken_and_faults_excuse_some() {
    let orders_until_broken = |faults| {
        let mut scene = Scene::with(Stage::Active, 1000);
        assert_eq!(scene.order(table(&[(1, 1000)])), Vec::<String>::new());
        scene.faults = faults;
        (1..).find(|_| !scene.order(table(&[(1, 1000)])).is_empty())
    };
    let calm = orders_until_broken(0).expect("a bound");
    assert_eq!(orders_until_broken(5), Some(calm + 5 * 12));
    let mut slow = Scene::with(Stage::Active, 1000);
    for n in 0..calm * 3 {
        assert_eq!(slow.order_at(START + SECOND * 10 * n, table(&[(1, 1000)])), Vec::<String>::new());
    }
}

#[test]
fn stopping_a_healthy_standby_while_demand_is_unknown_is_broken() {
    let blind = |seen: i64, plan: Option<(u32, u32)>| {
        let mut scene = Scene::with(Stage::Active, 1000);
        scene.agent.place(2, Stage::Warm, None);
        scene.adopt(2, false);
        (0..seen).for_each(|step| scene.see_demand(step, Some(5.0)));
        scene.checks.blind.wanted = plan;
        scene.see_demand(seen, None);
        let now = START + Duration::from_secs(60) * seen as u32 + SECOND;
        scene.order_at(now, ActionKind::Stop { instance: InstanceId::new(2) }).len()
    };
    assert_eq!(blind(8, Some((1, 1))), 1);
    assert_eq!(blind(8, Some((1, 0))), 0, "it was not wanted before");
    assert_eq!(blind(3, Some((1, 1))), 0, "the planner's guard may not be ready");
}

#[test]
fn an_instance_that_was_unhealthy_once_may_be_what_is_left_while_demand_is_unknown() {
    let stops_beside = |stage: Stage| {
        let mut scene = Scene::with(Stage::Active, 1000);
        for (instance, stage) in [(2, Stage::Warm), (3, stage)] {
            scene.agent.place(instance, stage, None);
            scene.adopt(instance, false);
        }
        let (workload, instance) = ("web".into(), InstanceId::new(3));
        scene.see(Event::InstanceUnhealthy { workload, instance, reason: "timeout".to_owned() });
        scene.see(Event::InstanceHealthy { workload: "web".into(), instance });
        (0..8).for_each(|step| scene.see_demand(step, Some(5.0)));
        scene.checks.blind.wanted = Some((1, 1));
        scene.see_demand(8, None);
        let now = START + Duration::from_secs(60) * 8 + SECOND;
        scene.order_at(now, ActionKind::Stop { instance: InstanceId::new(2) }).len()
    };
    assert_eq!(stops_beside(Stage::Warm), 0);
    assert_eq!(stops_beside(Stage::Stopping), 1, "what is told to stop is not left");
}

#[test]
fn an_instance_that_has_just_become_unhealthy_is_not_left_over() {
    let mut scene = Scene::new();
    scene.agent.place(1, Stage::Warm, None);
    let (workload, instance, role) = ("web".into(), InstanceId::new(1), planner::Role::Active);
    scene
        .planner
        .handle(START, Event::InstanceAdopted { workload, instance, role, parked: false, node: None });
    let left = |scene: &Scene| {
        let truth = truth(START, &scene.agent, &scene.sick, 0);
        leaks(&truth, &scene.planner.snapshot().workloads()[0])
    };
    assert!(left(&scene).is_some(), "it should serve and is not routed to");
    let reason = "timeout".to_owned();
    scene.planner.handle(START, Event::InstanceUnhealthy { workload: "web".into(), instance, reason });
    assert_eq!(left(&scene), None);
}

#[test]
fn what_is_left_over_is_found() {
    let scene = Scene::with(Stage::Active, 1000);
    let snapshot = scene.planner.snapshot();
    let truth = truth(START, &scene.agent, &scene.sick, 0);
    assert!(
        leaks(&truth, &snapshot.workloads()[0])
            .is_some_and(|state| state.contains("(1, [false, true, false])"))
    );
    let nothing = Agent::new("web".into(), Times::new(ColdStart::Constant(SECOND), SECOND), 1);
    assert_eq!(leaks(&Truth { agent: &nothing, ..truth }, &snapshot.workloads()[0]), None);
}

#[test]
fn fewer_or_more_than_the_calendar_asks_for_are_broken_after_a_time_without_faults() {
    let long = START + Duration::from_secs(3_600);
    for (least, most, broken) in [(1, 3, 0), (1, 2, 0), (1, 1, 1), (2, 3, 1), (0, 0, 1)] {
        let mut scene = Scene::with(Stage::Active, 1000);
        scene.agent.place(2, Stage::Warm, None);
        scene.within = Some(Within { least, most });
        assert_eq!(scene.broken(START), Vec::<String>::new());
        assert_eq!(scene.broken(long).len(), broken, "from {least} to {most}");
        scene.faults = 1;
        assert_eq!(scene.broken(long), Vec::<String>::new(), "a fault begins it anew");
    }
    let mut hours = Scene::with(Stage::Active, 1000);
    hours.within = Some(Within { least: 2, most: 2 });
    assert_eq!(hours.broken(START), Vec::<String>::new());
    hours.within = Some(Within { least: 1, most: 2 });
    assert_eq!(hours.broken(long), Vec::<String>::new(), "the hours are over");
}
