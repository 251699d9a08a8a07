//! A new version takes over from an earlier one.

use std::time::Duration;

use crate::world::World;
use planner::{CapacityPolicy, Event, InstanceId, Phase, Role, ShiftPolicy, WorkloadPolicy};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn policy() -> WorkloadPolicy {
    let mut policy = WorkloadPolicy::new("web", secs(60), CapacityPolicy::Pinned(100.0));
    policy.lead_cold = secs(20);
    policy.lead_promote = Duration::from_millis(50);
    policy.tick = secs(10);
    policy
}

/// Pinned at this many instances, all ready, and all of an earlier version from now on.
fn outdated(policy: WorkloadPolicy, active: u32, standby: u32) -> World {
    let mut world = World::new(policy);
    world.pin(active, standby);
    world.sleep(secs(300));
    assert_eq!((world.ready(Role::Active), world.ready(Role::Standby)), (active as usize, standby as usize));
    outdate(&mut world, active + standby);
    world
}

/// So many run an earlier version.
fn outdate(world: &mut World, count: u32) {
    let instances = (1..=u64::from(count)).map(InstanceId::new).collect();
    world.tell(Event::InstancesOutdated { workload: "web".into(), instances });
}

fn left(world: &World) -> usize {
    let snapshot = world.planner.snapshot();
    snapshot.workloads()[0].instances.iter().filter(|i| i.outdated()).count()
}

#[test]
fn each_is_replaced_once_another_serves_in_its_place_at_first_one_and_then_a_quarter() {
    let mut world = outdated(policy(), 6, 2);
    world.sleep(secs(10));
    let snapshot = world.planner.snapshot();
    let plan = snapshot.workloads()[0].plan.expect("there is one");
    let said = "8 instances are of an earlier version, 1 being replaced now.";
    assert!(plan.reasons.iter().any(|reason| reason.to_string() == said), "{:?}", plan.reasons);
    let (mut most, mut all_left, mut first) = (0, left(&world), world.now);
    while left(&world) > 0 {
        world.sleep(secs(1));
        assert!(world.serving().len() >= 6, "{:?}", world.words(0));
        let snapshot = world.planner.snapshot();
        let moving = snapshot.workloads()[0].instances.iter().filter(|i| i.moving()).count();
        most = most.max(moving);
        if left(&world) == 8 {
            assert!(moving <= 1, "the first shows what the new version is worth");
            first = world.now;
        }
        if world.now.since(first) < secs(30) {
            assert!(left(&world) >= 7, "it is watched");
        }
        assert!(left(&world) <= all_left);
        all_left = left(&world);
        assert!(world.now.as_millis() < 3_600_000, "it ends: {:?}", world.words(0));
    }
    assert_eq!(most, 2, "of eight");
    world.sleep(secs(120));
    assert_eq!((world.ready(Role::Active), world.ready(Role::Standby)), (6, 2));
}

#[test]
fn a_version_that_does_not_start_leaves_the_earlier_one_alone() {
    let mut world = World::new(policy());
    world.pin(2, 1);
    world.sleep(secs(300));
    world.faults.all_starts_fail = true;
    outdate(&mut world, 3);
    for _ in 0..600 {
        world.sleep(secs(2));
        assert_eq!(world.serving().len(), 2);
        assert_eq!((world.ready(Role::Active), world.ready(Role::Standby)), (2, 1));
    }
    world.faults.all_starts_fail = false;
    world.sleep(secs(3600));
    assert_eq!(left(&world), 0, "it is tried again: {:?}", world.words(0));
    assert_eq!((world.ready(Role::Active), world.ready(Role::Standby)), (2, 1));
}

/// Tells how the requests went at each that serves, those of the new version badly.
fn report(world: &mut World, old: u64) {
    for instance in world.serving() {
        let bad = instance > InstanceId::new(old);
        world.tell(Event::BackendObserved {
            workload: "web".into(),
            instance,
            requests: 100,
            errors: if bad { 90 } else { 0 },
            latency_p50: Duration::from_millis(5),
            latency_p99: Duration::from_millis(9),
            latencies: Vec::new(),
            in_flight: 1,
        });
    }
}

#[test]
fn a_version_that_answers_with_errors_is_taken_back_while_the_earlier_one_still_serves_and_stands_by() {
    let shift = ShiftPolicy { first_share: 0.1, ..ShiftPolicy::default() };
    let mut world = outdated(WorkloadPolicy { shift, ..policy() }, 2, 1);
    for _ in 0..900 {
        world.sleep(secs(1));
        report(&mut world, 3);
        let old = world.serving().iter().filter(|id| **id <= InstanceId::new(3)).count();
        assert_eq!(old, 2, "both serve on: {:?}", world.words(0));
        assert_eq!(left(&world), 3, "{:?}", world.words(0));
    }
    let trials = world.words(0).iter().filter(|word| word.starts_with("start")).count() - 3;
    assert!((2..=5).contains(&trials), "again and again, and less and less often: {:?}", world.words(0));
}

#[test]
fn a_shift_of_traffic_that_takes_longer_than_all_deadlines_is_waited_for() {
    let mut policy = policy();
    policy.shift = ShiftPolicy { first_share: 0.01, step_every: secs(120), ..ShiftPolicy::default() };
    let mut world = outdated(policy, 1, 0);
    for _ in 0..2400 {
        world.sleep(secs(1));
        assert!(!world.serving().is_empty());
    }
    assert_eq!(left(&world), 0, "{:?}", world.words(0));
    assert_eq!(
        world.words(0).iter().filter(|word| word.starts_with("promote")).count(),
        2,
        "{:?}",
        world.words(0)
    );
}

#[test]
fn a_standby_of_the_earlier_version_leaves_its_place_to_one_that_is_to_serve() {
    // The second instance of the new version never comes up, and meanwhile a standby less is wanted: what is left of the earlier
    // version is as many as are wanted. Nobody waits until the move is given up, which it is not where there may be no more.
    let mut world = outdated(WorkloadPolicy { replicas_max: 3, ..policy() }, 2, 1);
    while left(&world) == 3 || world.serving().iter().all(|id| *id <= InstanceId::new(3)) {
        world.sleep(secs(1));
    }
    world.faults.all_starts_fail = true;
    world.sleep(secs(60));
    while world.planner.snapshot().workloads()[0].instances.iter().any(|i| i.phase() == Phase::Starting) {
        world.sleep(Duration::from_millis(100));
    }
    world.pin(2, 0);
    world.sleep(secs(60));
    world.faults.all_starts_fail = false;
    for _ in 0..120 {
        world.sleep(secs(1));
        assert!(world.serving().len() >= 2, "{:?}", world.words(0));
    }
    assert_eq!(left(&world), 0, "{:?}", world.words(0));
    assert_eq!((world.ready(Role::Active), world.ready(Role::Standby)), (2, 0));
}
