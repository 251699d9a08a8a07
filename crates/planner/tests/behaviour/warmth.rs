//! Instances that are stopped with their disk kept: how many, when they come back, and what happens when that fails.

use std::time::Duration;

use planner::{
    ActionKind, CapacityPolicy, Event, InstanceId, Phase, Prices, Reason, Role, StoppedLevel, WarmthReason,
    WorkloadPolicy,
};

use super::nodes::{Nodes, node, workload};
use super::world::World;

/// A new instance takes twenty minutes, one from its disk half a minute, and standbys are dear.
fn policy() -> WorkloadPolicy {
    let mut policy = WorkloadPolicy::new("web", Duration::from_secs(60), CapacityPolicy::Pinned(100.0));
    policy.tick = Duration::from_secs(10);
    policy.lead_cold = Duration::from_secs(1_200);
    policy.prices = Prices { active: 1.0, standby: 0.5, start: policy.lead_cold };
    policy.shift.first_share = 1.0;
    policy.replicas_max = 20;
    policy.stopped = Some(StoppedLevel { price: 0.03, lead: Duration::from_secs(30) });
    policy
}

/// A level with a peak of ten minutes every hour.
fn peaks(secs: f64) -> f64 {
    if secs.rem_euclid(3_600.0) < 600.0 { 590.0 } else { 140.0 }
}

fn halted(world: &World) -> usize {
    let snapshot = world.planner.snapshot();
    snapshot.workloads()[0].instances.iter().filter(|i| i.phase() == Phase::Halted).count()
}

fn warm_reasons(world: &World) -> Vec<WarmthReason> {
    let snapshot = world.planner.snapshot();
    let plan = snapshot.workloads()[0].plan.expect("a plan");
    let each = plan.reasons.iter();
    each.filter_map(|reason| if let Reason::Warmth(reason) = reason { Some(reason.clone()) } else { None })
        .collect()
}

#[test]
fn what_a_start_would_be_too_late_for_is_stopped_and_restarted() {
    let mut world = World::new(policy());
    world.run(6 * 60, peaks);
    let since = world.log.len();
    world.run(12 * 60, peaks);
    let words = world.words(since);
    let count = |what: &str| words.iter().filter(|word| word.starts_with(what)).count();
    assert!(count("halt ") >= 12 && count("restart ") >= 12, "{words:?}");
    assert!(count("start ") <= count("restart ") / 4, "{} starts of {words:?}", count("start "));
    let mut seen = Vec::new();
    for _ in 0..60 {
        world.run(1, peaks);
        seen.extend(warm_reasons(&world).into_iter().filter_map(|reason| match reason {
            WarmthReason::StoppedNeeds { exist, stopped, .. } => Some((exist, stopped)),
            _ => None,
        }));
    }
    assert!(
        seen.iter().all(|(exist, _)| *exist >= 6),
        "a peak needs six and a start takes twenty minutes: {seen:?}"
    );
    assert!(seen.iter().any(|(_, stopped)| *stopped >= 2), "{seen:?}");
}

#[test]
fn a_level_that_is_no_quicker_than_a_start_is_not_used() {
    let mut policy = policy();
    policy.lead_cold = Duration::from_secs(32);
    let mut world = World::new(policy);
    world.run(3 * 60, peaks);
    assert!(world.words(0).iter().all(|word| !word.starts_with("halt ")));
    let reasons = warm_reasons(&world);
    assert!(matches!(reasons[..], [WarmthReason::NoStoppedLevel { .. }]), "{reasons:?}");
}

#[test]
fn an_instance_that_does_not_come_up_from_its_disk_is_removed_and_replaced() {
    let mut world = World::new(policy());
    world.run(6 * 60, peaks);
    assert!(halted(&world) > 0);
    world.faults.restart_fails.extend(1..10_000);
    world.run(2 * 60, peaks);
    let words = world.words(0);
    let failed: Vec<&str> = words.iter().filter_map(|word| word.strip_prefix("restart ")).collect();
    let last = failed.last().expect("a restart");
    assert!(words.contains(&format!("stop {last}")), "{words:?}");
    world.faults.restart_fails.clear();
    world.run(3 * 60, peaks);
    assert!(halted(&world) > 0 || world.ready(Role::Standby) > 0);
    assert!(world.ready(Role::Active) >= 2);
}

#[test]
fn stopped_instances_of_an_earlier_control_plane_are_found_and_used() {
    let mut world = World::new(policy());
    for id in 1..=3 {
        let (workload, instance) = (world.workload.clone(), InstanceId::new(id));
        world.tell(Event::HaltedAdopted { workload, instance, node: None });
    }
    assert_eq!(halted(&world), 3);
    world.run(2, |_| 250.0);
    let restarted = world.words(0).into_iter().filter(|word| word.starts_with("restart ")).count();
    assert_eq!(restarted, 3);
    assert!(world.serving().len() >= 3);
}

#[test]
fn a_stopped_instance_takes_no_room_on_its_node_and_comes_back_there() {
    let mut web = workload("web", 100);
    web.lead_cold = Duration::from_secs(600);
    web.prices = Prices { active: 1.0, standby: 0.5, start: web.lead_cold };
    web.stopped = Some(StoppedLevel { price: 0.02, lead: Duration::from_secs(5) });
    web.replicas_max = 4;
    let mut nodes = Nodes::new(&[web], &[node("a", 2.0), node("b", 2.0)]);
    for n in 0..240 {
        nodes.step(|_, _| if n % 60 < 10 { 390.0 } else { 90.0 });
    }
    let ordered =
        |wanted: fn(&ActionKind) -> bool| nodes.log.iter().filter(|order| wanted(&order.action.kind)).count();
    assert!(ordered(|kind| matches!(kind, ActionKind::Halt { .. })) > 0);
    assert!(ordered(|kind| matches!(kind, ActionKind::Restart { .. })) > 0);
    let used = nodes.planner.snapshot().nodes().iter().map(|node| node.instances).sum::<u32>();
    assert_eq!(used as usize, nodes.running.len(), "those that are stopped are not counted");
}
