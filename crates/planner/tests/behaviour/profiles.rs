//! Standbys of another size: counted by what they can serve, routed to in proportion, and learned about.

use std::time::Duration;

use planner::{
    ActionKind, CapacityPolicy, Event, InstanceId, Phase, ProfileReason, Profiles, Reason, Role, Size,
    WorkloadPolicy,
};

use crate::world::{Uses, World};

fn size(cpu_cores: f64) -> Size {
    Size { cpu_cores, memory_bytes: 256 << 20 }
}

/// Active instances of one core serve 100.
fn policy(standby_cores: f64) -> WorkloadPolicy {
    let mut policy = WorkloadPolicy::new("web", Duration::from_secs(60), CapacityPolicy::Pinned(100.0));
    policy.tick = Duration::from_secs(10);
    (policy.replicas_max, policy.standby_min) = (10, 1);
    policy.shift.first_share = 1.0;
    policy.profiles = Some(Profiles { active: size(1.0), standby: size(standby_cores) });
    policy
}

fn world(policy: WorkloadPolicy) -> World {
    let mut world = World::new(policy);
    world.loads = true;
    world.uses = Some(Uses { cores: 0.01, memory: 0 });
    world
}

fn reason(world: &World) -> ProfileReason {
    let reasons = &world.planner.snapshot().workloads()[0].plan.unwrap().reasons;
    let found = reasons.iter().find_map(|reason| match reason {
        Reason::Profile(reason) => Some(reason.clone()),
        _ => None,
    });
    found.expect("it is said")
}

fn sizes(world: &World, role: Role) -> Vec<f64> {
    let snapshot = world.planner.snapshot();
    let ready = |i: &&planner::Instance| i.role() == role && i.phase() == Phase::Ready;
    let of_role = snapshot.workloads()[0].instances.iter().filter(ready);
    of_role.filter_map(|i| i.size()).map(|size| size.cpu_cores).collect()
}

#[test]
fn one_large_standby_takes_a_burst_that_would_have_needed_two() {
    let mut heads = Vec::new();
    for standby in [2.0, 1.0] {
        let mut world = world(policy(standby));
        world.run(4, |_| 60.0);
        assert_eq!((sizes(&world, Role::Active), sizes(&world, Role::Standby)[0]), (vec![1.0], standby));
        // As soon as it is seen: what starts meanwhile is too late for this.
        let load = |demand_now| Event::LoadObserved {
            workload: "web".into(),
            demand_now,
            in_flight: demand_now * 0.05,
        };
        world.tell(load(210.0));
        world.sleep(Duration::from_secs(1));
        heads.push(world.serving().len());
        let weights: Vec<u32> = world.table.iter().map(|entry| entry.1).collect();
        if standby == 2.0 {
            assert_eq!((world.capacity(), weights), (300.0, vec![500, 1_000]));
            assert_eq!(
                reason(&world),
                ProfileReason { standby: size(2.0), worth: 2.0, serving: 0, learned: false }
            );
            world.sleep(Duration::from_secs(10));
            assert_eq!(reason(&world).serving, 1);
        }
    }
    assert_eq!(heads, [2, 2], "one stood by in both");
}

#[test]
fn the_large_one_is_given_up_first_and_what_stands_by_is_large_again() {
    let mut world = world(policy(2.0));
    world.run(4, |_| 60.0);
    world.run(6, |_| 210.0);
    assert!(world.capacity() >= 300.0, "{:?}", world.table);
    world.run(60, |_| 60.0);
    assert!(sizes(&world, Role::Active).iter().all(|cores| *cores == 1.0), "{:?}", world.words(0));
    assert!(world.words(0).contains(&"drain 2".to_owned()), "the one that was promoted first");
    assert!(sizes(&world, Role::Standby).iter().all(|cores| *cores == 2.0));
}

#[test]
fn an_operator_counts_by_number() {
    let mut world = world(policy(2.0));
    world.run(4, |_| 60.0);
    world.pin(3, 0);
    world.run(4, |_| 60.0);
    assert_eq!(world.serving().len(), 3);
    world.pin(1, 1);
    world.run(4, |_| 60.0);
    assert_eq!((world.serving().len(), world.ready(Role::Standby)), (1, 1));
}

#[test]
fn what_was_found_running_gets_a_size_that_is_known() {
    let mut world = world(policy(2.0));
    for (number, role) in [(1, Role::Active), (2, Role::Standby)] {
        let instance = InstanceId::new(number);
        let parked = role == Role::Standby;
        world.tell(Event::InstanceAdopted { workload: "web".into(), instance, role, parked, node: None });
    }
    world.run(2, |_| 60.0);
    assert_eq!((sizes(&world, Role::Active), sizes(&world, Role::Standby)), (vec![1.0], vec![2.0]));
    let resized = world.log.iter().filter(|entry| matches!(entry.action.kind, ActionKind::Resize { .. }));
    assert_eq!(resized.count(), 2, "once each");
}

/// Latency of one that can serve this much: 10 ms, and steeply more above nine tenths of it.
fn latency(load: f64, capacity: f64) -> Duration {
    let utilisation = (load / capacity).min(0.995);
    Duration::from_secs_f64(0.010 * (1.0 + 0.2 * utilisation.powi(6) / (1.0 - utilisation)))
}

#[test]
fn what_a_profile_can_serve_is_learned_and_weights_follow() {
    // Twice the processor time serves only 1.3 times as much here.
    let mut policy = policy(2.0);
    policy.capacity = CapacityPolicy::Learned { initial: 100.0 };
    policy.objective.latency_bound = Some(Duration::from_millis(60));
    let mut world = world(policy);
    world.run(4, |_| 60.0);
    world.pin(2, 0);
    world.run(2, |_| 60.0);
    assert_eq!(sizes(&world, Role::Active), [1.0, 2.0]);
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..3_000 {
        let demand = 120.0 + 110.0 * random.f64();
        let total: u32 = world.table.iter().map(|entry| entry.1).sum();
        for (instance, weight) in world.table.clone() {
            let load = demand * f64::from(weight) / f64::from(total);
            let truth = if world.sizes[&instance] == size(2.0) { 130.0 } else { 100.0 };
            let p50 = latency(load, truth);
            world.tell(Event::BackendObserved {
                workload: "web".into(),
                instance,
                requests: (load * 2.0) as u64,
                errors: 0,
                latency_p50: p50,
                latency_p99: p50 * 3,
                latencies: Vec::new(),
                in_flight: (load * p50.as_secs_f64()) as u32,
            });
        }
        world.tell(Event::LoadObserved {
            workload: "web".into(),
            demand_now: demand,
            in_flight: demand * 0.01,
        });
        world.sleep(Duration::from_secs(2));
    }
    let said = reason(&world);
    assert!(said.learned && (1.1..1.6).contains(&said.worth), "{said:?}");
    let [small, large] = world.table[..] else { panic!("{:?}", world.table) };
    let ratio = f64::from(large.1) / f64::from(small.1);
    assert!((ratio / said.worth - 1.0).abs() < 0.06, "{ratio} {said:?}");
}

#[test]
fn profiles_that_make_no_sense_are_refused() {
    let mut policy = policy(0.0);
    policy.sizing = Some(planner::SizingPolicy::new(size(0.1), size(2.0), size(1.0)));
    let rules: Vec<_> = policy.validate().unwrap_err().iter().map(|e| (e.field, e.rule)).collect();
    assert_eq!(rules.len(), 3, "{rules:?}");
    assert!(rules.iter().all(|rule| rule.0 == "profiles"), "{rules:?}");
}

#[test]
fn the_minimum_counts_instances_whatever_they_are_worth() {
    let mut policy = policy(3.0);
    (policy.replicas_min, policy.standby_min) = (2, 2);
    let mut world = world(policy);
    world.run(4, |_| 150.0);
    world.run(4, |_| 320.0);
    assert!(sizes(&world, Role::Active).contains(&3.0), "{:?}", world.words(0));
    for _ in 0..60 {
        world.run(1, |_| 20.0);
        assert!(world.serving().len() >= 2, "{:?}", world.table);
    }
}
